//! `--refine`: masks that a text found, passed once through the click head.

use sam3_model::report::Refined;

/// What changed, for people.
pub fn sentence(refined: &[Refined]) -> String {
    let ious: Vec<String> = refined.iter().map(|one| format!("{:.3}", one.iou_with_found)).collect();
    format!("refined: IoU with the masks as found {}\n", ious.join(", "))
}
