//! What a user writes for a CPU: `MODEL[,+feature,-feature...]`.

use super::{CpuModel, Feature, MODELS, feature::TABLE};
use std::str::FromStr;

/// A CPU that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpuModelError {
    /// No such model.
    #[error("unknown CPU model \"{0}\"; there are {list}", list = names())]
    UnknownModel(String),
    /// No such feature.
    #[error("unknown CPU feature \"{name}\"{hint}", hint = hint(near))]
    UnknownFeature {
        /// As written.
        name: String,
        /// Features with similar names.
        near: Vec<&'static str>,
    },
    /// Neither `+` nor `-` before a feature.
    #[error("CPU feature \"{0}\" needs a sign: \"+{0}\" offers it, \"-{0}\" does not")]
    NoSign(String),
}

fn names() -> String {
    MODELS.iter().map(|model| model.name).collect::<Vec<_>>().join(", ")
}

fn hint(near: &[&'static str]) -> String {
    if near.is_empty() { String::new() } else { format!("; similar ones are {}", near.join(", ")) }
}

impl FromStr for CpuModel {
    type Err = CpuModelError;

    fn from_str(text: &str) -> Result<Self, CpuModelError> {
        let mut parts = text.split(',').map(str::trim);
        let mut model = CpuModel::named(parts.next().unwrap_or_default())?;
        for part in parts {
            model = match (part.strip_prefix('+'), part.strip_prefix('-')) {
                (Some(name), _) => model.with(feature(name)?),
                (_, Some(name)) => model.without(feature(name)?),
                _ => return Err(CpuModelError::NoSign(part.to_owned())),
            };
        }
        Ok(model)
    }
}

fn feature(name: &str) -> Result<Feature, CpuModelError> {
    let lower = name.to_ascii_lowercase().replace('-', "_");
    Feature::named(&lower)
        .ok_or_else(|| CpuModelError::UnknownFeature { name: name.to_owned(), near: near_matches(&lower) })
}

/// Feature names that `name` may have meant, the nearest first.
fn near_matches(name: &str) -> Vec<&'static str> {
    let contained =
        |known: &str| name.len() >= 3 && (known.contains(name) || name.contains(known) && known.len() >= 3);
    let mut near: Vec<_> = TABLE
        .iter()
        .map(|row| (if contained(row.name) { 1 } else { distance(name, row.name) }, row.name))
        .filter(|&(distance, known)| distance <= known.len().min(name.len()).div_ceil(3).min(2))
        .collect();
    near.sort();
    near.into_iter().map(|(_, name)| name).take(5).collect()
}

/// Number of insertions, removals and replacements that make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_added_and_removed_in_order() {
        let model: CpuModel = "x86-64-v2,+bmi1,-popcnt,-sse4.1".parse().unwrap();
        assert!(model.has(Feature::Bmi1) && !model.has(Feature::Popcnt));
        assert!(!model.has(Feature::Sse42), "SSE4.2 builds on SSE4.1");
    }

    #[rstest::rstest]
    #[case(
        "x86-64-v9",
        "unknown CPU model \"x86-64-v9\"; there are x86-64-v1, x86-64-v2, x86-64-v3, max, host"
    )]
    #[case("max,+popcount", "unknown CPU feature \"popcount\"; similar ones are popcnt")]
    #[case("max,+rdrnd", "unknown CPU feature \"rdrnd\"; similar ones are rdrand, rdpid")]
    #[case("max,+zzzzzz", "unknown CPU feature \"zzzzzz\"")]
    #[case("max,-xsav", "unknown CPU feature \"xsav\"; similar ones are xsave, xsavec, xsaveopt, xsaves")]
    #[case("max,sse2", "CPU feature \"sse2\" needs a sign: \"+sse2\" offers it, \"-sse2\" does not")]
    #[case("", "unknown CPU model \"\"; there are x86-64-v1, x86-64-v2, x86-64-v3, max, host")]
    fn errors_name_what_is_wrong_and_what_would_work(#[case] text: &str, #[case] message: &str) {
        assert_eq!(text.parse::<CpuModel>().unwrap_err().to_string(), message);
    }
}
