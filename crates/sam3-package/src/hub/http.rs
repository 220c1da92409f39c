//! The two requests that the Hub has to answer, where their answers lead, and what its refusals mean.

use std::{fmt, io::Read, path::Path, time::Duration};

use ureq::{
    Agent, Body, RequestBuilder,
    http::{Response, StatusCode},
    tls::{PemItem, RootCerts, parse_pem},
    typestate::WithoutBody,
};

use super::{
    Hub,
    answer::{self, Described},
    tls,
    uri::{self, Origin},
};
use crate::{Error, HubFault, Result};

/// The longest time that a server may ask to wait. The Hub counts its limits in windows of five minutes.
const MAX_WAIT: Duration = Duration::from_secs(300);
/// More redirects than this are taken for a circle.
const MAX_REDIRECTS: u32 = 10;
/// The Hub's own addresses, which get the token as the endpoint does: the token is theirs, and a mirror may redirect to
/// them.
const HUBS: [&str; 2] = ["https://huggingface.co", "https://hf.co"];

const NO_TLS: &str = "this processor lacks the instructions that TLS needs here (on x86-64 AES, AVX2 and ADX, on \
                      ARM AES and SHA2)";

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Trying again may help, after a while where the server says so.
    Passing {
        reason: String,
        fault: HubFault,
        after: Option<Duration>,
    },
    /// It will not.
    Final(String, HubFault),
    /// The cache cannot be written.
    Cache(Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passing { reason, .. } | Self::Final(reason, _) => f.write_str(reason),
            Self::Cache(error) => error.fmt(f),
        }
    }
}

impl Failure {
    pub fn passing(reason: String) -> Self {
        Self::Passing {
            reason,
            fault: HubFault::Other,
            after: None,
        }
    }

    /// One that lasts, and whose reason says what to do.
    pub fn lasting(reason: impl Into<String>) -> Self {
        Self::Final(reason.into(), HubFault::Other)
    }

    /// Of which kind it is.
    pub fn fault(&self) -> HubFault {
        match self {
            Self::Passing { fault, .. } | Self::Final(_, fault) => *fault,
            Self::Cache(_) => HubFault::Other,
        }
    }

    /// How long to wait before trying again, where one would wait `usual` of one's own accord.
    pub fn wait(&self, usual: Duration) -> Duration {
        match self {
            Self::Passing { after: Some(after), .. } => usual.max(*after),
            _ => usual,
        }
    }
}

/// Bytes of a file under way.
pub(super) struct Bytes {
    pub reader: Box<dyn Read>,
    /// Where in the file they begin.
    pub from: u64,
    /// The size of the whole file, where the server tells it.
    pub size: Option<u64>,
}

/// Speaks to one endpoint.
pub(super) struct Client {
    /// Follows nothing by itself: where a redirect leads decides whether the token goes along.
    agent: Agent,
    /// False on a processor without the instructions for it.
    encrypts: bool,
    authorization: Option<String>,
    endpoint: Origin,
}

impl Client {
    pub fn new(hub: &Hub) -> Result<Self> {
        let refused = |reason: &str, fault| Error::Hub {
            place: hub.endpoint.clone(),
            reason: reason.to_owned(),
            fault,
        };
        let Some(endpoint) = Origin::of(&hub.endpoint) else {
            return Err(refused(
                "expected an address that begins with https://, such as https://huggingface.co",
                HubFault::Other,
            ));
        };
        let roots = match &hub.certificates {
            Some(path) => trusted(path)?,
            None => RootCerts::WebPki,
        };
        let tls = tls::config(roots);
        if endpoint.is_encrypted() && tls.is_none() {
            return Err(refused(NO_TLS, HubFault::NoEncryption));
        }
        let encrypts = tls.is_some();
        let agent = Agent::config_builder()
            .tls_config(tls.unwrap_or_default())
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("sam3/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .build()
            .new_agent();
        Ok(Self {
            agent,
            encrypts,
            authorization: hub.token.as_ref().map(|token| format!("Bearer {}", token.trim())),
            endpoint,
        })
    }

    /// Asks what a file is; `None` where the repository has none of the name.
    pub fn describe(&self, asked: &str) -> Result<Option<Described>, Failure> {
        let mut url = asked.to_owned();
        let mut commit = None;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.ask(self.agent.head(&url), &url)?;
            let (status, headers) = (response.status(), response.headers());
            let code = headers.get("x-error-code");
            if status == StatusCode::NOT_FOUND && code.is_some_and(|code| code == "EntryNotFound") {
                return Ok(None);
            }
            let next = redirection(&response, &url)?;
            if let Some(next) = next.as_deref()
                && (self.may_know_token(next) || !Described::is_in(headers))
            {
                // A renamed repository, or a mirror; where a large file lies elsewhere, the headers here describe it.
                commit = answer::repo_commit(headers).or(commit);
                url = next.to_owned();
                continue;
            }
            if next.is_none() && status == StatusCode::NOT_FOUND && url != asked && self.may_know_token(&url) {
                let reason = format!("it redirects to {url}, which does not exist: check HF_ENDPOINT");
                return Err(Failure::Final(reason, HubFault::NoRepository));
            }
            if next.is_none() && !status.is_success() {
                return Err(self.refusal(&response, &url));
            }
            let described = Described::of(headers, commit, next.is_some(), self.may_know_token(&url));
            return described.map(Some).map_err(|reason| {
                let place = Origin::of(&url).map_or(url, |origin| origin.to_string());
                Failure::lasting(format!("the answer of {place} is not a Hub's: {reason}"))
            });
        }
        Err(circle(&url))
    }

    /// Asks for a file's bytes from `from` on.
    pub fn get(&self, url: &str, from: u64) -> Result<Bytes, Failure> {
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.agent.get(&url);
            if from > 0 {
                request = request.header("Range", format!("bytes={from}-"));
            }
            let response = self.ask(request, &url)?;
            match redirection(&response, &url)? {
                Some(next) => url = next,
                None => return self.bytes(response, &url, from),
            }
        }
        Err(circle(&url))
    }

    fn bytes(&self, response: Response<Body>, url: &str, wanted: u64) -> Result<Bytes, Failure> {
        let headers = response.headers();
        let (from, size) = match response.status() {
            StatusCode::OK => (0, answer::number(headers, "content-length")),
            StatusCode::PARTIAL_CONTENT => {
                let range = headers.get("content-range").and_then(|range| range.to_str().ok());
                match range.map(content_range) {
                    Some((from, size)) if from == Some(wanted) || from == Some(0) => (from.unwrap_or(0), size),
                    None | Some((None, _)) => (wanted, None),
                    Some((Some(from), _)) => {
                        let reason = format!("asked for the bytes from {wanted} on, received those from {from} on");
                        return Err(Failure::passing(reason));
                    }
                }
            }
            // An address of the Hub's storage is valid for minutes only; asking the Hub again gives another.
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) if !self.may_know_token(url) => {
                let place = Origin::of(url).map_or(url.to_owned(), |origin| origin.to_string());
                return Err(Failure::passing(format!(
                    "{place}, where the bytes lie, answered {status}"
                )));
            }
            _ => return Err(self.refusal(&response, url)),
        };
        if headers
            .get("content-encoding")
            .is_some_and(|encoding| encoding != "identity")
        {
            let reason = "the bytes came compressed, which was not asked for: check HF_ENDPOINT and the proxy";
            return Err(Failure::lasting(reason));
        }
        Ok(Bytes {
            reader: Box::new(response.into_body().into_reader()),
            from,
            size,
        })
    }

    /// Sends a request; adds the token for the servers that may know it.
    fn ask(&self, mut request: RequestBuilder<WithoutBody>, url: &str) -> Result<Response<Body>, Failure> {
        if !self.encrypts && Origin::of(url).is_some_and(|origin| origin.is_encrypted()) {
            return Err(Failure::Final(NO_TLS.to_owned(), HubFault::NoEncryption));
        }
        if let Some(value) = self.authorization.as_ref().filter(|_| self.may_know_token(url)) {
            request = request.header("Authorization", value);
        }
        request.header("Accept-Encoding", "identity").call().map_err(failed)
    }

    /// True for the endpoint and for the Hub itself.
    fn may_know_token(&self, url: &str) -> bool {
        let is_hub = |origin: &Origin| HUBS.into_iter().any(|hub| Origin::of(hub).as_ref() == Some(origin));
        Origin::of(url).is_some_and(|origin| origin == self.endpoint || is_hub(&origin))
    }

    /// What a status says, and what to do about it.
    fn refusal(&self, response: &Response<Body>, url: &str) -> Failure {
        let status = response.status();
        let code = response.headers().get("x-error-code");
        let code = code.and_then(|value| value.to_str().ok());
        let denied = matches!(status.as_u16(), 401 | 403 | 404) || code == Some("GatedRepo");
        if denied && !self.may_know_token(url) {
            return self.denied_elsewhere(status, url);
        }
        let token = if self.authorization.is_some() {
            "the token sent has no access"
        } else {
            "no token was sent"
        };
        match (status.as_u16(), code) {
            (_, Some("GatedRepo")) => Failure::Final(format!("it is gated and {token}"), HubFault::Denied),
            (401 | 403, _) => {
                let reason = format!("access was denied ({status}; {token}), or there is nothing of that name");
                Failure::Final(reason, HubFault::Denied)
            }
            (404, Some("RevisionNotFound")) => {
                Failure::Final("it has no such revision".to_owned(), HubFault::NoRevision)
            }
            (404, _) => Failure::Final("it does not exist".to_owned(), HubFault::NoRepository),
            (408 | 425 | 429 | 500..=599, _) => {
                // In seconds; the other form, a date, is left to the usual wait.
                let after = answer::number(response.headers(), "retry-after");
                let reason = format!("the server answered {status}");
                match after.map(Duration::from_secs) {
                    Some(after) if after > MAX_WAIT => Failure::lasting(format!(
                        "{reason} and asks to wait {} s: run this again then",
                        after.as_secs()
                    )),
                    after => Failure::Passing {
                        reason,
                        fault: HubFault::Other,
                        after,
                    },
                }
            }
            _ => Failure::lasting(format!("the server answered {status}")),
        }
    }

    /// A refusal by a server that the endpoint redirects to. It did not get the token.
    fn denied_elsewhere(&self, status: StatusCode, url: &str) -> Failure {
        let (endpoint, place) = (
            &self.endpoint,
            Origin::of(url).map_or(url.to_owned(), |o| o.to_string()),
        );
        match self.authorization {
            Some(_) => Failure::lasting(format!(
                "{endpoint} redirects to {place}, which answered {status}; the token was not sent there, as it is for \
                 {endpoint} alone: set HF_ENDPOINT to {place} if the token is meant for it"
            )),
            None => {
                let reason =
                    format!("{endpoint} redirects to {place}, which answered {status}; no token was sent to {place}");
                Failure::Final(reason, HubFault::DeniedElsewhere)
            }
        }
    }
}

/// Where a redirect leads; `None` where the answer is none.
fn redirection(response: &Response<Body>, url: &str) -> Result<Option<String>, Failure> {
    let status = response.status();
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = response.headers().get("location") else {
        return Err(Failure::lasting(format!(
            "the server answered {status} and no place to go to"
        )));
    };
    let next = uri::resolve(url, &uri::encoded(location.as_bytes()));
    match Origin::of(&next) {
        Some(_) => Ok(Some(next)),
        None => Err(Failure::lasting(format!(
            "the server redirects to {next}: expected an address that begins with https://"
        ))),
    }
}

fn circle(url: &str) -> Failure {
    Failure::lasting(format!("redirected more than {MAX_REDIRECTS} times, at last to {url}"))
}

/// `bytes 100-199/200`: the first byte and the size of the whole.
fn content_range(range: &str) -> (Option<u64>, Option<u64>) {
    let range = range.trim().strip_prefix("bytes ").unwrap_or_default();
    let (bytes, size) = range.split_once('/').unwrap_or((range, ""));
    let from = bytes.split('-').next().and_then(|from| from.trim().parse().ok());
    (from, size.trim().parse().ok())
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
        return Err(Error::Hub {
            place: path.display().to_string(),
            reason:
                "SSL_CERT_FILE names it, but it holds no certificate: expected PEM, \"-----BEGIN CERTIFICATE-----\""
                    .to_owned(),
            fault: HubFault::Other,
        });
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

fn failed(error: ureq::Error) -> Failure {
    match error {
        ureq::Error::BadUri(_) | ureq::Error::InvalidProxyUrl => Failure::lasting(error.to_string()),
        // A wrong certificate stays wrong.
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => untrusted(&error),
        // It may also come wrapped.
        ureq::Error::Io(ref inner) if inner.to_string().contains("invalid peer certificate") => untrusted(&error),
        ureq::Error::Http(_) => Failure::lasting(format!("the request cannot be made ({error}): check the token")),
        error => Failure::Passing {
            reason: format!("no answer ({error})"),
            fault: HubFault::Unreachable,
            after: None,
        },
    }
}

fn untrusted(error: &ureq::Error) -> Failure {
    Failure::lasting(format!(
        "{error}: a proxy with certificates of its own needs SSL_CERT_FILE to name them"
    ))
}
