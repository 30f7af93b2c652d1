//! Debian packages by apt, without root and without touching the system: package lists and downloads live in a
//! folder of ours, so that i386 packages need no `dpkg --add-architecture`.

use crate::workspace::{is_installed, output};
use anyhow::{Context, Result, bail};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A guest cannot be had on this host, for a reason that is not a defect: the tools or the network are missing.
#[derive(Debug)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

/// A Debian architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// 64-bit x86.
    Amd64,
    /// 32-bit x86.
    I386,
}

impl Architecture {
    /// Debian's name.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Amd64 => "amd64",
            Architecture::I386 => "i386",
        }
    }
}

/// apt with package lists of its own.
#[derive(Debug)]
pub struct Apt {
    architecture: Architecture,
    state: PathBuf,
    downloads: PathBuf,
}

impl Apt {
    /// apt for `architecture`; lists and packages are kept below `folder`.
    pub fn new(architecture: Architecture, folder: &Path) -> Result<Self> {
        for (program, package) in [("apt-get", "apt"), ("apt-cache", "apt"), ("dpkg-deb", "dpkg")] {
            if !is_installed(program) {
                return Err(Unavailable(format!(
                    "{program} is missing (Debian package {package}); guests come from Debian's archive"
                ))
                .into());
            }
        }
        let folder = folder.join(format!("apt-{}", architecture.name()));
        let apt = Apt { architecture, state: folder.join("state"), downloads: folder.join("packages") };
        for needed in
            [&apt.state.join("lists/partial"), &folder.join("cache/archives/partial"), &apt.downloads]
        {
            fs::create_dir_all(needed).with_context(|| format!("cannot create {}", needed.display()))?;
        }
        let status = apt.state.join("status");
        fs::write(&status, "").with_context(|| format!("cannot write {}", status.display()))?;
        Ok(apt)
    }

    /// The first package that `package` depends on whose name starts with `prefix`: what a metapackage such as
    /// linux-image-cloud-amd64 stands for today.
    pub fn resolve_dependency(&self, package: &str, prefix: &str) -> Result<String> {
        self.with_lists(|| {
            let listing = output(self.command("apt-cache").args(["depends", package]))?;
            first_dependency(&listing, prefix)
                .with_context(|| format!("{package} depends on no package named {prefix}*"))
        })
    }

    /// Downloads `package` and returns its file.
    pub fn fetch_deb(&self, package: &str) -> Result<PathBuf> {
        // apt-get names the file after the version; alone in a folder it is easy to find.
        let folder = self.downloads.join(package);
        if let Some(deb) = only_deb(&folder)? {
            return Ok(deb);
        }
        self.with_lists(|| {
            fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
            output(self.command("apt-get").args(["download", package]).current_dir(&folder))?;
            only_deb(&folder)?.with_context(|| format!("apt-get download {package} left no file"))
        })
    }

    /// Runs `action` with the lists there are, and again with fresh ones if it fails: lists grow old.
    fn with_lists<T>(&self, action: impl Fn() -> Result<T>) -> Result<T> {
        if let Ok(value) = action() {
            return Ok(value);
        }
        // A mirror that is being updated makes `update` fail for one list of several. What counts is whether
        // the action works then.
        let updated = output(self.command("apt-get").arg("update"));
        action().map_err(|error| match updated {
            Ok(_) => error,
            Err(no_lists) => Unavailable(format!("{no_lists:#}")).into(),
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let name = self.architecture.name();
        let cache = self.state.with_file_name("cache");
        for option in [
            format!("Dir::State={}", self.state.display()),
            format!("Dir::State::status={}", self.state.join("status").display()),
            format!("Dir::Cache={}", cache.display()),
            format!("APT::Architecture={name}"),
            format!("APT::Architectures={name}"),
            "Acquire::Languages=none".into(),
            "Acquire::Retries=3".into(),
            // As root apt would drop to a user that may not write here.
            "APT::Sandbox::User=".into(),
        ] {
            command.arg("-o").arg(option);
        }
        command.env("LC_ALL", "C");
        command
    }
}

/// Unpacks a package's files into `folder`.
pub fn unpack(deb: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    output(Command::new("dpkg-deb").arg("-x").arg(deb).arg(folder))?;
    Ok(())
}

fn first_dependency(listing: &str, prefix: &str) -> Option<String> {
    listing
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("Depends: "))
        .find(|name| name.starts_with(prefix))
        .map(str::to_owned)
}

fn only_deb(folder: &Path) -> Result<Option<PathBuf>> {
    if !folder.exists() {
        return Ok(None);
    }
    let mut debs = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        debs.extend(path.extension().is_some_and(|extension| extension == "deb").then_some(path));
    }
    if debs.len() > 1 {
        bail!("{} holds several packages; remove the folder", folder.display());
    }
    Ok(debs.pop())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "linux-image-cloud-amd64\n  Depends: linux-base\n  Depends: linux-image-6.1.0-50-cloud-amd64\n  Suggests: linux-image-doc\n";

    #[test]
    fn a_metapackage_resolves_to_the_image_it_depends_on() {
        assert_eq!(
            first_dependency(LISTING, "linux-image-").as_deref(),
            Some("linux-image-6.1.0-50-cloud-amd64")
        );
    }

    #[test]
    fn what_is_only_suggested_is_no_dependency() {
        assert_eq!(first_dependency(LISTING, "linux-image-doc"), None);
    }
}
