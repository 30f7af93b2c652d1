//! Debian packages by `apt-get download` and `dpkg-deb`: no root, nothing installed.
//!
//! The system's package lists are used where they know the package. Otherwise (no `apt-get update` was ever
//! run here, or the package is of another architecture) private lists are fetched into the cache, from the
//! same sources.

use super::{GuestError, Progress, at};
use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// How often a download's size is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Downloads `package` of Debian architecture `arch` and unpacks it; returns the directory that holds its
/// files. A package that `cache` holds already is not fetched again.
pub fn fetch_deb(
    package: &str,
    arch: &str,
    cache: &Path,
    progress: &dyn Progress,
) -> Result<PathBuf, GuestError> {
    let unpacked = cache.join(format!("{package}_{arch}"));
    if unpacked.is_dir() {
        return Ok(unpacked);
    }
    // Work under a name of this process's own, so that an interrupted or a second run leaves no half package.
    let work = cache.join(format!(".{package}_{arch}.{}", std::process::id()));
    if work.exists() {
        fs::remove_dir_all(&work).map_err(at(&work))?;
    }
    fs::create_dir_all(&work).map_err(at(&work))?;
    let result = fetch_into(&work, package, arch, cache, progress).and_then(|files| {
        match fs::rename(&files, &unpacked) {
            // Another process was faster: its package is as good.
            Err(_) if unpacked.is_dir() => Ok(()),
            renamed => renamed.map_err(at(&unpacked)),
        }
    });
    fs::remove_dir_all(&work).map_err(at(&work))?;
    result.map(|()| unpacked)
}

/// The first package that `meta_package` depends on: the kernel behind linux-image-cloud-amd64, say.
pub fn resolve_dependency(
    meta_package: &str,
    arch: &str,
    cache: &Path,
    progress: &dyn Progress,
) -> Result<String, GuestError> {
    let (_, record) = Lists::that_know(meta_package, arch, cache, progress)?;
    record.field("Depends").and_then(first_dependency).ok_or_else(|| GuestError::Failed {
        command: format!("apt-cache show {meta_package}"),
        message: "it depends on nothing".into(),
    })
}

/// `a (>= 1) | b, c` -> `a`.
fn first_dependency(depends: &str) -> Option<String> {
    let name = depends.split([',', '|', ' ', ':']).next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn fetch_into(
    work: &Path,
    package: &str,
    arch: &str,
    cache: &Path,
    progress: &dyn Progress,
) -> Result<PathBuf, GuestError> {
    let (lists, record) = Lists::that_know(package, arch, cache, progress)?;
    progress.step(&format!("downloading {package} ({arch})"));
    let total = record.field("Size").and_then(|size| size.parse().ok()).unwrap_or(0);
    let result = download(&lists, work, package, arch, total, progress);
    if result.is_err() && matches!(lists, Lists::System) {
        // Old lists name a version that the archive has no more: look again with new ones.
        let fresh = Lists::private(arch, cache)?;
        let updated = fresh.update(arch, progress);
        progress.step(&format!("downloading {package} ({arch})"));
        download(&fresh, work, package, arch, total, progress)
            .map_err(|error| updated.err().unwrap_or(error))?;
    } else {
        result?;
    }
    let deb = fs::read_dir(work)
        .map_err(at(work))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension() == Some(OsStr::new("deb")))
        .ok_or_else(|| GuestError::NoFile { package: package.into(), file: "archive".into() })?;
    progress.step(&format!("unpacking {package}"));
    let files = work.join("files");
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("-x").arg(&deb).arg(&files);
    output_of(&mut unpack, "dpkg-deb")?;
    Ok(files)
}

fn download(
    lists: &Lists,
    work: &Path,
    package: &str,
    arch: &str,
    total: u64,
    progress: &dyn Progress,
) -> Result<(), GuestError> {
    let mut command = lists.command("apt-get");
    command.args(["--quiet", "download", &format!("{package}:{arch}")]).current_dir(work);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| not_started("apt-get", &error))?;
    while running(&mut child).map_err(at(work))? {
        progress.advance(downloaded(work).min(total), total);
        thread::sleep(LOOK);
    }
    progress.advance(total, total);
    let output = child.wait_with_output().map_err(at(work))?;
    if output.status.success() {
        return Ok(());
    }
    Err(GuestError::Failed {
        command: format!("apt-get download {package}"),
        message: last_line(&output.stderr),
    })
}

fn running(child: &mut Child) -> io::Result<bool> {
    Ok(child.try_wait()?.is_none())
}

/// Bytes that are in the directory so far, apt's partial files included.
fn downloaded(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| entry.metadata().ok())
        .filter(fs::Metadata::is_file)
        .map(|file| file.len())
        .sum()
}

/// Package lists to work with.
enum Lists {
    /// The system's.
    System,
    /// Our own, for one architecture, under this directory.
    Private { directory: PathBuf, arch: String },
}

/// What the lists say of a package.
struct Record(String);

impl Record {
    fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl Lists {
    /// The lists that have `package`, and what they say of it; fetches private ones if need be.
    fn that_know(
        package: &str,
        arch: &str,
        cache: &Path,
        progress: &dyn Progress,
    ) -> Result<(Lists, Record), GuestError> {
        if let Some(record) = Lists::System.show(package, arch)? {
            return Ok((Lists::System, record));
        }
        let private = Lists::private(arch, cache)?;
        if let Some(record) = private.show(package, arch)? {
            return Ok((private, record));
        }
        // An update that misses one list of several fails, and may still have what is asked for.
        let updated = private.update(arch, progress);
        match private.show(package, arch)? {
            Some(record) => Ok((private, record)),
            None => Err(updated
                .err()
                .unwrap_or(GuestError::NoPackage { package: package.into(), arch: arch.into() })),
        }
    }

    fn private(arch: &str, cache: &Path) -> Result<Lists, GuestError> {
        let directory = cache.join("apt").join(arch);
        let directory = std::path::absolute(&directory).map_err(at(&directory))?;
        for part in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(directory.join(part)).map_err(at(directory.join(part)))?;
        }
        let status = directory.join("status");
        fs::write(&status, "").map_err(at(&status))?;
        Ok(Lists::Private { directory, arch: arch.into() })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // The messages are shown to a user or searched for words: keep to one language.
        command.env("LC_ALL", "C.UTF-8");
        // Run by root, apt would hand the download to a user who cannot write to our cache.
        command.args(["-o", "APT::Sandbox::User=root"]);
        if let Lists::Private { directory, arch } = self {
            let at = directory.display();
            for option in [
                format!("APT::Architecture={arch}"),
                format!("APT::Architectures={arch}"),
                format!("Dir::State={at}"),
                format!("Dir::State::lists={at}/lists"),
                format!("Dir::State::status={at}/status"),
                format!("Dir::Cache={at}"),
                format!("Dir::Cache::archives={at}/archives"),
            ] {
                command.args(["-o", &option]);
            }
        }
        command
    }

    fn show(&self, package: &str, arch: &str) -> Result<Option<Record>, GuestError> {
        let mut command = self.command("apt-cache");
        command.args(["show", "--no-all-versions", &format!("{package}:{arch}")]);
        match output_of(&mut command, "apt-cache") {
            Ok(text) if text.starts_with("Package:") => Ok(Some(Record(text))),
            // Both "no such package" and "no such architecture" are failures to apt.
            Ok(_) | Err(GuestError::Failed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn update(&self, arch: &str, progress: &dyn Progress) -> Result<(), GuestError> {
        progress.step(&format!("fetching Debian's package lists ({arch})"));
        output_of(self.command("apt-get").args(["--quiet", "update"]), "apt-get").map(|_| ())
    }
}

fn output_of(command: &mut Command, program: &'static str) -> Result<String, GuestError> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| not_started(program, &error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(GuestError::Failed { command: program.into(), message: last_line(&output.stderr) })
}

pub(super) fn not_started(program: &'static str, error: &io::Error) -> GuestError {
    if error.kind() == io::ErrorKind::NotFound {
        GuestError::MissingProgram(program)
    } else {
        GuestError::Failed { command: program.into(), message: error.to_string() }
    }
}

/// The last line that a program printed: apt ends with its error.
fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
    line.trim().trim_start_matches("E: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guests::Silent;
    use rstest::rstest;

    #[rstest]
    #[case("linux-image-6.1.0-41-cloud-amd64 (= 6.1.158-1)", Some("linux-image-6.1.0-41-cloud-amd64"))]
    #[case("a:any | b, c", Some("a"))]
    #[case("", None)]
    fn the_first_dependency_is_a_bare_name(#[case] depends: &str, #[case] name: Option<&str>) {
        assert_eq!(first_dependency(depends).as_deref(), name);
    }

    #[test]
    fn a_package_in_the_cache_needs_no_apt() {
        let cache = tempfile::tempdir().unwrap();
        let there = cache.path().join("nothing-of-this-name_amd64");
        fs::create_dir(&there).unwrap();
        let fetched = fetch_deb("nothing-of-this-name", "amd64", cache.path(), &Silent);
        assert_eq!(fetched.unwrap(), there);
    }

    #[test]
    fn a_record_gives_its_fields_by_their_whole_name() {
        let record = Record("Package: x\nInstalled-Size: 9\nSize: 123\nDepends: y\n".into());
        assert_eq!((record.field("Size"), record.field("Dep")), (Some("123"), None));
    }

    #[test]
    fn a_missing_program_is_told_apart_from_a_failing_one() {
        let missing = output_of(&mut Command::new("/nonexistent/program"), "program");
        let failing = output_of(Command::new("sh").args(["-c", "echo 'E: no luck' >&2; exit 1"]), "sh");
        assert!(matches!(missing, Err(GuestError::MissingProgram("program"))));
        assert_eq!(failing.unwrap_err().to_string(), "sh failed: no luck");
    }
}
