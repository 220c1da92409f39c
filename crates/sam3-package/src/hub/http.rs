//! The two requests that the Hub has to answer, and what its refusals mean.

use std::{fmt, io, io::Read, path::Path, sync::Arc, time::Duration};

use ureq::{
    Agent, Body,
    config::RedirectAuthHeaders,
    http::{Response, StatusCode},
    tls::{PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem},
};

use super::Hub;
use crate::{Error, Result};

/// The longest wait that a server is granted; the Hub's limits are counted by five minutes.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// A file as the Hub describes it.
#[derive(Debug)]
pub(super) struct Described {
    pub commit: String,
    /// SHA-256 of a large file, a git digest of a small one.
    pub etag: String,
    pub size: u64,
}

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Trying again may help, after a while where the server says so.
    Passing { reason: String, after: Option<Duration> },
    /// It will not.
    Final(String),
    /// The cache cannot be written.
    File(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passing { reason, .. } | Self::Final(reason) => f.write_str(reason),
            Self::File(error) => error.fmt(f),
        }
    }
}

impl Failure {
    pub fn passing(reason: String) -> Self {
        Self::Passing { reason, after: None }
    }

    /// How long to wait before trying again, where one would wait `usual` of one's own accord.
    pub fn wait(&self, usual: Duration) -> Duration {
        match self {
            Self::Passing { after: Some(after), .. } => usual.max(*after),
            _ => usual,
        }
    }
}

/// Speaks to one endpoint.
pub(super) struct Client {
    /// Stops at a redirect to another host: the headers wanted are the Hub's own.
    describing: Agent,
    fetching: Agent,
    authorization: Option<String>,
    endpoint: String,
}

impl Client {
    pub fn new(hub: &Hub) -> Result<Self> {
        let https = hub.endpoint.starts_with("https://");
        if !https && !hub.endpoint.starts_with("http://") {
            let reason = "expected an address that begins with https://, such as https://huggingface.co".to_owned();
            return Err(Error::Hub {
                place: hub.endpoint.clone(),
                reason,
            });
        }
        if https && !can_encrypt() {
            let reason = "this processor lacks the instructions that TLS needs here (AES, AVX2, ADX): fetch the \
                          checkpoint on another machine and pass --checkpoint-path"
                .to_owned();
            return Err(Error::Hub {
                place: hub.endpoint.clone(),
                reason,
            });
        }
        let roots = match &hub.certificates {
            Some(path) if https => trusted(path)?,
            _ => RootCerts::WebPki,
        };
        let agent = |redirects| {
            let tls = TlsConfig::builder()
                .provider(TlsProvider::Rustls)
                .root_certs(roots.clone())
                .unversioned_rustls_crypto_provider(Arc::new(rustls_graviola::default_provider()));
            Agent::config_builder()
                .tls_config(tls.build())
                .http_status_as_error(false)
                .max_redirects(redirects)
                .max_redirects_will_error(redirects > 0)
                .redirect_auth_headers(RedirectAuthHeaders::SameHost)
                .user_agent(concat!("sam3/", env!("CARGO_PKG_VERSION")))
                .timeout_connect(Some(Duration::from_secs(15)))
                .timeout_recv_response(Some(Duration::from_secs(60)))
                .timeout_per_read(Some(Duration::from_secs(60)))
                .build()
                .new_agent()
        };
        Ok(Self {
            describing: agent(0),
            fetching: agent(10),
            authorization: hub.token.as_ref().map(|token| format!("Bearer {}", token.trim())),
            endpoint: hub.endpoint.trim_end_matches('/').to_owned(),
        })
    }

    /// Asks what a file is; `None` where the repository has none of the name.
    pub fn describe(&self, url: &str) -> Result<Option<Described>, Failure> {
        let mut url = url.to_owned();
        for _ in 0..10 {
            let request = self.authorized(self.describing.head(&url), &url);
            let response = request.header("Accept-Encoding", "identity").call().map_err(passing)?;
            let status = response.status();
            let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
            let etag = header("x-linked-etag").or(header("etag"));
            if status == StatusCode::NOT_FOUND && header("x-error-code") == Some("EntryNotFound") {
                return Ok(None);
            }
            // A renamed repository answers with its new place, a large file with a place elsewhere.
            let moved = header("location").filter(|_| status.is_redirection() && header("x-linked-etag").is_none());
            if let Some(location) = moved {
                url = match location.strip_prefix('/') {
                    Some(path) => format!("{}/{path}", self.endpoint),
                    None => location.to_owned(),
                };
                continue;
            }
            if !status.is_success() && !status.is_redirection() {
                return Err(self.refusal(&response));
            }
            let size = header("x-linked-size")
                .or(header("content-length"))
                .and_then(|size| size.parse().ok());
            let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
            // They become names in the cache.
            let plain = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let (Some(commit), Some(etag), Some(size)) =
                (header("x-repo-commit").filter(plain), etag.filter(plain), size)
            else {
                return Err(Failure::Final(
                    "the answer is not a Hub's: check HF_ENDPOINT".to_owned(),
                ));
            };
            return Ok(Some(Described {
                commit: commit.to_owned(),
                etag: etag.to_owned(),
                size,
            }));
        }
        Err(Failure::Final(format!("redirected in circles, at last to {url}")))
    }

    /// Asks for a file's bytes from `from` on; returns them and where they begin.
    pub fn get(&self, url: &str, from: u64) -> Result<(impl Read + use<>, u64), Failure> {
        let mut request = self
            .authorized(self.fetching.get(url), url)
            .header("Accept-Encoding", "identity");
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        let response = request.call().map_err(passing)?;
        let begins = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT => {
                // `bytes 100-199/200`
                let range = response.headers().get("content-range");
                let start = range.and_then(|range| {
                    range
                        .to_str()
                        .ok()?
                        .strip_prefix("bytes ")?
                        .split('-')
                        .next()?
                        .parse()
                        .ok()
                });
                match start.unwrap_or(from) {
                    start if start == from || start == 0 => start,
                    start => {
                        let reason = format!("asked for the bytes from {from} on, received those from {start} on");
                        return Err(Failure::passing(reason));
                    }
                }
            }
            _ => return Err(self.refusal(&response)),
        };
        Ok((response.into_body().into_reader(), begins))
    }

    fn authorized<T>(&self, request: ureq::RequestBuilder<T>, url: &str) -> ureq::RequestBuilder<T> {
        match &self.authorization {
            Some(value) if url.starts_with(&format!("{}/", self.endpoint)) => request.header("Authorization", value),
            _ => request,
        }
    }

    /// What a status says, and what to do about it.
    fn refusal(&self, response: &Response<Body>) -> Failure {
        let status = response.status();
        let code = response
            .headers()
            .get("x-error-code")
            .and_then(|value| value.to_str().ok());
        let token = if self.authorization.is_some() {
            "the token sent has no access"
        } else {
            "no token was sent"
        };
        let login = "then pass --token, set HF_TOKEN or run `hf auth login`";
        match (status.as_u16(), code) {
            (_, Some("GatedRepo")) => {
                Failure::Final(format!("it is gated and {token}: ask for access on that page, {login}"))
            }
            (401 | 403, _) => Failure::Final(format!(
                "access was denied ({status}; {token}): check the name, ask for access on that page, {login}"
            )),
            (404, Some("RevisionNotFound")) => Failure::Final("it has no such revision: check --revision".to_owned()),
            (404, _) => Failure::Final("it does not exist: check --repo and --revision".to_owned()),
            (408 | 425 | 429 | 500..=599, _) => {
                // In seconds; the other form, a date, is left to the usual wait.
                let after = response.headers().get("retry-after");
                let after = after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
                let reason = format!("the server answered {status}");
                match after.map(Duration::from_secs) {
                    Some(after) if after > MAX_WAIT => Failure::Final(format!(
                        "{reason} and asks to wait {} s: run this again then",
                        after.as_secs()
                    )),
                    after => Failure::Passing { reason, after },
                }
            }
            _ => Failure::Final(format!("the server answered {status}")),
        }
    }
}

/// The certificates of a PEM file.
fn trusted(path: &Path) -> Result<RootCerts> {
    let pem = std::fs::read(path).map_err(|error| Error::io("read", path, error))?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        let reason =
            "SSL_CERT_FILE names it, but it holds no certificate: expected PEM, \"-----BEGIN CERTIFICATE-----\"";
        return Err(Error::invalid(path, reason));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

fn passing(error: ureq::Error) -> Failure {
    match error {
        ureq::Error::BadUri(_) | ureq::Error::InvalidProxyUrl | ureq::Error::TooManyRedirects => {
            Failure::Final(error.to_string())
        }
        // A wrong certificate stays wrong.
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => untrusted(&error),
        // It may also come wrapped.
        ureq::Error::Io(ref inner) if inner.to_string().contains("invalid peer certificate") => untrusted(&error),
        ureq::Error::Http(_) => Failure::Final(format!("the request cannot be made ({error}): check the token")),
        error => Failure::passing(format!(
            "no answer ({error}): check the network, or pass --checkpoint-path"
        )),
    }
}

fn untrusted(error: &ureq::Error) -> Failure {
    Failure::Final(format!(
        "{error}: a proxy with certificates of its own needs SSL_CERT_FILE to name them"
    ))
}

/// True where the processor has what the TLS library's assembly is written in; it asserts that itself, by a panic.
fn can_encrypt() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("adx");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("neon")
        && std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull")
        && std::arch::is_aarch64_feature_detected!("sha2");
}
