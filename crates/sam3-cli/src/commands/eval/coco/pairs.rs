//! Which detection is which labelled object in one picture, by COCO's rules and by SA-Co's.

use sam3_model::{masks::Mask, matching::assign};

use super::{
    results::Detection,
    truth::{Object, Picture, Truth},
};

/// The IoUs from 0.5 to 0.95 that a match is asked for, as numpy's `linspace` makes them.
pub fn thresholds() -> [f64; THRESHOLDS] {
    let step = (0.95 - 0.5) / 9.0;
    let mut values = std::array::from_fn(|place| 0.5 + place as f64 * step);
    values[THRESHOLDS - 1] = 0.95;
    values
}

pub const THRESHOLDS: usize = 10;
/// Objects of all sizes, and by their pixels: below 32², 96², and above.
pub const AREAS: [[f64; 2]; 4] = [[0.0, 1e10], [0.0, 1024.0], [1024.0, 9216.0], [9216.0, 1e10]];
/// Of each picture and class, the detections that are scored.
pub const MOST: usize = 100;
/// SA-Co counts detections from this score on.
pub const PHRASE_SCORE: f64 = 0.5;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boxes,
    Masks,
}

/// A detection and what became of it: bit t of `matched` and `ignored` is for IoU threshold t, by size.
#[derive(Clone, Debug)]
pub struct Judged {
    pub score: f64,
    /// Its place among the picture's detections of its class, best first.
    pub rank: u32,
    pub matched: [u16; 4],
    pub ignored: [u16; 4],
}

/// A class in a picture.
pub struct Cell {
    /// Its place among the categories.
    pub category: usize,
    pub found: Vec<Judged>,
    /// Objects to find, by size.
    pub positives: [u32; 4],
    pub phrase: Phrase,
}

/// What SA-Co counts of a phrase in a picture.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phrase {
    /// Detections that are objects, by IoU threshold.
    pub right: [u32; THRESHOLDS],
    pub found: u32,
    pub objects: u32,
}

/// The classes that a picture has labels or detections of.
///
/// # Errors
/// A sentence where a label's or a detection's mask is none of the picture's.
pub fn judge(truth: &Truth, picture: &Picture, detections: &[Detection], kind: Kind) -> Result<Vec<Cell>, String> {
    let objects = truth.objects(picture)?;
    let masks = detections.iter().map(|detection| match kind {
        Kind::Boxes => Ok(None),
        Kind::Masks => Mask::from_rle(&detection.segmentation).map(Some),
    });
    let masks = masks
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    let mut cells = Vec::new();
    for (place, category) in truth.categories.iter().enumerate() {
        let objects: Vec<&Object> = objects.iter().filter(|object| object.category == category.id).collect();
        let found = detections
            .iter()
            .zip(&masks)
            .filter(|(found, _)| found.category_id == category.id);
        let found: Vec<(&Detection, Option<&Mask>)> = found.map(|(found, mask)| (found, mask.as_ref())).collect();
        if objects.is_empty() && found.is_empty() {
            continue;
        }
        let ious: Vec<Vec<f64>> = found
            .iter()
            .map(|found| objects.iter().map(|object| iou(*found, object, kind)).collect())
            .collect();
        let mut order: Vec<usize> = (0..found.len()).collect();
        order.sort_by(|&a, &b| found[b].0.score.total_cmp(&found[a].0.score));
        order.truncate(MOST);
        let mut judged: Vec<Judged> = (0..)
            .zip(&order)
            .map(|(rank, &at)| Judged {
                score: found[at].0.score,
                rank,
                matched: [0; 4],
                ignored: [0; 4],
            })
            .collect();
        let mut positives = [0; 4];
        for (size, range) in AREAS.into_iter().enumerate() {
            let outside = |area: f64| area < range[0] || area > range[1];
            let ignored: Vec<bool> = objects
                .iter()
                .map(|object| object.is_crowd || outside(object.area))
                .collect();
            positives[size] = ignored.iter().filter(|ignored| !**ignored).count() as u32;
            // Those to find first, in the file's order.
            let mut objects_in_order: Vec<usize> = (0..objects.len()).collect();
            objects_in_order.sort_by_key(|&at| ignored[at]);
            for (bit, threshold) in thresholds().into_iter().enumerate() {
                let mut taken = vec![false; objects.len()];
                for (judged, &at) in judged.iter_mut().zip(&order) {
                    let best = best(&ious[at], &objects, &objects_in_order, &ignored, &taken, threshold);
                    if let Some(best) = best {
                        taken[best] = true;
                    }
                    // pycocotools keeps the object's id, and takes 0 for none.
                    let matched = best.is_some_and(|best| objects[best].id != 0);
                    let is_ignored = match best {
                        Some(best) => ignored[best],
                        None => false,
                    };
                    let ignored = is_ignored || !matched && outside(area(found[at], kind));
                    judged.matched[size] |= u16::from(matched) << bit;
                    judged.ignored[size] |= u16::from(ignored) << bit;
                }
            }
        }
        cells.push(Cell {
            category: place,
            positives,
            phrase: Phrase::of(&found, &objects, &ious),
            found: judged,
        });
    }
    Ok(cells)
}

/// COCO's choice: the free object of the largest IoU, one to find before one that is ignored; a crowd is always free.
fn best(
    ious: &[f64],
    objects: &[&Object],
    order: &[usize],
    ignored: &[bool],
    taken: &[bool],
    threshold: f64,
) -> Option<usize> {
    let mut least = threshold.min(1.0 - 1e-10);
    let mut best: Option<usize> = None;
    for &object in order {
        if taken[object] && !objects[object].is_crowd {
            continue;
        }
        if best.is_some_and(|best| !ignored[best]) && ignored[object] {
            break;
        }
        if ious[object] >= least {
            (least, best) = (ious[object], Some(object));
        }
    }
    best
}

/// As pycocotools: of a box its area, of a mask its pixels.
fn area((detection, mask): (&Detection, Option<&Mask>), kind: Kind) -> f64 {
    match (kind, mask) {
        (Kind::Masks, Some(mask)) => mask.area() as f64,
        _ => detection.bbox[2] * detection.bbox[3],
    }
}

/// Intersection over union; with a crowd, over the detection alone.
fn iou((detection, mask): (&Detection, Option<&Mask>), object: &Object, kind: Kind) -> f64 {
    let (both, own, other) = match (kind, mask, &object.mask) {
        (Kind::Masks, Some(mask), Some(of_object)) => (
            mask.shared_area(of_object) as f64,
            mask.area() as f64,
            of_object.area() as f64,
        ),
        _ => {
            let ([x, y, width, height], [ox, oy, owidth, oheight]) = (detection.bbox, object.bbox);
            let across = (x + width).min(ox + owidth) - x.max(ox);
            let down = (y + height).min(oy + oheight) - y.max(oy);
            (across.max(0.0) * down.max(0.0), width * height, owidth * oheight)
        }
    };
    let whole = if object.is_crowd { own } else { own + other - both };
    if both > 0.0 { both / whole } else { 0.0 }
}

impl Phrase {
    /// Pairs of the largest sum of IoUs, without crowds.
    fn of(found: &[(&Detection, Option<&Mask>)], objects: &[&Object], ious: &[Vec<f64>]) -> Self {
        let rows: Vec<usize> = (0..found.len())
            .filter(|&at| found[at].0.score >= PHRASE_SCORE)
            .collect();
        let columns: Vec<usize> = (0..objects.len()).filter(|&at| !objects[at].is_crowd).collect();
        let value = |row: usize, column: usize| ious[rows[row]][columns[column]];
        let pairs: Vec<f64> = if rows.len() <= columns.len() {
            let values: Vec<Vec<f64>> = (0..rows.len())
                .map(|row| (0..columns.len()).map(|column| value(row, column)).collect())
                .collect();
            assign(&values)
                .into_iter()
                .zip(&values)
                .map(|(column, row)| row[column])
                .collect()
        } else {
            let values: Vec<Vec<f64>> = (0..columns.len())
                .map(|column| (0..rows.len()).map(|row| value(row, column)).collect())
                .collect();
            assign(&values)
                .into_iter()
                .zip(&values)
                .map(|(row, column)| column[row])
                .collect()
        };
        Self {
            right: thresholds().map(|threshold| pairs.iter().filter(|&&iou| iou >= threshold).count() as u32),
            found: rows.len() as u32,
            objects: columns.len() as u32,
        }
    }
}
