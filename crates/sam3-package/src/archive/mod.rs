//! `X.tar.gz`: the package and its metadata in one file that plain `tar -xzf` reads.

mod deflate;
mod gzip;
mod huffman;
mod tar;
mod unpack;
mod volumes;

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use crate::{Error, Progress, Result};
pub use unpack::{Unpacked, metadata, unpack, verify};
use volumes::Volumes;
pub(crate) use volumes::{Output, remove_superseded};

/// A file to put into an archive.
pub(crate) struct Entry<'a> {
    /// Its name there.
    pub name: String,
    /// Where it is now.
    pub path: &'a Path,
}

/// Writes the entries as a tar.gz. The same entries and `mtime` give the same bytes.
pub(crate) fn create(out: &Output, entries: &[Entry<'_>], mtime: u64, progress: &dyn Progress) -> Result<()> {
    let mut pieces = gzip::Pieces::default();
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
    gzip::compress(&pieces, &files, out, progress)
}

/// The files of the archive that `path` names, in the order of their names: the file itself, or all parts and their
/// list.
///
/// # Errors
/// [`Error::Invalid`] naming a part that is missing.
pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
    Ok(Volumes::find(path)?.files())
}

/// True for a file that begins like gzip, and for what is named like a part of an archive.
pub fn is_archive(path: &Path) -> bool {
    use std::io::Read;
    let Ok(volumes) = Volumes::find(path) else {
        return volumes::is_part(path);
    };
    let mut magic = [0; 2];
    File::open(volumes.first())
        .and_then(|mut file| file.read_exact(&mut magic))
        .is_ok()
        && magic == [0x1f, 0x8b]
}
