//! Who may ask: by name of the host, by page, by token.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use subtle::ConstantTimeEq;

use crate::{body::discard, failure::Failure};

/// A header that carries the token, as X-AnyLabeling's clients send it.
const TOKEN_HEADER: &str = "token";
/// The page's cookie.
const COOKIE: &str = "sam3_session";
/// What a browser may do with our pages: nothing that comes from elsewhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
                                       media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                                       frame-ancestors 'none'";

/// Who may ask.
#[derive(Clone)]
pub struct Access(Arc<Rules>);

struct Rules {
    /// Names in lower case, without port.
    hosts: Vec<String>,
    /// Whether an address in place of a name is taken.
    any_address: bool,
    /// Such as `https://labels.example`.
    origins: Vec<String>,
    token: Option<Secret>,
}

struct Secret {
    token: String,
    /// What the page's cookie holds in place of the token; another one each run.
    session: String,
}

/// A password for the whole server.
#[derive(Clone)]
pub struct Token(String);

/// Why a text is no token.
#[derive(Debug, thiserror::Error)]
#[error("expected at least {} visible ASCII characters without spaces", Token::SHORTEST)]
pub struct WeakToken;

impl Token {
    /// Characters of the shortest one.
    pub const SHORTEST: usize = 8;

    /// # Errors
    /// When it is short enough to be guessed, or could not be sent in a header.
    pub fn new(text: impl Into<String>) -> Result<Self, WeakToken> {
        let text = text.into();
        let is_token = text.len() >= Self::SHORTEST && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_token.then_some(Self(text)).ok_or(WeakToken)
    }
}

impl Access {
    /// For clients that call the server by the address that it listens on, or by `localhost` where that is the
    /// machine's own. A browser sends the name that its page came from: a page whose name leads here by trickery is
    /// turned away.
    pub fn listening_on(address: IpAddr) -> Self {
        let mut hosts = vec![address.to_string()];
        if address.is_loopback() || address.is_unspecified() {
            hosts.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        }
        Self(Arc::new(Rules {
            hosts,
            any_address: address.is_unspecified(),
            origins: Vec::new(),
            token: None,
        }))
    }

    fn with(self, change: impl FnOnce(&mut Rules)) -> Self {
        let mut rules = Arc::into_inner(self.0).expect("nobody shares what is being built");
        change(&mut rules);
        Self(Arc::new(rules))
    }

    /// By this name of the machine too.
    pub fn host(self, name: &str) -> Self {
        self.with(|rules| rules.hosts.push(name.to_ascii_lowercase()))
    }

    /// From pages of another server too, such as `https://labels.example`.
    pub fn origin(self, origin: &str) -> Self {
        self.with(|rules| rules.origins.push(origin.trim_end_matches('/').to_ascii_lowercase()))
    }

    /// For who knows this token alone.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn token(self, token: Token) -> std::io::Result<Self> {
        let session = random_hex()?;
        Ok(self.with(|rules| {
            rules.token = Some(Secret {
                token: token.0,
                session,
            })
        }))
    }

    /// Whether a token is asked for.
    pub fn has_token(&self) -> bool {
        self.0.token.is_some()
    }

    fn check_host(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let refused = |message: &str| Err(Failure::forbidden("host", message));
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) else {
            return refused("a request names one host that it is for");
        };
        let name = without_port(host).to_ascii_lowercase();
        let rules = &*self.0;
        if rules.hosts.contains(&name) || rules.any_address && name.parse::<IpAddr>().is_ok() {
            return Ok(());
        }
        refused("this server is not known by that name; --allow-host tells it one")
    }

    /// The page that a browser asks for, where it is not one of ours and is admitted.
    fn check_origin(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, Failure> {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return Ok(None);
        };
        let text = origin.to_str().unwrap_or_default().to_ascii_lowercase();
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        let own = ["http://", "https://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        if own.is_some_and(|own| own.eq_ignore_ascii_case(host)) {
            return Ok(None);
        }
        if self.0.origins.contains(&text) {
            return Ok(Some(origin.clone()));
        }
        Err(Failure::forbidden(
            "origin",
            "pages of other servers may not ask; --allow-origin names one that may",
        ))
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let Some(secret) = &self.0.token else {
            return Ok(());
        };
        let is = |given: &str, expected: &str| bool::from(given.as_bytes().ct_eq(expected.as_bytes()));
        let by_token = given_token(headers).is_some_and(|given| is(&given, &secret.token));
        let by_cookie = cookie(headers).is_some_and(|given| is(given, &secret.session));
        if by_token || by_cookie {
            return Ok(());
        }
        Err(Failure::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "this server asks for its token, as Authorization: Bearer, as a Basic password, or as the header Token",
        ))
    }

    /// The cookie that stands for the token, for who has just shown that: nothing where there is no token.
    pub fn cookie(&self) -> Option<HeaderValue> {
        let session = &self.0.token.as_ref()?.session;
        let cookie = format!("{COOKIE}={session}; Path=/; HttpOnly; SameSite=Strict");
        HeaderValue::try_from(cookie).ok()
    }

    /// What makes a browser forget it.
    pub fn no_cookie() -> HeaderValue {
        HeaderValue::from_static("sam3_session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")
    }
}

/// 128 random bits.
pub fn random_hex() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// `[::1]:80` and `name:80` without the port, an address without its brackets.
fn without_port(host: &str) -> &str {
    if let Some(address) = host.strip_prefix('[') {
        return address.split(']').next().unwrap_or_default();
    }
    host.split(':').next().unwrap_or_default()
}

fn given_token(headers: &HeaderMap) -> Option<String> {
    if let Some(token) = headers.get(TOKEN_HEADER) {
        return token.to_str().ok().map(str::to_owned);
    }
    let (scheme, given) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let given = given.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(given.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(given).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut cookies = cookies.flat_map(|value| value.split(';'));
    cookies.find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// What anybody may read who may connect: the page, which has nothing in it, and whether the server lives.
fn is_open(method: &Method, path: &str) -> bool {
    let is_read = method == Method::GET || method == Method::HEAD;
    is_read && (matches!(path, "/" | "/health" | "/ready" | "/openapi.json") || path.starts_with("/page/"))
}

/// Lets through who may ask, and tells browsers what they may do with the answer.
pub async fn guard(State(access): State<Access>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let checked = access.check_host(headers).and_then(|()| access.check_origin(headers));
    let (mut response, origin) = match checked {
        Err(failure) => (refuse(request, failure).await, None),
        // A browser asks before it sends what a page of another server wants sent, without the token.
        Ok(Some(origin)) if request.method() == Method::OPTIONS => (preflight(), Some(origin)),
        Ok(origin) => {
            let is_open = is_open(request.method(), request.uri().path());
            let response = match access.check_token(headers) {
                Err(failure) if !is_open => refuse(request, failure).await,
                _ => next.run(request).await,
            };
            (response, origin)
        }
    };
    let is_refused = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    if is_refused {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    } else {
        let policy = HeaderName::from_static("cross-origin-resource-policy");
        headers.insert(policy, HeaderValue::from_static("same-origin"));
    }
    response
}

async fn refuse(request: Request, failure: Failure) -> Response {
    let (parts, body) = request.into_parts();
    discard(&parts.headers, body).await;
    failure.into_response()
}

fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, token",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn hosts_are_those_of_the_listener_and_those_that_were_named() {
        let loopback = || Access::listening_on("127.0.0.1".parse().unwrap());
        let everywhere = || Access::listening_on("0.0.0.0".parse().unwrap());
        for (access, host, taken) in [
            (loopback(), "127.0.0.1:7860", true),
            (loopback(), "LocalHost", true),
            (loopback(), "[::1]:7860", true),
            (loopback(), "192.168.1.5:7860", false),
            (loopback(), "localhost.evil.example:7860", false),
            (loopback(), "evil.example", false),
            (loopback(), "", false),
            (loopback().host("Jetson.local"), "jetson.local:7860", true),
            (everywhere(), "192.168.1.5:7860", true),
            (everywhere(), "[fe80::1]", true),
            (everywhere(), "jetson.local", false),
            (everywhere(), "localhost:9", true),
        ] {
            assert_eq!(
                access.check_host(&headers(&[("host", host)])).is_ok(),
                taken,
                "{host:?}"
            );
        }
        assert!(loopback().check_host(&headers(&[])).is_err(), "no host at all");
        let two = headers(&[("host", "localhost"), ("host", "evil.example")]);
        assert!(loopback().check_host(&two).is_err(), "two");
    }

    #[test]
    fn pages_are_our_own_or_those_that_were_named() {
        let access = Access::listening_on("127.0.0.1".parse().unwrap()).origin("https://labels.example/");
        for (origin, taken) in [
            ("http://localhost:7860", true),
            ("https://localhost:7860", true),
            ("https://labels.example", true),
            ("http://labels.example", false),
            ("http://localhost:8000", false),
            ("null", false),
            ("http://evil.example", false),
        ] {
            let found = access.check_origin(&headers(&[("host", "localhost:7860"), ("origin", origin)]));
            assert_eq!(found.is_ok(), taken, "{origin}");
        }
    }

    #[test]
    fn the_token_comes_in_any_of_four_ways() {
        let token = || Token::new("correct-horse").unwrap();
        let access = Access::listening_on("127.0.0.1".parse().unwrap())
            .token(token())
            .unwrap();
        let session = access.0.token.as_ref().unwrap().session.clone();
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (name, value, taken) in [
            ("authorization", "Bearer correct-horse".to_owned(), true),
            ("authorization", "bearer correct-horse".to_owned(), true),
            ("authorization", "Bearer correct-hors".to_owned(), false),
            ("authorization", "Bearer correct-horse2".to_owned(), false),
            ("authorization", "correct-horse".to_owned(), false),
            ("authorization", basic("anyone:correct-horse"), true),
            ("authorization", basic("correct-horse:"), false),
            ("authorization", basic("correct-horse"), false),
            ("token", "correct-horse".to_owned(), true),
            ("token", String::new(), false),
            ("cookie", format!("a=b; sam3_session={session}"), true),
            ("cookie", "sam3_session=correct-horse".to_owned(), false),
            ("cookie", "sam3_session=".to_owned(), false),
        ] {
            assert_eq!(
                access.check_token(&headers(&[(name, &value)])).is_ok(),
                taken,
                "{name}: {value}"
            );
        }
        assert!(access.check_token(&headers(&[])).is_err());
        for weak in ["", "short", "has a space in it", "ünïcödé-token"] {
            assert!(Token::new(weak).is_err(), "{weak:?}");
        }
    }
}
