//! `POST /v1/images/{id}/click`: the objects that are pointed at in an image.

use std::time::Instant;

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use sam3_model::{
    ClickedObject, Clicks, Instance,
    report::{ClickTimings, Clicked, ClickedRecord, ClicksRecord, InstanceRecord, ObjectRecord, PointRecord},
};

use super::{
    App,
    answer::{self, Picture},
    images, json,
};
use crate::{
    cache::Cached,
    failure::Failure,
    model::{Gone, Opened},
    request::{self, ClickBody, Masks, ObjectBody, at_most},
    settings::Limits,
};

pub async fn click(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let limits = app.model.settings().limits;
    let received = app.held.receive(&headers, body, &limits).await?;
    let body: ClickBody = request::only_json(&headers, &received.bytes)?;
    drop(received);
    at_most("objects", body.objects.len(), limits.objects)?;
    if body.objects.is_empty() {
        return Err(Failure::invalid(
            "nothing is clicked: give objects with points, a box or logits",
        ));
    }
    let cached = images::find(&app, &id)?;
    let objects = body.objects.iter().map(|object| Shown::of(object, &cached, &limits));
    let objects: Vec<Shown> = objects.collect::<Result<_, _>>()?;
    let model = app.model.clone();
    let answer = app.model.ask(move |opened, gone| {
        let answer = clicked(opened, &cached, objects, &body, gone);
        model.images().shrink();
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
        let points = object.points()?;
        at_most("points of an object", points.len(), limits.points)?;
        let extents = [cached.encoded.width(), cached.encoded.height()];
        check_inside(&points, object.bounding_box, extents)?;
        let mut clicks = points
            .iter()
            .fold(Clicks::new(), |clicks, &(xy, positive)| match positive {
                true => clicks.point(xy),
                false => clicks.negative_point(xy),
            });
        if let Some(xyxy) = object.bounding_box {
            clicks = clicks.bounding_box(xyxy);
        }
        if let Some(name) = &object.logits {
            let logits = cached.logits(name).ok_or_else(|| {
                Failure::not_found(
                    "there are no such logits of this image, or no longer: take those of its latest answers",
                )
            })?;
            clicks = clicks.mask(logits);
        }
        Ok(Self { points, clicks })
    }
}

fn check_inside(points: &[([f32; 2], bool)], bounding_box: Option<[f32; 4]>, extents: [u32; 2]) -> Result<(), Failure> {
    let [width, height] = extents.map(|extent| extent as f32);
    for ([x, y], _) in points {
        if !((0.0..width).contains(x) && (0.0..height).contains(y)) {
            return Err(Failure::invalid(format!(
                "point {x},{y} is not inside the image, which has {width} x {height} pixels"
            )));
        }
    }
    let Some([x1, y1, x2, y2]) = bounding_box else {
        return Ok(());
    };
    request::check_box(&[x1, y1, x2, y2])?;
    let inside = |low: f32, high: f32, size: f32| 0.0 <= low && low < high && high <= size;
    if !(inside(x1, x2, width) && inside(y1, y2, height)) {
        return Err(Failure::invalid(format!(
            "box {x1},{y1},{x2},{y2} is not inside the image: expected 0 <= x1 < x2 <= {width} and 0 <= y1 < y2 <= {height}"
        )));
    }
    Ok(())
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
        encoded: &cached.encoded,
        sha256: &cached.sha256,
        image_size: cached.image_size,
    };
    let record = opened.loaded.record_at(cached.image_size);
    answer::bytes(&Clicked::new(picture.record(), record, &timings, objects))
}
