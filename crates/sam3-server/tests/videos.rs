//! Videos that are sent frame by frame: the library's answers, and what is refused.

mod support;

use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::STANDARD};
use sam3_model::{Clicks, VideoOptions, image::Image};
use serde_json::{Value, json};
use support::{
    Server, clickable, demo, form, frame, load, picture, png_of, request,
    videos::{answered, begin, expected, send},
};

#[test]
fn objects_are_shown_on_a_frame_or_behind_it_and_followed_as_by_a_session() {
    let server = Server::new(&clickable());
    let video = begin(&server, &json!({"frames": 24}));
    let loaded = load(&clickable());
    let mut session = loaded.segmenter.video(VideoOptions::new().frames(24)).unwrap();
    let image = |number: usize| Image::decode(&frame(number)).unwrap();
    // Nothing is asked for yet.
    let answer = send(&server, &video, 0, &json!([])).json();
    assert_eq!((&answer["frame"], answered(&answer["frames"])), (&json!(0), vec![]));
    session.push(&image(0)).unwrap();
    // On the last frame, by its name afterwards.
    let body = json!({"objects": [{"points": [[120.016, 92.676]]}]});
    let shown = server.post_json(&format!("{video}/prompts"), &body).json();
    let clicked = session.click(None, &Clicks::new().point([120.016, 92.676])).unwrap();
    assert_eq!(
        (&shown["frame"], &shown["clicked"][0]["id"]),
        (&json!(0), &json!(clicked.id))
    );
    assert_eq!(shown["clicked"][0]["prompt"], "object 1");
    assert_eq!(
        shown["clicked"][0]["segmentation"],
        serde_json::to_value(clicked.mask.to_rle()).unwrap()
    );
    let first = send(&server, &video, 1, &json!([])).json();
    assert_eq!(answered(&first["frames"]), expected(&session.push(&image(1)).unwrap()));
    // On the next one, with what shows the first again.
    let again = json!([{"id": clicked.id, "points": [[125, 95], [16.29, 103.66, 0]]}, {"box": [30, 40, 90, 100]}]);
    let answer = send(&server, &video, 2, &again).json();
    session.look(2, &image(2)).unwrap();
    let points = Clicks::new().point([125.0, 95.0]).negative_point([16.29, 103.66]);
    session.click(Some(clicked.id), &points).unwrap();
    let boxed = session
        .click(None, &Clicks::new().bounding_box([30.0, 40.0, 90.0, 100.0]))
        .unwrap();
    assert_eq!(answer["clicked"][1]["id"], boxed.id);
    assert_eq!(answer["clicked"][1]["prompt"], "object 2");
    assert_eq!(answered(&answer["frames"]), expected(&session.push(&image(2)).unwrap()));
    // One goes.
    let object = format!("{video}/objects/{}", boxed.id);
    assert_eq!(server.send(request("DELETE", &object, &[], "")).status, 204);
    server
        .send(request("DELETE", &object, &[], ""))
        .is_error(404, "not_found", "no such object");
    assert!(session.remove(boxed.id).unwrap());
    // Another comes: random weights lose the first here.
    let answer = send(&server, &video, 3, &json!([{"points": [[120.016, 92.676]]}])).json();
    session.look(3, &image(3)).unwrap();
    session.click(None, &Clicks::new().point([120.016, 92.676])).unwrap();
    assert_eq!(answer["clicked"][0]["prompt"], "object 3");
    let found = answered(&answer["frames"]);
    assert_eq!(found, expected(&session.push(&image(3)).unwrap()));
    assert!(!found.is_empty() && found.iter().all(|(_, id, _)| *id != u64::from(boxed.id)));
    let info = server.get("/v1/info").json();
    assert_eq!(
        (&info["videos"]["videos"], &info["videos"]["limit"]),
        (&json!(1), &json!(8))
    );
    assert_eq!(info["videos"]["bytes"], session.bytes());
    assert_eq!(
        server.post(&format!("{video}/finish"), "", "").json()["frames"],
        json!([])
    );
    assert_eq!(server.get("/v1/info").json()["videos"]["bytes"], 0);
}

#[test]
fn what_cannot_be_is_refused_and_the_video_goes_on() {
    let server = Server::new(&clickable());
    let video = begin(&server, &json!({}));
    let prompts = format!("{video}/prompts");
    let point = json!({"objects": [{"points": [[120, 92]]}]});
    server
        .post_json(&prompts, &point)
        .is_error(400, "invalid_request", "no frame yet");
    assert_eq!(send(&server, &video, 0, &json!([{"points": [[120, 92]]}])).status, 200);
    for (objects, words) in [
        (
            json!([{"points": [[120, 92]]}, {"id": 9, "points": [[1, 2]]}]),
            "no object 9",
        ),
        (
            json!([{"id": 0, "points": [[1, 2]]}, {"id": 0, "box": [1, 2, 30, 40]}]),
            "there twice",
        ),
        (json!([{"points": [[160, 92]]}]), "160 x 120"),
        (json!([{"box": [30, 40, 20, 100]}]), "not inside"),
        (json!([{"box": [0.1, 0.1, 0.9, 0.9]}]), "in pixels"),
        (json!([{"id": 0}]), "points, a box, or both"),
        (json!([{"points": [[1, 2, 3]]}]), "a label is 1"),
        (json!([{"logits": "1"}]), "unknown field"),
    ] {
        send(&server, &video, 1, &objects).is_error(400, "invalid_request", words);
        server
            .post_json(&prompts, &json!({"objects": objects}))
            .is_error(400, "invalid_request", words);
    }
    let many = json!(vec![json!({"points": [[1, 2]]}); 17]);
    send(&server, &video, 1, &many).is_error(413, "too_large", "objects");
    let frames = format!("{video}/frames");
    server
        .post(&frames, "image/png", picture())
        .is_error(400, "invalid_frame", "160 x 120");
    server
        .post(&frames, "image/png", frame(1)[..99].to_vec())
        .is_error(400, "invalid_image", "");
    server
        .post(&format!("{frames}?prompt=a"), "image/png", frame(1))
        .is_error(400, "invalid_request", "query");
    let (kind, two) = form(&[("objects", "{}")], Some(&frame(1)));
    server
        .post(&frames, &kind, two)
        .is_error(400, "invalid_request", "objects: expected a list");
    server
        .post_json(&prompts, &json!({}))
        .is_error(400, "invalid_request", "nothing is asked for");
    server
        .post(&prompts, "text/plain", "x")
        .is_error(415, "unsupported_media_type", "application/json");
    server
        .post_json("/v1/videos", &json!({"image_size": 7}))
        .is_error(400, "invalid_image_size", "expected");
    server
        .post_json("/v1/videos", &json!({"prompts": [" "]}))
        .is_error(400, "invalid_prompt", "empty");
    server
        .post_json("/v1/videos", &json!({"memory_dtype": "f64"}))
        .is_error(400, "invalid_request", "f64");
    for (method, path) in [
        ("POST", "/v1/videos/x/finish"),
        ("DELETE", "/v1/videos/x"),
        ("DELETE", "/v1/videos/x/objects/1"),
    ] {
        server
            .send(request(method, path, &[], ""))
            .is_error(404, "not_found", "no such video");
    }
    server
        .send(request("DELETE", &format!("{video}/objects/-1"), &[], ""))
        .is_error(404, "not_found", "no such object");
    // Nothing of that changed it.
    let answer = send(&server, &video, 1, &json!([])).json();
    assert_eq!((&answer["frame"], answered(&answer["frames"]).len()), (&json!(1), 1));
}

#[test]
fn hostile_requests_are_refused_and_change_nothing() {
    let mut settings = support::settings();
    settings.limits.body = 1 << 20;
    let server = Server::with(&clickable(), settings);
    let video = begin(&server, &json!({}));
    let (frames, prompts) = (format!("{video}/frames"), format!("{video}/prompts"));
    assert_eq!(send(&server, &video, 0, &json!([{"points": [[120, 92]]}])).status, 200);
    let before = server.get("/v1/info").json();
    let (image, json) = ("image/png", "application/json");
    let with = |rest: &str| format!("{{\"image\":\"{}\",{rest}}}", STANDARD.encode(frame(1))).into_bytes();
    let points = vec!["[1,2]"; 257].join(",");
    let (form_kind, no_picture) = form(&[("objects", "[]")], None);
    let (_, twice) = form(&[("image", "x")], Some(&frame(1)));
    let (_, no_json) = form(&[("objects", "[[[[")], Some(&frame(1)));
    for (path, kind, body, status, error, words) in [
        (&frames, image, png_of(31_623, 31_623), 413, "too_large", "31623x31623"),
        (&frames, image, png_of(160, 120), 400, "invalid_image", ""),
        (
            &frames,
            image,
            vec![0; (1 << 20) + 1],
            413,
            "too_large",
            "1048576 bytes",
        ),
        (
            &frames,
            image,
            Vec::new(),
            400,
            "invalid_request",
            "there is no picture",
        ),
        (&frames, image, b"<html>".to_vec(), 400, "invalid_image", ""),
        (&frames, json, b"{".to_vec(), 400, "invalid_request", "JSON"),
        (
            &frames,
            json,
            b"[]".to_vec(),
            400,
            "invalid_request",
            "expected an object",
        ),
        (
            &frames,
            json,
            vec![b'['; 1 << 19],
            400,
            "invalid_request",
            "expected an object",
        ),
        (
            &frames,
            json,
            b"{\"image\":\"!\"}".to_vec(),
            400,
            "invalid_request",
            "base64",
        ),
        (
            &frames,
            json,
            b"{\"image\":7}".to_vec(),
            400,
            "invalid_request",
            "expected a string",
        ),
        (
            &frames,
            json,
            b"{\"objects\":[]}".to_vec(),
            400,
            "invalid_request",
            "`image`",
        ),
        (
            &frames,
            json,
            with("\"objects\":{}"),
            400,
            "invalid_request",
            "sequence",
        ),
        (
            &frames,
            json,
            with("\"objects\":[{\"points\":[[1]]}]"),
            400,
            "invalid_request",
            "expected a point",
        ),
        (
            &frames,
            json,
            with("\"objects\":[{\"points\":[[1e39,2]]}]"),
            400,
            "invalid_request",
            "not inside",
        ),
        (
            &frames,
            json,
            with("\"objects\":[{\"points\":[[-1,2]]}]"),
            400,
            "invalid_request",
            "not inside",
        ),
        (
            &frames,
            json,
            with("\"objects\":[{\"id\":-1,\"points\":[[1,2]]}]"),
            400,
            "invalid_request",
            "u32",
        ),
        (
            &frames,
            json,
            with(&format!("\"objects\":[{{\"points\":[{points}]}}]")),
            413,
            "too_large",
            "points",
        ),
        (
            &frames,
            &form_kind,
            no_picture,
            400,
            "invalid_request",
            "there is no picture",
        ),
        (&frames, &form_kind, twice, 400, "invalid_request", "one image"),
        (
            &frames,
            &form_kind,
            no_json,
            400,
            "invalid_request",
            "objects: expected a list",
        ),
        (&frames, "multipart/form-data", frame(1), 400, "invalid_request", "form"),
        (
            &prompts,
            json,
            b"{\"prompts\":\"boat\"}".to_vec(),
            400,
            "invalid_request",
            "sequence",
        ),
        (
            &prompts,
            json,
            b"{\"prompts\":[\"\"]}".to_vec(),
            400,
            "invalid_prompt",
            "empty",
        ),
        (
            &prompts,
            json,
            json!({"prompts": vec!["a"; 65]}).to_string().into_bytes(),
            413,
            "too_large",
            "prompts",
        ),
        (
            &prompts,
            json,
            json!({"prompts": ["a".repeat(1001)]}).to_string().into_bytes(),
            413,
            "too_large",
            "1000",
        ),
    ] {
        server.post(path, kind, body).is_error(status, error, words);
    }
    for (body, status, words) in [
        ("{\"frames\":-1}", 400, "usize"),
        ("{\"frames\":1e99}", 400, "usize"),
        ("{\"at_once\":1}", 400, "boolean"),
        ("{\"source\":\"/etc/passwd\"}", 400, "unknown field"),
        ("{\"source\":\"rtsp://10.0.0.1/\"}", 400, "unknown field"),
        ("", 400, "expected an object"),
    ] {
        server
            .post("/v1/videos", json, body)
            .is_error(status, "invalid_request", words);
    }
    for id in [
        "..%2f..%2fetc%2fpasswd",
        "%00",
        "%ff",
        &"a".repeat(5000),
        "0".repeat(32).as_str(),
    ] {
        for (method, rest) in [
            ("POST", "/frames"),
            ("POST", "/finish"),
            ("DELETE", ""),
            ("DELETE", "/objects/0"),
        ] {
            let answer = server.send(request(method, &format!("/v1/videos/{id}{rest}"), &[], frame(1)));
            assert!(
                [400, 404].contains(&answer.status.as_u16()),
                "{method} {id}: {answer:?}"
            );
            assert!(answer.json()["error"]["message"].is_string());
        }
    }
    for (method, path, status) in [("GET", &frames, 405), ("GET", &video, 405), ("PUT", &prompts, 405)] {
        server
            .send(request(method, path, &[], ""))
            .is_error(status, "method_not_allowed", "openapi");
    }
    assert_eq!(server.get("/v1/info").json()["videos"], before["videos"]);
    let answer = send(&server, &video, 1, &json!([])).json();
    assert_eq!((&answer["frame"], answered(&answer["frames"]).len()), (&json!(1), 1));
}

#[test]
fn models_without_a_tracker_or_without_texts_are_named() {
    let server = Server::new(demo());
    server
        .post_json("/v1/videos", &json!({}))
        .is_error(400, "no_videos", "has no tracker");
    assert_eq!(server.get("/v1/info").json()["videos"]["videos"], 0);
}

#[test]
fn there_are_so_many_videos_and_who_is_idle_makes_room() {
    let mut settings = support::settings();
    settings.videos = 2;
    settings.video_idle = Duration::from_millis(800);
    let server = Server::with(&clickable(), settings);
    let [first, second] = [0, 1].map(|_| begin(&server, &json!({})));
    let refused = server.post_json("/v1/videos", &json!({}));
    refused.is_error(429, "too_many_videos", "2 videos");
    assert_eq!(refused.header("retry-after"), "2");
    assert_eq!(server.send(request("DELETE", &second, &[], "")).status, 204);
    let third = begin(&server, &json!({}));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(send(&server, &third, 0, &json!([])).status, 200);
    std::thread::sleep(Duration::from_millis(500));
    send(&server, &first, 0, &json!([])).is_error(404, "not_found", "no such video");
    assert_eq!(send(&server, &third, 1, &json!([])).status, 200, "who asks stays");
    // The model's thread looks at what is idle every other second.
    let end = Instant::now() + Duration::from_secs(20);
    let has_none = || {
        server
            .get("/metrics")
            .body
            .windows(14)
            .any(|own| own == b"sam3_videos 0\n")
    };
    while !has_none() {
        assert!(Instant::now() < end, "it is dropped though nobody asks");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn videos_and_images_share_the_memory() {
    let mut settings = support::settings();
    settings.cache = 2_500_000;
    let server = Server::with(&clickable(), settings);
    server.encode(picture());
    assert_eq!(server.get("/v1/info").json()["cache"]["images"], 1);
    let video = begin(&server, &json!({}));
    let objects: Vec<Value> = (0..16).map(|number| json!({"points": [[10 * number, 92]]})).collect();
    let mut statuses = Vec::new();
    for number in 0..24 {
        let shown = if number < 3 { json!(objects) } else { json!([]) };
        statuses.push(send(&server, &video, number, &shown).status.as_u16());
    }
    assert!(
        statuses.starts_with(&[200]) && statuses.ends_with(&[503]),
        "{statuses:?}"
    );
    let info = server.get("/v1/info").json();
    assert!(info["videos"]["bytes"].as_u64() > Some(2_500_000), "{info}");
    server
        .post("/v1/images", "image/png", picture())
        .is_error(503, "cache_too_small", "beside its videos");
    send(&server, &video, 0, &json!([])).is_error(503, "cache_too_small", "end one");
    assert_eq!(server.send(request("DELETE", &video, &[], "")).status, 204);
    server.encode(picture());
}
