//! An archive as one file, or cut into parts for drives and file systems with small files.
//!
//! `X.tar.gz.000`, `.001` … joined are the archive. Beside them stands `X.tar.gz.sha256`, which both `sha256sum -c` and
//! gzip read: `cat X.tar.gz.* | tar -xz` passes it to gzip last, so it is an empty gzip member with the list as its
//! comment (RFC 1952, FCOMMENT). Anything else there makes gzip end with "trailing garbage". For Zstandard it is a
//! frame that decoders skip.

mod read;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::RwLock,
};

use rayon::prelude::*;

use super::{Compression, zstd};
use crate::{
    Error, Progress, Result,
    digest::hash_of,
    staged::{Staged, check_name, remove_old},
};
pub(crate) use read::Volumes;
pub(crate) use read::is_archive_name;
pub(super) use read::is_part;

/// Three digits count them.
const MAX_PARTS: usize = 1000;
/// gzip's magic, deflate, FCOMMENT, no time, no level, unknown system; a line break that parts the list from it.
const LIST_HEAD: [u8; 11] = [0x1f, 0x8b, 8, 0x10, 0, 0, 0, 0, 0, 255, b'\n'];
/// What is a comment to `sha256sum`; the gzip comment's end, an empty last block, and the checksum and length of
/// nothing.
const LIST_TAIL: [u8; 12] = [b'#', 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// An archive under construction.
#[derive(Debug)]
pub(crate) struct Output {
    target: PathBuf,
    compression: Compression,
    split: Option<u64>,
    force: bool,
    files: RwLock<Vec<Staged>>,
}

impl Output {
    /// Creates the archive's file, or its first part, and looks out for those that are in the way.
    ///
    /// # Errors
    /// As [`Staged::create`].
    pub fn create(target: &Path, compression: Compression, split: Option<u64>, force: bool) -> Result<Self> {
        let output = Self {
            target: target.to_owned(),
            compression,
            split,
            force,
            files: RwLock::default(),
        };
        if split.is_some() && !force {
            let old = older_parts(target).into_iter().next();
            if let Some(path) = old.or(Some(list_path(target)).filter(|list| list.exists())) {
                return Err(Error::Exists { path });
            }
        }
        if split.is_some() {
            // It is written last, and its name is the longest.
            check_name(&list_path(target))?;
        }
        output.grow(1)?;
        Ok(output)
    }

    /// How the archive is to be compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The archive's name, without a part's number.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Writes at a position of the joined archive, from any thread.
    pub fn write_at(&self, mut bytes: &[u8], mut offset: u64) -> Result<()> {
        let Some(size) = self.split else {
            return self.files.read().expect("no thread panicked")[0].write_at(bytes, offset);
        };
        while !bytes.is_empty() {
            let (part, within) = ((offset / size) as usize, offset % size);
            let take = bytes.len().min(usize::try_from(size - within).unwrap_or(usize::MAX));
            self.grow(part + 1)?;
            self.files.read().expect("no thread panicked")[part].write_at(&bytes[..take], within)?;
            bytes = &bytes[take..];
            offset += take as u64;
        }
        Ok(())
    }

    fn grow(&self, count: usize) -> Result<()> {
        if self.files.read().expect("no thread panicked").len() >= count {
            return Ok(());
        }
        if count > MAX_PARTS {
            return Err(Error::TooManyParts {
                path: self.target.clone(),
                limit: MAX_PARTS,
            });
        }
        let mut files = self.files.write().expect("no thread panicked");
        while files.len() < count {
            let path = match self.split {
                Some(_) => part_path(&self.target, files.len()),
                None => self.target.clone(),
            };
            files.push(Staged::create(&path, self.force)?);
        }
        Ok(())
    }

    /// All the files with their lengths, in the order of their names; for parts, with their list.
    pub fn finish(self, progress: &dyn Progress) -> Result<Vec<(Staged, u64)>> {
        let files = self.files.into_inner().expect("no thread panicked");
        let mut lengths = Vec::with_capacity(files.len());
        for file in &files {
            let length = file.file().metadata().map_err(|source| Error::Output {
                path: file.target().to_owned(),
                source,
            })?;
            lengths.push(length.len());
        }
        let mut list = None;
        if self.split.is_some() {
            progress.stage("hashing", lengths.iter().sum());
            let lines: Vec<String> = files
                .par_iter()
                .map(|file| {
                    let name = file.target().file_name().unwrap_or_default().to_string_lossy();
                    Ok(format!("{}  {name}\n", hash(file, progress)?))
                })
                .collect::<Result<_>>()?;
            let bytes = framed(self.compression, &lines.concat());
            let file = Staged::create(&list_path(&self.target), self.force)?;
            file.write_at(&bytes, 0)?;
            list = Some((file, bytes.len() as u64));
        }
        Ok(files.into_iter().zip(lengths).chain(list).collect())
    }
}

/// The list as the decompressor passes over it.
fn framed(compression: Compression, lines: &str) -> Vec<u8> {
    let lines = lines.as_bytes();
    match compression {
        Compression::Gzip => [&LIST_HEAD[..], lines, &LIST_TAIL].concat(),
        Compression::Zstd => {
            let length = (lines.len() as u32 + 1).to_le_bytes();
            [&zstd::SKIPPABLE[..], &length, b"\n", lines].concat()
        }
    }
}

fn hash(file: &Staged, progress: &dyn Progress) -> Result<String> {
    let path = file.temporary();
    let open = File::open(path).map_err(|source| Error::io("read", path, source))?;
    hash_of(open, path, progress)
}

/// Removes the parts of an earlier archive of this name and their list: joined with new ones, they would spoil them.
pub(crate) fn remove_superseded(target: &Path) -> Result<()> {
    remove_old(&list_path(target))?;
    older_parts(target).iter().try_for_each(|path| remove_old(path))
}

/// The first part of an archive of this name, where there is one.
pub(crate) fn first_part(target: &Path) -> Option<PathBuf> {
    Some(part_path(target, 0)).filter(|path| path.exists())
}

/// Parts that exist.
fn older_parts(target: &Path) -> Vec<PathBuf> {
    (0..MAX_PARTS)
        .map(|number| part_path(target, number))
        .filter(|path| path.symlink_metadata().is_ok())
        .collect()
}

fn part_path(target: &Path, number: usize) -> PathBuf {
    with_suffix(target, &format!(".{number:03}"))
}

fn list_path(target: &Path) -> PathBuf {
    with_suffix(target, ".sha256")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
