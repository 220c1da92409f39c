//! Where `sam3 package` gets a checkpoint that is not named: flags and environment as `huggingface_hub` has them.

use std::{env, fs, path::PathBuf, time::Duration};

use sam3_package::Hub;

use crate::{failure::Failure, output::Output};

/// Used where no `--checkpoint-path` is given.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "From the Hugging Face Hub, without --checkpoint-path")]
#[group(id = "hub")]
pub struct Args {
    /// The repository
    #[arg(
        long,
        value_name = "OWNER/NAME",
        default_value = "facebook/sam3",
        conflicts_with = "checkpoint_path"
    )]
    repo: String,
    /// A branch, a tag or a commit
    #[arg(
        long,
        value_name = "REVISION",
        default_value = "main",
        conflicts_with = "checkpoint_path"
    )]
    revision: String,
    /// An access token [default: HF_TOKEN, or that of `hf auth login`]
    #[arg(long, value_name = "TOKEN", conflicts_with = "checkpoint_path")]
    token: Option<String>,
    /// Look only into the cache (HF_HOME); also HF_HUB_OFFLINE=1
    #[arg(long)]
    offline: bool,
}

impl Args {
    /// The checkpoint's path in the cache, fetched if it is not there.
    pub fn fetch(&self, output: &Output) -> anyhow::Result<PathBuf> {
        for (flag, value) in [("--repo", &self.repo), ("--revision", &self.revision)] {
            let plain = |part: &str| {
                let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                !part.is_empty() && part != "." && part != ".." && part.chars().all(known)
            };
            let parts = value.split('/').count();
            if !value.split('/').all(plain) || (flag == "--repo" && parts != 2) {
                return Err(Failure::usage(
                    format!("{flag} {value}: expected a name on the Hub"),
                    "for example --repo facebook/sam3 --revision main",
                ));
            }
        }
        let home = home()?;
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        if !["https://", "http://"]
            .iter()
            .any(|scheme| endpoint.starts_with(scheme))
        {
            return Err(Failure::usage(
                format!("HF_ENDPOINT={endpoint}: expected an address that begins with https://"),
                "unset it for https://huggingface.co",
            ));
        }
        let hub = Hub {
            endpoint,
            token: self.token.as_deref().and_then(trimmed).or_else(|| token(&home)),
            cache: set("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
            certificates: set("SSL_CERT_FILE").map(PathBuf::from),
            offline: self.offline || set("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value)),
            patience: Duration::from_secs(1),
        };
        let place = if hub.offline { "the cache" } else { &hub.endpoint };
        output.note(format!("no --checkpoint-path: {} from {place}", self.repo));
        let progress = output.progress();
        let path = hub.fetch(&self.repo, &self.revision, &progress)?;
        drop(progress);
        output.note(format!("using {}", path.display()));
        Ok(path)
    }
}

/// `HF_HOME`, else `huggingface` in the user's cache.
fn home() -> anyhow::Result<PathBuf> {
    if let Some(home) = set("HF_HOME") {
        return Ok(home.into());
    }
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
    let user = set("HOME").or_else(|| set("USERPROFILE")).map(PathBuf::from);
    match cache.or(user.map(|user| user.join(".cache"))) {
        Some(cache) => Ok(cache.join("huggingface")),
        None => Err(Failure::usage(
            "no place to keep a download: neither HF_HOME nor HOME is set",
            "set HF_HOME, or pass --checkpoint-path",
        )),
    }
}

/// From the environment, else the file that `hf auth login` writes.
fn token(home: &std::path::Path) -> Option<String> {
    let path = set("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
    let stored = || fs::read_to_string(path).ok().and_then(|token| trimmed(&token));
    let named = |name| set(name).and_then(|token| trimmed(&token));
    named("HF_TOKEN")
        .or_else(|| named("HUGGING_FACE_HUB_TOKEN"))
        .or_else(stored)
}

fn trimmed(token: &str) -> Option<String> {
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

fn set(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// As `huggingface_hub` reads switches.
fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())
}
