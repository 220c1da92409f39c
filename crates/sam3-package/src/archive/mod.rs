//! `X.tar.gz` or `X.tar.zst`: the package and its metadata in one file that plain `tar` reads.

mod bits;
mod deflate;
mod gzip;
mod huffman;
mod pieces;
mod tar;
#[cfg(test)]
mod testing;
mod unpack;
mod volumes;
mod zstd;

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;
use pieces::Pieces;

use crate::{Error, Progress, Result};
pub use unpack::{Unpacked, metadata, unpack, verify};
use volumes::Volumes;
pub(crate) use volumes::{Output, first_part, remove_superseded};

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

    /// What a file that begins so is compressed with.
    fn of(magic: &[u8]) -> Option<Self> {
        if magic.starts_with(&[0x1f, 0x8b]) {
            Some(Self::Gzip)
        } else if magic.starts_with(&zstd::MAGIC) {
            Some(Self::Zstd)
        } else {
            None
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
    if path.extension().is_none_or(|end| end != "sha256") || !volumes::is_part(path) {
        return Ok(None);
    }
    let wrong = Volumes::find(path)?.compare(|part| digest(part).map(str::to_owned));
    Ok(Some(wrong).filter(|wrong| !wrong.is_empty()))
}

/// The tar of an archive, decompressed.
fn decompress<'a>(volumes: &'a Volumes, progress: &'a dyn Progress) -> Result<Box<dyn Read + 'a>> {
    let source = BufReader::with_capacity(1 << 20, volumes.open(progress)?);
    Ok(match compression(volumes.first()) {
        Some(Compression::Zstd) => Box::new(zstd::Frames::new(source)),
        _ => Box::new(MultiGzDecoder::new(source)),
    })
}

/// What kind of archive it is, for people: `tar.gz`, `tar.zst in 3 parts`.
///
/// # Errors
/// As [`files`].
pub fn kind(path: &Path) -> Result<String> {
    let volumes = Volumes::find(path)?;
    let compression = compression(volumes.first()).unwrap_or_default();
    let kind = compression.suffix().trim_start_matches('.');
    Ok(match volumes.parts() {
        0 | 1 => kind.to_owned(),
        parts => format!("{kind} in {parts} parts"),
    })
}

/// True for a file that begins like gzip or Zstandard, and for what is named like a part of an archive.
pub fn is_archive(path: &Path) -> bool {
    let Ok(volumes) = Volumes::find(path) else {
        return volumes::is_part(path);
    };
    compression(volumes.first()).is_some()
}

fn compression(first: &Path) -> Option<Compression> {
    // Opening a pipe would wait for its writer.
    if !first.is_file() {
        return None;
    }
    let mut magic = [0; 4];
    let length = File::open(first).and_then(|mut file| file.read(&mut magic));
    Compression::of(&magic[..length.ok()?])
}
