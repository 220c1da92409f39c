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
    /// An output cannot be written: disk full, no permission, no such folder.
    #[error("cannot write {}: {source}", path.display())]
    Output {
        /// The output.
        path: PathBuf,
        /// The system's own reason.
        source: std::io::Error,
    },
    /// A drive cannot take what is to be carried, or does not give it back as it was.
    #[error("{}: {reason}", path.display())]
    Drive {
        /// The folder or file on the drive.
        path: PathBuf,
        /// What was expected, what was found, and the next step.
        reason: String,
    },
    /// A drive has less room than what is to be written takes.
    #[error("{}: {needed} bytes are needed, {free} are free", path.display())]
    NoRoom {
        /// The folder on the drive.
        path: PathBuf,
        /// Bytes that are to be written.
        needed: u64,
        /// Bytes that the drive can take.
        free: u64,
    },
    /// The Hub refuses, or cannot be reached.
    #[error("{place}: {reason}")]
    Hub {
        /// The address, or the repository.
        place: String,
        /// What was expected, what was found, and the next step.
        reason: String,
    },
    /// What is to be written is what is to be read: the command line names one file twice.
    #[error("{}: {reason}", path.display())]
    OutputIsInput {
        /// The output.
        path: PathBuf,
        /// Which input it is, and the next step.
        reason: &'static str,
    },
    /// A package's metadata would take the place of another package's, which has the same stem.
    #[error("{}: it is the metadata of {} already", path.display(), package.display())]
    MetadataOfAnother {
        /// The metadata.
        path: PathBuf,
        /// The package that they belong to.
        package: PathBuf,
    },
    /// An output is there already and nobody said to replace it.
    #[error("{} exists already", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// An output whose name, or one made from it, is longer than the file system takes.
    #[error("{}: the name is too long for its file system", path.display())]
    NameTooLong {
        /// The output.
        path: PathBuf,
    },
    /// Parts so small that three digits do not count them.
    #[error("{}: it would take more than {limit} parts", path.display())]
    TooManyParts {
        /// The archive.
        path: PathBuf,
        /// How many there may be.
        limit: usize,
    },
    /// Values that the wanted precision cannot hold, or that are no numbers at all.
    #[error("{}: {} cannot be stored as {precision}:\n{}", path.display(), plural(tensors.len(), "tensor", "tensors"), tensors.join("\n"))]
    Unrepresentable {
        /// The checkpoint.
        path: PathBuf,
        /// The precision asked for, as on the command line.
        precision: &'static str,
        /// One line a tensor: its name, how many values, the first one and where it stands.
        tensors: Vec<String>,
        /// Some are infinite or no numbers: no precision would keep them.
        not_finite: bool,
    },
    /// The file is sound but carries no digests to check.
    #[error("{}: not a sam3 package, so it carries no digests to check", path.display())]
    NotAPackage {
        /// The checkpoint.
        path: PathBuf,
    },
    /// Bytes differ from what the metadata promises.
    #[error("{}: {}:\n{}", path.display(), plural(mismatches.len(), "mismatch", "mismatches"), mismatches.join("\n"))]
    Mismatch {
        /// The package.
        path: PathBuf,
        /// One line a mismatch: the tensor, expected, found.
        mismatches: Vec<String>,
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
            Self::Io { source, .. } => is_wrong_path(source),
            Self::Invalid { .. } | Self::Unrepresentable { .. } | Self::NotAPackage { .. } | Self::Mismatch { .. } => {
                true
            }
            Self::Output { .. }
            | Self::Drive { .. }
            | Self::NoRoom { .. }
            | Self::Hub { .. }
            | Self::OutputIsInput { .. }
            | Self::MetadataOfAnother { .. }
            | Self::Exists { .. }
            | Self::NameTooLong { .. }
            | Self::TooManyParts { .. } => false,
        }
    }
}

/// True where the system says that a path is wrong, not that the machine is: another path is the remedy.
pub fn is_wrong_path(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::NotADirectory | ErrorKind::InvalidFilename
    ) || is_loop(error)
}

/// A link that leads to itself, which has no kind of its own yet.
fn is_loop(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
