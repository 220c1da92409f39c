//! A download under way: `blobs/ETAG.incomplete`, hashed while it grows.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use super::http;
use crate::{
    Error, Progress, Result,
    digest::hex,
    staged::{is_at, lock_patiently},
};

const PIECE: usize = 1 << 20;

/// The file and what is known of it.
pub(super) struct Partial {
    path: PathBuf,
    file: File,
    sha: Sha256,
    /// Bytes that are there.
    pub at: u64,
}

impl Partial {
    /// Opens what an earlier run left of a blob, or a new file; `None` where another run is writing it.
    pub fn open(blob: &Path) -> Result<Option<Self>> {
        let mut path = blob.as_os_str().to_owned();
        path.push(".incomplete");
        let path = PathBuf::from(path);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        loop {
            let file = options.open(&path).map_err(|source| refused(&path, source))?;
            if !lock_patiently(&file) {
                return Ok(None);
            }
            // While this run waited for the lock, the other one may have finished the file and renamed it to the blob.
            // Then the open file must not be written to any more.
            if is_at(&file, &path) {
                let (sha, at) = (Sha256::new(), 0);
                return Ok(Some(Self { path, file, sha, at }));
            }
        }
    }

    /// Hashes what is there.
    pub fn resume(&mut self, progress: &dyn Progress) -> Result<()> {
        let mut buffer = vec![0; PIECE];
        loop {
            let read = self
                .file
                .read(&mut buffer)
                .map_err(|source| refused(&self.path, source))?;
            if read == 0 {
                return Ok(());
            }
            self.sha.update(&buffer[..read]);
            self.at += read as u64;
            progress.advance(read as u64);
        }
    }

    /// Forgets what is there.
    pub fn restart(&mut self) -> Result<()> {
        (self.at, self.sha) = (0, Sha256::new());
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .map_err(|source| refused(&self.path, source))
    }

    /// Appends a body; never more than makes the announced size.
    pub fn append(
        &mut self,
        body: &mut dyn Read,
        size: Option<u64>,
        progress: &dyn Progress,
    ) -> Result<(), http::Failure> {
        let mut buffer = vec![0; PIECE];
        loop {
            let read = match body.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(http::Failure::passing(format!("the connection broke ({error})"))),
            };
            if let Some(size) = size.filter(|size| self.at + read as u64 > *size) {
                return Err(http::Failure::lasting(format!(
                    "more than the announced {size} bytes came"
                )));
            }
            let written = self.file.write_all(&buffer[..read]);
            written.map_err(|source| http::Failure::Cache(refused(&self.path, source)))?;
            self.sha.update(&buffer[..read]);
            self.at += read as u64;
            progress.advance(read as u64);
        }
    }

    /// The SHA-256 of what is there.
    pub fn sha256(&self) -> String {
        hex(&self.sha.clone().finalize())
    }

    /// Removes a file whose bytes are wrong: going on from them cannot help.
    pub fn discard(self) {
        // Before the lock goes: who gets it then sees that the file has no name any more.
        let _ = fs::remove_file(&self.path);
        drop(self.file);
    }

    /// Makes it the blob.
    pub fn finish(self, blob: &Path) -> Result<()> {
        self.file.sync_all().map_err(|source| refused(&self.path, source))?;
        fs::rename(&self.path, blob).map_err(|source| refused(blob, source))
    }
}

fn refused(path: &Path, source: io::Error) -> Error {
    Error::Output {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests;
