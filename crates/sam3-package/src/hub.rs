//! Fetches a checkpoint from the Hugging Face Hub into the cache that Python's `huggingface_hub` uses, or finds it there.
//!
//! Requests are `HEAD` and `GET` of `ENDPOINT/REPO/resolve/REVISION/FILE`. A download is `blobs/SHA256.incomplete` until its
//! digest is the one the Hub told; an interrupted one goes on where it ended.

mod cache;
mod http;

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use sha2::{Digest, Sha256};

use crate::{
    Error, Progress, Result, drive,
    package::hex,
    staged::{folder_of, lock_patiently},
};
use cache::Repository;
use http::{Client, Described};

/// Files that hold a whole checkpoint, the best first.
const CHECKPOINTS: [&str; 3] = ["sam3.pt", "sam3.1_multiplex.pt", "model.safetensors"];
/// Attempts without a byte of progress.
const ATTEMPTS: u32 = 5;
const PIECE: usize = 1 << 20;

/// What to fetch, and how.
#[derive(Clone, Debug)]
pub struct Hub {
    /// `https://huggingface.co`, or a mirror.
    pub endpoint: String,
    /// Sent to the endpoint alone, not to where it redirects.
    pub token: Option<String>,
    /// `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    /// Certificates to trust in place of the public authorities', as PEM: a company's proxy has its own.
    pub certificates: Option<PathBuf>,
    /// Look only into the cache; no socket is opened.
    pub offline: bool,
    /// Wait before the second attempt; each later wait is twice as long.
    pub patience: Duration,
}

impl Hub {
    /// The checkpoint of `repo` at `revision`: its path in the cache.
    ///
    /// # Errors
    /// [`Error::Hub`] where access is denied, the network fails for good, or the digest is wrong; [`Error::Output`] where
    /// the cache cannot be written.
    pub fn fetch(&self, repo: &str, revision: &str, progress: &dyn Progress) -> Result<PathBuf> {
        let repository = Repository::new(&self.cache, repo);
        if self.offline {
            return self.cached(&repository, repo, revision);
        }
        let client = Client::new(self)?;
        repository.create()?;
        for name in CHECKPOINTS {
            if let Some(path) = self.file(&client, &repository, [repo, revision, name], progress)? {
                if name.ends_with(".safetensors") {
                    // Heads and windows stand in no tensor.
                    self.file(&client, &repository, [repo, revision, "config.json"], progress)?;
                }
                return Ok(path);
            }
        }
        let reason = format!("{repo} at {revision} holds none of {}", CHECKPOINTS.join(", "));
        Err(error(repo, reason))
    }

    fn cached(&self, repository: &Repository, repo: &str, revision: &str) -> Result<PathBuf> {
        let mut found = CHECKPOINTS.iter().filter_map(|name| repository.find(revision, name));
        found.next().ok_or_else(|| {
            let reason = format!(
                "no checkpoint of {repo} at {revision} in {}, and --offline or HF_HUB_OFFLINE forbids to fetch it: run this once with a \
                 network, or pass --checkpoint-path",
                self.cache.display()
            );
            error(repo, reason)
        })
    }

    /// One file, from the cache where it is there already; `None` where the repository has none of the name.
    fn file(
        &self,
        client: &Client,
        repository: &Repository,
        [repo, revision, name]: [&str; 3],
        progress: &dyn Progress,
    ) -> Result<Option<PathBuf>> {
        // A branch may have slashes in its name, the address has none there.
        let url = format!(
            "{}/{repo}/resolve/{}/{name}",
            self.endpoint.trim_end_matches('/'),
            revision.replace('/', "%2F")
        );
        let page = format!("{}/{repo}", self.endpoint.trim_end_matches('/'));
        let described = self.patiently(|| client.describe(&url)).map_err(|failure| {
            let mut reason = failure.to_string();
            if let (http::Failure::Passing { .. }, Some(path)) = (failure, repository.find(revision, name)) {
                reason += &format!("; it was fetched before: --offline takes {}", path.display());
            }
            error(&page, reason)
        })?;
        let Some(described) = described else {
            return Ok(None);
        };
        let blob = repository.blob(&described.etag);
        if !blob.exists() {
            self.download(client, [&page, &url], &described, &blob, progress)?;
        }
        repository
            .link(revision, &described.commit, name, &described.etag)
            .map(Some)
    }

    /// Fetches a blob; what an earlier run left of it is kept.
    fn download(
        &self,
        client: &Client,
        [page, url]: [&str; 2],
        described: &Described,
        blob: &Path,
        progress: &dyn Progress,
    ) -> Result<()> {
        let incomplete = blob.with_extension("incomplete");
        let refused = |source| Error::Output {
            path: incomplete.clone(),
            source,
        };
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&incomplete)
            .map_err(refused)?;
        if !lock_patiently(&file) {
            return Err(error(url, "another run is fetching it now: wait for it"));
        }
        progress.stage("fetching", described.size);
        let mut sha = Sha256::new();
        let mut at = hash_rest(&mut file, &mut sha, progress).map_err(refused)?;
        drive::check_room(folder_of(blob), described.size.saturating_sub(at))?;
        let (mut attempt, mut wait) = (0, self.patience);
        while at < described.size {
            let before = at;
            let ended = client.get(url, at).and_then(|(mut body, from)| {
                if from != at {
                    // No ranges here: from the start.
                    (at, sha) = (0, Sha256::new());
                    file.set_len(0)
                        .and_then(|()| file.rewind())
                        .map_err(http::Failure::File)?;
                }
                copy(&mut body, &mut file, &mut sha, &mut at, described.size, progress)
            });
            match ended {
                Ok(()) if at == described.size => break,
                Err(http::Failure::File(source)) => return Err(refused(source)),
                Err(http::Failure::Final(reason)) => return Err(error(page, reason)),
                Ok(()) | Err(http::Failure::Passing { .. }) => {}
            }
            (attempt, wait) = if at > before {
                (0, self.patience)
            } else {
                (attempt + 1, wait * 2)
            };
            if attempt >= ATTEMPTS {
                let why = ended
                    .err()
                    .map_or("it ended early".to_owned(), |failure| failure.to_string());
                let reason =
                    format!("{why}, {ATTEMPTS} times at byte {at}: check the network; the next run goes on from there");
                return Err(error(url, reason));
            }
            thread::sleep(ended.err().map_or(wait, |failure| failure.wait(wait)));
        }
        let found = hex(&sha.finalize());
        // Small files have a git digest there, which is of other bytes.
        if at != described.size || (described.etag.len() == 64 && found != described.etag) {
            drop(file);
            let _ = std::fs::remove_file(&incomplete);
            let reason = format!(
                "expected {} bytes with sha256 {}, received {at} with {found}; removed, run this again",
                described.size, described.etag
            );
            return Err(error(url, reason));
        }
        file.sync_all().map_err(refused)?;
        drop(file);
        std::fs::rename(&incomplete, blob).map_err(|source| Error::Output {
            path: blob.to_owned(),
            source,
        })
    }

    /// Again after failures that may pass.
    fn patiently<T>(&self, mut action: impl FnMut() -> Result<T, http::Failure>) -> Result<T, http::Failure> {
        let mut wait = self.patience;
        for _ in 1..ATTEMPTS {
            match action() {
                Err(failure @ http::Failure::Passing { .. }) => thread::sleep(failure.wait(wait)),
                result => return result,
            }
            wait *= 2;
        }
        action()
    }
}

fn error(place: &str, reason: impl Into<String>) -> Error {
    Error::Hub {
        place: place.to_owned(),
        reason: reason.into(),
    }
}

/// Hashes what is there already and returns its length.
fn hash_rest(file: &mut File, sha: &mut Sha256, progress: &dyn Progress) -> io::Result<u64> {
    let (mut at, mut buffer) = (0, vec![0; PIECE]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(at);
        }
        sha.update(&buffer[..read]);
        at += read as u64;
        progress.advance(read as u64);
    }
}

/// Appends a body; never more than the Hub announced.
fn copy(
    body: &mut impl Read,
    file: &mut File,
    sha: &mut Sha256,
    at: &mut u64,
    size: u64,
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
        if *at + read as u64 > size {
            return Err(http::Failure::Final(format!(
                "more than the announced {size} bytes came"
            )));
        }
        file.write_all(&buffer[..read]).map_err(http::Failure::File)?;
        sha.update(&buffer[..read]);
        *at += read as u64;
        progress.advance(read as u64);
    }
}

#[cfg(test)]
mod tests;
