//! `--share`: a folder of the host, and what the guest knows it by.

use emu_devices::virtio::MAX_TAG;
use std::{path::PathBuf, str::FromStr};

/// What a share is called if nothing is said.
const TAG: &str = "share";

/// A shared folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareSpec {
    /// The folder.
    pub folder: PathBuf,
    /// What the guest mounts: `mount -t 9p TAG /mnt`.
    pub tag: String,
    /// The guest changes nothing.
    pub readonly: bool,
}

impl FromStr for ShareSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let folder = parts.next().filter(|folder| !folder.is_empty());
        let folder = folder.ok_or("the folder is missing; write DIR, as in /home/me/work,tag=work")?;
        let mut share = ShareSpec { folder: folder.into(), tag: TAG.to_owned(), readonly: false };
        for part in parts {
            match part.split_once('=').unwrap_or((part, "")) {
                ("readonly", "") => share.readonly = true,
                ("tag", tag) if (1..=MAX_TAG).contains(&tag.len()) => tag.clone_into(&mut share.tag),
                ("tag", tag) => return Err(format!("\"{tag}\" is no tag; use 1 to {MAX_TAG} bytes")),
                _ => return Err(format!("\"{part}\" says nothing of a share; use tag= or readonly")),
            }
        }
        Ok(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn a_share_is_a_folder_and_what_is_said_of_it() {
        let share: ShareSpec = "/srv,tag=data,readonly".parse().unwrap();
        assert_eq!(share, ShareSpec { folder: "/srv".into(), tag: "data".into(), readonly: true });
        let plain: ShareSpec = "/srv".parse().unwrap();
        assert_eq!((plain.tag.as_str(), plain.readonly), ("share", false));
    }

    #[rstest]
    #[case("", "the folder is missing")]
    #[case("/srv,tag=", "is no tag")]
    #[case("/srv,fast", "says nothing of a share")]
    fn what_makes_no_sense_is_refused_with_the_reason(#[case] text: &str, #[case] reason: &str) {
        let error = text.parse::<ShareSpec>().unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}
