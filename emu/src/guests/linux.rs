//! The guest of `emu demo`: Debian's cloud kernel and a busybox shell.

use super::{GuestError, Initramfs, Progress, at, fetch_deb, resolve_dependency};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The kernel command line that suits the guest.
pub const COMMAND_LINE: &str = "console=ttyS0,115200 quiet";
/// The memory that is plenty for the guest.
pub const MEMORY: u64 = 256 << 20;

const ARCH: &str = "amd64";
const KERNEL_META_PACKAGE: &str = "linux-image-cloud-amd64";

const INIT: &str = "#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /root /etc /sbin /usr/bin /usr/sbin
/bin/busybox --install -s
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
export HOME=/root PATH=/bin:/sbin:/usr/bin:/usr/sbin TERM=linux
cd /root
echo
echo \"Linux $(uname -r) on $(nproc) processor(s), up in $(cut -d' ' -f1 /proc/uptime) s\"
echo 'Try: cat /proc/cpuinfo, top, poweroff. (Leave by force: Ctrl-A x)'
echo
# busybox's init is process 1, so that poweroff and reboot work as on a real system. Leaving the shell powers off.
ln -s /bin/busybox /sbin/init 2>/dev/null
echo '::once:/bin/sh -c \"cd /root; setsid cttyhack sh; poweroff\"' > /etc/inittab
echo '::ctrlaltdel:/bin/reboot' >> /etc/inittab
exec /sbin/init
";

/// Name of the initramfs in the cache. A new init needs a new name: the cache outlives versions of emu.
const INITRD: &str = "initrd-3.gz";

/// A kernel and its initial ramdisk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinuxGuest {
    /// The bzImage.
    pub kernel: PathBuf,
    /// The initramfs, gzip.
    pub initrd: PathBuf,
}

/// Obtains the guest, or finds it in `cache` from the last time.
pub fn obtain(cache: &Path, progress: &dyn Progress) -> Result<LinuxGuest, GuestError> {
    let directory = cache.join("demo");
    let guest = LinuxGuest { kernel: directory.join("vmlinuz"), initrd: directory.join(INITRD) };
    if guest.kernel.is_file() && guest.initrd.is_file() {
        return Ok(guest);
    }
    fs::create_dir_all(&directory).map_err(at(&directory))?;
    progress.step("looking for Debian's kernel");
    let package = resolve_dependency(KERNEL_META_PACKAGE, ARCH, cache, progress)?;
    let kernel = kernel_in(&fetch_deb(&package, ARCH, cache, progress)?, &package)?;
    let busybox = busybox_in(&fetch_deb("busybox-static", ARCH, cache, progress)?)?;
    progress.step("building the initramfs");
    let initramfs = shell_initramfs(fs::read(&busybox).map_err(at(&busybox))?, INIT);
    let packed = initramfs.write_gzip(Vec::new()).map_err(at(&guest.initrd))?;
    replace(&guest.initrd, &packed)?;
    replace(&guest.kernel, &fs::read(&kernel).map_err(at(&kernel))?)?;
    Ok(guest)
}

/// The kernel of an unpacked linux-image package.
pub fn kernel_in(unpacked: &Path, package: &str) -> Result<PathBuf, GuestError> {
    let boot = unpacked.join("boot");
    let entries = fs::read_dir(&boot).map_err(at(&boot))?.filter_map(Result::ok);
    entries
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))
        .ok_or_else(|| GuestError::NoFile { package: package.into(), file: "boot/vmlinuz".into() })
}

/// The busybox of an unpacked busybox-static package.
pub fn busybox_in(unpacked: &Path) -> Result<PathBuf, GuestError> {
    // Debian moves /bin into /usr/bin from one release to the next.
    ["bin/busybox", "usr/bin/busybox"]
        .map(|path| unpacked.join(path))
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| GuestError::NoFile { package: "busybox-static".into(), file: "bin/busybox".into() })
}

/// An initramfs with busybox and the script `init`, which must install the applets it uses by
/// `/bin/busybox --install -s`.
pub fn shell_initramfs(busybox: Vec<u8>, init: &str) -> Initramfs {
    let mut tree = Initramfs::new();
    tree.file("/bin/busybox", 0o755, busybox)
        .symlink("/bin/sh", "busybox")
        .file("/init", 0o755, init)
        // The kernel opens its console before anybody can mount devtmpfs.
        .character_device("/dev/console", 0o600, 5, 1)
        .character_device("/dev/null", 0o666, 1, 3)
        .directory("/proc")
        .directory("/sys");
    tree
}

/// Writes a file whole or not at all.
fn replace(path: &Path, data: &[u8]) -> Result<(), GuestError> {
    let partial = path.with_extension(format!("partial.{}", std::process::id()));
    fs::write(&partial, data).map_err(at(&partial))?;
    fs::rename(&partial, path).map_err(at(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guests::Silent;

    #[test]
    fn a_guest_in_the_cache_is_used_again() {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir(cache.path().join("demo")).unwrap();
        for name in ["vmlinuz", INITRD] {
            fs::write(cache.path().join("demo").join(name), "x").unwrap();
        }
        let guest = obtain(cache.path(), &Silent).unwrap();
        assert_eq!(guest.kernel, cache.path().join("demo/vmlinuz"));
    }

    #[test]
    fn kernel_and_busybox_are_found_where_debian_puts_them() {
        let unpacked = tempfile::tempdir().unwrap();
        let root = unpacked.path();
        fs::create_dir_all(root.join("boot")).unwrap();
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        for name in ["boot/config-6.1", "boot/vmlinuz-6.1", "usr/bin/busybox"] {
            fs::write(root.join(name), "x").unwrap();
        }
        assert_eq!(kernel_in(root, "p").unwrap(), root.join("boot/vmlinuz-6.1"));
        assert_eq!(busybox_in(root).unwrap(), root.join("usr/bin/busybox"));
    }

    #[test]
    fn a_package_without_a_kernel_is_named() {
        let unpacked = tempfile::tempdir().unwrap();
        fs::create_dir(unpacked.path().join("boot")).unwrap();
        assert_eq!(kernel_in(unpacked.path(), "p").unwrap_err().to_string(), "p has no boot/vmlinuz");
    }
}
