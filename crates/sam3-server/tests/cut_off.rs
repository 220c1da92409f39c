//! Clients that go away while a frame of theirs is followed, over a real socket: the video stays as it was.

mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use sam3_model::{Clicks, VideoOptions, image::Image, tracking::Emission};
use sam3_server::{Stop, run};
use serde_json::{Value, json};
use support::{
    frame, load, settings,
    videos::{answered, expected, large_frame, speaking, words},
};

/// Twice the miniature's own size: a frame takes long enough to go away in its middle.
const IMAGE_SIZE: usize = 448;

/// A server that listens.
struct Served {
    address: SocketAddr,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Stop::default();
        let of_thread = stop.clone();
        let load = || Ok::<_, ()>(load(&speaking()));
        let thread = std::thread::spawn(move || run(listener, settings(), &of_thread, load).unwrap());
        let served = Self {
            address,
            stop,
            thread: Some(thread),
        };
        served.wait("the model is loaded", || served.ask("GET", "/ready", b"").0 == 200);
        served
    }

    fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(Instant::now() < end, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A request that is sent whole.
    fn begin(&self, method: &str, path: &str, body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let kind = match body.starts_with(b"{") {
            true => "application/json",
            false => "image/png",
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        stream
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        let mut answer = String::new();
        self.begin(method, path, body).read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// The JSON of an answer that is none of errors.
    fn json(&self, path: &str, body: &[u8]) -> Value {
        let (status, answer) = self.ask("POST", path, body);
        assert!(status < 300, "{path}: {answer}");
        serde_json::from_str(&answer).unwrap()
    }

    fn video(&self, words: &str) -> String {
        let body = json!({"prompts": [words], "at_once": true, "image_size": IMAGE_SIZE});
        let begun = self.json("/v1/videos", body.to_string().as_bytes());
        format!("/v1/videos/{}", begun["id"].as_str().unwrap())
    }

    /// How many frames were answered, and how many clients went away.
    fn ended(&self) -> (u64, u64) {
        let metrics = self.ask("GET", "/metrics", b"").1;
        let value = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name));
            line.map_or(0, |value| value.trim().parse().unwrap())
        };
        let answered = r#"sam3_request_seconds_count{method="POST",route="/v1/videos/{id}/frames",status="200"}"#;
        (value(answered), value("sam3_requests_abandoned_total"))
    }

    /// Sends a frame and goes away after a while; whether the server took notice of that.
    fn cut_off(&self, video: &str, picture: &[u8], after: Duration) -> bool {
        let before = self.ended();
        let stream = self.begin("POST", &format!("{video}/frames"), picture);
        std::thread::sleep(after);
        drop(stream);
        self.wait("the request ends", || self.ended() != before);
        self.ended().1 > before.1
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.stop();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

#[test]
fn a_video_is_as_it_was_after_frames_that_were_cut_off() {
    let (served, words) = (Served::start(), words());
    let options = VideoOptions::new().emission(Emission::AtOnce);
    let model = load(&speaking()).segmenter.at_image_size(IMAGE_SIZE).unwrap();
    let mut session = model.video(options).unwrap();
    session.text(&words).unwrap();
    let push = |number: usize, session: &mut sam3_model::Session| {
        let image = Image::decode(&large_frame(number)).unwrap();
        expected(&session.push(&image).unwrap())
    };

    let probe = served.video(&words);
    let mut took = Duration::ZERO;
    for number in 0..2 {
        let start = Instant::now();
        served.json(&format!("{probe}/frames"), &large_frame(number));
        took = start.elapsed();
    }

    // The first frame, of another size than those that come: cut off earlier where it was followed already.
    let is_stopped = |after: Duration| {
        let video = served.video(&words);
        served.cut_off(&video, &frame(0), after);
        let shown = json!({"objects": [{"points": [[40, 40]]}]}).to_string();
        let (status, answer) = served.ask("POST", &format!("{video}/prompts"), shown.as_bytes());
        (status == 400 && answer.contains("no frame yet")).then_some(video)
    };
    let video = [4, 8, 16, 32, 64].into_iter().find_map(|part| is_stopped(took / part));
    let video = video.expect("one of them was stopped");
    let (frames, prompts) = (format!("{video}/frames"), format!("{video}/prompts"));
    let first = served.json(&frames, &large_frame(0));
    assert_eq!(answered(&first["frames"]), push(0, &mut session));
    let found = session.objects()[1];
    let (mut last, mut stopped) = (0, 0);
    for eighth in [0, 1, 2, 4, 6] {
        let noticed = served.cut_off(&video, &large_frame(9), took * eighth / 8);
        // What the text found is still there on the frame before.
        let at = 30 + 10 * eighth;
        let body = json!({"objects": [{"id": found, "points": [[at, 40]]}]});
        let answer = served.json(&prompts, body.to_string().as_bytes());
        if answer["frame"] == last {
            assert!(noticed);
            stopped += 1;
        } else {
            // The client went away when it was encoded already, and the frame counts.
            last += 1;
            assert_eq!(answer["frame"], last);
            push(9, &mut session);
        }
        let clicked = session
            .click(Some(found), &Clicks::new().point([at as f32, 40.0]))
            .unwrap();
        let mask = serde_json::to_value(clicked.mask.to_rle()).unwrap();
        assert_eq!(
            answer["clicked"][0]["segmentation"], mask,
            "after {eighth}/8 of {took:?}"
        );
    }
    assert!(stopped > 0, "none was stopped within {took:?}");
    for number in 1..3 {
        let answer = served.json(&frames, &large_frame(number));
        assert_eq!(answer["frame"], last + number);
        assert_eq!(answered(&answer["frames"]), push(number, &mut session));
    }
}
