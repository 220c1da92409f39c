//! The queue before the model: who waits, who leaves it, and how it ends.

use std::{
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

use axum::{body::Body, http::Request, response::Response};
use sam3_model::{Device, Error, Options, VideoOptions};
use sam3_package::StateDict;
use tokio::{runtime::Runtime, task::JoinHandle as Task};
use tower::ServiceExt;

use super::*;
use crate::{
    access::Access,
    request::{Pointed, Shown},
    routes::app,
    videos::{Followed, Video},
};

fn golden(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../sam3-model/tests/goldens/tracker")
        .join(file)
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

struct Server {
    runtime: Runtime,
    model: Model,
    thread: JoinHandle<Result<(), Error>>,
}

impl Server {
    /// With two places in the queue.
    fn new() -> Self {
        let mut settings = Settings::new(Access::listening_on("127.0.0.1".parse().unwrap()));
        settings.queue = 2;
        let (model, thread) = Model::start(settings, || {
            let dict = Arc::new(StateDict::open(&golden("mini.pt"))?);
            Loaded::load(dict, &Options::new(&Device::Cpu))
        });
        wait_for("the model is loaded", || model.opened().is_some());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        Self { runtime, model, thread }
    }

    /// Keeps the model busy until the sender is used or dropped.
    fn block(&self) -> (mpsc::Sender<()>, Task<Result<(), Failure>>) {
        let ((free, blocked), (begin, begun)) = (mpsc::channel(), mpsc::channel());
        let model = self.model.clone();
        let task = self.runtime.spawn(async move {
            let work = move |_: &Opened, _: &Gone| {
                begin.send(()).unwrap();
                let _ = blocked.recv();
                Ok(())
            };
            model.ask(work).await
        });
        begun.recv_timeout(Duration::from_secs(60)).unwrap();
        (free, task)
    }

    fn request(&self) -> Task<Response> {
        let picture = std::fs::read(golden("picture.png")).unwrap();
        let request = Request::post("/v1/images")
            .header("host", "localhost")
            .body(Body::from(picture))
            .unwrap();
        let app = app(self.model.clone());
        self.runtime.spawn(async move { app.oneshot(request).await.unwrap() })
    }

    fn wait_until_waiting(&self, count: usize) {
        wait_for("requests wait", || self.model.waiting().0 == count);
    }

    fn status(&self, task: Task<Response>) -> u16 {
        self.runtime.block_on(task).unwrap().status().as_u16()
    }
}

#[test]
fn a_full_queue_turns_requests_away_and_who_leaves_makes_room() {
    let server = Server::new();
    let (free, blocking) = server.block();
    let waiting = server.request();
    server.wait_until_waiting(1);
    let leaving = server.request();
    server.wait_until_waiting(2);
    let refused = server.runtime.block_on(server.request()).unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "2");

    leaving.abort();
    server.wait_until_waiting(1);
    let next = server.request();
    server.wait_until_waiting(2);
    assert_eq!(server.model.metrics().abandoned.load(Ordering::Relaxed), 1);
    free.send(()).unwrap();
    assert_eq!((server.status(waiting), server.status(next)), (201, 201));
    assert!(server.runtime.block_on(blocking).unwrap().is_ok());
    assert_eq!(
        server.model.metrics().encoded.load(Ordering::Relaxed),
        2,
        "nobody's was encoded"
    );
}

#[test]
fn an_encoder_stops_at_the_next_layer_when_its_client_goes_away() {
    let server = Server::new();
    let (begin, begun) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let model = server.model.clone();
    let task = server.runtime.spawn(async move {
        let picture = std::fs::read(golden("picture.png")).unwrap();
        let image = Image::decode(&picture).unwrap();
        let work = move |opened: &Opened, gone: &Gone| {
            let mut layers = 0;
            let encoded = opened.loaded.segmenter.encode_watched(&image, &mut |_| {
                layers += 1;
                if layers == 1 {
                    begin.send(()).unwrap();
                    wait_for("the client goes", || gone.go_on().is_break());
                }
                gone.go_on()
            });
            tell.send((layers, encoded.map(drop))).unwrap();
            Ok(())
        };
        model.ask(work).await
    });
    begun.recv_timeout(Duration::from_secs(60)).unwrap();
    task.abort();
    let (layers, encoded) = told.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(matches!(encoded, Err(Error::Stopped { .. })), "{encoded:?}");
    assert_eq!(layers, 1);
}

#[test]
fn a_stop_finishes_what_runs_and_refuses_what_waits() {
    let server = Server::new();
    let (free, blocking) = server.block();
    let waiting = server.request();
    server.wait_until_waiting(1);
    server.model.stop();
    assert_eq!(server.status(waiting), 503);
    assert_eq!(server.status(server.request()), 503);
    assert!(!server.thread.is_finished());
    free.send(()).unwrap();
    assert!(
        server.runtime.block_on(blocking).unwrap().is_ok(),
        "what ran was finished"
    );
    assert!(server.thread.join().unwrap().is_ok());
}

#[test]
fn a_request_that_panics_is_the_only_one_to_fail() {
    let server = Server::new();
    let answer = server
        .runtime
        .block_on(server.model.ask(|_, _| -> Result<(), Failure> { panic!("a fault") }));
    assert!(answer.is_err());
    assert_eq!(server.status(server.request()), 201);
}

#[test]
fn what_cannot_be_had_is_refused_and_images_make_room_first() {
    let server = Server::new();
    assert_eq!(server.status(server.request()), 201);
    assert!(server.model.make_room(1).is_ok());
    assert_eq!(server.model.images().len(), 1);
    assert!(server.model.make_room(u64::MAX).is_err());
    assert_eq!(server.model.images().len(), 0, "they were let go of before");
}

#[test]
fn a_frame_whose_client_goes_away_is_not_counted() {
    let server = Server::new();
    let model = server.model.opened().unwrap().loaded.segmenter.clone();
    let mut followed = Followed::new(model, VideoOptions::new()).unwrap();
    let image = Image::decode(&std::fs::read(golden("picture.png")).unwrap()).unwrap();
    let shown = [Shown {
        id: None,
        by: Pointed {
            points: vec![([107.0, 91.0], true)],
            bounding_box: None,
        },
    }];
    let (gone, there) = (Gone::default(), Gone::default());
    gone.0.store(true, Ordering::Relaxed);
    assert!(followed.frame(&image, &shown, &gone).is_err() && followed.is_whole());
    let answer = serde_json::to_value(followed.frame(&image, &shown, &there).unwrap()).unwrap();
    assert_eq!((&answer["frame"], &answer["clicked"][0]["id"]), (&0.into(), &0.into()));
}

#[test]
fn a_video_that_fails_in_the_middle_ends() {
    let server = Server::new();
    let model = server.model.opened().unwrap().loaded.segmenter.clone();
    let video = Video::new(Followed::new(model, VideoOptions::new()).unwrap());
    assert!(server.model.videos().insert("a".to_owned(), video).is_ok());
    let video = server.model.videos().get("a").unwrap();
    assert!(video.work(|_| Ok(())).is_ok());
    let panics = AssertUnwindSafe(|| video.work(|_| -> Result<(), Failure> { panic!("a fault") }));
    assert!(catch_unwind(panics).is_err());
    assert!(video.work(|_| Ok(())).is_err());
    drop(video);
    assert!(server.model.videos().get("a").is_err());
}
