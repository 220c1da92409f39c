//! What shows objects: points, boxes, logits of earlier answers.

use sam3_model::Clicks;
use serde::Deserialize;

use super::{Masks, at_most, check_box, is_positive, of_it};
use crate::{failure::Failure, settings::Limits};

/// The JSON of an image's `click`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClickBody {
    pub objects: Vec<ObjectBody>,
    #[serde(default)]
    pub multimask: bool,
    #[serde(default)]
    pub masks: Masks,
}

/// One object's clicks.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObjectBody {
    points: Vec<PointBody>,
    #[serde(rename = "box")]
    pub bounding_box: Option<[f32; 4]>,
    /// The name of the logits of an earlier answer.
    pub logits: Option<String>,
}

/// A point as the answer gives it, or its numbers.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "expected a point: [x, y], [x, y, 0 or 1], or {\"point\": [x, y], \"label\": 0 or 1}"
)]
enum PointBody {
    Positive([f32; 2]),
    Numbers([f32; 3]),
    Labelled {
        point: [f32; 2],
        #[serde(default = "of_it")]
        label: u8,
    },
}

/// What shows an object, in pixels of a picture.
#[derive(Debug, Default)]
pub struct Pointed {
    /// `x, y`, and whether it is of the object.
    pub points: Vec<([f32; 2], bool)>,
    pub bounding_box: Option<[f32; 4]>,
}

impl Pointed {
    fn of(points: &[PointBody], bounding_box: Option<[f32; 4]>, limits: &Limits) -> Result<Self, Failure> {
        at_most("points of an object", points.len(), limits.points)?;
        if let Some(xyxy) = &bounding_box {
            check_box(xyxy)?;
        }
        let points = points.iter().map(PointBody::read).collect::<Result<_, _>>()?;
        Ok(Self { points, bounding_box })
    }

    /// As the model takes it.
    pub fn clicks(&self) -> Clicks {
        let clicks = self
            .points
            .iter()
            .fold(Clicks::new(), |clicks, &(xy, positive)| match positive {
                true => clicks.point(xy),
                false => clicks.negative_point(xy),
            });
        match self.bounding_box {
            Some(xyxy) => clicks.bounding_box(xyxy),
            None => clicks,
        }
    }

    /// That it lies inside a picture of these extents.
    pub fn check_inside(&self, extents: (u32, u32)) -> Result<(), Failure> {
        let (width, height) = (extents.0 as f32, extents.1 as f32);
        for ([x, y], _) in &self.points {
            if !((0.0..width).contains(x) && (0.0..height).contains(y)) {
                return Err(Failure::invalid(format!(
                    "point {x},{y} is not inside the image, which has {width} x {height} pixels"
                )));
            }
        }
        let Some([x1, y1, x2, y2]) = self.bounding_box else {
            return Ok(());
        };
        let inside = |low: f32, high: f32, size: f32| 0.0 <= low && low < high && high <= size;
        if !(inside(x1, x2, width) && inside(y1, y2, height)) {
            return Err(Failure::invalid(format!(
                "box {x1},{y1},{x2},{y2} is not inside the image: expected 0 <= x1 < x2 <= {width} and 0 <= y1 < y2 <= {height}"
            )));
        }
        Ok(())
    }
}

impl ObjectBody {
    /// What shows it beside the logits.
    pub fn pointed(&self, limits: &Limits) -> Result<Pointed, Failure> {
        Pointed::of(&self.points, self.bounding_box, limits)
    }
}

/// An object of a video that is shown on a frame.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VideoObjectBody {
    /// The object, if it was shown before.
    pub id: Option<u32>,
    points: Vec<PointBody>,
    #[serde(rename = "box")]
    bounding_box: Option<[f32; 4]>,
}

impl VideoObjectBody {
    /// What shows it.
    pub fn pointed(&self, limits: &Limits) -> Result<Pointed, Failure> {
        let pointed = Pointed::of(&self.points, self.bounding_box, limits)?;
        if pointed.points.is_empty() && pointed.bounding_box.is_none() {
            return Err(Failure::invalid("an object is shown by points, a box, or both"));
        }
        Ok(pointed)
    }
}

impl PointBody {
    fn read(&self) -> Result<([f32; 2], bool), Failure> {
        match *self {
            Self::Positive(xy) => Ok((xy, true)),
            Self::Numbers([x, y, label]) => Ok(([x, y], is_positive(label)?)),
            Self::Labelled { point, label } => Ok((point, is_positive(label.into())?)),
        }
    }
}
