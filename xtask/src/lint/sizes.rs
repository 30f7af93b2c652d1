//! Files that have grown long. A report, not a rule: a longer file may read better, and says why at its top.

use anyhow::{Context, Result};
use std::{fs, path::Path};

/// Lines that a file aims to stay under.
const LIMIT: usize = 400;

/// One sentence for each Rust file over the limit, the longest first.
pub fn over_limit(root: &Path) -> Result<Vec<String>> {
    let mut long = Vec::new();
    for file in rust_files(root)? {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let lines = text.lines().count();
        if lines > LIMIT {
            let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
            long.push((lines, name));
        }
    }
    long.sort_by(|a, b| b.cmp(a));
    Ok(long.into_iter().map(|(lines, name)| format!("{name} has {lines} lines (aim: {LIMIT})")).collect())
}

/// Every Rust file below `folder`, apart from what is built or hidden.
pub fn rust_files(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
            let (path, name) = (entry.path(), entry.file_name());
            let kind = entry.file_type().with_context(|| format!("cannot look at {}", path.display()))?;
            if kind.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
                folders.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_rust_files_outside_target_are_reported() {
        let root = tempfile::tempdir().unwrap();
        let long = "//\n".repeat(LIMIT + 1);
        for (name, text) in
            [("a/long.rs", &*long), ("a/short.rs", "//\n"), ("long.txt", &long), ("target/x.rs", &long)]
        {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        let report = over_limit(root.path()).unwrap();

        assert_eq!(report, ["a/long.rs has 401 lines (aim: 400)"]);
    }
}
