//! What the command says: scores of boxes and of masks, and how far two models are apart.

use std::{collections::BTreeMap, path::Path};

use sam3_model::report::ModelRecord;
use serde::Serialize;

use super::{
    Kind, judgement,
    metrics::{Interval, Judgement, NAMES, Scores, differences},
    results::Lines,
    truth::{Picture, Truth},
};
use crate::{
    failure::Failure,
    output::{serialize_plain, table},
};

/// The JSON.
#[derive(Serialize)]
pub struct Record<'a> {
    pub generator: &'static str,
    #[serde(serialize_with = "serialize_plain")]
    pub coco: &'a Path,
    pub pictures: usize,
    pub failed: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    pub seed: u64,
    /// Each class's text.
    pub prompts: BTreeMap<String, String>,
    pub threshold: f32,
    pub max_detections: usize,
    /// The least score of what cgF1 counts.
    pub phrase_score: f64,
    pub model: ModelRecord<'a>,
    #[serde(flatten)]
    pub scores: Sides<Scores>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Against<'a>>,
}

/// The reference.
#[derive(Serialize)]
pub struct Against<'a> {
    pub model: ModelRecord<'a>,
    #[serde(flatten)]
    pub scores: Sides<Scores>,
    /// The model's less the reference's.
    pub differences: Sides<BTreeMap<&'static str, Interval>>,
}

/// Of boxes, and where the labels have masks of these.
#[derive(Serialize)]
pub struct Sides<T> {
    pub bbox: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segm: Option<T>,
}

/// A model's judged detections.
pub struct Measured(Sides<Judgement>);

impl<T> Sides<T> {
    fn map<U>(&self, of: impl Fn(&T) -> U) -> Sides<U> {
        Sides {
            bbox: of(&self.bbox),
            segm: self.segm.as_ref().map(of),
        }
    }

    fn named(&self) -> impl Iterator<Item = (&'static str, &T)> {
        let segm = self.segm.iter().map(|segm| ("masks", segm));
        std::iter::once(("boxes", &self.bbox)).chain(segm)
    }
}

impl Measured {
    pub fn of(truth: &Truth, pictures: &[&Picture], lines: &Lines) -> anyhow::Result<Self> {
        Ok(Self(Sides {
            bbox: judgement(truth, pictures, lines, Kind::Boxes)?,
            segm: match truth.has_masks {
                true => Some(judgement(truth, pictures, lines, Kind::Masks)?),
                false => None,
            },
        }))
    }

    pub fn scores(&self) -> Sides<Scores> {
        self.0.map(Judgement::scores)
    }

    pub fn above(&self, other: &Self, rounds: usize, seed: u64) -> Sides<BTreeMap<&'static str, Interval>> {
        let named = |a: &Judgement, b: &Judgement| NAMES.into_iter().zip(differences(a, b, rounds, seed)).collect();
        Sides {
            bbox: named(&self.0.bbox, &other.0.bbox),
            segm: self
                .0
                .segm
                .as_ref()
                .zip(other.0.segm.as_ref())
                .map(|(a, b)| named(a, b)),
        }
    }
}

/// What the gate looks at.
const GATED: [&str; 2] = ["AP", "cgF1"];

impl Against<'_> {
    /// Fails where AP or cgF1 is more than `allowed` points below the reference's.
    pub fn gate(&self, allowed: f64) -> anyhow::Result<()> {
        for (what, differences) in self.differences.named() {
            for name in GATED {
                let points = 100.0 * differences[name].difference;
                if -points > allowed + 1e-9 {
                    return Err(Failure::input(
                        format!(
                            "{name} of {what} is {:.2} points below that of {}, and --max-drop allows {allowed}",
                            -points,
                            self.model.file.display()
                        ),
                        "package it in a higher precision, or compute in one: fp32 at the same --image-size loses nothing",
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Record<'_> {
    /// Tables in points of a hundred.
    pub fn text(&self, folder: &Path) -> String {
        let mut text = format!("{} pictures of {}\n", self.pictures, self.coco.display());
        let points = |value: f64| match value {
            -1.0 => "-".to_owned(),
            value => format!("{:.2}", 100.0 * value),
        };
        for (what, scores) in self.scores.named() {
            text += &format!("{what}, in points of a hundred\n");
            let mut rows = vec![vec![String::new(), "model".to_owned()]];
            let their = self.against.as_ref().map(|against| {
                let is_of = |named: &(&str, &Scores)| named.0 == what;
                let theirs = against.scores.named().find(is_of).map(|named| named.1.values());
                let between = against.differences.named().find(|named| named.0 == what);
                (theirs, between.map(|named| named.1))
            });
            if their.is_some() {
                rows[0].extend(["against", "difference", "95 % of resampled"].map(str::to_owned));
            }
            for (place, (name, value)) in NAMES.into_iter().zip(scores.values()).enumerate() {
                let mut row = vec![name.to_owned(), points(value)];
                if let Some((Some(theirs), Some(between))) = &their {
                    let Interval { difference, low, high } = between[name];
                    row.push(points(theirs[place]));
                    row.push(format!("{:+.2}", 100.0 * difference));
                    row.push(match (low, high) {
                        (Some(low), Some(high)) => format!("{:+.2} to {:+.2}", 100.0 * low, 100.0 * high),
                        _ => "-".to_owned(),
                    });
                }
                rows.push(row);
            }
            text += &table(&rows);
        }
        text += &format!("model: {}\n", self.model.label());
        if let Some(against) = &self.against {
            text += &format!("against: {}\n", against.model.label());
        }
        text + &format!("wrote {}\n", folder.display())
    }
}
