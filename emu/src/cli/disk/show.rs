//! `emu disk info`, `map` and `check`: looking at images.

use super::{ImageArguments, refused, size::readable};
use crate::{cli::print_out, exit::RunError};
use clap::Args;
use emu_disk::{CheckReport, ExtentKind, ImageInfo, MapEntry, Snapshot};
use serde_json::{Value, json};
use std::fmt::Write;

/// The options of `emu disk info`.
#[derive(Debug, Args)]
pub struct InfoArguments {
    #[command(flatten)]
    image: ImageArguments,

    /// Tell of the images that it builds on too
    #[arg(long)]
    backing_chain: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl InfoArguments {
    pub fn run(self) -> Result<(), RunError> {
        let images = emu_disk::info(&self.image.path, self.image.format, self.backing_chain)
            .map_err(|error| refused("info", error))?;
        let text = if self.json {
            let mut values: Vec<Value> = images.iter().map(info_json).collect();
            let value = if self.backing_chain { Value::Array(values) } else { values.remove(0) };
            format!("{value:#}\n")
        } else {
            images.iter().map(info_text).collect::<Vec<_>>().join("\n")
        };
        print_out(text.as_bytes())
    }
}

fn info_text(image: &ImageInfo) -> String {
    let size = |bytes| format!("{} ({bytes} bytes)", readable(bytes));
    let mut lines = vec![
        ("image", image.path.display().to_string()),
        ("format", image.format.to_string()),
        ("disk", size(image.disk_len)),
        ("file", size(image.file_len)),
        ("on the host", size(image.allocated)),
    ];
    if let Some(facts) = &image.qcow2 {
        lines.push(("version", facts.version.to_string()));
        lines.push(("cluster", size(facts.cluster_size)));
        if let Some(name) = &facts.backing_file {
            let format = facts.backing_format.as_deref().unwrap_or("format not said");
            lines.push(("backing file", format!("{name} ({format})")));
        }
        if facts.dirty || facts.corrupt {
            lines.push(("state", "not in order; repair it with qemu-img check -r all".into()));
        }
    }
    let mut text: String = lines.iter().map(|(name, value)| format!("{name:13}{value}\n")).collect();
    for snapshot in &image.snapshots {
        text.push_str(&snapshot_text(snapshot));
    }
    text
}

/// A line about a snapshot.
pub fn snapshot_text(snapshot: &Snapshot) -> String {
    let Snapshot { id, name, seconds, disk_len, .. } = snapshot;
    format!("{:13}{id:4} {name:24} {}  {}\n", "snapshot", date(*seconds), readable(*disk_len))
}

/// Seconds since 1970 as a date and time, UTC.
fn date(seconds: u32) -> String {
    // Civil from days, after Howard Hinnant.
    let (days, rest) = (i64::from(seconds / 86400) + 719_468, seconds % 86400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}", rest / 3600, rest / 60 % 60)
}

fn info_json(image: &ImageInfo) -> Value {
    let mut value = json!({
        "filename": image.path.display().to_string(),
        "format": image.format.name(),
        "virtual-size": image.disk_len,
        "file-size": image.file_len,
        "actual-size": image.allocated,
        "snapshots": image.snapshots.iter().map(snapshot_json).collect::<Vec<_>>(),
    });
    if let Some(facts) = &image.qcow2 {
        value["cluster-size"] = facts.cluster_size.into();
        value["version"] = facts.version.into();
        value["dirty"] = facts.dirty.into();
        value["corrupt"] = facts.corrupt.into();
        value["backing-filename"] = facts.backing_file.clone().into();
        value["backing-format"] = facts.backing_format.clone().into();
    }
    value
}

/// A snapshot as JSON.
pub fn snapshot_json(snapshot: &Snapshot) -> Value {
    json!({
        "id": snapshot.id,
        "name": snapshot.name,
        "date-sec": snapshot.seconds,
        "disk-size": snapshot.disk_len,
        "vm-state-size": snapshot.machine_state,
    })
}

/// The options of `emu disk map`.
#[derive(Debug, Args)]
pub struct MapArguments {
    #[command(flatten)]
    image: ImageArguments,

    /// Print JSON, as qemu-img map does
    #[arg(long)]
    json: bool,
}

impl MapArguments {
    pub fn run(self) -> Result<(), RunError> {
        let entries =
            emu_disk::map(&self.image.path, self.image.format).map_err(|error| refused("map", error))?;
        let text = if self.json {
            format!("{:#}\n", Value::Array(entries.iter().map(entry_json).collect()))
        } else {
            map_text(&entries)
        };
        print_out(text.as_bytes())
    }
}

fn map_text(entries: &[MapEntry]) -> String {
    let mut text = format!("{:>16} {:>16}  {:12} {:>16} depth\n", "start", "length", "what", "in the file");
    for MapEntry { start, extent } in entries {
        let (what, place) = match extent.kind {
            ExtentKind::Data(offset) => ("data", format!("{offset:#x}")),
            ExtentKind::Compressed => ("compressed", String::new()),
            ExtentKind::Zero => ("zero", String::new()),
            ExtentKind::Unallocated => ("unallocated", String::new()),
        };
        let (start, len) = (format!("{start:#x}"), format!("{:#x}", extent.len));
        // Writing to a string does not fail.
        let _ = writeln!(text, "{start:>16} {len:>16}  {what:12} {place:>16} {}", extent.depth);
    }
    text
}

fn entry_json(entry: &MapEntry) -> Value {
    let kind = entry.extent.kind;
    let mut value = json!({
        "start": entry.start,
        "length": entry.extent.len,
        "depth": entry.extent.depth,
        "present": kind != ExtentKind::Unallocated,
        "zero": kind.reads_as_zero(),
        "data": !kind.reads_as_zero(),
        "compressed": kind == ExtentKind::Compressed,
    });
    if let ExtentKind::Data(offset) = kind {
        value["offset"] = offset.into();
    }
    value
}

/// The options of `emu disk check`.
#[derive(Debug, Args)]
pub struct CheckArguments {
    #[command(flatten)]
    image: ImageArguments,

    /// Free clusters that nobody uses
    #[arg(long)]
    repair: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl CheckArguments {
    /// Returns whether the image is in order.
    pub fn run(self) -> Result<bool, RunError> {
        let report = emu_disk::check(&self.image.path, self.image.format, self.repair)
            .map_err(|error| refused("check", error))?;
        let CheckReport { errors, leaks, repaired, allocated, sentences } = &report;
        let text = if self.json {
            let value = json!({
                "corruptions": errors,
                "leaks": leaks,
                "leaks-fixed": repaired,
                "allocated-clusters": allocated,
                "messages": sentences,
            });
            format!("{value:#}\n")
        } else {
            let mut text: String = sentences.iter().map(|sentence| format!("{sentence}\n")).collect();
            let _ = match (errors, leaks) {
                (0, 0) => writeln!(text, "in order; {allocated} clusters have data"),
                (0, leaks) if leaks == repaired => {
                    writeln!(text, "{leaks} clusters that nobody used are free again")
                }
                (0, leaks) => writeln!(text, "{leaks} clusters are taken and not used; --repair frees them"),
                (errors, leaks) => {
                    writeln!(
                        text,
                        "damaged: {errors} errors, {leaks} clusters taken and not used; make a copy first, then qemu-img check -r all"
                    )
                }
            };
            text
        };
        print_out(text.as_bytes())?;
        Ok(*errors == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_dates() {
        assert_eq!(date(0), "1970-01-01 00:00");
        assert_eq!(date(951_782_399), "2000-02-28 23:59");
        assert_eq!(date(951_782_400), "2000-02-29 00:00");
        assert_eq!(date(u32::MAX), "2106-02-07 06:28");
    }
}
