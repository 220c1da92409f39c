//! Against a server on this machine that demands a token, redirects, drops connections half way and lies.

mod cache;
mod redirects;

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use sha2::{Digest, Sha256};

use super::*;
use crate::digest::hex;

const COMMIT: &str = "3c879f39826c281e95690f02c7821c4de09afae7";

/// From a path to a status and a place to go.
type Move = fn(&str) -> Option<(&'static str, String)>;
/// From a digest and a size to the headers that describe a file.
type Describe = fn(&str, usize) -> String;

/// How the server treats requests.
#[derive(Clone, Default)]
struct Habits {
    /// What it has, by name in the repository.
    files: HashMap<&'static str, Vec<u8>>,
    /// Bearer token without which nothing is told.
    token: Option<&'static str>,
    /// Sends large files from `/cdn/`, where no token may arrive.
    redirects: bool,
    /// Bytes after which each body breaks off.
    drops_after: Option<usize>,
    /// Answers so many requests with 503 first.
    refuses: usize,
    /// `Retry-After` of those.
    asks_to_wait: Option<&'static str>,
    /// Answers every request for a part with the whole.
    knows_no_ranges: bool,
    /// Tells a SHA-256 that is not the file's.
    lies: bool,
    /// The path that it is served under, as a mirror behind a company's web server is.
    under: &'static str,
    /// Redirects a path: with a status, to a place.
    moves: Option<Move>,
    /// What it says of a file, from its digest and size, in place of what the Hub says.
    describes: Option<Describe>,
    /// Tells no size before it sends the bytes.
    hides_size: bool,
}

struct Server {
    hub: Hub,
    folder: PathBuf,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(name: &str, habits: Habits) -> Self {
        let folder = std::env::temp_dir().join(format!("sam3-hub-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        // The redirect leads to another host name, as the Hub's does.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let (seen, refused) = (requests.clone(), Arc::new(AtomicUsize::new(0)));
        let under = habits.under;
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (habits, seen, refused) = (habits.clone(), seen.clone(), refused.clone());
                thread::spawn(move || answer(stream.unwrap(), port, &habits, &seen, &refused));
            }
        });
        let hub = Hub {
            endpoint: format!("http://127.0.0.1:{port}{under}"),
            token: Some("secret".to_owned()),
            cache: folder.clone(),
            certificates: None,
            offline: false,
            patience: Duration::from_millis(2),
        };
        Self { hub, folder, requests }
    }

    fn fetch(&self) -> Result<PathBuf> {
        self.hub.fetch("facebook/sam3", "main", &())
    }

    fn blobs(&self) -> PathBuf {
        self.folder.join("models--facebook--sam3/blobs")
    }

    /// True where a request brought a token.
    fn was_told_a_token(&self) -> bool {
        let requests = self.requests.lock().unwrap().join("");
        requests.to_lowercase().contains("authorization:")
    }

    fn gets(&self) -> usize {
        self.requests
            .lock()
            .unwrap()
            .iter()
            .filter(|request| request.starts_with("GET"))
            .count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn answer(stream: TcpStream, port: u16, habits: &Habits, seen: &Mutex<Vec<String>>, refused: &AtomicUsize) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
    }
    seen.lock().unwrap().push(request.clone());
    let (mut head, body) = respond(&request, port, habits, refused);
    if !(habits.hides_size && request.starts_with("HEAD")) {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    head += "Connection: close\r\n\r\n";
    let mut stream = stream;
    let _ = stream.write_all(head.as_bytes());
    if !request.starts_with("HEAD") {
        let end = habits.drops_after.unwrap_or(usize::MAX).min(body.len());
        let _ = stream.write_all(&body[..end]);
    }
}

fn respond(request: &str, port: u16, habits: &Habits, refused: &AtomicUsize) -> (String, Vec<u8>) {
    let header = |name: &str| {
        let line = request.lines().find(|line| line.to_lowercase().starts_with(name));
        line.and_then(|line| line.split_once(": "))
            .map(|(_, value)| value.to_owned())
    };
    let error = |status: &str, code: &str| (format!("HTTP/1.1 {status}\r\nX-Error-Code: {code}\r\n"), b"no".to_vec());
    if refused.fetch_add(1, Ordering::SeqCst) < habits.refuses {
        let (head, body) = error("503 Busy", "");
        let wait = habits.asks_to_wait.map(|wait| format!("Retry-After: {wait}\r\n"));
        return (head + &wait.unwrap_or_default(), body);
    }
    let path = request.split(' ').nth(1).unwrap();
    if let Some((status, place)) = habits.moves.and_then(|moves| moves(path)) {
        return (format!("HTTP/1.1 {status} Moved\r\nLocation: {place}\r\n"), Vec::new());
    }
    let path = path.split('?').next().unwrap();
    let at_cdn = path.starts_with("/cdn/");
    let Some(path) = path.strip_prefix(if at_cdn { "" } else { habits.under }) else {
        return error("404 Not Found", "RepoNotFound");
    };
    let token = header("authorization:");
    if at_cdn && token.is_some() {
        return error("400 Token Leaked", "");
    }
    if !at_cdn
        && habits
            .token
            .is_some_and(|wanted| token.as_deref() != Some(&format!("Bearer {wanted}")))
    {
        return error("401 Unauthorized", "GatedRepo");
    }
    let known = ["main", COMMIT, "refs%2Fpr%2F7"].map(|revision| format!("/facebook/sam3/resolve/{revision}/"));
    if !known.iter().any(|known| path.starts_with(known)) && !at_cdn && !path.starts_with("/moved/") {
        return error("404 Not Found", "RepoNotFound");
    }
    let name = path.rsplit('/').next().unwrap();
    let Some(bytes) = habits.files.get(name) else {
        return error("404 Not Found", "EntryNotFound");
    };
    let honest = hex(&Sha256::digest(bytes));
    let digest = if habits.lies {
        honest.chars().rev().collect()
    } else {
        honest
    };
    let described = match habits.describes {
        Some(describes) => format!("X-Repo-Commit: {COMMIT}\r\n{}\r\n", describes(&digest, bytes.len())),
        None => format!(
            "X-Repo-Commit: {COMMIT}\r\nX-Linked-Etag: \"{digest}\"\r\nX-Linked-Size: {}\r\nETag: \"other\"\r\n",
            bytes.len()
        ),
    };
    if habits.redirects && !at_cdn {
        let location = format!("Location: http://localhost:{port}/cdn/{name}\r\n");
        return (format!("HTTP/1.1 302 Found\r\n{described}{location}"), Vec::new());
    }
    match header("range:").filter(|_| !habits.knows_no_ranges) {
        Some(range) => {
            let from: usize = range
                .trim_start_matches("bytes=")
                .trim_end_matches('-')
                .parse()
                .unwrap();
            (
                format!("HTTP/1.1 206 Partial Content\r\n{described}"),
                bytes[from..].to_vec(),
            )
        }
        None => (format!("HTTP/1.1 200 OK\r\n{described}"), bytes.clone()),
    }
}

fn weights(count: u64) -> Vec<u8> {
    (0..count)
        .map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
        .collect()
}

fn habits() -> Habits {
    Habits {
        files: HashMap::from([("sam3.pt", weights(300_000))]),
        token: Some("secret"),
        redirects: true,
        ..Habits::default()
    }
}

/// Of which kind a refusal is.
fn fault(error: &Error) -> HubFault {
    match error {
        Error::Hub { fault, .. } => *fault,
        other => panic!("{other}"),
    }
}

/// Token, redirect, busy server and broken connections; then the cache, without a socket.
#[test]
fn a_checkpoint_arrives_whole_and_is_found_again() {
    let server = Server::start(
        "whole",
        Habits {
            drops_after: Some(70_000),
            refuses: 2,
            ..habits()
        },
    );
    let path = server.fetch().unwrap();
    assert!(path.ends_with(format!("models--facebook--sam3/snapshots/{COMMIT}/sam3.pt")));
    assert!(fs::read(&path).unwrap() == weights(300_000));
    // Through the redirect each of five parts takes two requests.
    assert_eq!(server.gets(), 10);
    assert_eq!(server.fetch().unwrap(), path);
    assert_eq!(server.gets(), 10, "what is in the cache is not fetched again");
    let nowhere = Hub {
        endpoint: "http://127.0.0.1:1".to_owned(),
        offline: true,
        ..server.hub.clone()
    };
    for revision in ["main", COMMIT] {
        assert_eq!(nowhere.fetch("facebook/sam3", revision, &()).unwrap(), path);
    }
    let error = nowhere.fetch("facebook/sam3", "v2", &()).unwrap_err();
    assert_eq!(fault(&error), HubFault::NotCached, "{error}");
}

#[test]
fn an_interrupted_download_goes_on_where_it_ended() {
    for knows_no_ranges in [false, true] {
        let server = Server::start(
            &format!("resume-{knows_no_ranges}"),
            Habits {
                knows_no_ranges,
                ..habits()
            },
        );
        let all = weights(300_000);
        let blobs = server.blobs();
        fs::create_dir_all(&blobs).unwrap();
        let incomplete = blobs.join(format!("{}.incomplete", hex(&Sha256::digest(&all))));
        fs::write(&incomplete, &all[..123_456]).unwrap();
        assert!(fs::read(server.fetch().unwrap()).unwrap() == all);
        assert!(!incomplete.exists());
        let requests = server.requests.lock().unwrap().join("");
        assert!(requests.to_lowercase().contains("range: bytes=123456-"), "{requests}");
    }
}

#[test]
fn a_wrong_digest_is_refused_and_removed() {
    let server = Server::start("lies", Habits { lies: true, ..habits() });
    let error = server.fetch().unwrap_err();
    assert!(matches!(error, Error::Hub { .. }) && !error.is_input());
    let text = error.to_string();
    assert!(
        text.contains("expected 300000 bytes with sha256") && text.contains("received 300000"),
        "{text}"
    );
    assert_eq!(fs::read_dir(server.blobs()).unwrap().count(), 0);
}

#[test]
fn refusals_are_told_apart() {
    let server = Server::start("denied", habits());
    for (token, words) in [
        (None, ["gated and no token was sent", "/facebook/sam3"]),
        (Some("wrong"), ["the token sent has no access", "/facebook/sam3"]),
    ] {
        let hub = Hub {
            token: token.map(str::to_owned),
            ..server.hub.clone()
        };
        let error = hub.fetch("facebook/sam3", "main", &()).unwrap_err();
        assert_eq!(fault(&error), HubFault::Denied);
        let error = error.to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    let error = server.hub.fetch("face/book", "main", &()).unwrap_err();
    assert_eq!(fault(&error), HubFault::NoRepository);
    assert!(error.to_string().contains("/face/book: it does not exist"), "{error}");
    let closed = Hub {
        endpoint: "http://127.0.0.1:1".to_owned(),
        ..server.hub.clone()
    };
    let error = closed.fetch("facebook/sam3", "main", &()).unwrap_err();
    assert_eq!(fault(&error), HubFault::Unreachable);
    assert!(error.to_string().contains("no answer"), "{error}");
    let stubborn = Server::start(
        "stubborn",
        Habits {
            drops_after: Some(0),
            ..habits()
        },
    );
    let error = stubborn.fetch().unwrap_err().to_string();
    assert!(error.contains("5 times at byte 0"), "{error}");
}

/// A branch with slashes is one segment of the address; a commit needs no ref in the cache.
#[test]
fn any_revision_is_found_and_found_again_without_a_network() {
    let server = Server::start("revisions", habits());
    let path = server.hub.fetch("facebook/sam3", "refs/pr/7", &()).unwrap();
    assert_eq!(server.hub.fetch("facebook/sam3", COMMIT, &()).unwrap(), path);
    let refs = server.folder.join("models--facebook--sam3/refs");
    assert_eq!(fs::read_to_string(refs.join("refs/pr/7")).unwrap(), COMMIT);
    assert!(!refs.join(COMMIT).exists());
    let closed = Hub {
        endpoint: "http://127.0.0.1:1".to_owned(),
        ..server.hub.clone()
    };
    let error = closed.fetch("facebook/sam3", "refs/pr/7", &()).unwrap_err();
    assert_eq!(fault(&error), HubFault::UnreachableButCached);
    let error = error.to_string();
    assert!(
        error.contains("no answer") && error.contains(path.to_str().unwrap()),
        "{error}"
    );
}

#[test]
fn a_busy_server_is_given_the_time_it_asks_for() {
    let busy = |name, asks_to_wait| {
        Server::start(
            name,
            Habits {
                refuses: 1,
                asks_to_wait: Some(asks_to_wait),
                ..habits()
            },
        )
    };
    let start = std::time::Instant::now();
    busy("wait", "1").fetch().unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    busy("date", "Wed, 21 Oct 2026 07:28:00 GMT").fetch().unwrap();
    let error = busy("long", "3600").fetch().unwrap_err().to_string();
    assert!(
        error.contains("503") && error.contains("asks to wait 3600 s"),
        "{error}"
    );
}

/// transformers' file needs its config beside it; a repository without a checkpoint is told apart.
#[test]
fn a_safetensors_file_brings_its_config() {
    let files = HashMap::from([("model.safetensors", weights(1000)), ("config.json", b"{}".to_vec())]);
    let server = Server::start("config", Habits { files, ..habits() });
    let path = server.fetch().unwrap();
    assert_eq!(fs::read(path.with_file_name("config.json")).unwrap(), b"{}");
    let server = Server::start(
        "empty",
        Habits {
            files: HashMap::new(),
            ..habits()
        },
    );
    assert!(
        server
            .fetch()
            .unwrap_err()
            .to_string()
            .contains("holds none of sam3.pt")
    );
}
