//! What the host tells of its virtualization besides `/dev/kvm` itself, and what its user can do where that is not to
//! be had: processor flags (`/proc/cpuinfo`), modules (`/sys/module`), and whose the device is.
//!
//! Linux only.

use crate::kvm::Unavailable;
use std::{
    fmt, fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

/// What processors have for virtual machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// Intel's VMX.
    Vmx,
    /// AMD's SVM.
    Svm,
}

impl Extension {
    /// The module of KVM's that drives it.
    pub fn module(self) -> &'static str {
        match self {
            Extension::Vmx => "kvm_intel",
            Extension::Svm => "kvm_amd",
        }
    }
}

impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Extension::Vmx => "VMX",
            Extension::Svm => "SVM",
        })
    }
}

/// Whose `/dev/kvm` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The name of the group, or its number where it has none.
    pub group: String,
    /// The group may read and write it.
    pub group_may: bool,
}

/// The host, as far as virtualization goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// What its processor has, or tells this host that it has.
    pub extension: Option<Extension>,
    /// It is a virtual machine itself.
    pub is_guest: bool,
    /// KVM's modules that are loaded, or built into its kernel; sorted.
    pub modules: Vec<String>,
    /// `/dev/kvm`, if there is one.
    pub device: Option<Owner>,
}

impl Host {
    /// This host. What it does not tell counts as absent.
    pub fn look() -> Self {
        Self::below(Path::new("/"))
    }

    /// The host whose file systems are below `root`.
    fn below(root: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let cpuinfo = read("proc/cpuinfo");
        let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
        let has = |flag: &str| flags.split_whitespace().any(|word| word == flag);
        let extension = match (has("vmx"), has("svm")) {
            (true, _) => Some(Extension::Vmx),
            (false, true) => Some(Extension::Svm),
            (false, false) => None,
        };
        let modules = fs::read_dir(root.join("sys/module")).into_iter().flatten().flatten();
        let mut modules: Vec<String> = modules
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name == "kvm" || name.starts_with("kvm_"))
            .collect();
        modules.sort();
        let device = owner(&root.join("dev/kvm"), &read("etc/group"));
        Host { extension, is_guest: has("hypervisor"), modules, device }
    }

    /// What the user can do about `reason`, as one sentence without its full stop. `None`: nothing is known to help.
    pub fn remedy(&self, reason: &Unavailable) -> Option<String> {
        match reason {
            Unavailable::Missing => Some(self.how_to_have_it()),
            Unavailable::Forbidden => Some(self.how_to_be_allowed()),
            Unavailable::Version(_) | Unavailable::Capability(_) => Some("run a newer Linux kernel".into()),
            Unavailable::Refused { .. } => None,
        }
    }

    fn how_to_have_it(&self) -> String {
        let driven = self.modules.iter().any(|module| module != "kvm");
        match self.extension {
            _ if driven => "KVM is loaded but this process does not see it: give the container its device, as in \
                            `docker run --device /dev/kvm`"
                .into(),
            Some(extension) => {
                format!(
                    "the processor has {extension}: load the module, `sudo modprobe {}`",
                    extension.module()
                )
            }
            None if self.is_guest => "this host is a virtual machine without nested virtualization: have it \
                                      switched on where the host itself runs"
                .into(),
            None => "the processor shows neither VMX nor SVM: switch virtualization on in the firmware's settings, \
                     if it has it"
                .into(),
        }
    }

    fn how_to_be_allowed(&self) -> String {
        match &self.device {
            Some(Owner { group, group_may: true }) => {
                format!(
                    "join the group {group}, `sudo usermod -aG {group} $USER`, and log in again; in a container, \
                     start it with `--device /dev/kvm`"
                )
            }
            _ => "it is its owner's alone: give it to a group, `sudo chgrp kvm /dev/kvm` and \
                  `sudo chmod 660 /dev/kvm`, and join that"
                .into(),
        }
    }
}

/// Whose the device at `path` is; `groups` is the host's list of groups.
fn owner(path: &Path, groups: &str) -> Option<Owner> {
    let metadata = fs::metadata(path).ok().filter(|metadata| metadata.file_type().is_char_device())?;
    Some(owner_of(metadata.gid(), metadata.mode(), groups))
}

fn owner_of(gid: u32, mode: u32, groups: &str) -> Owner {
    const GROUP_READS_AND_WRITES: u32 = 0o060;
    let number = gid.to_string();
    let mut lines = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let name =
        lines.find(|fields| fields.get(2) == Some(&number.as_str())).map(|fields| fields[0].to_owned());
    Owner {
        group: name.unwrap_or(number),
        group_may: mode & GROUP_READS_AND_WRITES == GROUP_READS_AND_WRITES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// A host whose processor has `flags` and whose kernel has `modules`.
    fn host(flags: &str, modules: &[&str]) -> Host {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("proc")).unwrap();
        let cpuinfo = format!("processor\t: 0\nflags\t\t: {flags}\nbugs\t\t:\n\nprocessor\t: 1\n");
        fs::write(root.path().join("proc/cpuinfo"), cpuinfo).unwrap();
        for module in modules {
            fs::create_dir_all(root.path().join("sys/module").join(module)).unwrap();
        }
        Host::below(root.path())
    }

    #[rstest]
    #[case("fpu vmx", &[], "modprobe kvm_intel")]
    #[case("fpu svm hypervisor", &["kvm"], "modprobe kvm_amd")]
    #[case("fpu hypervisor", &["loop"], "nested virtualization")]
    #[case("fpu vmx_like", &[], "firmware's settings")]
    #[case("fpu vmx", &["kvm_intel", "kvm"], "--device /dev/kvm")]
    #[case("fpu hypervisor", &["kvm_pvm", "kvm"], "--device /dev/kvm")]
    fn what_helps_where_there_is_no_device(
        #[case] flags: &str,
        #[case] modules: &[&str],
        #[case] what: &str,
    ) {
        let remedy = host(flags, modules).remedy(&Unavailable::Missing).unwrap();
        assert!(remedy.contains(what), "{remedy}");
    }

    #[test]
    fn a_host_that_tells_nothing_has_nothing() {
        let empty = tempfile::tempdir().unwrap();
        let nothing = Host { extension: None, is_guest: false, modules: Vec::new(), device: None };
        assert_eq!(Host::below(empty.path()), nothing);
        assert_eq!(host("svm", &["kvm_amd", "vfio", "kvm"]).modules, ["kvm", "kvm_amd"]);
    }

    #[rstest]
    #[case(104, 0o20660, "join the group kvm, `sudo usermod -aG kvm $USER`")]
    #[case(77, 0o20660, "join the group 77")]
    #[case(0, 0o20600, "sudo chgrp kvm /dev/kvm")]
    fn who_may_not_open_it_is_told_which_group_may(#[case] gid: u32, #[case] mode: u32, #[case] what: &str) {
        let groups = "root:x:0:\nkvm:x:104:me\n";
        let device = Some(owner_of(gid, mode, groups));
        let host = Host { extension: None, is_guest: true, modules: Vec::new(), device };
        let remedy = host.remedy(&Unavailable::Forbidden).unwrap();
        assert!(remedy.contains(what), "{remedy}");
    }
}
