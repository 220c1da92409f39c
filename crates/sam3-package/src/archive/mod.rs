//! `X.tar.gz` or `X.tar.zst`: the package and its metadata in one file that plain `tar` reads.

mod ahead;
mod bits;
mod deflate;
mod gzip;
mod huffman;
mod layers;
mod pieces;
mod tar;
#[cfg(test)]
mod testing;
mod unpack;
mod volumes;
mod zstd;

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use layers::Form;
use pieces::Pieces;

use crate::{Error, Progress, Result, checkpoint::foreign, regular};
pub use unpack::{Unpacked, metadata, unpack, verify};
use volumes::Volumes;
pub(crate) use volumes::{Output, first_part, is_archive_name, remove_superseded};

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// gzip, which every device has.
    #[default]
    Gzip,
    /// Zstandard, for devices that unpack with `tar --zstd`.
    Zstd,
}

impl Compression {
    /// What follows a package's stem: `.tar.gz`.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => ".tar.gz",
            Self::Zstd => ".tar.zst",
        }
    }
}

/// A file to put into an archive.
pub(crate) struct Entry<'a> {
    /// Its name there.
    pub name: String,
    /// Where it is now.
    pub path: &'a Path,
}

/// Writes the entries as a compressed tar. The same entries and `mtime` give the same bytes.
pub(crate) fn create(out: &Output, entries: &[Entry<'_>], mtime: u64, progress: &dyn Progress) -> Result<()> {
    let mut pieces = Pieces::default();
    let mut files = Vec::new();
    let mut before = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let failed = |source| Error::io("read", entry.path, source);
        let file = File::open(entry.path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        before.extend(tar::header(&entry.name, size, mtime));
        pieces.bytes(std::mem::take(&mut before));
        pieces.file(index, size);
        before = tar::padding(size);
        files.push((file, entry.path));
    }
    // Two empty blocks end a tar, and tapes made it a custom to fill the last record of twenty.
    before.extend([0; 2 * tar::BLOCK]);
    let total = (pieces.total() + before.len() as u64).next_multiple_of(20 * tar::BLOCK as u64);
    before.resize((total - pieces.total()) as usize, 0);
    pieces.bytes(before);
    progress.stage("compressing", total);
    match out.compression() {
        Compression::Gzip => pieces::compress::<gzip::Gzip>(&pieces, &files, out, progress),
        Compression::Zstd => pieces::compress::<zstd::Zstd>(&pieces, &files, out, progress),
    }
}

/// The files of the archive that `path` names, in the order of their names: the file itself, or all parts and their
/// list.
///
/// # Errors
/// [`Error::Invalid`] naming a part that is missing.
pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
    Ok(Volumes::find(path)?.files())
}

/// Of the list of parts at `path`: a line for each part whose SHA-256, as `digest` knows it, is another; `None` where all are right, and for
/// what is no list.
///
/// # Errors
/// As [`files`].
pub(crate) fn damaged_parts<'a>(path: &Path, digest: impl Fn(&Path) -> Option<&'a str>) -> Result<Option<Vec<String>>> {
    if path.extension().is_none_or(|end| !end.eq_ignore_ascii_case("sha256")) || !volumes::is_part(path) {
        return Ok(None);
    }
    let wrong = Volumes::find(path)?.compare(|part| digest(part).map(str::to_owned));
    Ok(Some(wrong).filter(|wrong| !wrong.is_empty()))
}

/// What kind of archive it is, for people: `tar.gz`, `tar.zst in 3 parts`.
///
/// # Errors
/// As [`files`].
pub fn kind(path: &Path) -> Result<String> {
    let volumes = Volumes::find(path)?;
    let kind = Form::of_file(volumes.first()).map_or("tar", Form::name);
    Ok(match volumes.parts() {
        0 | 1 => kind.to_owned(),
        parts => format!("{kind} in {parts} parts"),
    })
}

/// True for a file that begins like gzip, Zstandard or a tar, and for what is named like a part of an archive.
pub fn is_archive(path: &Path) -> bool {
    let Ok(volumes) = Volumes::find(path) else {
        return volumes::is_part(path);
    };
    Form::of_file(volumes.first()).is_some()
}

/// Names a file that is no archive by its content, with the next step.
fn what_it_is(path: &Path) -> String {
    let head = regular::head(path, tar::BLOCK);
    if let Some(foreign) = foreign(&head) {
        return foreign.to_string();
    }
    if head.is_empty() {
        "it is empty: copy or download it again"
    } else if head.iter().all(|byte| *byte == 0) {
        "it begins with zeros: the copy or download was interrupted"
    } else {
        "expected a .tar.gz, .tar.zst or .tar, found none of them; `sam3 verify` checks what is unpacked already"
    }
    .to_owned()
}
