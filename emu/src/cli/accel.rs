//! `emu accel`: what this host has for running guests on its own processor, and what would help where it has not.

use super::{ctl, print_out};
use crate::{
    control::{commands, protocol::Arguments},
    exit::{OptionError, RunError},
};
use clap::ValueHint;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The options of `emu accel`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AccelOptions {
    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(subcommand)]
    command: Option<AccelCommand>,
}

#[derive(Debug, clap::Subcommand)]
enum AccelCommand {
    /// What executes a running machine, and what KVM has done for it
    Stats {
        /// The socket that the machine was given by --control
        #[arg(value_hint = ValueHint::FilePath)]
        path: PathBuf,
    },
}

impl AccelOptions {
    /// Looks, and prints what was found.
    pub fn run(&self) -> Result<(), RunError> {
        if let Some(AccelCommand::Stats { path }) = &self.command {
            let query = commands::find("query-accel")
                .map_err(|error| OptionError::new("emu accel", "stats", error))?;
            let report = ctl::ask("emu accel stats", path, query, &Arguments::new())?;
            return print_out(statistics(&report).as_bytes());
        }
        let found = Findings::of_this_host();
        print_out(if self.json { format!("{:#}\n", found.json()) } else { found.text() }.as_bytes())
    }
}

/// What `query-accel` has answered, for a reader.
fn statistics(report: &Value) -> String {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let line = |name: &str, value: &Value| format!("{name:<22}{}\n", plain(value));
    let told = ["engine", "mode", "reason"].iter().filter(|name| !report[**name].is_null());
    let mut text: String = told.map(|name| line(name, &report[*name])).collect();
    for (name, count) in report["counts"].as_object().into_iter().flatten() {
        text += &line(name, count);
    }
    text
}

/// What a host has.
#[derive(Debug, Default, PartialEq, Eq)]
struct Findings {
    /// What its processor has for virtual machines, as it tells.
    extension: Option<String>,
    /// It is a virtual machine itself.
    is_guest: bool,
    /// KVM's modules in its kernel.
    modules: Vec<String>,
    kvm: Option<Facility>,
    /// Why there is no `kvm`.
    reason: Option<String>,
    /// What would help.
    remedy: Option<String>,
}

/// A KVM that can be opened.
#[derive(Debug, PartialEq, Eq)]
struct Facility {
    /// What code it executes rightly.
    executes: String,
    /// What it cannot do, or does wrong.
    holes: Vec<String>,
    /// What `--engine auto` makes of it.
    engine: String,
    /// What a guest there sees of the host.
    leaks: Vec<&'static str>,
}

impl Findings {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    fn of_this_host() -> Self {
        use emu_accel::{
            host::Host,
            kvm::{Kvm, Probe, Service},
        };
        use emu_core::engine::NoDevices;

        let host = Host::look();
        let mut found = Findings {
            extension: host.extension.map(|extension| extension.to_string()),
            is_guest: host.is_guest,
            modules: host.modules.clone(),
            ..Findings::default()
        };
        match Kvm::open() {
            Err(reason) => {
                found.remedy = host.remedy(&reason);
                found.reason = Some(reason.to_string());
            }
            Ok(kvm) => match Probe::of(&kvm, &NoDevices::new()) {
                Err(error) => found.reason = Some(error.to_string()),
                Ok(Probe { holes, service }) => {
                    let holes = holes.iter().map(ToString::to_string).collect();
                    let (engine, leaks) = match service {
                        Service::User => (
                            "kvm for 64-bit user code that computes, jit for the rest",
                            vec!["CPUID there is the host's, in a loop beside which it happens to be"],
                        ),
                        _ => ("jit: nothing is made of such a KVM yet", Vec::new()),
                    };
                    let engine = engine.to_owned();
                    found.kvm = Some(Facility { executes: service.to_string(), holes, engine, leaks });
                }
            },
        }
        found
    }

    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    fn of_this_host() -> Self {
        let reason = "only an x86-64 Linux host has KVM for x86 guests".to_owned();
        Findings { reason: Some(reason), ..Findings::default() }
    }

    fn text(&self) -> String {
        let yes_no = |yes| if yes { "yes" } else { "no" };
        let modules = if self.modules.is_empty() { "none".into() } else { self.modules.join(", ") };
        let mut lines = vec![
            format!("processor extension  {}", self.extension.as_deref().unwrap_or("none")),
            format!("virtual machine      {}", yes_no(self.is_guest)),
            format!("modules              {modules}"),
        ];
        if let Some(Facility { executes, holes, .. }) = &self.kvm {
            lines.push(format!("KVM                  executes {executes}"));
            lines.extend(holes.iter().map(|hole| format!("                     {hole}")));
        }
        if let Some(reason) = &self.reason {
            lines.push(format!("KVM                  cannot be used: {reason}"));
        }
        if let Some(remedy) = &self.remedy {
            lines.push(format!("what would help      {remedy}"));
        }
        if let Some(kvm) = &self.kvm {
            lines.push(format!("engine               {}", kvm.engine));
            lines.extend(kvm.leaks.iter().map(|leak| format!("                     {leak}")));
        } else {
            lines.push("engine               jit".into());
        }
        lines.join("\n") + "\n"
    }

    fn json(&self) -> serde_json::Value {
        let kvm = self.kvm.as_ref().map(|kvm| {
            json!({ "executes": kvm.executes, "holes": kvm.holes, "engine": kvm.engine, "leaks": kvm.leaks })
        });
        json!({
            "extension": self.extension,
            "is_guest": self.is_guest,
            "modules": self.modules,
            "kvm": kvm,
            "reason": self.reason,
            "remedy": self.remedy,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_kvm_is_told_why_and_what_would_help() {
        let found = Findings {
            is_guest: true,
            reason: Some("there is no /dev/kvm".into()),
            remedy: Some("have it switched on".into()),
            ..Findings::default()
        };
        let text = found.text();
        assert!(text.contains("virtual machine      yes\nmodules              none\n"), "{text}");
        assert!(
            text.contains("cannot be used: there is no /dev/kvm\nwhat would help      have it"),
            "{text}"
        );
        assert_eq!(found.json()["reason"], "there is no /dev/kvm");
        assert!(found.json()["kvm"].is_null());
    }

    #[test]
    fn a_host_with_kvm_is_told_what_that_cannot_do() {
        let kvm = Facility {
            executes: "64-bit user code".into(),
            holes: vec!["no movbe".into(), "no TSC".into()],
            engine: "kvm".into(),
            leaks: vec!["its clock"],
        };
        let found =
            Findings { modules: vec!["kvm".into(), "kvm_pvm".into()], kvm: Some(kvm), ..Findings::default() };
        let text = found.text();
        assert!(text.contains("modules              kvm, kvm_pvm\n"), "{text}");
        assert!(text.contains("executes 64-bit user code\n                     no movbe\n"), "{text}");
        assert!(text.ends_with("engine               kvm\n                     its clock\n"), "{text}");
        assert_eq!(found.json()["kvm"]["holes"][1], "no TSC");
    }

    #[test]
    fn statistics_are_lines_of_what_is_not_null() {
        let report = json!({ "engine": "kvm", "mode": "user", "reason": null, "counts": { "kicks": 5 } });
        assert_eq!(
            statistics(&report),
            "engine                kvm\nmode                  user\nkicks                 5\n"
        );
    }

    /// Whatever this host is, it is one or the other.
    #[test]
    fn this_host_has_kvm_or_a_reason() {
        let found = Findings::of_this_host();
        assert_ne!(found.kvm.is_some(), found.reason.is_some());
    }
}
