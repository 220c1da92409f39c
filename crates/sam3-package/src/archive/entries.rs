//! Entries of a tar that came from elsewhere: their names, sizes and ends, judged before they are believed.

use std::{
    io::{self, Read},
    path::{Component, Path, PathBuf},
};

use super::{
    ahead::Trailing,
    tar::{self, Stop},
};
use crate::{Error, Result};

/// No archive of a package has more files and folders.
pub(crate) const MAX_ENTRIES: usize = 1000;
/// How many bytes a package may have beyond its tensors, and a file of unknown content beyond eight times the archive.
pub(crate) const SPARE: u64 = 64 << 20;

/// The most bytes that a file of unknown content may have in an archive of `archive` bytes.
pub(crate) fn most(archive: u64) -> u64 {
    archive.saturating_mul(8).saturating_add(SPARE)
}

/// Refuses an entry that claims more than `limit` bytes.
pub(crate) fn check_claim(path: &Path, entry: &tar::Entry, limit: u64) -> Result<()> {
    if entry.size <= limit {
        return Ok(());
    }
    let reason = format!(
        "entry {:?} claims {} bytes, at most {limit} can be right",
        entry.name, entry.size
    );
    Err(Error::invalid(path, reason))
}

/// Skips an entry's bytes and their padding.
pub(crate) fn pass_over(reader: &mut impl Read, path: &Path, entry: &tar::Entry) -> Result<()> {
    pass_bytes(reader, path, entry.size.next_multiple_of(tar::BLOCK as u64))
}

/// Skips so many bytes.
pub(crate) fn pass_bytes(reader: &mut impl Read, path: &Path, count: u64) -> Result<()> {
    let passed = io::copy(&mut reader.take(count), &mut io::sink()).map_err(|error| unreadable(path, error))?;
    if passed < count {
        return Err(unreadable(path, io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(())
}

/// Reads what stands behind the tar: gzip's checksum is there, behind the last byte. Returns what the user should know.
pub(crate) fn read_rest(reader: &mut impl Read, path: &Path) -> Result<Option<String>> {
    match io::copy(&mut reader.take(SPARE), &mut io::sink()) {
        Ok(SPARE) => Err(Error::invalid(
            path,
            "it goes on after the end of its tar: not a package",
        )),
        Ok(_) => Ok(None),
        // The package is whole and its digests tell whether it is right: gzip, too, warns and goes on.
        Err(error) if Trailing::of(&error).is_some() => {
            Ok(Some(format!("{}: {error}: ignored, as gzip does", path.display())))
        }
        Err(error) => Err(unreadable(path, error)),
    }
}

/// A relative path of plain names.
pub(crate) fn safe_name(archive: &Path, name: &str) -> Result<PathBuf> {
    if name.chars().any(char::is_control) {
        let reason =
            format!("entry {name:?} has control characters in its name: not extracted, do not trust this archive");
        return Err(Error::invalid(archive, reason));
    }
    let mut safe = PathBuf::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => safe.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                let reason = format!("entry {name:?} would leave the folder: not extracted, do not trust this archive");
                return Err(Error::invalid(archive, reason));
            }
        }
    }
    Ok(safe)
}

/// Says why the reading of a tar stopped.
pub(crate) fn stopped(path: &Path, stop: Stop) -> Error {
    match stop {
        Stop::Refused(reason) => Error::invalid(path, reason),
        Stop::Io(error) => unreadable(path, error),
    }
}

/// Says what a failing decompressor means.
pub(crate) fn unreadable(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::invalid(
            path,
            "the archive ends early: it was cut off; copy it again from where it was made",
        ),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Error::invalid(
            path,
            format!("the archive is damaged ({error}); copy it again from where it was made"),
        ),
        io::ErrorKind::Unsupported => Error::invalid(path, error.to_string()),
        _ => Error::io("read", path, error),
    }
}
