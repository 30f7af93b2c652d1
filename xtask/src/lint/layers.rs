//! Which crate of the workspace may depend on which. Folders are layers.

use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeSet;

/// The crates that know one thing each: they see the core and nothing beside them.
const PARTS: [&str; 7] =
    ["emu-accel", "emu-devices", "emu-disk", "emu-jit", "emu-net", "emu-share", "firmware"];

/// The workspace crates that `krate` may depend on, in any kind of dependency; `None` for a crate without a
/// place.
fn allowed(krate: &str) -> Option<Vec<&'static str>> {
    let core_and_parts = || [&["emu-core"][..], &PARTS].concat();
    match krate {
        "emu-core" => Some(vec![]),
        part if PARTS.contains(&part) => Some(vec!["emu-core"]),
        "emu-harness" => Some(core_and_parts()),
        // `emu test` is the harness's command line.
        "emu" => Some([core_and_parts(), vec!["emu-harness"]].concat()),
        "xtask" => Some([core_and_parts(), vec!["emu", "emu-harness"]].concat()),
        "emu-tests" => Some([core_and_parts(), vec!["emu", "emu-harness", "xtask"]].concat()),
        _ => None,
    }
}

/// Sentences about dependencies that the layering does not allow.
pub fn check(metadata: &Value) -> Result<Vec<String>> {
    let packages = metadata["packages"].as_array().context("cargo's metadata has no packages")?;
    let names: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut violations = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("a package has no name")?;
        let Some(allowed) = allowed(name) else {
            violations.push(format!("{name} has no layer: decide it in xtask/src/lint/layers.rs"));
            continue;
        };
        let dependencies = package["dependencies"].as_array().context("a package has no dependencies")?;
        for dependency in dependencies.iter().filter_map(|dependency| dependency["name"].as_str()) {
            if names.contains(dependency) && !allowed.contains(&dependency) {
                violations.push(format!("{name} must not depend on {dependency}"));
            }
        }
    }
    Ok(violations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn metadata(name: &str, dependency: &str) -> Value {
        json!({ "packages": [
            { "name": name, "dependencies": [{ "name": dependency, "kind": "dev" }, { "name": "log" }] },
            { "name": "emu-core", "dependencies": [] },
            { "name": "emu-devices", "dependencies": [{ "name": "emu-core" }] },
        ]})
    }

    #[rstest]
    #[case("firmware", "emu-core")]
    #[case("emu", "emu-devices")]
    #[case("emu-tests", "emu-devices")]
    fn a_dependency_downwards_is_allowed(#[case] name: &str, #[case] dependency: &str) {
        assert_eq!(check(&metadata(name, dependency)).unwrap(), Vec::<String>::new());
    }

    #[rstest]
    #[case("firmware", "emu-devices")]
    #[case("emu-jit", "emu-devices")]
    #[case("emu-core", "emu-devices")]
    fn a_dependency_sideways_or_upwards_is_named_even_if_only_for_tests(
        #[case] name: &str,
        #[case] dependency: &str,
    ) {
        assert_eq!(
            check(&metadata(name, dependency)).unwrap(),
            [format!("{name} must not depend on {dependency}")]
        );
    }

    #[test]
    fn a_crate_without_a_layer_is_named() {
        assert!(check(&metadata("emu-extra", "log")).unwrap()[0].starts_with("emu-extra has no layer"));
    }
}
