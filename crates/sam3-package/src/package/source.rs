//! Where a package's tensors come from: name, size and SHA-256 of the source, and whether it is a published file.

use std::{
    fs::File,
    io,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    Error, Progress, Result,
    checkpoint::SourceFile,
    digest::{hash, hex},
};

/// The origin of a package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Name of the file that was packaged, without its folder.
    pub file: String,
    /// Bytes of it, or of all its shards.
    pub bytes: u64,
    /// SHA-256 of the file; of the shards' own hexadecimal digests, one a line, where there are several.
    pub sha256: String,
    /// What the digest is known as, or "custom".
    pub published: String,
    /// Repository on the Hub, where the digest is a known one.
    pub repo: Option<String>,
    /// Revision there.
    pub revision: Option<String>,
    /// Each shard, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<Shard>,
    /// The source's own source, where it is itself a package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Box<Self>>,
}

/// One file of a sharded checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Name without its folder.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
}

/// SHA-256, published name, repository, revision.
const PUBLISHED: [(&str, &str, &str, Option<&str>); 3] = [
    (
        "9999e2341ceef5e136daa386eecb55cb414446a00ac2b55eb2dfd2f7c3cf8c9e",
        "SAM 3 sam3.pt",
        "facebook/sam3",
        Some("3c879f39826c281e95690f02c7821c4de09afae7"),
    ),
    (
        "6d06f0a5f84e435071fe6603e61d0b4cc7b40e0d39d487cfd4d67d8cc11cc14a",
        "SAM 3 model.safetensors",
        "facebook/sam3",
        Some("3c879f39826c281e95690f02c7821c4de09afae7"),
    ),
    (
        "0567debeec80ba4ac6369540c6c248025283cb3ff2b92827509e57e2b3541cb6",
        "SAM 3.1 sam3.1_multiplex.pt",
        "facebook/sam3.1",
        None,
    ),
];

impl Source {
    /// What is known before reading: the digests and names that depend on them are wide enough placeholders.
    pub(super) fn unread(path: &Path, files: &[SourceFile], origin: Option<Self>) -> Self {
        let placeholder = "0".repeat(64);
        let shard = |file: &SourceFile| Shard {
            file: file_name(&file.path),
            bytes: file.bytes,
            sha256: placeholder.clone(),
        };
        Self {
            file: file_name(path),
            bytes: files.iter().map(|file| file.bytes).sum(),
            sha256: placeholder.clone(),
            published: placeholder.clone(),
            repo: Some(placeholder.clone()),
            revision: Some(placeholder.clone()),
            shards: files.iter().map(shard).collect(),
            origin: origin.map(Box::new),
        }
    }

    /// Reads and hashes the files of a checkpoint opened at `path`; fails early once `stop` is set.
    pub(super) fn read(
        path: &Path,
        files: &[SourceFile],
        origin: Option<Self>,
        progress: &dyn Progress,
        stop: &AtomicBool,
    ) -> Result<Self> {
        let advance = |bytes| {
            progress.advance(bytes);
            match stop.load(Ordering::Relaxed) {
                true => Err(io::ErrorKind::Interrupted.into()),
                false => Ok(()),
            }
        };
        let mut shards = Vec::with_capacity(files.len());
        for file in files {
            let sha256 = File::open(&file.path)
                .and_then(|open| hash(open, advance))
                .map_err(|source| Error::io("read", &file.path, source))?;
            shards.push(Shard {
                file: file_name(&file.path),
                bytes: file.bytes,
                sha256,
            });
        }
        let bytes = shards.iter().map(|shard| shard.bytes).sum();
        let sha256 = match &shards[..] {
            [only] => only.sha256.clone(),
            several => {
                let mut all = Sha256::new();
                several
                    .iter()
                    .for_each(|shard| all.update(format!("{}\n", shard.sha256)));
                hex(&all.finalize())
            }
        };
        let known = PUBLISHED.iter().find(|known| known.0 == sha256);
        Ok(Self {
            file: file_name(path),
            bytes,
            sha256,
            published: known.map_or("custom", |known| known.1).to_owned(),
            repo: known.map(|known| known.2.to_owned()),
            revision: known.and_then(|known| known.3).map(str::to_owned),
            shards: if shards.len() > 1 { shards } else { Vec::new() },
            origin: origin.map(Box::new),
        })
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}
