//! `--refine`: masks that a text found, passed once through the click head.

use sam3_model::{Encoded, Instance, Segmenter};
use serde::Serialize;

/// What became of an instance.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Refined {
    /// The refined mask's predicted IoU with the object.
    pub iou: f32,
    /// The logit of whether the object is there.
    pub object_score: f32,
    /// IoU of the masks before and after: 1 where nothing changed.
    pub iou_with_found: f64,
    /// Pixels of the mask before.
    pub area_found: u64,
}

/// Replaces an instance's mask, and its box by the mask's. An empty mask would be no finer one, and is not taken.
pub fn refine(model: &Segmenter, encoded: &Encoded, instance: &mut Instance) -> sam3_model::Result<Refined> {
    let found = model.refine(encoded, instance)?;
    let best = found.best();
    let before = instance.mask.clone();
    if let Some(xyxy) = best.mask.bounding_box() {
        instance.bbox = xyxy.map(|side| side as f32);
        instance.mask = best.mask.clone();
    }
    Ok(Refined {
        iou: best.iou,
        object_score: found.object_score,
        iou_with_found: before.iou(&instance.mask).unwrap_or(0.0),
        area_found: before.area(),
    })
}

/// What changed, for people.
pub fn sentence(refined: &[Refined]) -> String {
    let ious: Vec<String> = refined.iter().map(|one| format!("{:.3}", one.iou_with_found)).collect();
    format!("refined: IoU with the masks as found {}\n", ious.join(", "))
}
