//! Finding and reading the files of a collection.

use super::{
    Set,
    collection::{Metadata, revoked},
    json, moo,
};
use flate2::read::GzDecoder;
use std::{
    collections::HashSet,
    fs, io,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Why a file cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its name is not that of a file of tests.
    #[error("{} is no file of tests; they end in .MOO, .MOO.gz, .json or .json.gz", .0.display())]
    Kind(PathBuf),
    /// It is not what its name says.
    #[error("cannot read {} as MOO", path.display())]
    Moo {
        /// The file.
        path: PathBuf,
        /// Why.
        source: moo::MooError,
    },
    /// It is not what its name says.
    #[error("cannot read {} as JSON", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// Nothing tells the processor of a JSON file.
    #[error("{} needs a metadata.json beside it that names the CPU: 8088, 8086, 186, 286 or 386", .0.display())]
    NoProcessor(PathBuf),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Moo,
    Json,
}

fn kind(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    match name.rsplit_once('.')?.1 {
        "moo" => Some(Kind::Moo),
        "json" if name != "metadata.json" => Some(Kind::Json),
        _ => None,
    }
}

/// The files of tests at `path`: itself, or those in the folder and the folders in it, in the order of names.
///
/// # Errors
/// A folder cannot be read.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, LoadError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |source| LoadError::Read { path: path.to_owned(), source };
    let entries = fs::read_dir(path).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let mut paths: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if kind(&path).is_some() {
            found.push(path);
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    const GZIP: [u8; 2] = [0x1F, 0x8B];
    let failed = |source| LoadError::Read { path: path.to_owned(), source };
    let raw = fs::read(path).map_err(failed)?;
    if !raw.starts_with(&GZIP) {
        return Ok(raw);
    }
    let mut bytes = Vec::new();
    GzDecoder::new(&raw[..]).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// What stands in a file called `name` beside `path`, or in the folder above; `None` if there is none.
fn beside(path: &Path, name: &str) -> Result<Option<(PathBuf, Vec<u8>)>, LoadError> {
    for folder in path.ancestors().skip(1).take(2) {
        let path = folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => return Ok(Some((path, bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(LoadError::Read { path, source }),
        }
    }
    Ok(None)
}

/// Reads a file of tests, gzipped or not, with the metadata and the revocation list of its collection.
///
/// # Errors
/// What cannot be read, and why.
pub fn load(path: &Path) -> Result<Set, LoadError> {
    let kind = kind(path).ok_or_else(|| LoadError::Kind(path.to_owned()))?;
    let bytes = read(path)?;
    let metadata = match beside(path, "metadata.json")? {
        Some((path, bytes)) => {
            let metadata: Result<Metadata, _> = serde_json::from_slice(&bytes);
            Some(metadata.map_err(|source| LoadError::Json { path, source })?)
        }
        None => None,
    };
    let (processor, masks, mut tests) = match kind {
        Kind::Moo => {
            let moo =
                moo::parse(&bytes).map_err(|source| LoadError::Moo { path: path.to_owned(), source })?;
            (moo.processor, moo.masks, moo.tests)
        }
        Kind::Json => {
            let processor = metadata.as_ref().and_then(Metadata::processor);
            let processor = processor.ok_or_else(|| LoadError::NoProcessor(path.to_owned()))?;
            let tests =
                json::parse(&bytes).map_err(|source| LoadError::Json { path: path.to_owned(), source })?;
            (processor, Default::default(), tests)
        }
    };
    let list = beside(path, "revocation_list.txt")?;
    let list = list.map_or_else(HashSet::new, |(_, text)| revoked(&String::from_utf8_lossy(&text)));
    let all = tests.len();
    tests.retain(|test| test.hash.is_none_or(|hash| !list.contains(&hash)));
    // Metadata of another processor would mask wrongly.
    let metadata = metadata.filter(|metadata| metadata.processor() == Some(processor)).map(Arc::new);
    Ok(Set { processor, revoked: all - tests.len(), tests, masks, metadata })
}
