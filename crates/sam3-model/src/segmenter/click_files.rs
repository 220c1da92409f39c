//! What clicks gave, as safetensors files: raw outputs, and logits for the next step.

use std::path::Path;

use sam3_package::Checkpoint;
use sam3_tensor::{Device, Tensor};

use super::{ClickedObject, LowResMask};
use crate::{
    error::{Error, Result},
    model::write_tensors,
    tracking::ObjectId,
};

/// Under which name the logits of a step are kept for the next one: the official predictor's argument.
const MASK_INPUT: &str = "mask_input";
/// Under which name the image's height and width are: the official predictor's attribute.
const ORIG_HW: &str = "orig_hw";

impl ClickedObject {
    /// Writes the raw outputs of objects that have as many masks: `low_res_masks` `[objects, masks, side, side]`,
    /// `iou_scores` `[objects, masks]` and `object_score_logits` `[objects, 1]`.
    ///
    /// # Errors
    /// When their masks are not as many or not as large, or the file cannot be written.
    pub fn save_all(objects: &[Self], path: &Path) -> Result<()> {
        let masks = objects.iter().flat_map(|object| &object.masks);
        let per_object = objects.first().map_or(0, |object| object.masks.len());
        let side = masks.clone().next().map_or(0, |mask| mask.logits.side());
        let logits: Vec<f32> = masks.clone().flat_map(|mask| mask.logits.values()).copied().collect();
        write_tensors(
            path,
            &[
                (
                    "low_res_masks",
                    tensor(logits, &[objects.len(), per_object, side, side])?,
                ),
                (
                    "iou_scores",
                    tensor(masks.map(|mask| mask.iou).collect(), &[objects.len(), per_object])?,
                ),
                ("object_score_logits", scores(objects)?),
            ],
        )
    }

    /// Writes the logits of each object's [`best`](Self::best) mask, for [`SavedLogits::read`]: `mask_input`
    /// `[objects, side, side]`, with its `iou_scores` `[objects]` and `object_score_logits` `[objects, 1]`, and the
    /// image's height and width, `orig_hw` `[2]`.
    ///
    /// # Errors
    /// As [`save_all`](Self::save_all).
    pub fn save_logits(objects: &[Self], path: &Path) -> Result<()> {
        let best: Vec<_> = objects.iter().map(Self::best).collect();
        let extents = best
            .first()
            .map_or([0; 2], |clicked| [clicked.mask.height(), clicked.mask.width()]);
        let side = best.first().map_or(0, |mask| mask.logits.side());
        let logits: Vec<f32> = best.iter().flat_map(|mask| mask.logits.values()).copied().collect();
        write_tensors(
            path,
            &[
                (MASK_INPUT, tensor(logits, &[objects.len(), side, side])?),
                (
                    "iou_scores",
                    tensor(best.iter().map(|mask| mask.iou).collect(), &[objects.len()])?,
                ),
                ("object_score_logits", scores(objects)?),
                (ORIG_HW, tensor(extents.map(|extent| extent as f32).to_vec(), &[2])?),
            ],
        )
    }
}

/// What [`ClickedObject::save_logits`] wrote.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SavedLogits {
    /// One of each object.
    pub masks: Vec<LowResMask>,
    /// Width and height of the image that was clicked, in pixels; none in a file of another program's.
    pub image_size: Option<(u32, u32)>,
}

impl SavedLogits {
    /// Reads a file of them.
    ///
    /// # Errors
    /// When it cannot be read or holds none.
    pub fn read(path: &Path) -> Result<Self> {
        let fault = |reason: String| Error::Checkpoint {
            path: path.to_owned(),
            reason,
        };
        let file = Checkpoint::open(path)?;
        let Some(index) = file.tensors().position(|tensor| tensor.name == MASK_INPUT) else {
            return Err(fault(format!(
                "expected the logits of masks, {MASK_INPUT}, and found no such tensor"
            )));
        };
        let view = file.view(index);
        let side = match *view.shape {
            [_, height, width] if height == width && height > 0 => height,
            ref found => {
                return Err(fault(format!(
                    "{MASK_INPUT}: expected [objects, side, side], found {found:?}"
                )));
            }
        };
        let Some(values) = view.to_f32() else {
            return Err(fault(format!(
                "{MASK_INPUT}: expected floats, found {}",
                view.dtype.name()
            )));
        };
        let mask = |values: &[f32]| {
            LowResMask::new(side, values.to_vec()).map_err(|error| fault(format!("{MASK_INPUT}: {error}")))
        };
        let masks = values.chunks_exact(side * side).map(mask).collect::<Result<_>>()?;
        let size = file.tensors().position(|tensor| tensor.name == ORIG_HW);
        let image_size = match size.and_then(|index| file.view(index).to_f32()).as_deref() {
            None => None,
            Some(&[height, width]) => Some((width as u32, height as u32)),
            Some(found) => {
                return Err(fault(format!(
                    "{ORIG_HW}: expected the image's height and width, found {found:?}"
                )));
            }
        };
        Ok(Self { masks, image_size })
    }
}

impl LowResMask {
    /// Writes the raw outputs of a frame of a video: `low_res_masks` `[objects, side, side]` and `object_ids`
    /// `[objects]`, as
    /// [`Session::low_res_masks`](crate::Session::low_res_masks) gives them.
    ///
    /// # Errors
    /// When a mask has another side, or the file cannot be written.
    pub fn save_all(masks: &[(ObjectId, Self)], side: usize, path: &Path) -> Result<()> {
        let ids = masks.iter().map(|(id, _)| *id as f32).collect();
        let logits = masks.iter().flat_map(|(_, mask)| mask.values()).copied().collect();
        write_tensors(
            path,
            &[
                ("low_res_masks", tensor(logits, &[masks.len(), side, side])?),
                ("object_ids", tensor(ids, &[masks.len()])?),
            ],
        )
    }
}

fn scores(objects: &[ClickedObject]) -> Result<Tensor> {
    let scores = objects.iter().map(|object| object.object_score);
    tensor(scores.collect(), &[objects.len(), 1])
}

fn tensor(values: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}
