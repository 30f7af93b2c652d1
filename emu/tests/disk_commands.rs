//! `emu disk` as a user meets it: a life of an image by the commands alone, and mistakes in one sentence.
//!
//! What the operations do to images, and that qemu-img agrees, is tested in `emu-disk`.

use rstest::rstest;
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// `emu disk`, in `directory`.
fn disk(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_emu"))
        .arg("disk")
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap()
}

/// What a command that succeeds prints.
#[track_caller]
fn printed(directory: &Path, arguments: &[&str]) -> String {
    let output = disk(directory, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn json(directory: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(directory, arguments)).unwrap()
}

/// Bytes with holes between them.
fn content(seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; 3 << 20];
    bytes[200_000..400_000].fill(seed);
    bytes[2 << 20..(2 << 20) + 70_000].fill(seed ^ 0xFF);
    bytes
}

/// A directory with raw images and what is made of them.
fn images() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    fs::write(at.join("base.raw"), content(1)).unwrap();
    fs::write(at.join("letter.txt"), "Dear all,\n").unwrap();
    printed(at, &["convert", "base.raw", "disk.qcow2"]);
    directory
}

/// The content of an image, by `convert`.
#[track_caller]
fn read(directory: &Path, image: &str) -> Vec<u8> {
    printed(directory, &["convert", "--force", "-O", "raw", image, "content"]);
    fs::read(directory.join("content")).unwrap()
}

#[test]
fn an_image_is_made_looked_at_and_grows() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    printed(at, &["create", "new.qcow2", "20G", "--cluster-size", "128K"]);
    let info = json(at, &["info", "--json", "new.qcow2"]);
    assert_eq!((&info["format"], &info["virtual-size"]), (&"qcow2".into(), &(20u64 << 30).into()));
    assert!(fs::metadata(at.join("new.qcow2")).unwrap().len() < 1 << 20);
    printed(at, &["resize", "new.qcow2", "+5G"]);
    printed(at, &["resize", "new.qcow2", "--shrink", "-1G"]);
    assert_eq!(json(at, &["info", "--json", "new.qcow2"])["virtual-size"], 24u64 << 30);
    assert!(printed(at, &["info", "new.qcow2"]).contains("24.00 GiB"));
    assert!(printed(at, &["check", "new.qcow2"]).starts_with("in order; 0 clusters"));
    printed(at, &["create", "plain", "1M"]);
    assert_eq!(fs::metadata(at.join("plain")).unwrap().len(), 1 << 20, "raw, if the name says nothing");
}

#[test]
fn layers_are_mapped_committed_and_rebased() {
    let directory = images();
    let at = directory.path();
    printed(at, &["create", "layer.qcow2", "-b", "base.raw", "-F", "raw"]);
    let chain = json(at, &["info", "--json", "--backing-chain", "layer.qcow2"]);
    let names: Vec<_> = chain.as_array().unwrap().iter().map(|image| image["format"].clone()).collect();
    assert_eq!(names, ["qcow2", "raw"]);
    let map = json(at, &["map", "--json", "layer.qcow2"]);
    let data: Vec<_> = map.as_array().unwrap().iter().filter(|part| part["data"] == true).collect();
    assert!(!data.is_empty() && data.iter().all(|part| part["depth"] == 1), "{map}");
    assert!(read(at, "layer.qcow2") == content(1));
    // Another base: the layer keeps what it reads as.
    fs::write(at.join("other.raw"), content(2)).unwrap();
    printed(at, &["rebase", "-b", "other.raw", "-F", "raw", "layer.qcow2"]);
    fs::remove_file(at.join("base.raw")).unwrap();
    assert!(read(at, "layer.qcow2") == content(1));
    printed(at, &["commit", "layer.qcow2"]);
    assert!(fs::read(at.join("other.raw")).unwrap() == content(1));
    printed(at, &["rebase", "--no-backing", "layer.qcow2"]);
    fs::remove_file(at.join("other.raw")).unwrap();
    assert!(read(at, "layer.qcow2") == content(1));
}

#[test]
fn snapshots_are_listed_applied_and_deleted() {
    let directory = images();
    let at = directory.path();
    printed(at, &["snapshot", "create", "disk.qcow2", "before"]);
    assert!(printed(at, &["snapshot", "list", "disk.qcow2"]).contains("before"));
    assert_eq!(json(at, &["snapshot", "list", "--json", "disk.qcow2"])[0]["name"], "before");
    printed(at, &["snapshot", "apply", "disk.qcow2", "before"]);
    assert!(read(at, "disk.qcow2") == content(1));
    printed(at, &["snapshot", "delete", "disk.qcow2", "before"]);
    assert_eq!(printed(at, &["snapshot", "list", "disk.qcow2"]), "");
    assert!(printed(at, &["check", "disk.qcow2"]).starts_with("in order; "));
}

#[test]
fn damage_is_exit_code_1() {
    let directory = images();
    let at = directory.path();
    let mut bytes = fs::read(at.join("disk.qcow2")).unwrap();
    // The first refcount block says that nothing is used.
    let table = u64::from_be_bytes(bytes[48..56].try_into().unwrap()) as usize;
    let block = u64::from_be_bytes(bytes[table..table + 8].try_into().unwrap()) as usize;
    bytes[block..block + 64].fill(0);
    fs::write(at.join("disk.qcow2"), bytes).unwrap();

    let output = disk(at, &["check", "disk.qcow2"]);

    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("damaged: "), "{output:?}");
}

#[rstest]
#[case(&["melt"], "melt: no such command; use create, info, convert, ")]
#[case(&["create", "new.qcow2"], "missing")]
#[case(&["create", "new.qcow2", "much"], "much: not a size; use bytes or a size, as in 20G or 512M")]
#[case(&["create", "new.qcow2", "99999999T"], "99999999T: too large; use less than 16777216T")]
#[case(&["create", "new.qcow2", "1G", "--cluster-size", "3K"], "--cluster-size 3K: not a cluster's size; use a power of two")]
#[case(&["create", "new.img", "1G", "-f", "floppy"], "\"floppy\" is no format of images; write one of raw, qcow2")]
#[case(&["create", "new.vmdk", "1G", "-f", "vmdk"], "vmdk")]
#[case(&["create", "new.qcow2", "-b", "base.raw"], "--backing-format")]
#[case(&["create", "new.qcow2", "-b", "missing", "-F", "raw"], "missing")]
#[case(&["create", "new.img", "-b", "base.raw", "-F", "raw"], "qcow2")]
#[case(&["create", "disk.qcow2", "1G"], "--force")]
#[case(&["create", "/nonexistent/new.raw", "1G"], "/nonexistent/new.raw")]
#[case(&["info", "missing"], "emu disk info: missing")]
#[case(&["info", "letter.txt", "-f", "qcow2"], "letter.txt")]
#[case(&["info", "."], "emu disk info: .")]
#[case(&["convert", "base.raw"], "missing")]
#[case(&["convert", "missing", "new.raw"], "emu disk convert: missing")]
#[case(&["convert", "base.raw", "disk.qcow2"], "--force")]
#[case(&["convert", "base.raw", "new.vdi", "-O", "vdi"], "vdi")]
#[case(&["convert", "--force", "base.raw", "base.raw"], "base.raw")]
#[case(&["resize", "disk.qcow2", "1M"], "--shrink")]
#[case(&["resize", "disk.qcow2", "--shrink", "-5G"], "cannot change by so much")]
#[case(&["resize", "disk.qcow2", "+many"], "not a size")]
#[case(&["check", "base.raw"], "raw")]
#[case(&["map", "missing"], "emu disk map: missing")]
#[case(&["commit", "disk.qcow2"], "disk.qcow2")]
#[case(&["commit", "base.raw"], "base.raw")]
#[case(&["rebase", "disk.qcow2"], "--no-backing")]
#[case(&["rebase", "-b", "missing", "-F", "raw", "disk.qcow2"], "missing")]
#[case(&["rebase", "-b", "disk.qcow2", "-F", "qcow2", "disk.qcow2"], "disk.qcow2")]
#[case(&["snapshot", "apply", "disk.qcow2", "yesterday"], "no snapshot is called \"yesterday\"; there are: none")]
#[case(&["snapshot", "create", "base.raw", "now"], "base.raw")]
#[case(&["snapshot", "take", "disk.qcow2", "now"], "take: no such command; use list, create, apply or delete")]
fn a_mistake_is_one_sentence_and_harms_nothing(#[case] arguments: &[&str], #[case] part: &str) {
    let directory = images();
    let before =
        ["base.raw", "disk.qcow2", "letter.txt"].map(|name| fs::read(directory.path().join(name)).unwrap());

    let output = disk(directory.path(), arguments);

    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with("emu: ") && said.lines().count() == 1, "{said}");
    assert!(said.contains(part), "{said}");
    assert!(output.stdout.is_empty());
    let after =
        ["base.raw", "disk.qcow2", "letter.txt"].map(|name| fs::read(directory.path().join(name)).unwrap());
    assert!(before == after, "an image was changed");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3, "something was left behind");
}
