//! The cache as `huggingface_hub` lays it out, so that what Python fetched is found here and the other way round:
//! `models--OWNER--NAME/{refs/REVISION, snapshots/COMMIT/FILE → blobs/ETAG}`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// A repository's folder in the cache.
#[derive(Debug)]
pub(super) struct Repository(PathBuf);

impl Repository {
    pub fn new(cache: &Path, repo: &str) -> Self {
        Self(cache.join(format!("models--{}", repo.replace('/', "--"))))
    }

    /// A file fetched before, at a branch, a tag or a commit.
    pub fn find(&self, revision: &str, name: &str) -> Option<PathBuf> {
        let named = fs::read_to_string(self.0.join("refs").join(revision)).ok();
        let commit = named.as_deref().map_or(revision, str::trim);
        Some(self.0.join("snapshots").join(commit).join(name)).filter(|path| path.is_file())
    }

    /// Where the bytes of a file lie.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.0.join("blobs").join(etag)
    }

    /// Gives a blob its name in the snapshot of a commit, which `revision` then stands for; returns its path there.
    pub fn link(&self, revision: &str, commit: &str, name: &str, etag: &str) -> Result<PathBuf> {
        let snapshot = self.0.join("snapshots").join(commit);
        let path = snapshot.join(name);
        let refused = |source| Error::Output {
            path: path.clone(),
            source,
        };
        fs::create_dir_all(&snapshot).map_err(refused)?;
        if revision != commit {
            let named = self.0.join("refs").join(revision);
            let folder = named.parent().unwrap_or(&self.0);
            fs::create_dir_all(folder)
                .and_then(|()| fs::write(&named, commit))
                .map_err(refused)?;
        }
        if !path.is_file() {
            let _ = fs::remove_file(&path);
            link(&self.blob(etag), &Path::new("../../blobs").join(etag), &path).map_err(refused)?;
        }
        Ok(path)
    }

    /// Makes the folder of the blobs.
    pub fn create(&self) -> Result<()> {
        let folder = self.0.join("blobs");
        fs::create_dir_all(&folder).map_err(|source| Error::Output { path: folder, source })
    }
}

#[cfg(unix)]
fn link(_: &Path, relative: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(relative, path)
}

/// Symbolic links take rights on Windows; hard ones do not.
#[cfg(not(unix))]
fn link(blob: &Path, _: &Path, path: &Path) -> io::Result<()> {
    fs::hard_link(blob, path)
}
