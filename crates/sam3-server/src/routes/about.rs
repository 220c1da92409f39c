//! What the server says of itself.

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use sam3_model::{
    Segmenter,
    report::{GENERATOR, ModelRecord},
};
use serde::Serialize;

use super::{App, OPENAPI, json};
use crate::{failure::Failure, metrics::Gauge};

/// That the process lives and answers.
pub async fn health() -> Response {
    json(StatusCode::OK, br#"{"status":"ok"}"#.to_vec())
}

/// That the model is loaded and takes requests.
pub async fn ready(State(app): State<App>) -> Result<Response, Failure> {
    if app.model.is_stopping() {
        return Err(Failure::stopping());
    }
    app.model.opened().ok_or_else(Failure::loading)?;
    Ok(json(StatusCode::OK, br#"{"status":"ready"}"#.to_vec()))
}

pub async fn openapi() -> Response {
    json(
        StatusCode::OK,
        OPENAPI.replacen("VERSION", env!("CARGO_PKG_VERSION"), 1).into_bytes(),
    )
}

#[derive(Serialize)]
struct Info<'a> {
    generator: &'static str,
    model: ModelRecord<'a>,
    tasks: Tasks,
    /// The only ones that the model knows; empty where any text will do.
    prompts: &'a [String],
    threshold: f32,
    limits: Limits,
    queue: Queue,
    cache: Images,
    videos: Videos,
}

#[derive(Serialize)]
struct Tasks {
    segment: bool,
    click: bool,
    /// Following through videos.
    track: bool,
}

#[derive(Serialize)]
struct Limits {
    body_bytes: u64,
    pixels: u64,
    prompts: usize,
    characters: usize,
    boxes: usize,
    objects: usize,
    points: usize,
}

#[derive(Serialize)]
struct Queue {
    waiting: usize,
    capacity: usize,
}

#[derive(Serialize)]
struct Images {
    images: usize,
    bytes: u64,
    limit_bytes: u64,
}

#[derive(Serialize)]
struct Videos {
    videos: usize,
    limit: usize,
    bytes: u64,
    idle_seconds: u64,
}

/// The model, what it can do, and how much may be asked of it.
pub async fn info(State(app): State<App>) -> Result<Response, Failure> {
    let model = &app.model;
    let opened = model.opened().ok_or_else(Failure::loading)?;
    let loaded = &opened.loaded;
    let limits = model.settings().limits;
    let (waiting, capacity) = model.waiting();
    let info = Info {
        generator: GENERATOR,
        model: opened.record(loaded.segmenter.image_size()),
        tasks: Tasks {
            segment: loaded.segmenter.check_texts().is_ok(),
            click: loaded.segmenter.takes_clicks(),
            // Both are of one tracker.
            track: loaded.segmenter.takes_clicks(),
        },
        prompts: loaded.segmenter.baked_prompts(),
        threshold: Segmenter::THRESHOLD,
        limits: Limits {
            body_bytes: limits.body,
            pixels: limits.pixels,
            prompts: limits.prompts,
            characters: limits.characters,
            boxes: limits.boxes,
            objects: limits.objects,
            points: limits.points,
        },
        queue: Queue { waiting, capacity },
        cache: {
            let images = model.images();
            Images {
                images: images.len(),
                bytes: images.bytes(),
                limit_bytes: model.settings().cache,
            }
        },
        videos: {
            let videos = model.videos();
            Videos {
                videos: videos.len(),
                limit: model.settings().videos,
                bytes: videos.bytes(),
                idle_seconds: model.settings().video_idle.as_secs(),
            }
        },
    };
    let bytes = serde_json::to_vec(&info).map_err(|error| Failure::internal(error.to_string()))?;
    Ok(json(StatusCode::OK, bytes))
}

/// For Prometheus.
pub async fn metrics(State(app): State<App>) -> Response {
    let model = &app.model;
    let (waiting, capacity) = model.waiting();
    let (images, bytes) = {
        let images = model.images();
        (images.len(), images.bytes())
    };
    let (videos, video_bytes) = {
        let videos = model.videos();
        (videos.len(), videos.bytes())
    };
    let gauges = [
        (
            "sam3_ready",
            "Whether the model is loaded.",
            f64::from(model.opened().is_some()),
        ),
        (
            "sam3_queue_waiting",
            "Requests that wait for the model.",
            waiting as f64,
        ),
        ("sam3_queue_capacity", "Requests that may wait.", capacity as f64),
        ("sam3_images_cached", "Encoded images that are kept.", images as f64),
        ("sam3_images_cached_bytes", "What they take.", bytes as f64),
        ("sam3_videos", "Videos that are followed.", videos as f64),
        ("sam3_videos_bytes", "What is remembered of them.", video_bytes as f64),
    ];
    let text = model
        .metrics()
        .to_text(&gauges.map(|(name, help, value)| Gauge { name, help, value }));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
