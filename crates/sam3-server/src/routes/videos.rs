//! `/v1/videos`: objects followed through frames that are sent one by one.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use sam3_model::report::FrameRecord;
use serde::Serialize;

use super::{
    App, answer,
    images::created,
    incoming::{Incoming, Named},
    json,
};
use crate::{
    access::random_hex,
    failure::Failure,
    request::{self, PromptsBody, VideoBody, at_most},
    videos::{Followed, Video},
};

/// The answer to a video that was begun.
#[derive(Serialize)]
struct Begun<'a> {
    id: &'a str,
    prompts: &'a [String],
    image_size: usize,
    /// How long it is kept while nobody asks about it.
    idle_seconds: u64,
}

/// The frames that were held back.
#[derive(Serialize)]
struct Rest<'a> {
    frames: Vec<FrameRecord<'a>>,
}

pub async fn begin(State(app): State<App>, incoming: Incoming) -> Result<Response, Failure> {
    let body: VideoBody = incoming.json()?;
    drop(incoming);
    body.check(&app.model.settings().limits)?;
    let id = random_hex().map_err(|error| Failure::internal(error.to_string()))?;
    let (model, name) = (app.model.clone(), id.clone());
    let answer = app.model.ask(move |opened, gone| {
        model.videos().check_room()?;
        model.check_videos()?;
        let segmenter = &opened.loaded.segmenter;
        let at_size = segmenter.at_image_size(body.image_size.unwrap_or(segmenter.image_size()))?;
        if !body.prompts.is_empty() {
            segmenter.check_texts()?;
        }
        let answer = answer::bytes(&Begun {
            id: &name,
            prompts: &body.prompts,
            image_size: at_size.image_size(),
            idle_seconds: model.settings().video_idle.as_secs(),
        })?;
        let mut followed = Followed::new(at_size, body.options())?;
        followed.look_for(body.prompts, gone)?;
        model.videos().insert(name, Video::new(followed))?;
        Ok(answer)
    });
    Ok(created(&format!("/v1/videos/{id}"), answer.await?))
}

pub async fn frame(State(app): State<App>, Named(id): Named<String>, incoming: Incoming) -> Result<Response, Failure> {
    let Incoming { query, headers, body } = incoming;
    let limits = app.model.settings().limits;
    let (picture, shown) = request::frame(&query, &headers, body.bytes.clone(), &limits).await?;
    let video = app.model.videos().get(&id)?;
    let model = app.model.clone();
    let answer = app.model.ask(move |_, gone| {
        let _held = body;
        model.check_videos()?;
        let answer = video.work(|followed| {
            let image = model.decode(followed.model(), &picture)?;
            answer::bytes(&followed.frame(&image, &shown, gone)?)
        });
        model.shrink();
        answer
    });
    Ok(json(StatusCode::OK, answer.await?))
}

pub async fn prompt(State(app): State<App>, Named(id): Named<String>, incoming: Incoming) -> Result<Response, Failure> {
    let limits = app.model.settings().limits;
    let body: PromptsBody = incoming.json()?;
    drop(incoming);
    let shown = body.check(&limits)?;
    let video = app.model.videos().get(&id)?;
    let model = app.model.clone();
    let answer = app.model.ask(move |opened, gone| {
        if !body.prompts.is_empty() {
            opened.loaded.segmenter.check_texts()?;
        }
        model.check_videos()?;
        let answer = video.work(|followed| {
            at_most(
                "prompts of a video",
                followed.texts() + body.prompts.len(),
                limits.prompts,
            )?;
            answer::bytes(&followed.prompt(body.prompts, &shown, gone)?)
        });
        model.shrink();
        answer
    });
    Ok(json(StatusCode::OK, answer.await?))
}

pub async fn remove_object(
    State(app): State<App>,
    Named((id, object)): Named<(String, String)>,
) -> Result<Response, Failure> {
    let video = app.model.videos().get(&id)?;
    let unknown = || Failure::not_found("the video has no such object, or no longer");
    let object: u32 = object.parse().map_err(|_| unknown())?;
    let removed = app
        .model
        .ask(move |_, _| video.work(|followed| followed.remove(object)));
    match removed.await? {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Err(unknown()),
    }
}

/// Tells the rest, and ends the video.
pub async fn finish(State(app): State<App>, Named(id): Named<String>) -> Result<Response, Failure> {
    let video = app.model.videos().get(&id)?;
    let model = app.model.clone();
    let answer = app.model.ask(move |_, _| {
        let answer = video.work(|followed| {
            let frames = followed.finish();
            answer::bytes(&Rest { frames })
        })?;
        // Who asks at the same time to have it removed is not late.
        let _ = model.videos().remove(&id);
        Ok(answer)
    });
    Ok(json(StatusCode::OK, answer.await?))
}

pub async fn remove(State(app): State<App>, Named(id): Named<String>) -> Result<Response, Failure> {
    app.model.videos().remove(&id)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
