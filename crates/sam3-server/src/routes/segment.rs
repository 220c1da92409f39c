//! `POST /v1/segment`: a picture and what to look for in it, at once.

use std::time::Instant;

use axum::{extract::State, http::StatusCode, response::Response};
use sam3_model::report::Timings;

use super::{
    App,
    answer::{Picture, segmented},
    incoming::Incoming,
    json,
};
use crate::{failure::Failure, request};

pub async fn segment(State(app): State<App>, incoming: Incoming) -> Result<Response, Failure> {
    let Incoming { query, headers, body } = incoming;
    let limits = app.model.settings().limits;
    let (picture, wanted) = request::picture(&query, &headers, body.bytes.clone(), &limits).await?;
    wanted.check_is_something()?;
    let model = app.model.clone();
    let answer = app.model.ask(move |opened, gone| {
        let _held = body;
        let segmenter = &opened.loaded.segmenter;
        segmenter.check_texts()?;
        let at_size = segmenter.at_image_size(wanted.image_size.unwrap_or(segmenter.image_size()))?;
        if wanted.refine {
            segmenter.load_click_head()?;
        }
        let sha256 = sam3_package::sha256(&picture[..]).map_err(|error| Failure::internal(error.to_string()))?;
        let start = Instant::now();
        let encoded = model.encode(&at_size, &picture, gone)?;
        segmenter.synchronize()?;
        let timings = Timings {
            encode_ms: start.elapsed().as_secs_f64() * 1e3,
            ..Timings::default()
        };
        let picture = Picture {
            encoded: &encoded,
            sha256: &sha256,
            image_size: at_size.image_size(),
        };
        segmented(opened, &picture, &wanted, timings, gone)
    });
    Ok(json(StatusCode::OK, answer.await?))
}
