//! The cache as `huggingface_hub` lays it out, so that what Python fetched is found here and the other way round:
//! `models--OWNER--NAME/{refs/REVISION, snapshots/COMMIT/FILE → blobs/ETAG}`.

use std::{
    fs,
    os::unix::fs::symlink,
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
        Some(self.snapshot(revision, name)).filter(|path| path.is_file())
    }

    /// A file fetched before whose bytes are gone: its name in the snapshot, a link, and where that leads.
    pub fn find_broken(&self, revision: &str, name: &str) -> Option<(PathBuf, PathBuf)> {
        let path = self.snapshot(revision, name);
        let target = fs::read_link(&path).ok().filter(|_| !path.exists())?;
        // In plain words, where the folders between are there.
        let target = path.with_file_name("").join(target);
        let folder = target.parent().and_then(|folder| folder.canonicalize().ok());
        let blob = folder.zip(target.file_name()).map(|(folder, name)| folder.join(name));
        Some((path, blob.unwrap_or(target)))
    }

    /// Where a file lies that is fetched, by a branch, a tag or a commit.
    fn snapshot(&self, revision: &str, name: &str) -> PathBuf {
        let named = fs::read_to_string(self.0.join("refs").join(revision)).ok();
        let commit = named.as_deref().map_or(revision, str::trim);
        self.0.join("snapshots").join(commit).join(name)
    }

    /// Where the bytes of a file lie.
    pub fn blob(&self, key: &str) -> PathBuf {
        self.0.join("blobs").join(key)
    }

    /// Notes which commit a branch or tag stands for.
    pub fn refer(&self, revision: &str, commit: &str) -> Result<()> {
        let named = self.0.join("refs").join(revision);
        if revision == commit || fs::read_to_string(&named).is_ok_and(|there| there == commit) {
            return Ok(());
        }
        let folder = named.parent().unwrap_or(&self.0);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&named, commit))
            .map_err(|source| Error::Output { path: named, source })
    }

    /// Gives a blob its name in the snapshot of a commit; returns its path there.
    pub fn link(&self, commit: &str, name: &str, key: &str) -> Result<PathBuf> {
        let snapshot = self.0.join("snapshots").join(commit);
        let path = snapshot.join(name);
        let refused = |source| Error::Output {
            path: path.clone(),
            source,
        };
        fs::create_dir_all(&snapshot).map_err(refused)?;
        if !path.is_file() {
            let _ = fs::remove_file(&path);
            symlink(Path::new("../../blobs").join(key), &path).map_err(refused)?;
        }
        Ok(path)
    }

    /// Makes the folder of the blobs.
    pub fn create(&self) -> Result<()> {
        let folder = self.0.join("blobs");
        fs::create_dir_all(&folder).map_err(|source| Error::Output { path: folder, source })
    }
}
