//! `sam3 serve` from outside: where it listens, what it answers over a socket, and how it ends.

#![cfg(all(unix, feature = "serve"))]

mod support;

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{Folder, check, sam3, served::Served, text, trained};

/// The JSON of an answer, without what differs between two runs.
fn comparable(mut json: Value) -> Value {
    json.as_object_mut().unwrap().remove("timings");
    json["image"].as_object_mut().unwrap().remove("file");
    json
}

#[test]
fn it_answers_as_segment_does() {
    let served = Served::start(&[]);
    let scene = std::fs::read(&trained().scene).unwrap();
    let answer = served.ask("POST", "/v1/segment?prompt=boat&prompt=buoy&masks=polygons", "", &scene);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let folder = Folder::new();
    let output = sam3(&[
        "segment",
        "--json",
        "--polygons",
        "--compute",
        "f32",
        "--device",
        "cpu",
        "--image",
        text(&trained().scene),
        "--prompt",
        "boat,buoy",
        "--checkpoint-path",
        text(&trained().checkpoint),
        "--output",
        text(&folder.path("out")),
    ]);
    let mut expected: Value = serde_json::from_slice(&output.stdout).unwrap();
    // Where the model lies on the server's machine is not told.
    expected["model"]["file"] = trained().checkpoint.file_name().unwrap().to_str().into();
    assert_eq!(comparable(serde_json::from_str(body).unwrap()), comparable(expected));
    served.signal("-TERM");
    let (code, said) = served.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("POST /v1/segment 200"), "a line a request: {said}");
}

#[test]
fn the_default_listens_on_this_machine_alone_and_a_token_opens_it() {
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let checkpoint = text(&trained().checkpoint);
        let arguments = ["serve", "--checkpoint-path", checkpoint, "--listen", listen];
        let output = Command::new(env!("CARGO_BIN_EXE_sam3"))
            .args(arguments)
            .env_remove("SAM3_TOKEN")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{listen}: {said}");
        assert!(said.contains("--token") && said.contains("--no-auth"), "{said}");
    }
    check(&["serve", "--help"], 0, &["127.0.0.1:7860"]);
    let fixed = ["serve", "--checkpoint-path", "x.pth"];
    for (more, words) in [
        (&["--token", "short"][..], "at least 8"),
        (&["--token", "long-enough", "--no-auth"], "cannot be used with"),
        (&["--allow-origin", "labels.example"], "https://labels.example"),
        (&["--queue", "0"], "--queue"),
        (&["--listen", "nonsense"], "an address of this machine"),
        (&["--source", "/dev/video0"], "expected NAME=URI"),
        (&["--source", "gate=-"], "does not read its stdin"),
        (&["--source", "gate=webrtc://x"], "expected v4l2://"),
        (
            &["--source", "gate=nothing.mp4"],
            "expected a video file, found nothing",
        ),
        (&["--source", "../gate=csi://0"], "of the characters a-z"),
        (
            &["--source", "gate=csi://0", "--source", "gate=csi://1"],
            "another source is named \"gate\"",
        ),
    ] {
        check(&[&fixed[..], more].concat(), 2, &[words]);
    }
    let served = Served::start(&["--token", "correct-horse"]);
    assert!(served.address.starts_with("127.0.0.1:"));
    assert!(served.ask("GET", "/v1/info", "", b"").starts_with("HTTP/1.1 401"));
    assert!(
        served
            .ask("GET", "/v1/info", "Authorization: Bearer correct-horse\r\n", b"")
            .starts_with("HTTP/1.1 200")
    );
}

#[test]
fn a_file_that_is_no_model_and_a_port_that_is_taken_are_errors() {
    let folder = Folder::new();
    let file = folder.path("x.pth");
    std::fs::write(&file, "no model").unwrap();
    let listen = ["--listen", "127.0.0.1:0", "--device", "cpu"];
    check(
        &[&["serve", "--checkpoint-path", text(&file)], &listen[..]].concat(),
        1,
        &["x.pth", "hint:"],
    );
    let served = Served::start(&[]);
    let arguments = [
        "serve",
        "--checkpoint-path",
        text(&trained().checkpoint),
        "--listen",
        &served.address,
    ];
    check(&arguments, 3, &["--listen 127.0.0.1", "ss -ltnp"]);
}

/// A file that is served as a camera begins again at its end; who watches is told when the server ends.
#[test]
fn a_video_file_is_a_camera() {
    let folder = Folder::new();
    let film = folder.path("gate.y4m");
    std::fs::write(&film, support::videos::y4m(0..3)).unwrap();
    let source = format!("gate={}", text(&film));
    let served = Served::of(&support::clicks::golden("mini.pt"), &["--source", &source]);
    let mut events = served.send("GET", "/v1/streams/gate/events", "", b"");
    let mut told = String::new();
    // Any frame behind the second time that the film is shown: some may be left out.
    let is_shown_again = |told: &str| {
        let numbers = told
            .split("\"frame\":")
            .skip(1)
            .filter_map(|rest| rest.split(',').next());
        numbers
            .filter_map(|number| number.parse().ok())
            .any(|number: usize| number > 6)
    };
    while !is_shown_again(&told) {
        let mut part = [0; 4096];
        let count = events.read(&mut part).unwrap();
        assert!(count > 0, "{told}");
        told += &String::from_utf8_lossy(&part[..count]);
    }
    assert!(told.contains("text/event-stream"), "{told}");
    let one = served.ask("GET", "/v1/streams/gate", "", b"");
    assert!(
        one.contains("\"state\":\"open\"") && one.contains("\"width\":160"),
        "{one}"
    );
    served.signal("-TERM");
    let (code, said) = served.end();
    assert_eq!(code, Some(0), "{said}");
    let mut rest = String::new();
    events.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the answer is whole: {rest}");
}

/// A client that sends all of a body before it reads sees why it was refused.
#[test]
fn a_body_that_is_too_large_is_told_so() {
    let served = Served::start(&["--token", "correct-horse"]);
    let large = vec![0; 70 << 20];
    let token = "Authorization: Bearer correct-horse\r\n";
    for (path, headers, status) in [
        ("/v1/segment?prompt=boat", token, "413"),
        ("/v1/segment?prompt=boat", "", "401"),
        ("/v1/nothing", token, "404"),
        ("/health", token, "405"),
    ] {
        let answer = served.ask("POST", path, headers, &large);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
    }
}

#[test]
fn what_is_slow_or_no_http_is_cut_off_and_others_are_served() {
    let served = Served::start(&[]);
    let mut slow = served.connect();
    slow.write_all(b"GET /health HTTP/1.1\r\nHost: local").unwrap();
    let mut nonsense = served.connect();
    nonsense.write_all(b"\x16\x03\x01\0\xff nonsense\r\n\r\n").unwrap();
    let mut answer = String::new();
    nonsense.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(served.ask("GET", "/health", "", b"").starts_with("HTTP/1.1 200"));
    // Its head never ends: ten seconds are what it gets.
    let start = Instant::now();
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    assert!(start.elapsed() < Duration::from_secs(30), "{rest:?}");
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
}

/// A package without a text encoder tells what it knows.
#[test]
fn a_baked_package_answers_its_prompts_and_names_them() {
    let folder = Folder::new();
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packages/0.1.0/baked.tar.gz");
    check(&["unpack", text(&archive), "-C", text(&folder.path(""))], 0, &[]);
    let package = folder.path("baked.pth");
    let served = Served::of(&package, &[]);
    let scene = std::fs::read(&trained().scene).unwrap();
    let info = served.json("GET", "/v1/info", "", 200);
    assert_eq!(info["prompts"][0], "boat", "{info}");
    let found = served.json("POST", "/v1/segment?prompt=boat", &scene, 200);
    let segment = [
        "segment",
        "--prompt",
        "boat",
        "--compute",
        "f32",
        "--device",
        "cpu",
        "--json",
        "--quiet",
    ];
    let files = ["--checkpoint-path", text(&package), "--image", text(&trained().scene)];
    let output = folder.path("out");
    let segmented = sam3(&[&segment[..], &files, &["--output", text(&output)]].concat());
    let segmented: Value = serde_json::from_slice(&segmented.stdout).unwrap();
    let instances = |answer: &Value| answer["prompts"][0]["instances"].clone();
    assert_eq!(instances(&found), instances(&segmented));
    assert!(!instances(&found).as_array().unwrap().is_empty());
    let refused = served.json("POST", "/v1/segment?prompt=zebra", &scene, 400);
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("not baked") && message.contains("boat"), "{refused}");
}

#[test]
fn who_goes_away_is_not_worked_for() {
    let served = Served::start(&[]);
    let scene = std::fs::read(&trained().scene).unwrap();
    let query: String = (0..60).map(|number| format!("&prompt=boat%20{number}")).collect();
    let path = format!("/v1/segment?prompt=boat{query}");
    let whole = Instant::now();
    assert!(served.ask("POST", &path, "", &scene).starts_with("HTTP/1.1 200"));
    let whole = whole.elapsed();
    let has = |line: &str| served.ask("GET", "/metrics", "", b"").contains(line);
    let leaving: Vec<TcpStream> = (0..8).map(|_| served.send("POST", &path, "", &scene)).collect();
    while !has("sam3_queue_waiting 7") {
        thread::sleep(Duration::from_millis(2));
    }
    drop(leaving);
    let start = Instant::now();
    while !(has("sam3_requests_abandoned_total 8") && has("sam3_queue_waiting 0")) {
        assert!(start.elapsed() < Duration::from_secs(30), "they still wait");
        thread::sleep(Duration::from_millis(2));
    }
    // The one that ran ends at the next layer: another picture does not wait for it.
    assert!(
        served
            .ask("POST", "/v1/segment?prompt=boat", "", &scene)
            .starts_with("HTTP/1.1 200")
    );
    assert!(
        start.elapsed() < 2 * whole,
        "{:?} of {whole:?} for one",
        start.elapsed()
    );
}

#[test]
fn a_signal_lets_what_runs_be_answered() {
    let served = Served::start(&[]);
    let scene = std::fs::read(&trained().scene).unwrap();
    // Many prompts, so that it runs for a while.
    let query: String = (0..60).map(|number| format!("&prompt=boat%20{number}")).collect();
    let mut running = served.send("POST", &format!("/v1/segment?prompt=boat{query}"), "", &scene);
    let end = Instant::now() + Duration::from_secs(60);
    while !served
        .ask("GET", "/metrics", "", b"")
        .contains("sam3_images_encoded_total 1")
    {
        assert!(Instant::now() < end, "it does not run");
        thread::sleep(Duration::from_millis(2));
    }
    served.signal("-TERM");
    let mut answer = String::new();
    running.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(TcpStream::connect(&served.address).is_err(), "nobody listens any more");
    let (code, said) = served.end();
    assert_eq!(code, Some(0), "{said}");
}
