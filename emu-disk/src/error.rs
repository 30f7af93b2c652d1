//! Why an image cannot be used, in words for the user who named it.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The host refused an operation on a file.
    #[error("{}: cannot be {what} ({})", path.display(), in_words(error))]
    Host {
        /// The file.
        path: PathBuf,
        /// What was tried, as in "cannot be opened".
        what: &'static str,
        /// The host's answer.
        error: io::Error,
    },
    /// Somebody else uses the image.
    #[error(
        "{}: in use by another process, or twice by this one; end the other use, or open the image read-only in both",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Name and content do not say the same about the format.
    #[error("{}: {why}; say which it is: {choices}", path.display())]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// What speaks against each other.
        why: String,
        /// What the user can write.
        choices: String,
    },
    /// The image is damaged, or uses what is not supported.
    #[error("{}: {problem}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// A clause that says what and, where something would work, what.
        problem: String,
    },
}

impl DiskError {
    pub(crate) fn host(path: &Path, what: &'static str, error: io::Error) -> Self {
        // Damage that is found while reading comes as such an error: its text is the whole story.
        if error.kind() == io::ErrorKind::InvalidData {
            return DiskError::image(path, error.to_string());
        }
        DiskError::Host { path: path.to_owned(), what, error }
    }

    pub(crate) fn image(path: &Path, problem: impl Into<String>) -> Self {
        DiskError::Image { path: path.to_owned(), problem: problem.into() }
    }
}

/// Without the "(os error 2)" that tells a user nothing.
fn in_words(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = words.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// An error of an image whose content makes no sense.
pub(crate) fn damaged(problem: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.into())
}
