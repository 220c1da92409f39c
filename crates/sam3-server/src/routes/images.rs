//! `/v1/images`: pictures that are encoded once and asked about many times.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use sam3_model::report::{Timings, find};
use serde::Serialize;

use super::{
    App,
    answer::{self, Picture, segmented},
    incoming::{Incoming, Named},
    json,
};
use crate::{access::random_hex, cache::Cached, failure::Failure, request};

/// The answer to an image.
#[derive(Serialize)]
struct Stored<'a> {
    id: &'a str,
    sha256: &'a str,
    width: u32,
    height: u32,
    image_size: usize,
    /// What it takes of the server's memory.
    bytes: u64,
    encode_ms: f64,
}

pub async fn encode(State(app): State<App>, incoming: Incoming) -> Result<Response, Failure> {
    let Incoming { query, headers, body } = incoming;
    let limits = app.model.settings().limits;
    let (picture, image_size) = request::upload(&query, &headers, body.bytes.clone(), &limits).await?;
    let id = random_hex().map_err(|error| Failure::internal(error.to_string()))?;
    let (model, name) = (app.model.clone(), id.clone());
    let answer = app.model.ask(move |opened, gone| {
        let _held = body;
        let segmenter = &opened.loaded.segmenter;
        let at_size = segmenter.at_image_size(image_size.unwrap_or(segmenter.image_size()))?;
        let sha256 = sam3_package::sha256(&picture[..]).map_err(|error| Failure::internal(error.to_string()))?;
        let start = Instant::now();
        let (_, encoded) = model.encode(&at_size, &picture, gone)?;
        segmenter.synchronize()?;
        let cached = Arc::new(Cached::new(encoded, sha256, at_size.image_size()));
        let answer = answer::bytes(&Stored {
            id: &name,
            sha256: &cached.sha256,
            width: cached.encoded.width(),
            height: cached.encoded.height(),
            image_size: cached.image_size,
            bytes: cached.bytes(),
            encode_ms: start.elapsed().as_secs_f64() * 1e3,
        })?;
        let bytes = cached.bytes();
        if !model.keep_image(name, cached) {
            return Err(Failure::unavailable(
                "cache_too_small",
                format!(
                    "an encoded image takes {bytes} bytes, which is more than the server may keep beside its videos \
                     (--cache-mb)"
                ),
            ));
        }
        Ok(answer)
    });
    Ok(created(&format!("/v1/images/{id}"), answer.await?))
}

/// What was made at an address.
pub(super) fn created(path: &str, answer: Vec<u8>) -> Response {
    let mut response = json(StatusCode::CREATED, answer);
    if let Ok(location) = path.parse() {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

pub async fn remove(State(app): State<App>, Named(id): Named<String>) -> Result<Response, Failure> {
    match app.model.images().remove(&id) {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Err(unknown()),
    }
}

pub async fn segment(
    State(app): State<App>,
    Named(id): Named<String>,
    incoming: Incoming,
) -> Result<Response, Failure> {
    let limits = app.model.settings().limits;
    let wanted = request::of_image(&incoming.headers, &incoming.body.bytes, &limits)?;
    drop(incoming);
    wanted.check_is_something()?;
    let cached = kept(&app, &id)?;
    let model = app.model.clone();
    let answer = app.model.ask(move |opened, gone| {
        let encoded = &cached.encoded;
        let picture = Picture {
            extents: (encoded.width(), encoded.height()),
            sha256: &cached.sha256,
            image_size: cached.image_size,
        };
        let (prompts, mut timings) = (wanted.prompts(), Timings::default());
        let segmenter = &opened.loaded.segmenter;
        let found = find(segmenter, encoded, &prompts, wanted.how(), &mut timings, &mut |_| {
            gone.go_on()
        });
        let answer = match found {
            Ok((found, _)) => segmented(opened, &picture, &wanted, &timings, &found),
            Err(error) => Err(error.into()),
        };
        // Refining made the click head's maps of it.
        model.shrink();
        answer
    });
    Ok(json(StatusCode::OK, answer.await?))
}

/// The image of that name.
pub(super) fn kept(app: &App, id: &str) -> Result<Arc<Cached>, Failure> {
    app.model.images().get(id).ok_or_else(unknown)
}

fn unknown() -> Failure {
    Failure::not_found("there is no such image, or no longer: POST it to /v1/images again")
}
