//! Mirrors and moved repositories: where requests go, and who is told the token.

use super::*;

/// What every file is redirected to, in each form that a reference has.
#[test]
fn every_form_of_redirect_is_followed_by_both_requests() {
    let forms: [Move; 6] = [
        |path| {
            path.contains("/resolve/")
                .then(|| ("301", "/hf/moved/sam3.pt".to_owned()))
        },
        |path| {
            path.contains("/resolve/")
                .then(|| ("302", "/hf/moved/sam3.pt?etag=%22a/b%22#x".to_owned()))
        },
        |path| {
            path.contains("/resolve/")
                .then(|| ("303", "../../../../moved/sam3.pt".to_owned()))
        },
        |path| {
            path.contains("/resolve/")
                .then(|| ("307", "../../../../x/./../moved/sam3.pt".to_owned()))
        },
        // Two steps, the second from where the first led.
        |path| match path {
            path if path.contains("/resolve/") => Some(("308", "/hf/half/way/x".to_owned())),
            "/hf/half/way/x" => Some(("308", "../../moved/sam3.pt".to_owned())),
            _ => None,
        },
        |path| {
            path.contains("/resolve/")
                .then(|| ("302", "/hf/moved/sam3.pt?a b=\u{e9}".to_owned()))
        },
    ];
    for (index, moves) in forms.into_iter().enumerate() {
        let server = Server::start(
            &format!("moved-{index}"),
            Habits {
                under: "/hf",
                moves: Some(moves),
                redirects: false,
                ..habits()
            },
        );
        assert!(
            fs::read(server.fetch().unwrap()).unwrap() == weights(300_000),
            "form {index}"
        );
        let requests = server.requests.lock().unwrap().join("");
        for method in ["HEAD", "GET"] {
            assert!(
                requests.contains(&format!("{method} /hf/moved/sam3.pt")),
                "form {index}: {requests}"
            );
        }
        assert!(!requests.contains("/hf/hf/"), "form {index}: {requests}");
    }
}

#[test]
fn an_endpoint_may_have_a_path_and_slashes_at_its_end() {
    let server = Server::start(
        "path",
        Habits {
            under: "/a/hf",
            ..habits()
        },
    );
    for (index, end) in ["", "/", "///"].into_iter().enumerate() {
        let hub = Hub {
            endpoint: server.hub.endpoint.clone() + end,
            cache: server.folder.join(index.to_string()),
            ..server.hub.clone()
        };
        // The bytes come from another host, which refuses tokens.
        assert!(fs::read(hub.fetch("facebook/sam3", "main", &()).unwrap()).unwrap() == weights(300_000));
    }
    let requests = server.requests.lock().unwrap().join("");
    assert!(!requests.contains("//facebook"), "{requests}");
}

/// `mirror` redirects everything to `hub`, on another port and so another server.
fn mirrored(name: &str, status: &'static str, hub: &Server) -> Server {
    let port: &str = hub.hub.endpoint.rsplit(':').next().unwrap();
    let mut mirror = Server::start(name, Habits::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    mirror.hub.endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (port, seen) = (port.to_owned(), mirror.requests.clone());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while !request.ends_with("\r\n\r\n") && reader.read_line(&mut request).unwrap_or(0) > 0 {}
            let path = request.split(' ').nth(1).unwrap_or("/");
            let head = format!("HTTP/1.1 {status} Elsewhere\r\nLocation: http://127.0.0.1:{port}{path}\r\n");
            // Before the answer, after which the test looks.
            seen.lock().unwrap().push(request);
            let _ = stream.write_all(format!("{head}Content-Length: 0\r\nConnection: close\r\n\r\n").as_bytes());
        }
    });
    mirror
}

#[test]
fn a_token_stays_with_the_mirror_and_the_error_says_so() {
    for status in ["301", "302", "303", "307", "308"] {
        let hub = Server::start(&format!("gated-{status}"), habits());
        let mirror = mirrored(&format!("mirror-{status}"), status, &hub);
        let error = mirror.fetch().unwrap_err().to_string();
        let place = &hub.hub.endpoint;
        for words in [
            &format!("redirects to {place}, which answered 401"),
            "the token was not sent there",
            &format!("set HF_ENDPOINT to {place}"),
        ] {
            assert!(error.contains(words), "{status}: expected {words:?} in {error}");
        }
        assert!(!error.contains("no access"), "{status}: {error}");
        assert!(mirror.was_told_a_token() && !hub.was_told_a_token(), "{status}");
        let open = Server::start(
            &format!("open-{status}"),
            Habits {
                token: None,
                ..habits()
            },
        );
        let mirror = mirrored(&format!("to-open-{status}"), status, &open);
        assert!(fs::read(mirror.fetch().unwrap()).unwrap() == weights(300_000));
        assert!(mirror.was_told_a_token() && !open.was_told_a_token(), "{status}");
    }
    let hub = Server::start("gated", habits());
    let mut mirror = mirrored("mirror", "308", &hub);
    mirror.hub.token = None;
    let error = mirror.fetch().unwrap_err().to_string();
    assert!(error.contains("no token was sent"), "{error}");
}

#[test]
fn a_redirect_that_leads_nowhere_is_told() {
    for (name, moves, words) in [
        (
            "circle",
            (|path| Some(("302", path.to_owned()))) as Move,
            "redirected more than 10 times",
        ),
        (
            "gone",
            |path| path.contains("/resolve/").then(|| ("307", "/gone/sam3.pt".to_owned())),
            "/gone/sam3.pt, which does not exist: check HF_ENDPOINT",
        ),
        (
            "scheme",
            |_| Some(("302", "ftp://127.0.0.1/x".to_owned())),
            "redirects to ftp://127.0.0.1/x",
        ),
    ] {
        let server = Server::start(
            name,
            Habits {
                moves: Some(moves),
                ..habits()
            },
        );
        let error = server.fetch().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// Addresses at the Hub's storage are signed and pass: the Hub is asked for another one.
#[test]
fn a_storage_that_refuses_is_asked_again_and_named() {
    let server = Server::start("storage", habits());
    fn moves(path: &str) -> Option<(&'static str, String)> {
        path.starts_with("/cdn/").then(|| ("403", String::new()))
    }
    let refusing = Server::start(
        "refusing",
        Habits {
            moves: Some(moves),
            ..habits()
        },
    );
    server.fetch().unwrap();
    let error = refusing.fetch().unwrap_err().to_string();
    assert!(
        error.contains("http://localhost:") && error.contains("where the bytes lie, answered 403"),
        "{error}"
    );
    assert!(!error.contains("token"), "{error}");
    assert_eq!(refusing.gets(), 10, "each attempt begins at the Hub");
}
