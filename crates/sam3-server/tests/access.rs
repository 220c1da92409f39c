//! Who may ask: tokens, names of hosts, pages of other servers.

mod support;

use sam3_server::{Access, Settings, Token};
use support::{Server, demo, request, scene};

fn guarded() -> Settings {
    let access = Access::listening_on("0.0.0.0".parse().unwrap());
    let access = access
        .origin("https://labels.example")
        .token(Token::new("correct-horse").unwrap());
    Settings::new(access.unwrap())
}

#[test]
fn who_shows_no_token_gets_nothing_but_signs_of_life() {
    let server = Server::with(demo(), guarded());
    let ask = |method: &str, path: &str, headers: &[(&str, &str)]| server.send(request(method, path, headers, scene()));
    for path in ["/health", "/ready", "/openapi.json"] {
        assert_eq!(ask("GET", path, &[]).status, 200, "{path}");
    }
    for (method, path) in [
        ("GET", "/v1/info"),
        ("GET", "/metrics"),
        ("POST", "/v1/segment?prompt=boat"),
        ("POST", "/v1/images"),
        ("DELETE", "/v1/images/x"),
        ("POST", "/v1/session"),
        ("GET", "/v1/nothing"),
        ("POST", "/health"),
    ] {
        for headers in [
            &[][..],
            &[("authorization", "Bearer wrong-horse!")],
            &[("authorization", "Bearer ")],
            &[("token", "correct-hors")],
            &[("cookie", "sam3_session=correct-horse")],
        ] {
            let answer = ask(method, path, headers);
            answer.is_error(401, "unauthorized", "asks for its token");
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{path}");
        }
    }
    let bearer = ("authorization", "Bearer correct-horse");
    assert_eq!(ask("POST", "/v1/segment?prompt=boat", &[bearer]).status, 200);
    let session = ask(
        "POST",
        "/v1/session",
        &[("authorization", "Basic YTpjb3JyZWN0LWhvcnNl")],
    );
    assert_eq!(session.status, 204);
    let cookie = session.header("set-cookie");
    for word in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(word), "{cookie}");
    }
    assert!(!cookie.contains("correct-horse"));
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(ask("GET", "/v1/info", &[("cookie", cookie)]).status, 200);
    let other = Server::with(demo(), guarded());
    assert_eq!(
        other.send(request("GET", "/v1/info", &[("cookie", cookie)], "")).status,
        401,
        "of another run"
    );
}

#[test]
fn other_names_and_other_pages_are_turned_away() {
    let local = Server::new(demo());
    let guarded = Server::with(demo(), guarded());
    let ask = |server: &Server, headers: &[(&str, &str)]| {
        server.send(request("POST", "/v1/segment?prompt=boat", headers, scene()))
    };
    for host in [
        "evil.example:7860",
        "localhost.evil.example",
        "127.0.0.1.nip.io:7860",
        "10.0.0.7:7860",
        "",
    ] {
        ask(&local, &[("host", host)]).is_error(403, "host", "--allow-host");
    }
    for origin in [
        "http://evil.example",
        "null",
        "http://localhost:9999",
        "https://labels.example",
    ] {
        ask(&local, &[("origin", origin)]).is_error(403, "origin", "--allow-origin");
    }
    let own = ask(&local, &[("origin", "http://localhost:7860")]);
    assert_eq!(
        (own.status.as_u16(), own.header("access-control-allow-origin")),
        (200, "")
    );
    // A page that is admitted asks first, without the token.
    let page = ("origin", "https://labels.example");
    let headers = [
        page,
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];
    let preflight = guarded.send(request("OPTIONS", "/v1/segment", &headers, ""));
    assert_eq!(preflight.status, 204);
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        "https://labels.example"
    );
    assert!(
        preflight
            .header("access-control-allow-headers")
            .contains("authorization")
    );
    ask(&guarded, &[page]).is_error(401, "unauthorized", "");
    let answer = ask(&guarded, &[page, ("authorization", "Bearer correct-horse")]);
    assert_eq!(
        (answer.status.as_u16(), answer.header("access-control-allow-origin")),
        (200, "https://labels.example")
    );
    assert_eq!(
        answer.header("access-control-allow-credentials"),
        "",
        "a cookie is for our own page"
    );
    let headers = [
        ("origin", "http://evil.example"),
        ("access-control-request-method", "POST"),
    ];
    guarded
        .send(request("OPTIONS", "/v1/segment", &headers, ""))
        .is_error(403, "origin", "");
}

#[test]
fn browsers_are_told_to_be_strict_whatever_the_answer_is() {
    let server = Server::new(demo());
    for answer in [
        server.get("/health"),
        server.get("/nothing"),
        server.send(request("GET", "/", &[("host", "x")], "")),
    ] {
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}
