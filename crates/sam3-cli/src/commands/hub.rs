//! Where `sam3 package` gets a checkpoint that is not named: flags and environment as `huggingface_hub` has them.

mod environment;

use std::{path::PathBuf, time::Duration};

use sam3_package::Hub;

use self::environment::{Environment, trimmed};
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
        let environment = Environment::of_process();
        let endpoint = environment.text("HF_ENDPOINT");
        let endpoint = endpoint.unwrap_or_else(|| "https://huggingface.co".to_owned());
        if !["https://", "http://"]
            .iter()
            .any(|scheme| endpoint.to_lowercase().starts_with(scheme))
        {
            return Err(Failure::usage(
                format!("HF_ENDPOINT={endpoint}: expected an address that begins with https://"),
                "unset it for https://huggingface.co",
            ));
        }
        let offline = self.offline || environment.is_offline();
        let hub = Hub {
            endpoint,
            token: match self.token.as_deref().and_then(trimmed) {
                None if !offline => environment.token()?,
                token => token,
            },
            cache: environment.cache()?,
            certificates: environment.set("SSL_CERT_FILE").map(PathBuf::from),
            offline,
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
