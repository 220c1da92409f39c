//! Fetches a checkpoint from the Hugging Face Hub into the cache that Python's `huggingface_hub` uses, or finds it
//! there.
//!
//! Requests are `HEAD` and `GET` of `ENDPOINT/REPO/resolve/REVISION/FILE`. A download is `blobs/ETAG.incomplete` until
//! its size is right, and its SHA-256 where the Hub tells one; an interrupted one goes on where it ended.

mod answer;
mod cache;
mod http;
mod partial;
mod tls;
mod uri;

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::{Error, HubFault, Progress, Result, drive, staged::folder_of};
use answer::Described;
use cache::Repository;
use http::Client;
use partial::Partial;

/// Files that hold a whole checkpoint, the best first.
const CHECKPOINTS: [&str; 3] = ["sam3.pt", "sam3.1_multiplex.pt", "model.safetensors"];
/// Attempts without a byte of progress.
const ATTEMPTS: u32 = 5;

/// What to fetch, and how.
#[derive(Clone, Debug)]
pub struct Hub {
    /// `https://huggingface.co`, or a mirror.
    pub endpoint: String,
    /// Sent to the endpoint and to huggingface.co alone, not to any other place that they redirect to.
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
    /// [`Error::Hub`] where access is denied, the network fails for good, or the digest is wrong; [`Error::Output`]
    /// where the cache cannot be written.
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
        let found = CHECKPOINTS.into_iter().find_map(|name| repository.find(revision, name));
        let needed: &[&str] = match &found {
            None => &CHECKPOINTS,
            Some(path) if path.extension().is_some_and(|extension| extension == "safetensors") => &["config.json"],
            Some(_) => &[],
        };
        if let Some((link, blob)) = needed.iter().find_map(|name| repository.find_broken(revision, name)) {
            let reason = format!(
                "{} is a link to {}, which is gone: the cache was cleaned or moved in part",
                link.display(),
                blob.display()
            );
            return Err(fault(repo, reason, HubFault::NotCached));
        }
        found.ok_or_else(|| {
            let reason = format!(
                "no checkpoint of {repo} at {revision} in {}, and the Hub must not be asked for it",
                self.cache.display()
            );
            fault(repo, reason, HubFault::NotCached)
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
            let reason = failure.to_string();
            match (&failure, repository.find(revision, name)) {
                (http::Failure::Passing { .. }, Some(path)) => {
                    let reason = format!("{reason}; it was fetched before, to {}", path.display());
                    fault(&page, reason, HubFault::UnreachableButCached)
                }
                _ => fault(&page, reason, failure.fault()),
            }
        })?;
        let Some(described) = described else {
            return Ok(None);
        };
        if let Some(path) = repository.find(&described.commit, name) {
            // The cache may be read-only; a ref that stays old costs a request.
            let _ = repository.refer(revision, &described.commit);
            return Ok(Some(path));
        }
        let blob = repository.blob(&described.key);
        if !blob.exists() {
            self.download(client, [&page, &url], &described, &blob, progress)?;
        }
        repository.refer(revision, &described.commit)?;
        repository.link(&described.commit, name, &described.key).map(Some)
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
        let Some(mut partial) = Partial::open(blob)? else {
            return Err(error(url, "another run is fetching it now: wait for it"));
        };
        // Another run may have fetched it since this one looked.
        if blob.exists() {
            partial.discard();
            return Ok(());
        }
        let mut size = described.size;
        progress.stage("fetching", size.unwrap_or(0));
        match size {
            Some(size) => {
                partial.resume(progress)?;
                drive::check_room(folder_of(blob), size.saturating_sub(partial.at))?;
            }
            // Whether what is there is all of it could not be told.
            None => partial.restart()?,
        }
        let (mut attempt, mut wait) = (0, self.patience);
        while size.is_none_or(|size| partial.at < size) {
            let before = partial.at;
            let failure = match receive(client, url, &mut partial, &mut size, progress) {
                Ok(()) => http::Failure::passing("it ended early".to_owned()),
                Err(http::Failure::Cache(error)) => return Err(error),
                Err(http::Failure::Final(reason, kind)) => return Err(fault(page, reason, kind)),
                Err(failure) => failure,
            };
            if size == Some(partial.at) {
                break;
            }
            (attempt, wait) = if partial.at > before {
                (0, self.patience)
            } else {
                (attempt + 1, wait * 2)
            };
            if attempt >= ATTEMPTS {
                let at = partial.at;
                let reason = format!(
                    "{failure}, {ATTEMPTS} times at byte {at}: check the network; the next run goes on from there"
                );
                return Err(error(url, reason));
            }
            thread::sleep(failure.wait(wait));
        }
        if let Some(reason) = described.refute(partial.at, &partial.sha256()) {
            partial.discard();
            return Err(error(url, format!("{reason}; removed, run this again")));
        }
        partial.finish(blob)
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
    fault(place, reason, HubFault::Other)
}

fn fault(place: &str, reason: impl Into<String>, fault: HubFault) -> Error {
    Error::Hub {
        place: place.to_owned(),
        reason: reason.into(),
        fault,
    }
}

/// Asks for the bytes that are missing and appends what comes; learns the size where it was unknown.
fn receive(
    client: &Client,
    url: &str,
    partial: &mut Partial,
    size: &mut Option<u64>,
    progress: &dyn Progress,
) -> Result<(), http::Failure> {
    let mut bytes = client.get(url, partial.at)?;
    if bytes.from != partial.at {
        // No ranges here: from the start.
        partial.restart().map_err(http::Failure::Cache)?;
    }
    *size = size.or(bytes.size);
    partial.append(&mut bytes.reader, *size, progress)?;
    // A body without a length is whole where it ends by itself.
    size.get_or_insert(partial.at);
    Ok(())
}

#[cfg(test)]
mod tests;
