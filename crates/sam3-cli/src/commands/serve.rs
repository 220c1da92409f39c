//! `sam3 serve`: one model over HTTP, for many clients.

mod log;
mod sources;

use std::{
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use sam3_model::report::Loaded;
use sam3_server::{Access, RunError, Settings, Stop, StreamSource, Token};
use serde_json::json;

use self::sources::NamedSource;
use super::{decoding::DecodingFlags, segment::announce};
use crate::{args::CheckpointFlags, failure::Failure, memory, output::Output, signals};

/// Nothing that a client names is read from disk, and other machines may ask only where a token is set.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    checkpoint: CheckpointFlags,
    #[command(flatten)]
    server: ServerFlags,
    /// What the server looks at by itself, and what clients call it: a camera (gate=v4l2:///dev/video0, roof=csi://0), a
    /// stream (yard=rtsp://…), or a video file, which is shown again and again; may be repeated
    #[arg(long, value_name = "NAME=URI", value_parser = sources::parse)]
    source: Vec<NamedSource>,
    #[command(flatten)]
    decoding: DecodingFlags,
}

const LISTEN: &str = "127.0.0.1:7860";
const QUEUE: u16 = 32;
const CACHE_MB: u32 = 1024;
const VIDEOS: u16 = 8;
const VIDEO_IDLE: u32 = 300;

/// How it is served.
#[derive(Clone, Debug, clap::Args)]
struct ServerFlags {
    /// Where to listen; port 0 is any free one, which is printed
    #[arg(long, value_name = "ADDRESS:PORT", default_value = LISTEN)]
    listen: String,
    /// What clients have to send, for addresses that other machines reach; SAM3_TOKEN in the environment does the same,
    /// and other users of this machine do not see it there
    #[arg(long, value_name = "TOKEN", value_parser = parse_token, conflicts_with = "no_auth")]
    token: Option<String>,
    /// Let everyone who can connect use the server, without a token
    #[arg(long)]
    no_auth: bool,
    /// Another name of this machine that clients call it by, as behind a reverse proxy; may be repeated
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// Another server, such as `https://labels.example`, whose pages may ask; may be repeated
    #[arg(long, value_name = "ORIGIN", value_parser = parse_origin)]
    allow_origin: Vec<String>,
    /// Requests that may wait for the model; more are told to come again
    #[arg(long, value_name = "N", default_value_t = QUEUE, value_parser = clap::value_parser!(u16).range(1..))]
    queue: u16,
    /// Memory for encoded images and for what is remembered of videos, in MB; an image of SAM 3's size takes some 140
    #[arg(long, value_name = "MB", default_value_t = CACHE_MB)]
    cache_mb: u32,
    /// Videos that are followed at a time
    #[arg(long, value_name = "N", default_value_t = VIDEOS)]
    videos: u16,
    /// How long nobody sends a frame before a video is dropped, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = VIDEO_IDLE, value_parser = clap::value_parser!(u32).range(1..))]
    video_idle: u32,
}

fn parse_token(text: &str) -> Result<String, String> {
    Token::new(text)
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

fn parse_origin(text: &str) -> Result<String, String> {
    let host = ["http://", "https://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    let host = host.map(|host| host.trim_end_matches('/'));
    match host {
        Some(host) if !host.is_empty() && !host.contains('/') => Ok(text.to_owned()),
        _ => Err(format!(
            "expected a scheme and a host, such as https://labels.example, found {text:?}"
        )),
    }
}

/// Runs the command: until a signal ends it.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<()> {
    let loading = args.clone();
    let say = *output;
    let streams = sources::streams(&args.source, &args.decoding)?;
    serve(&args.server, streams, output, move || load(&loading, &say))
}

/// Serves what `load` loads.
fn serve(
    flags: &ServerFlags,
    streams: Vec<StreamSource>,
    output: &Output,
    load: impl FnOnce() -> anyhow::Result<Loaded> + Send + 'static,
) -> anyhow::Result<()> {
    let address = flags.address()?;
    let mut settings = Settings::new(flags.access(address, output)?);
    settings.queue = flags.queue.into();
    settings.cache = u64::from(flags.cache_mb) * 1_000_000;
    settings.videos = flags.videos.into();
    settings.video_idle = Duration::from_secs(flags.video_idle.into());
    settings.streams = streams;
    settings.release = Arc::new(memory::release_buffers);
    let listener = TcpListener::bind(address).map_err(|error| flags.cannot_listen(&error))?;
    let address = listener.local_addr()?;
    log::install(*output);
    let stop = Stop::default();
    let at_signal = stop.clone();
    signals::at_first(move || at_signal.stop());
    let url = format!("http://{address}");
    output.record(&json!({"url": url}), &format!("listening on {url}\n"))?;
    sam3_server::run(listener, settings, &stop, load).map_err(|error| match error {
        RunError::Load(error) => error,
        other => Failure::environment(
            other.to_string(),
            "`ulimit -a` shows the limits on threads and open files",
        ),
    })
}

/// For this machine alone, with what `load` loads.
pub fn serve_here(
    output: &Output,
    load: impl FnOnce() -> anyhow::Result<Loaded> + Send + 'static,
) -> anyhow::Result<()> {
    let flags = ServerFlags {
        listen: LISTEN.to_owned(),
        token: None,
        no_auth: false,
        allow_host: Vec::new(),
        allow_origin: Vec::new(),
        queue: QUEUE,
        cache_mb: CACHE_MB,
        videos: VIDEOS,
        video_idle: VIDEO_IDLE,
    };
    serve(&flags, Vec::new(), output, load)
}

fn load(args: &Args, output: &Output) -> anyhow::Result<Loaded> {
    let device = args.checkpoint.device(output)?;
    let dict = args.checkpoint.open()?;
    let options = args.checkpoint.options(&dict, &device);
    let loaded = Loaded::load(dict, &options)?;
    announce(&loaded, output);
    Ok(loaded)
}

impl ServerFlags {
    fn address(&self) -> anyhow::Result<SocketAddr> {
        let found = self.listen.to_socket_addrs().ok().and_then(|mut found| found.next());
        found.ok_or_else(|| {
            Failure::usage(
                format!(
                    "--listen {}: expected an address of this machine and a port",
                    self.listen
                ),
                "such as 127.0.0.1:7860, [::1]:7860, or 0.0.0.0:7860 for all addresses",
            )
        })
    }

    fn cannot_listen(&self, error: &std::io::Error) -> anyhow::Error {
        Failure::environment(
            format!("--listen {}: {error}", self.listen),
            "another program may have that port, or the address is not this machine's: `ss -ltnp` lists what listens",
        )
    }

    /// Who may ask: other machines only with a token, or where everyone explicitly may.
    fn access(&self, address: SocketAddr, output: &Output) -> anyhow::Result<Access> {
        let mut access = Access::listening_on(address.ip());
        let typed = self.listen.rsplit_once(':').map(|(host, _)| host);
        for name in typed.into_iter().chain(self.allow_host.iter().map(String::as_str)) {
            access = access.host(name);
        }
        for origin in &self.allow_origin {
            access = access.origin(origin);
        }
        let of_environment = || std::env::var("SAM3_TOKEN").ok().filter(|token| !token.is_empty());
        let token = match self.no_auth {
            true => None,
            false => self.token.clone().or_else(of_environment),
        };
        if let Some(token) = token {
            let token = Token::new(token).map_err(|error| {
                Failure::usage(
                    format!("SAM3_TOKEN: {error}"),
                    "`openssl rand -hex 16` makes a good one",
                )
            })?;
            return Ok(access.token(token)?);
        }
        if !address.ip().is_loopback() {
            if !self.no_auth {
                return Err(Failure::usage(
                    format!(
                        "--listen {}: other machines reach this address, and could use the server",
                        self.listen
                    ),
                    "set a token, as SAM3_TOKEN in the environment or by --token; or let everyone in by --no-auth",
                ));
            }
            output.warn(format!(
                "--no-auth: everyone who reaches {} may use the server",
                self.listen
            ));
        }
        Ok(access)
    }
}
