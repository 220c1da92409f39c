//! `POST /v1/images/{id}/click`: the objects that are pointed at in an image.

use std::time::Instant;

use axum::{extract::State, http::StatusCode, response::Response};
use sam3_model::{
    ClickedObject, Clicks, Instance,
    report::{ClickTimings, Clicked, ClickedRecord, ClicksRecord, InstanceRecord, ObjectRecord, PointRecord},
};

use super::{
    App,
    answer::{self, Picture},
    images,
    incoming::{Incoming, Named},
    json,
};
use crate::{
    cache::Cached,
    failure::Failure,
    model::{Gone, Opened},
    request::{ClickBody, Masks, ObjectBody, at_most},
    settings::Limits,
};

pub async fn click(State(app): State<App>, Named(id): Named<String>, incoming: Incoming) -> Result<Response, Failure> {
    let limits = app.model.settings().limits;
    let body: ClickBody = incoming.json()?;
    drop(incoming);
    at_most("objects", body.objects.len(), limits.objects)?;
    if body.objects.is_empty() {
        return Err(Failure::invalid(
            "nothing is clicked: give objects with points, a box or logits",
        ));
    }
    let cached = images::kept(&app, &id)?;
    let objects = body.objects.iter().map(|object| Shown::of(object, &cached, &limits));
    let objects: Vec<Shown> = objects.collect::<Result<_, _>>()?;
    let model = app.model.clone();
    let answer = app.model.ask(move |opened, gone| {
        let answer = clicked(opened, &cached, objects, &body, gone);
        model.shrink();
        answer
    });
    Ok(json(StatusCode::OK, answer.await?))
}

/// What shows one object.
struct Shown {
    points: Vec<([f32; 2], bool)>,
    clicks: Clicks,
}

impl Shown {
    fn of(object: &ObjectBody, cached: &Cached, limits: &Limits) -> Result<Self, Failure> {
        let pointed = object.pointed(limits)?;
        pointed.check_inside((cached.encoded.width(), cached.encoded.height()))?;
        let mut clicks = pointed.clicks();
        if let Some(name) = &object.logits {
            let logits = cached.logits(name).ok_or_else(|| {
                Failure::not_found(
                    "there are no such logits of this image, or no longer: take those of its latest answers",
                )
            })?;
            clicks = clicks.mask(logits);
        }
        Ok(Self {
            points: pointed.points,
            clicks,
        })
    }
}

/// Answers as `sam3 click --json` does.
fn clicked(
    opened: &Opened,
    cached: &Cached,
    shown: Vec<Shown>,
    body: &ClickBody,
    gone: &Gone,
) -> Result<Vec<u8>, Failure> {
    let model = &opened.loaded.segmenter;
    let start = Instant::now();
    let mut found: Vec<ClickedObject> = Vec::with_capacity(shown.len());
    let mut points = Vec::with_capacity(shown.len());
    for object in shown {
        if gone.go_on().is_break() {
            return Err(Failure::stopping());
        }
        let clicks = if body.multimask {
            object.clicks.multimask(true)
        } else {
            object.clicks
        };
        found.push(model.click(&cached.encoded, &clicks)?);
        points.push(object.points);
    }
    let timings = ClickTimings {
        load_ms: opened.load_ms,
        encode_ms: 0.0,
        click_ms: start.elapsed().as_secs_f64() * 1e3,
    };
    let mut ids = 1..;
    let objects = found
        .iter()
        .zip(points)
        .zip(&body.objects)
        .map(|((found, points), body_of)| ObjectRecord {
            clicks: ClicksRecord {
                points: points.iter().map(PointRecord::of).collect(),
                bounding_box: body_of.bounding_box,
                mask: body_of.logits.clone(),
            },
            logits: Some(cached.keep(found.best().logits.clone())),
            instances: found
                .masks
                .iter()
                .map(|mask| {
                    let bbox = mask.mask.bounding_box().unwrap_or_default().map(|side| side as f32);
                    let instance = Instance::new(mask.iou, bbox, mask.mask.clone());
                    let mut record = InstanceRecord::of(&mut ids, &instance, body.masks == Masks::Polygons);
                    record.png = (body.masks == Masks::Png).then(|| answer::png(&mask.mask));
                    ClickedRecord {
                        instance: record,
                        iou: mask.iou,
                        object_score: found.object_score,
                        stability: None,
                    }
                })
                .collect(),
        });
    let objects: Vec<ObjectRecord> = objects.collect();
    let picture = Picture {
        extents: (cached.encoded.width(), cached.encoded.height()),
        sha256: &cached.sha256,
        image_size: cached.image_size,
    };
    let record = opened.record(cached.image_size);
    answer::bytes(&Clicked::new(picture.record(), record, &timings, objects))
}
