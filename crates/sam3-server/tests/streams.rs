//! Sources that the server looks at by itself: what is found is the library's, whoever watches.

mod support;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use http_body_util::BodyExt;
use sam3_model::{Clicks, VideoOptions, image::Image, tracking::Emission};
use sam3_server::{Settings, Stop, StreamSource, run};
use sam3_video::{Format, Frames, LiveSource, Pixels, Rate, VideoError};
use serde_json::{Value, json};
use support::{Server, clickable, demo, frame, load, picture, request, settings};
use tower::ServiceExt;

/// Where the golden object lies on the first frame.
const POINT: [f64; 2] = [120.016, 92.676];

/// A camera that sends the frames whose numbers come through a channel, and is cut off by the number that no frame has.
struct Camera(Arc<Mutex<Receiver<usize>>>);

impl Frames for Camera {
    fn format(&self) -> Format {
        Format::Packed {
            width: 160,
            height: 120,
            pixels: Pixels::Rgb,
        }
    }

    fn rate(&self) -> Option<Rate> {
        None
    }

    fn read(&mut self, bytes: &mut Vec<u8>) -> Result<bool, VideoError> {
        let Ok(number) = self.0.lock().unwrap().recv() else {
            return Ok(false);
        };
        if number > 23 {
            return Err(VideoError::Gone);
        }
        let image = Image::decode(&frame(number)).unwrap();
        bytes.clear();
        bytes.extend_from_slice(image.rgb());
        Ok(true)
    }
}

fn camera(name: &str) -> (Sender<usize>, Settings) {
    let (sender, receiver) = mpsc::channel();
    let receiver = Arc::new(Mutex::new(receiver));
    let open = move |owner| {
        let receiver = receiver.clone();
        // Of what is shown again and again, each part is read as fast as it says: this one, as it comes.
        let open = move |_: &sam3_video::Switch| Ok(Box::new(Camera(receiver.clone())) as Box<dyn Frames>);
        LiveSource::repeated(open, Some(Duration::MAX), owner)
    };
    let mut settings = settings();
    let source = StreamSource::new(name, "v4l2:///dev/video9", open).unwrap();
    settings.streams.push(source);
    (sender, settings)
}

/// Waits until the stream is as it should be.
fn wait_for(server: &Server, path: &str, is: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let record = server.get(path).json();
        if is(&record) {
            return record;
        }
        assert!(Instant::now() < end, "{record}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a frame of that number, and waits until it was looked at as that of the stream.
fn look(server: &Server, sender: &Sender<usize>, number: usize, as_number: usize) -> Value {
    sender.send(number).unwrap();
    wait_for(server, "/v1/streams/gate", |record| {
        record["latest"]["frame"] == as_number
    })
}

/// The records of frames that come by server-sent events.
struct Events {
    body: axum::body::Body,
    text: String,
}

impl Events {
    fn open(server: &Server, path: &str) -> Self {
        let response = server
            .runtime
            .block_on(server.app.clone().oneshot(request("GET", path, &[], "")));
        let response = response.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            body: response.into_body(),
            text: String::new(),
        }
    }

    fn next(&mut self, server: &Server) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let record = event
                    .strip_prefix("data: ")
                    .map(|data| serde_json::from_str(data).unwrap());
                self.text = rest.to_owned();
                match record {
                    Some(record) => return Some(record),
                    // A line that says that it is alive.
                    None => continue,
                }
            }
            let part = server.runtime.block_on(self.body.frame())?.unwrap();
            self.text += std::str::from_utf8(part.data_ref().unwrap()).unwrap();
        }
    }
}

#[test]
fn a_stream_is_followed_as_by_a_session() {
    let (sender, settings) = camera("gate");
    let server = Server::with(&clickable(), settings);
    let all = server.get("/v1/streams").json();
    assert_eq!(all["streams"][0]["name"], "gate");
    assert_eq!(all["streams"][0]["source"], "v4l2:///dev/video9");
    server
        .post_json("/v1/streams/gate/prompts", &json!({"objects": [{"points": [POINT]}]}))
        .is_error(503, "no_frame", "looked at");
    let record = look(&server, &sender, 0, 0);
    assert_eq!(
        (&record["state"], &record["latest"]["width"]),
        (&json!("open"), &json!(160))
    );

    let mut events = Events::open(&server, "/v1/streams/gate/events");
    assert_eq!(events.next(&server).unwrap()["objects"], json!([]));
    // Other prompts begin anew, and the latest frame can be clicked at once.
    let anew = server.post_json("/v1/streams/gate/prompts", &json!({"prompts": []}));
    assert_eq!(anew.json()["prompts"], json!([]));
    let clicked = server.post_json("/v1/streams/gate/prompts", &json!({"objects": [{"points": [POINT]}]}));
    let clicked = clicked.json();
    assert_eq!(
        (&clicked["frame"], &clicked["clicked"][0]["prompt"]),
        (&json!(0), &json!("object 1"))
    );

    let options = VideoOptions::new().emission(Emission::AtOnce);
    let mut session = load(&clickable()).segmenter.video(options).unwrap();
    let image = |number| Image::decode(&frame(number)).unwrap();
    session.push(&image(0)).unwrap();
    let clicks = Clicks::new().point(POINT.map(|side| side as f32));
    session.click(None, &clicks).unwrap();
    for number in 1..5 {
        look(&server, &sender, number, number);
        let told = events.next(&server).unwrap();
        let expected = session.push(&image(number)).unwrap();
        let expected = serde_json::to_value(expected[0].objects[0].mask.to_rle()).unwrap();
        assert_eq!((&told["frame"], &told["dropped"]), (&json!(number), &json!(0)));
        assert_eq!(told["objects"][0]["segmentation"], expected, "{number}");
        assert!(told["latency_ms"].as_f64().unwrap() >= told["compute_ms"].as_f64().unwrap());
    }

    // A client may ask for something else in between.
    let id = server.encode(picture());
    assert_eq!(
        server
            .post_json(
                &format!("/v1/images/{id}/click"),
                &json!({"objects": [{"points": [[107, 91]]}]})
            )
            .status,
        200
    );

    // Cut off, and back: its numbers and its objects go on.
    sender.send(99).unwrap();
    wait_for(&server, "/v1/streams/gate", |record| record["state"] == "away");
    let record = look(&server, &sender, 5, 5);
    assert_eq!(
        (&record["state"], &record["latest"]["objects"]),
        (&json!("open"), &json!(1))
    );
    assert_eq!(
        events.next(&server).unwrap()["objects"][0]["id"],
        clicked["clicked"][0]["id"]
    );

    let object = format!("/v1/streams/gate/objects/{}", clicked["clicked"][0]["id"]);
    assert_eq!(server.send(request("DELETE", &object, &[], "")).status, 204);
    server
        .send(request("DELETE", &object, &[], ""))
        .is_error(404, "not_found", "no such object");
    assert_eq!(look(&server, &sender, 6, 6)["latest"]["objects"], 0);

    // Whoever watches learns of the end.
    drop(sender);
    server.model.stop();
    while events.next(&server).is_some() {}
    assert_eq!(server.get("/v1/streams/gate").json()["state"], "ended");
    server
        .post_json("/v1/streams/gate/prompts", &json!({"prompts": ["a"]}))
        .is_error(503, "stopping", "stopped");
}

#[test]
fn what_a_stream_is_asked_is_checked() {
    let (sender, settings) = camera("gate");
    let server = Server::with(&clickable(), settings);
    look(&server, &sender, 0, 0);
    let ask = |body: Value| server.post_json("/v1/streams/gate/prompts", &body);
    ask(json!({})).is_error(400, "invalid_request", "nothing is asked for");
    ask(json!({"prompts": ["a"], "objects": [{"points": [POINT]}]})).is_error(400, "invalid_request", "begin anew");
    ask(json!({"prompts": [""]})).is_error(400, "invalid_prompt", "empty");
    ask(json!({"objects": [{"points": [[900, 1]]}]})).is_error(400, "invalid_request", "900");
    ask(json!({"objects": [{"id": 7, "points": [POINT]}]})).is_error(400, "invalid_request", "no object 7");
    ask(json!({"source": "/dev/video0"})).is_error(400, "invalid_request", "source");
    for path in ["", "/events", "/live.mjpeg", "/socket"] {
        server
            .get(&format!("/v1/streams/roof{path}"))
            .is_error(404, "not_found", "/v1/streams lists");
    }
    server
        .get("/v1/streams/gate/socket")
        .is_error(426, "upgrade_required", "WebSocket");
    assert!(StreamSource::new("../gate", "", |_| Err(VideoError::Gone)).is_err());
    // Not more than so many watch.
    let watchers: Vec<_> = (0..32)
        .map(|_| Events::open(&server, "/v1/streams/gate/events"))
        .collect();
    server
        .get("/v1/streams/gate/live.mjpeg")
        .is_error(429, "too_many_watchers", "32 clients");
    drop(watchers);
    // A model that follows nothing says so; its stream goes on.
    let (sender, settings) = camera("gate");
    let server = Server::with(demo(), settings);
    sender.send(0).unwrap();
    let record = wait_for(&server, "/v1/streams/gate", |record| record["state"] == "failing");
    assert!(
        record["reason"].as_str().unwrap().contains("follows no videos"),
        "{record}"
    );
}

#[test]
fn frames_are_shown_as_jpegs() {
    let (sender, settings) = camera("gate");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stop = Stop::default();
    let stopped = stop.clone();
    let serving = thread::spawn(move || run(listener, settings, &stopped, || Ok::<_, ()>(load(&clickable()))));
    let ask = |path: &str, more: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n{more}\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        (String::from_utf8(head).unwrap(), stream)
    };
    sender.send(3).unwrap();
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let end = Instant::now() + Duration::from_secs(60);
    let (mut head, mut socket) = ask("/v1/streams/gate/socket", upgrade);
    while !head.starts_with("HTTP/1.1 101") {
        assert!(Instant::now() < end, "{head}");
        (head, socket) = ask("/v1/streams/gate/socket", upgrade);
    }
    // What RFC 6455 answers to its own example.
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    let mut message = || {
        let mut head = [0; 2];
        socket.read_exact(&mut head).unwrap();
        let mut length = [0; 8];
        match head[1] {
            126 => socket.read_exact(&mut length[6..]).unwrap(),
            127 => socket.read_exact(&mut length).unwrap(),
            short => length[7] = short,
        }
        let mut data = vec![0; u64::from_be_bytes(length) as usize];
        socket.read_exact(&mut data).unwrap();
        (head[0], data)
    };
    let (text, binary, close) = (0x81, 0x82, 0x88);
    let (mut kind, mut record) = message();
    if (kind, record.is_empty()) == (0x89, true) {
        // A sign of life.
        (kind, record) = message();
    }
    assert_eq!(kind, text);
    assert_eq!(serde_json::from_slice::<Value>(&record).unwrap()["frame"], 0);
    let (kind, jpeg) = message();
    assert_eq!(kind, binary);
    let shown = Image::decode(&jpeg).unwrap();
    let sent = Image::decode(&frame(3)).unwrap();
    assert_eq!((shown.width(), shown.height()), (160, 120));
    let apart = shown
        .rgb()
        .iter()
        .zip(sent.rgb())
        .map(|(a, b)| u32::from(a.abs_diff(*b)));
    assert!(apart.sum::<u32>() / (160 * 120 * 3) < 8);

    let (head, mut movie) = ask("/v1/streams/gate/live.mjpeg", "");
    assert!(head.contains("multipart/x-mixed-replace; boundary=frame"), "{head}");
    let mut part = vec![0; 2000];
    movie.read_exact(&mut part).unwrap();
    assert!(String::from_utf8_lossy(&part).contains("--frame\r\nContent-Type: image/jpeg\r\nContent-Length: "));

    // Who watches does not keep the server from its end.
    drop(sender);
    stop.stop();
    assert_eq!(message().0, close);
    let begin = Instant::now();
    serving.join().unwrap().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(20));
}
