//! Requests that mean harm, or that are wrong, and what each gets.

mod support;

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{Request, StatusCode},
};
use hyper::body::Frame;
use serde_json::json;
use support::{Answer, Server, demo, form, png_of, request, scene};
use tokio::time::{Sleep, sleep};

#[test]
fn what_cannot_be_is_refused_in_words() {
    let server = Server::new(demo());
    let many = |count: usize, item: &str| format!("[{}]", vec![item; count].join(","));
    let json_of = |boxes: String| format!("{{\"image\":\"AAAA\",\"prompts\":[\"a\"],\"boxes\":{boxes}}}");
    let image = "image/png";
    let json = "application/json";
    let (form_kind, form_body) = form(&[("prompt", "boat")], None);
    let (_, two) = form(&[("image", "x")], Some(&scene()));
    let mut damaged = scene();
    damaged.truncate(damaged.len() / 2);
    for (path, kind, body, status, error, words) in [
        (
            "/v1/segment?prompt=boat",
            image,
            Vec::new(),
            400,
            "invalid_request",
            "there is no picture",
        ),
        (
            "/v1/segment?prompt=boat",
            image,
            damaged,
            400,
            "invalid_image",
            "damaged PNG",
        ),
        (
            "/v1/segment?prompt=boat",
            image,
            b"<html>".to_vec(),
            400,
            "invalid_image",
            "",
        ),
        (
            "/v1/segment",
            image,
            scene(),
            400,
            "invalid_prompt",
            "nothing to look for",
        ),
        ("/v1/segment?prompt=", image, scene(), 400, "invalid_prompt", "empty"),
        (
            "/v1/segment?prompt=%20%20",
            image,
            scene(),
            400,
            "invalid_prompt",
            "empty",
        ),
        (
            "/v1/segment?prompt=a&threshold=2",
            image,
            scene(),
            400,
            "invalid_request",
            "from 0 to 1",
        ),
        (
            "/v1/segment?prompt=a&threshold=nan",
            image,
            scene(),
            400,
            "invalid_request",
            "from 0 to 1",
        ),
        (
            "/v1/segment?prompt=a&box=1,2,3",
            image,
            scene(),
            400,
            "invalid_request",
            "x1,y1,x2,y2",
        ),
        (
            "/v1/segment?prompt=a&box=0.1,0.1,0.9,0.9",
            image,
            scene(),
            400,
            "invalid_request",
            "in pixels",
        ),
        (
            "/v1/segment?prompt=a&box=1,2,9999,4",
            image,
            scene(),
            400,
            "invalid_prompt",
            "not inside the image",
        ),
        (
            "/v1/segment?prompt=a&image_size=100000",
            image,
            scene(),
            400,
            "invalid_image_size",
            "expected",
        ),
        (
            "/v1/segment?prompt=a&refine=true",
            image,
            scene(),
            400,
            "no_clicks",
            "takes no clicks",
        ),
        (
            "/v1/segment?file=/etc/passwd",
            image,
            scene(),
            400,
            "invalid_request",
            "unknown field",
        ),
        (
            "/v1/segment?prompt=a&masks=tiff",
            image,
            scene(),
            400,
            "invalid_request",
            "rle, polygons or png",
        ),
        ("/v1/segment", json, b"{".to_vec(), 400, "invalid_request", "JSON"),
        ("/v1/segment", json, b"[]".to_vec(), 400, "invalid_request", "JSON"),
        ("/v1/segment", json, vec![b'['; 1 << 20], 400, "invalid_request", "JSON"),
        (
            "/v1/segment",
            json,
            br#"{"url":"http://169.254.169.254/"}"#.to_vec(),
            400,
            "invalid_request",
            "unknown field",
        ),
        (
            "/v1/segment",
            json,
            br#"{"image":"!!","prompts":["a"]}"#.to_vec(),
            400,
            "invalid_request",
            "base64",
        ),
        (
            "/v1/segment",
            json,
            br#"{"image":"data:,x","prompts":["a"]}"#.to_vec(),
            400,
            "invalid_request",
            "base64",
        ),
        (
            "/v1/segment",
            json,
            br#"{"prompts":["a"]}"#.to_vec(),
            400,
            "invalid_request",
            "there is no picture",
        ),
        (
            "/v1/segment",
            json,
            json_of(many(1_000_000, "[1,2,3,4]")).into_bytes(),
            413,
            "too_large",
            "boxes: expected at most 256",
        ),
        (
            "/v1/segment",
            json,
            json_of(many(10, "[1,2,3]")).into_bytes(),
            400,
            "invalid_request",
            "expected a box",
        ),
        (
            "/v1/segment",
            json,
            json_of(many(1, "{\"box\":[1,2,3,4],\"label\":3}")).into_bytes(),
            400,
            "invalid_request",
            "a label",
        ),
        (
            "/v1/segment",
            &form_kind,
            form_body,
            400,
            "invalid_request",
            "there is no picture",
        ),
        ("/v1/segment", &form_kind, two, 400, "invalid_request", "one image"),
        (
            "/v1/segment",
            &form_kind,
            b"--edge\r\n".to_vec(),
            400,
            "invalid_request",
            "form",
        ),
        (
            "/v1/segment",
            "multipart/form-data",
            scene(),
            400,
            "invalid_request",
            "form",
        ),
        (
            "/v1/images?prompt=boat",
            image,
            scene(),
            400,
            "invalid_request",
            "image_size alone",
        ),
        ("/v1/images", image, b"GIF89a".to_vec(), 400, "invalid_image", ""),
        (
            "/v1/images/x/segment",
            image,
            scene(),
            415,
            "unsupported_media_type",
            "application/json",
        ),
        (
            "/v1/images/x/segment",
            json,
            br#"{"prompts":["a"]}"#.to_vec(),
            404,
            "not_found",
            "no such image",
        ),
        (
            "/v1/images/x/click",
            json,
            br#"{"objects":[{"points":[[1,2]]}]}"#.to_vec(),
            404,
            "not_found",
            "no such image",
        ),
        (
            "/v1/images/..%2f..%2fetc",
            json,
            Vec::new(),
            405,
            "method_not_allowed",
            "other methods",
        ),
        ("/v1/segments", json, Vec::new(), 404, "not_found", "/v1/segments"),
    ] {
        let answer = server.post(path, kind, body);
        answer.is_error(status, error, words);
    }
    let prompts = vec!["boat"; 65];
    server
        .post_json("/v1/segment", &json!({"image": "AAAA", "prompts": prompts}))
        .is_error(413, "too_large", "prompts");
    let long = "x".repeat(1001);
    server
        .post_json("/v1/segment", &json!({"image": "AAAA", "prompts": [long]}))
        .is_error(413, "too_large", "characters");
    for method in ["GET", "PUT", "PATCH", "TRACE", "BREW"] {
        let answer = server.send(request(method, "/v1/segment", &[], ""));
        answer.is_error(405, "method_not_allowed", "");
        assert_eq!(answer.header("allow"), "POST", "{method}");
    }
    for (method, path, status, kind) in [
        ("GET", "/page/%ff", 400, "invalid_request"),
        ("GET", "/page/..%2f..%2fetc%2fpasswd", 404, "not_found"),
        ("DELETE", "/v1/images/%ff", 400, "invalid_request"),
        ("GET", "/%ff", 404, "not_found"),
    ] {
        let answer = server.send(request(method, path, &[], ""));
        answer.is_error(status, kind, "");
        assert_eq!(answer.header("content-type"), "application/json", "{path}");
    }
    assert_eq!(
        server.post("/v1/segment?prompt=boat", image, scene()).status,
        200,
        "and still it answers"
    );
}

#[test]
fn a_picture_that_says_it_is_huge_takes_no_memory() {
    let server = Server::new(demo());
    for (width, height) in [(31_623, 31_623), (10_000, 5_001)] {
        let answer = server.post("/v1/segment?prompt=boat", "image/png", png_of(width, height));
        answer.is_error(413, "too_large", &format!("{width}x{height}"));
    }
    server
        .post("/v1/images", "image/png", png_of(10_000, 5_001))
        .is_error(413, "too_large", "50000000 pixels");
    // Few pixels, but rows that are each resized.
    for (width, height) in [(1, 40_000_000), (1, 65_536), (65_536, 1)] {
        server
            .post("/v1/segment?prompt=boat", "image/png", png_of(width, height))
            .is_error(413, "too_large", "more than 65535 pixels in a side");
    }
    server
        .post("/v1/images", "image/png", png_of(1, 65_535))
        .is_error(400, "invalid_image", "damaged PNG");
}

#[test]
fn bodies_are_limited_in_size_and_in_time() {
    let mut settings = support::settings();
    settings.limits.body = 500_000;
    settings.limits.idle = Duration::from_millis(100);
    settings.limits.upload = Duration::from_millis(400);
    let server = Server::with(demo(), settings);
    let send = |request: Request<Body>| server.send(request);
    let path = "/v1/segment?prompt=boat";
    send(request("POST", path, &[], vec![0; 500_001])).is_error(413, "too_large", "500000 bytes");
    let announced = [("content-length", "99999999999")];
    send(request("POST", path, &announced, "x")).is_error(413, "too_large", "500000 bytes");
    let parts = |count: usize, pause: u64, size: usize| {
        let parts = Parts {
            left: count,
            pause: Duration::from_millis(pause),
            size,
            waiting: None,
        };
        Request::post(path)
            .header("host", "localhost")
            .body(Body::new(parts))
            .unwrap()
    };
    send(parts(1000, 0, 1000)).is_error(413, "too_large", "500000 bytes");
    send(parts(3, 300, 1000)).is_error(408, "too_slow", "in time");
    send(parts(1000, 50, 10)).is_error(408, "too_slow", "in time");
    let whole = send(request("POST", path, &[], scene()));
    assert_eq!(whole.status, StatusCode::OK, "{whole:?}");
}

/// A body that comes in parts, with a pause before each.
struct Parts {
    left: usize,
    pause: Duration,
    size: usize,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let pause = self.pause;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(pause)));
        ready!(waiting.as_mut().poll(context));
        self.waiting = None;
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(vec![0; self.size].into()))))
    }
}

#[test]
fn too_much_at_once_is_told_to_come_again() {
    let mut settings = support::settings();
    settings.limits.bodies = 1000;
    let server = Server::with(demo(), settings);
    let answer: Answer = server.post("/v1/segment?prompt=boat", "image/png", scene());
    answer.is_error(503, "busy", "ask again later");
    assert_eq!(answer.header("retry-after"), "2");
}
