//! `POST /v1/segment`: a picture and what to look for in it, at once.

use std::time::Instant;

use axum::{extract::State, http::StatusCode, response::Response};
use sam3_model::{
    Segmenter, Tiling,
    image::Image,
    report::{Timings, find_in_tiles},
};

use super::{
    App,
    answer::{Picture, segmented},
    incoming::Incoming,
    json,
};
use crate::{failure::Failure, request, settings::Limits};

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
        let (image, encoded) = model.encode(&at_size, &picture, gone)?;
        drop(picture);
        segmenter.synchronize()?;
        let mut timings = Timings {
            encode_ms: start.elapsed().as_secs_f64() * 1e3,
            ..Timings::default()
        };
        let (prompts, how) = (wanted.prompts(), wanted.how());
        check_tiles(how.tiling.as_ref(), &image, &at_size, &limits)?;
        let watch = &mut |_| gone.go_on();
        let (found, _) = find_in_tiles(&at_size, &image, encoded, &prompts, how, &mut timings, watch)?;
        let picture = Picture {
            extents: (image.width(), image.height()),
            sha256: &sha256,
            image_size: at_size.image_size(),
        };
        segmented(opened, &picture, &wanted, &timings, &found)
    });
    Ok(json(StatusCode::OK, answer.await?))
}

/// Each tile keeps others waiting for as long as a picture does.
fn check_tiles(tiling: Option<&Tiling>, image: &Image, model: &Segmenter, limits: &Limits) -> Result<(), Failure> {
    let Some(tiling) = tiling else {
        return Ok(());
    };
    let [columns, rows] = tiling.grid((image.width(), image.height()), model.image_size())?;
    request::at_most("tiles of the picture", (columns * rows) as usize, limits.tiles)
}
