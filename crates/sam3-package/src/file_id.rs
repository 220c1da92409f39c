//! Whether two paths lead to one file.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// What a file system knows a file by, whatever path leads there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file at the end of `path`, links followed; none where there is none.
    pub fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().as_ref().map(Self::from)
    }

    /// Whether both paths lead to one file: by another spelling, a link, or two names of the same bytes.
    pub fn is_same(one: &Path, other: &Path) -> bool {
        Self::of(one).is_some_and(|one| Self::of(other) == Some(one))
    }
}

impl From<&Metadata> for FileId {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}
