//! The ways a file can be wrong, by who must act.

use std::path::{Path, PathBuf};

/// An error that names the file, the tensor, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused: the path may be missing, the disk full, the device gone.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb: "open", "write".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own reason.
        source: std::io::Error,
    },
    /// The file is not what it should be; another copy of it is the remedy.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file at fault.
        path: PathBuf,
        /// What was expected, what was found, and the next step.
        reason: String,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn invalid(path: &Path, reason: impl Into<String>) -> Self {
        Self::Invalid {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    /// True where the input is at fault and trying again on this machine cannot help.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::IsADirectory
            ),
            Self::Invalid { .. } => true,
        }
    }
}
