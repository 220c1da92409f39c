//! Opening what should be a regular file, where another may have put something else: a pipe would wait for its writer,
//! a device may have no end.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use crate::{Error, Result, staged::folder_of};

/// Refuses what is not a regular file.
///
/// # Errors
/// [`Error::NotAFile`].
pub(crate) fn check(path: &Path, metadata: &Metadata) -> Result<()> {
    let kind = metadata.file_type();
    let found = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(Error::NotAFile {
        path: path.to_owned(),
        found,
    })
}

/// Opens a regular file.
///
/// # Errors
/// [`Error::NotAFile`] where it is something else, [`Error::Io`] where it cannot be opened.
pub(crate) fn open(path: &Path) -> Result<File> {
    // Asked before: opening a pipe waits, too.
    let metadata = fs::metadata(path).map_err(|source| Error::io("open", path, source))?;
    check(path, &metadata)?;
    File::open(path).map_err(|source| Error::io("open", path, source))
}

/// The first `count` bytes of a regular file; fewer where it has no more, none where it cannot be read.
pub(crate) fn head(path: &Path, count: usize) -> Vec<u8> {
    let mut head = Vec::new();
    if let Ok(file) = open(path) {
        // What was read before an error tells as much as there is to tell.
        let _ = file.take(count as u64).read_to_end(&mut head);
    }
    head
}

/// `path`, or where there is none the file beside it whose name differs in nothing but the case of letters: FAT changes
/// that on the way.
pub(crate) fn existing(path: &Path) -> PathBuf {
    let (folder, Some(name)) = (folder_of(path), path.file_name().filter(|_| !path.exists())) else {
        return path.to_owned();
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name())
        .find(|found| found.eq_ignore_ascii_case(name))
        .map_or_else(|| path.to_owned(), |found| path.with_file_name(found))
}

/// Reads a regular file of at most `limit` bytes; `None` where there is none.
///
/// # Errors
/// As [`open`], and [`Error::Invalid`] where it is larger.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let file = match open(path) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    let read = file.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|source| Error::io("read", path, source))?;
    if bytes.len() as u64 > limit {
        return Err(Error::invalid(
            path,
            format!(
                "it has more than {limit} bytes, and no such file needs more: copy it again from where it was made"
            ),
        ));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_refused() {
        for (path, what) in [("/dev/zero", "a device"), ("/", "a folder")] {
            let error = read(Path::new(path), 100).unwrap_err();
            assert!(
                matches!(error, Error::NotAFile { found, .. } if found == what),
                "{error}"
            );
        }
        assert!(read(Path::new("/nowhere/at/all"), 100).unwrap().is_none());
        let path = std::env::temp_dir().join(format!("sam3-regular-{}", std::process::id()));
        fs::write(&path, [0; 101]).unwrap();
        assert!(
            read(&path, 100)
                .unwrap_err()
                .to_string()
                .contains("more than 100 bytes")
        );
        assert_eq!(read(&path, 101).unwrap().unwrap().len(), 101);
        fs::remove_file(path).unwrap();
    }
}
