//! `X.tar.gz` or `X.tar.zst`: the package and its metadata in one file that plain `tar` reads.

mod ahead;
mod bits;
mod deflate;
pub(crate) mod elf;
pub(crate) mod entries;
pub(crate) mod extras;
mod gzip;
mod huffman;
pub(crate) mod layers;
pub(crate) mod names;
mod pieces;
mod program;
pub(crate) mod sums;
pub(crate) mod tar;
#[cfg(test)]
mod testing;
pub(crate) mod volumes;
mod zstd;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use layers::Form;
use pieces::Pieces;

use crate::{Error, Progress, Result, checkpoint::foreign, digest::hash_of, regular};
pub use elf::Machine;
pub use extras::{Extra, ExtraFile, read_license};
pub use program::Program;
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
    /// Who may do what with it there.
    pub mode: u32,
    /// Its bytes.
    pub content: Content<'a>,
}

/// Where an entry's bytes are now.
pub(crate) enum Content<'a> {
    File(&'a Path),
    Memory(&'a [u8]),
}

impl<'a> Entry<'a> {
    /// The file at `path`, under the name of `target`.
    pub fn of_file(target: &Path, path: &'a Path) -> Self {
        Self {
            name: target.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            mode: tar::FILE,
            content: Content::File(path),
        }
    }

    /// An extra, from memory.
    pub fn of_extra(extra: Extra, bytes: &'a [u8]) -> Self {
        Self {
            name: extra.name().to_owned(),
            mode: extra.mode(),
            content: Content::Memory(bytes),
        }
    }

    fn sha256(&self, progress: &dyn Progress) -> Result<String> {
        match self.content {
            Content::Memory(bytes) => hash_of(bytes, Path::new(&self.name), progress),
            Content::File(path) => {
                let file = File::open(path).map_err(|source| Error::io("read", path, source))?;
                hash_of(file, path, progress)
            }
        }
    }

    fn size(&self) -> Result<u64> {
        match self.content {
            Content::Memory(bytes) => Ok(bytes.len() as u64),
            Content::File(path) => Ok(fs::metadata(path)
                .map_err(|source| Error::io("read", path, source))?
                .len()),
        }
    }
}

/// What `SHA256SUMS` says of the entries.
pub(crate) fn sums_of(entries: &[&Entry<'_>], progress: &dyn Progress) -> Result<String> {
    let sizes: Vec<u64> = entries.iter().map(|entry| entry.size()).collect::<Result<_>>()?;
    progress.stage("hashing", sizes.iter().sum());
    let digests: Vec<(&str, String)> = entries
        .iter()
        .map(|entry| Ok((&*entry.name, entry.sha256(progress)?)))
        .collect::<Result<_>>()?;
    Ok(sums::lines(digests))
}

/// Writes the entries as a compressed tar. The same entries and `mtime` give the same bytes.
pub(crate) fn create(out: &Output, entries: &[Entry<'_>], mtime: u64, progress: &dyn Progress) -> Result<()> {
    let mut pieces = Pieces::default();
    let mut files = Vec::new();
    let mut before = Vec::new();
    for entry in entries {
        let size = entry.size()?;
        before.extend(tar::header(&entry.name, entry.mode, size, mtime));
        pieces.bytes(std::mem::take(&mut before));
        match entry.content {
            Content::Memory(bytes) => pieces.copied(bytes),
            Content::File(path) => {
                let file = File::open(path).map_err(|source| Error::io("read", path, source))?;
                pieces.file(files.len(), size);
                files.push((file, path));
            }
        }
        before = tar::padding(size);
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
/// [`Error::MissingPart`]; [`Error::Invalid`] naming a list of parts that cannot be read.
pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
    Ok(Volumes::find(path)?.files())
}

/// Compares the list of parts at `path` with the digests that `digest` knows, and returns a line for each part that
/// differs. `None` where all are right, and where the file is no list of parts.
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

/// Names by its content the `file` that was taken for the archive at `path`, with the next step.
pub(crate) fn no_archive(path: &Path, file: &Path) -> Error {
    let head = regular::head(file, tar::BLOCK);
    if let Some(foreign) = foreign(&head) {
        return foreign.error(path);
    }
    if head.is_empty() {
        return Error::Empty { path: path.to_owned() };
    }
    let reason = if head.iter().all(|byte| *byte == 0) {
        "it begins with zeros: the copy or download was interrupted"
    } else {
        "expected a .tar.gz, .tar.zst or .tar, found none of them; `sam3 verify` checks what is unpacked already"
    };
    Error::invalid(path, reason)
}
