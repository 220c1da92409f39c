//! `X.tar.gz`: the package and its metadata in one file that plain `tar -xzf` reads.

mod deflate;
mod gzip;
mod huffman;
mod tar;
mod unpack;

use std::{fs::File, path::Path};

use crate::{Error, Progress, Result, staged::Staged};
pub use unpack::{Unpacked, metadata, unpack, verify};

/// A file to put into an archive.
pub(crate) struct Entry<'a> {
    /// Its name there.
    pub name: String,
    /// Where it is now.
    pub path: &'a Path,
}

/// Writes the entries as a tar.gz and returns its length. The same entries and `mtime` give the same bytes.
pub(crate) fn create(out: &Staged, entries: &[Entry<'_>], mtime: u64, progress: &dyn Progress) -> Result<u64> {
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

/// True for a file that begins like gzip.
pub fn is_archive(path: &Path) -> bool {
    use std::io::Read;
    let mut magic = [0; 2];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut magic))
        .is_ok()
        && magic == [0x1f, 0x8b]
}
