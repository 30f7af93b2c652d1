//! Which format an image has, if the user does not say: by name and content, where both agree.
//!
//! The guest decides what a raw image contains. If content alone decided, it could write the header of another format,
//! naming a file of the host as backing file, and read that file after the next start. So content that begins like a
//! format counts only if the file's name says the same; see `docs/adr/0014-disk-images.md`.

use crate::{error::DiskError, file::ImageFile, options::Format};
use std::{io, path::Path};

/// The format of `file`, which its user did not say. `choices` makes of formats what the user can write.
pub(crate) fn detect(file: &ImageFile, choices: impl Fn(&[Format]) -> String) -> Result<Format, DiskError> {
    let content = by_content(file).map_err(|error| DiskError::host(file.path(), "read", error))?;
    let name = by_name(file.path());
    let ambiguous = |why: String, formats: &[Format]| {
        Err(DiskError::Ambiguous { path: file.path().to_owned(), why, choices: choices(formats) })
    };
    match (name, content) {
        (Some(name), Some(content)) if name == content => Ok(content),
        (None | Some(Format::Raw), None) => Ok(Format::Raw),
        (Some(Format::Raw), Some(content)) => ambiguous(
            format!(
                "its name is that of a raw image, but it has the mark of {content}, which a guest could have written"
            ),
            &[Format::Raw, content],
        ),
        (None, Some(content)) => ambiguous(
            format!("it has the mark of {content}, but in a raw image a guest could have written that"),
            &[content, Format::Raw],
        ),
        (Some(name), None) => {
            ambiguous(format!("its name is that of {name}, but it has no mark of any format"), &[Format::Raw])
        }
        (Some(name), Some(content)) => ambiguous(
            format!("its name is that of {name}, but it has the mark of {content}"),
            &[content, Format::Raw],
        ),
    }
}

/// What a file name promises; `None` for one that promises nothing.
pub(crate) fn by_name(path: &Path) -> Option<Format> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    match extension.as_str() {
        "raw" | "iso" => Some(Format::Raw),
        "vpc" => Some(Format::Vhd),
        other => Format::ALL.into_iter().find(|format| format.name() == other),
    }
}

/// The format whose mark the content has.
fn by_content(file: &ImageFile) -> io::Result<Option<Format>> {
    let len = file.len()?;
    let mut begin = vec![0; len.min(512) as usize];
    file.read_bytes(0, &mut begin)?;
    let mut end = vec![0; len.min(512) as usize];
    file.read_bytes(len - end.len() as u64, &mut end)?;
    Ok(by_marks(&begin, &end))
}

/// `begin` and `end` are the first and the last bytes, 512 where there are so many.
fn by_marks(begin: &[u8], end: &[u8]) -> Option<Format> {
    let mark_of_vdi = 0xBEDA_107F_u32.to_le_bytes();
    if begin.starts_with(b"QFI\xFB") {
        Some(Format::Qcow2)
    } else if begin.starts_with(b"KDMV") || begin.starts_with(b"# Disk DescriptorFile") {
        Some(Format::Vmdk)
    } else if begin.starts_with(b"vhdxfile") {
        Some(Format::Vhdx)
    } else if begin.get(0x40..0x44) == Some(&mark_of_vdi) {
        Some(Format::Vdi)
    } else if begin.starts_with(b"conectix") || end.starts_with(b"conectix") {
        Some(Format::Vhd)
    } else {
        None
    }
}
