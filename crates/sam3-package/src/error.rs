//! What can go wrong, sorted by what has to be done about it.

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
    /// The file breaks the rules of its format: it is cut off, damaged, or not written as a writer of that format
    /// would. The reason is for people: where, what was expected, what was found. What a caller may want to tell apart,
    /// because something else than another copy of the file helps, is a kind of its own.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file at fault.
        path: PathBuf,
        /// What was expected, what was found, and the next step.
        reason: String,
    },
    /// A folder, a pipe or a device stands where a file is read.
    #[error("{}: expected a regular file, found {found}", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it leads to, with its article: "a folder".
        found: &'static str,
    },
    /// The file has no bytes.
    #[error("{}: it is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A part of an archive that was split is not there.
    #[error("{}: part {number} of {count} is missing", path.display())]
    MissingPart {
        /// Where the part was looked for.
        path: PathBuf,
        /// Which one it is, from 1.
        number: usize,
        /// How many parts the archive has.
        count: usize,
    },
    /// Files that an index of shards names are not beside it.
    #[error("{}: it needs {}, not found beside it", path.display(), list_of(missing))]
    MissingShards {
        /// The index.
        path: PathBuf,
        /// The names of the files.
        missing: Vec<String>,
    },
    /// The file was written to while it was copied.
    #[error(
        "{}: it was written to while it was copied: it had {before} bytes, now it has {after}",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its size when the copy began.
        before: u64,
        /// Its size when the copy ended.
        after: u64,
    },
    /// The weights are those of another model, or of an adapter that was not merged into the model.
    #[error("{}: {reason}", path.display())]
    AnotherModel {
        /// The checkpoint.
        path: PathBuf,
        /// Whose they are, and what to do about it.
        reason: String,
    },
    /// The file is of a kind that has nothing to do with packages: a picture, another framework's model.
    #[error("{}: it is {what}: {next}", path.display())]
    AnotherKind {
        /// The file.
        path: PathBuf,
        /// What it is, with its article: "a JPEG picture".
        what: &'static str,
        /// What to do about it.
        next: &'static str,
    },
    /// The file has no weights of the name that was asked for.
    #[error("{}: no weights of that name, {wanted:?}; {}", path.display(), sets_of(sets))]
    NoSuchWeights {
        /// The checkpoint.
        path: PathBuf,
        /// The name that was asked for.
        wanted: String,
        /// The names of the weights that it holds; empty where it holds one set without a name.
        sets: Vec<String>,
    },
    /// A tensor's element type is one that `.pth` has no storage for.
    #[error("{}: {tensor}: {dtype} cannot be stored in a .pth", path.display())]
    NotInPth {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// Its element type, as safetensors spells it.
        dtype: &'static str,
    },
    /// Two files that are to be copied into one folder have the same name there.
    #[error("{}: another file of the same name is to be copied too", path.display())]
    SameName {
        /// The second one.
        path: PathBuf,
    },
    /// A new package's name does not tell its format.
    #[error("{}: a package's name ends in .pth, .pt or .safetensors", path.display())]
    PackageName {
        /// The output.
        path: PathBuf,
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
    /// A file is larger than a drive formatted as FAT can hold.
    #[error("{}: {bytes} bytes, and the drive is formatted as FAT, which holds files of at most {limit}", path.display())]
    TooLargeForFat {
        /// The file that is to be carried.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The size of FAT's largest file.
        limit: u64,
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
        /// What was expected and what was found.
        reason: String,
        /// Of which kind it is, where the caller can do something about it.
        fault: HubFault,
    },
    /// What is to be written is what is to be read.
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
        /// The precision that was asked for: `fp16`.
        precision: &'static str,
        /// One line a tensor: its name, how many values, the first one and where it stands.
        tensors: Vec<String>,
        /// Some are infinite or no numbers: no precision would keep them.
        not_finite: bool,
    },
    /// The archive is a released program's, with no package in it.
    #[error("{}: it is the archive of the program sam3, with no package in it", path.display())]
    ProgramAlone {
        /// The archive.
        path: PathBuf,
    },
    /// A file of an archive would be written through a link, to wherever that leads.
    #[error("{}: entry {entry:?} would be written through the link {}", path.display(), link.display())]
    LinkInTheWay {
        /// The archive.
        path: PathBuf,
        /// The file or folder in it.
        entry: PathBuf,
        /// The link.
        link: PathBuf,
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

/// Why a fetch from the Hub failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HubFault {
    /// The Hub has no such repository.
    NoRepository,
    /// The repository has no such revision.
    NoRevision,
    /// The Hub wants a token, or the one that was sent has no access.
    Denied,
    /// A server that the endpoint redirects to wants a token, and none was given.
    DeniedElsewhere,
    /// Nobody answers.
    Unreachable,
    /// Nobody answers, and the cache has what an earlier run fetched.
    UnreachableButCached,
    /// The cache has no such file, and the Hub must not be asked.
    NotCached,
    /// This processor lacks instructions that encryption needs here.
    NoEncryption,
    /// Another one: the reason says what to do.
    Other,
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
            Self::Invalid { .. }
            | Self::NotAFile { .. }
            | Self::Empty { .. }
            | Self::MissingPart { .. }
            | Self::MissingShards { .. }
            | Self::Changed { .. }
            | Self::AnotherModel { .. }
            | Self::NotInPth { .. }
            | Self::SameName { .. }
            | Self::AnotherKind { .. }
            | Self::NoSuchWeights { .. }
            | Self::Unrepresentable { .. }
            | Self::ProgramAlone { .. }
            | Self::LinkInTheWay { .. }
            | Self::NotAPackage { .. }
            | Self::Mismatch { .. } => true,
            Self::Output { .. }
            | Self::Drive { .. }
            | Self::TooLargeForFat { .. }
            | Self::PackageName { .. }
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

/// What a checkpoint holds, where something else was asked for.
fn sets_of(sets: &[String]) -> String {
    match sets {
        [] => "it holds one set of weights, which has no name".to_owned(),
        sets => format!("it holds those called {}", list_of(sets)),
    }
}

/// Some of many words, as a list.
pub(crate) fn list_of(words: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = words[..words.len().min(SHOWN)].join(", ");
    if let Some(more @ 1..) = words.len().checked_sub(SHOWN) {
        text += &format!(" and {more} more");
    }
    text
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests;
