//! Debian packages by apt, without root and without touching the system: package lists live in a folder of ours,
//! so that i386 packages need no `dpkg --add-architecture`.

use super::{Progress, Unavailable};
use crate::workspace::{is_installed, output};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The first package that `package` depends on: what a metapackage such as linux-image-cloud-amd64 stands for
/// today. `arch` is Debian's name of the architecture; `cache` is where lists and packages are kept.
pub fn resolve_dependency(
    package: &str,
    arch: &str,
    cache: &Path,
    progress: &dyn Progress,
) -> Result<String> {
    Apt::new(arch, cache)?.with_lists(progress, |apt| {
        let listing = output(apt.command("apt-cache").args(["depends", package]))?;
        first_dependency(&listing).with_context(|| format!("{package} depends on nothing"))
    })
}

/// Downloads `package` and unpacks it; returns the folder that holds its files. A package that `cache` holds
/// already is not fetched again.
pub fn fetch_deb(package: &str, arch: &str, cache: &Path, progress: &dyn Progress) -> Result<PathBuf> {
    let unpacked = cache.join(format!("{package}_{arch}"));
    if unpacked.is_dir() {
        return Ok(unpacked);
    }
    let work = cache.join(format!(".{package}_{arch}"));
    let files = work.join("files");
    Apt::new(arch, cache)?.with_lists(progress, |apt| {
        // What an interrupted run left is no package.
        super::remove(&work)?;
        fs::create_dir_all(&files).with_context(|| format!("cannot create {}", files.display()))?;
        progress.step(&format!("downloading {package} ({arch})"));
        output(apt.command("apt-get").args(["download", package]).current_dir(&work))?;
        Ok(())
    })?;
    // apt-get names the file after the version.
    let deb = super::file_named(&work, package)?;
    output(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&files))?;
    fs::rename(&files, &unpacked).with_context(|| format!("cannot create {}", unpacked.display()))?;
    super::remove(&work)?;
    Ok(unpacked)
}

/// apt with package lists of its own for one architecture.
struct Apt<'a> {
    arch: &'a str,
    folder: PathBuf,
}

impl<'a> Apt<'a> {
    fn new(arch: &'a str, cache: &Path) -> Result<Self> {
        for (program, package) in [("apt-get", "apt"), ("apt-cache", "apt"), ("dpkg-deb", "dpkg")] {
            if !is_installed(program) {
                return Err(Unavailable(format!(
                    "{program} is missing (Debian package {package}); guests come from Debian's archive"
                ))
                .into());
            }
        }
        let apt = Apt { arch, folder: cache.join(format!("apt-{arch}")) };
        for needed in ["lists/partial", "archives/partial"] {
            let needed = apt.folder.join(needed);
            fs::create_dir_all(&needed).with_context(|| format!("cannot create {}", needed.display()))?;
        }
        let status = apt.folder.join("status");
        fs::write(&status, "").with_context(|| format!("cannot write {}", status.display()))?;
        Ok(apt)
    }

    /// Runs `action` with the lists there are, and again with fresh ones if it fails: lists grow old.
    fn with_lists<T>(&self, progress: &dyn Progress, action: impl Fn(&Self) -> Result<T>) -> Result<T> {
        if let Ok(value) = action(self) {
            return Ok(value);
        }
        progress.step(&format!("fetching Debian's package lists ({})", self.arch));
        // A mirror that is being updated makes `update` fail for one list of several. What counts is whether
        // the action works then.
        let updated = output(self.command("apt-get").arg("update"));
        action(self).map_err(|error| match updated {
            Ok(_) => error,
            Err(no_lists) => Unavailable(format!("{no_lists:#}")).into(),
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let (arch, folder) = (self.arch, self.folder.display());
        for option in [
            format!("APT::Architecture={arch}"),
            format!("APT::Architectures={arch}"),
            format!("Dir::State={folder}"),
            format!("Dir::State::lists={folder}/lists"),
            format!("Dir::State::status={folder}/status"),
            format!("Dir::Cache={folder}"),
            format!("Dir::Cache::archives={folder}/archives"),
            "Acquire::Languages=none".into(),
            "Acquire::Retries=3".into(),
            // As root apt would drop to a user that may not write here.
            "APT::Sandbox::User=root".into(),
        ] {
            command.arg("-o").arg(option);
        }
        command.env("LC_ALL", "C");
        command
    }
}

fn first_dependency(listing: &str) -> Option<String> {
    listing.lines().find_map(|line| line.trim_start().strip_prefix("Depends: ")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metapackage_resolves_to_the_image_it_depends_on() {
        let listing =
            "linux-image-686\n  Suggests: doc\n  Depends: linux-image-6.1.0-50-686\n  Depends: other\n";
        assert_eq!(first_dependency(listing).as_deref(), Some("linux-image-6.1.0-50-686"));
    }

    #[test]
    fn a_package_that_depends_on_nothing_is_no_metapackage() {
        assert_eq!(first_dependency("memtest86+\n  Suggests: grub-pc\n"), None);
    }
}
