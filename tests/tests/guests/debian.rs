//! Debian 12 from a disk image: every bus, both formats, and work that systems are for.
//!
//! `EMU_FILE_MIB` is how long the file is that is written through each bus; if it is set, to both formats through each.

use crate::{
    PATIENCE, beside_others,
    outside::{copy_file, digest, done, is_in_order, missing_program, told},
};
use emu_tests::emulator::{Emulator, guest_or_skip, skip};
use emu_tests::session::Session;
use rstest::rstest;
use std::{
    env, fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};
use xtask::{guests::Guest, workspace::is_installed};

/// MiB of the file that the guest writes if nothing else is asked for.
const FILE: u64 = 16;

/// What `EMU_FILE_MIB` asks for.
fn file_mib() -> Option<u64> {
    env::var("EMU_FILE_MIB").ok().map(|number| number.parse().expect("EMU_FILE_MIB is a number"))
}

#[rstest]
#[case::virtio("virtio", "qcow2")]
#[case::nvme("nvme", "raw")]
#[case::ahci("ahci", "qcow2")]
#[case::ide("ide", "raw")]
fn a_file_is_the_same_in_the_guest_and_on_the_host(#[case] bus: &str, #[case] format: &str) {
    writes_a_file(bus, format, file_mib().unwrap_or(FILE));
}

/// A bus and a format do not know each other: the other pairs are for those who have the time.
#[rstest]
#[case::virtio("virtio", "raw")]
#[case::nvme("nvme", "qcow2")]
#[case::ahci("ahci", "raw")]
#[case::ide("ide", "qcow2")]
fn a_file_is_the_same_on_the_other_format_too(#[case] bus: &str, #[case] format: &str) {
    match file_mib() {
        Some(mib) => writes_a_file(bus, format, mib),
        None => skip("it is for those who set EMU_FILE_MIB"),
    }
}

/// Boots from `bus` to the login prompt. A file that is written in the guest, and read there past its page cache, is the
/// same on the host, which finds it by converting the image.
fn writes_a_file(bus: &str, format: &str, mib: u64) {
    let Some(guest) = guest_or_skip(Guest::Debian) else { return };
    if let Some(missing) = missing_program() {
        return skip(&format!("{missing} is not installed"));
    }
    let _host = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join(format!("debian.{format}"));
    convert(&guest.debian_image(), "raw", &image, format);
    let root = match bus {
        "virtio" => "/dev/vda",
        "nvme" => "/dev/nvme0n1",
        _ => "/dev/sda",
    };
    let mut session = Emulator::run()
        .option("--kernel", guest.kernel())
        .option("--initrd", guest.debian_initrd())
        .option("--append", format!("console=ttyS0,115200 quiet root={root} rw"))
        .option("--memory", "512M")
        .option("--disk", format!("{},format={format},bus={bus}", image.display()))
        .start();
    log_in(&mut session);
    assert!(shell(&mut session, "findmnt -no SOURCE /").contains(root));
    let patience = PATIENCE + Duration::from_secs(mib);
    shell_within(&mut session, &format!("head -c {mib}M /dev/urandom > /root/data && sync"), patience);
    shell(&mut session, "echo 3 > /proc/sys/vm/drop_caches");
    let said = shell_within(&mut session, "sha256sum /root/data", patience);
    session.send("poweroff\r");
    session.finish(0, PATIENCE);

    let content = folder.path().join("content.raw");
    convert(&image, format, &content, "raw");
    is_in_order(&content);
    let file = folder.path().join("data");
    copy_file(&content, "/root/data", &file);
    assert_eq!(fs::metadata(&file).unwrap().len(), mib << 20);
    assert!(said.contains(&digest(&file)), "{said}");
    if format == "qcow2" {
        done(Command::new("qemu-img").args(["check", "-q", "-f", "qcow2"]).arg(&image));
    }
}

/// `emu disk convert`.
fn convert(from: &Path, from_format: &str, to: &Path, to_format: &str) {
    let converted = Emulator::disk()
        .flag("convert")
        .option("-f", from_format)
        .option("-O", to_format)
        .flag(&from.display().to_string())
        .flag(&to.display().to_string())
        .output();
    assert!(converted.status.success(), "{}", told(&converted));
}

/// Boots to the login prompt and logs in.
fn log_in(session: &mut Session) {
    session.expect("emu login: ", PATIENCE);
    session.send("root\r");
    session.expect("Password: ", PATIENCE);
    session.send("emu\r");
    session.expect("# ", PATIENCE);
    // Lines as they are: no colours, no bracketed paste, no editing at the terminal's width.
    // The prompt is written in two parts so that the echo of this line is not taken for it.
    session.send("stty cols 1000; bind 'set enable-bracketed-paste off'; PS1='re''ady# '\r");
    session.expect("ready# ", PATIENCE);
}

/// Has the shell do `command`; returns what it printed. Asserts that it succeeded.
#[track_caller]
fn shell(session: &mut Session, command: &str) -> String {
    shell_within(session, command, PATIENCE)
}

#[track_caller]
fn shell_within(session: &mut Session, command: &str, limit: Duration) -> String {
    let said = session.shell(command, limit);
    session.expect("ready# ", PATIENCE);
    said
}

#[test]
fn a_system_installs_a_package_downloads_and_is_reached_by_ssh() {
    let Some(guest) = guest_or_skip(Guest::Debian) else { return };
    if let Some(missing) = ["dpkg-deb", "ssh", "ssh-keygen"].iter().find(|program| !is_installed(program)) {
        return skip(&format!("{missing} is not installed"));
    }
    let _host = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    command("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &key.display().to_string()]);
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    let blob: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let site = folder.path().join("site");
    make_package_site(&site);
    fs::write(site.join("blob"), &blob).unwrap();
    let port = serve(site);
    let ssh_port = free_port();
    let mut session = Emulator::run()
        .option("--kernel", guest.kernel())
        .option("--initrd", guest.debian_initrd())
        .option("--append", "console=ttyS0,115200 quiet root=/dev/vda rw")
        .option("--memory", "512M")
        .option("--disk", format!("{},format=raw,overlay", guest.debian_image().display()))
        .option("--forward", format!("tcp:127.0.0.1:{ssh_port}:22"))
        .start();
    log_in(&mut session);

    shell(&mut session, "until ip route | grep -q default; do sleep 0.2; done");
    shell(
        &mut session,
        &format!("echo 'deb [trusted=yes] http://10.0.2.2:{port} ./' > /etc/apt/sources.list"),
    );
    shell(&mut session, "apt-get update && apt-get install -y emu-greeting");
    assert!(shell(&mut session, "emu-greeting").contains("hello from a package"));
    let digest = shell(&mut session, &format!("curl -s http://10.0.2.2:{port}/blob | md5sum"));
    assert!(digest.contains(&host_digest(&folder.path().join("site/blob"))), "{digest}");
    shell(&mut session, &format!("echo '{}' > /root/.ssh/authorized_keys", public.trim()));
    assert_eq!(ssh(&key, ssh_port, "uname -n").trim(), "emu");
    session.send("poweroff\r");
    session.finish(0, PATIENCE);
}

/// A package archive of one package in one folder.
fn make_package_site(site: &Path) {
    let package = site.join("emu-greeting");
    fs::create_dir_all(package.join("DEBIAN")).unwrap();
    fs::create_dir_all(package.join("usr/bin")).unwrap();
    let control = "Package: emu-greeting\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\n\
                   Description: says hello\n";
    fs::write(package.join("DEBIAN/control"), control).unwrap();
    let program = package.join("usr/bin/emu-greeting");
    fs::write(&program, "#!/bin/sh\necho hello from a package\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let file = site.join("emu-greeting.deb");
    let (from, to) = (package.display().to_string(), file.display().to_string());
    command("dpkg-deb", &["--root-owner-group", "-Zgzip", "--build", &from, &to]);
    let (size, digest) = (fs::metadata(&file).unwrap().len(), command("sha256sum", &[&to]));
    let digest = digest.split_whitespace().next().unwrap();
    let index = format!("{control}Filename: ./emu-greeting.deb\nSize: {size}\nSHA256: {digest}\n");
    fs::write(site.join("Packages"), index).unwrap();
}

/// Serves the files of `site` on the loopback interface, as long as the test runs; returns the port.
fn serve(site: PathBuf) -> u16 {
    let server = tiny_http::Server::http("127.0.0.1:0").unwrap();
    let port = server.server_addr().to_ip().unwrap().port();
    thread::spawn(move || {
        for request in server.incoming_requests() {
            let path = site.join(request.url().trim_start_matches(['/', '.']));
            // A client that goes away is the client's to explain.
            let _answered = match fs::File::open(&path) {
                Ok(file) if path.is_file() => request.respond(tiny_http::Response::from_file(file)),
                _ => request.respond(tiny_http::Response::empty(404)),
            };
        }
    });
    port
}

/// A port that nobody listens at now.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn host_digest(file: &Path) -> String {
    command("md5sum", &[&file.display().to_string()]).split_whitespace().next().unwrap().to_owned()
}

fn ssh(key: &Path, port: u16, remote: &str) -> String {
    let (key, port) = (key.display().to_string(), port.to_string());
    let options =
        ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"];
    let fixed = ["-i", &key, "-p", &port, "root@127.0.0.1", remote];
    command("ssh", &[&options[..], &fixed[..]].concat())
}

/// Runs a program of the host; what it printed. Panics if it fails.
#[track_caller]
fn command(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
