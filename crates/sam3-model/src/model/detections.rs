//! What the detector says of an image and a prompt, before anything is decided.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use sam3_tensor::Tensor;
use serde_json::{Value, json};

use super::MaskLogits;
use crate::error::{Error, Result};

/// Raw outputs for one image and one prompt, under transformers' names.
#[derive(Clone)]
pub struct Detections {
    /// `[1, queries]`.
    pub pred_logits: Tensor,
    /// `[1, queries, 4]`: `x0, y0, x1, y1`, as shares of the image.
    pub pred_boxes: Tensor,
    /// `[1, 1]`.
    pub presence_logits: Tensor,
    /// `[1, queries, height, width]`, where all of them are made.
    pub(crate) pred_masks: MaskLogits,
    /// `[1, 1, height, width]`.
    pub semantic_seg: Tensor,
}

impl Detections {
    /// Each output with its name, in transformers' order.
    ///
    /// # Errors
    /// When there is no room for all masks, 66 MB at SAM 3's size, or the device fails.
    pub fn named(&self) -> Result<[(&'static str, Tensor); 5]> {
        Ok([
            ("pred_masks", self.pred_masks.all()?.unsqueeze(0)?),
            ("pred_boxes", self.pred_boxes.clone()),
            ("pred_logits", self.pred_logits.clone()),
            ("presence_logits", self.presence_logits.clone()),
            ("semantic_seg", self.semantic_seg.clone()),
        ])
    }

    /// Writes all outputs as a safetensors file.
    ///
    /// # Errors
    /// When the file cannot be written, or the device fails.
    pub fn save(&self, path: &Path) -> Result<()> {
        write(path, &self.named()?)
    }
}

/// Writes f32 tensors as a safetensors file: a header of names and places, then the values.
pub(crate) fn write(path: &Path, tensors: &[(&str, Tensor)]) -> Result<()> {
    let mut end = 0;
    let entries = tensors.iter().map(|(name, tensor)| {
        let start = end;
        end += tensor.elem_count() * size_of::<f32>();
        let entry = json!({"dtype": "F32", "shape": tensor.dims(), "data_offsets": [start, end]});
        ((*name).to_owned(), entry)
    });
    let header = Value::Object(entries.collect()).to_string();
    // Padded with spaces, so that the values begin at a multiple of their size.
    let len = header.len().next_multiple_of(8);
    let failed = |error: io::Error| Error::Output(error.to_string());
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    file.write_all(&(len as u64).to_le_bytes()).map_err(failed)?;
    write!(file, "{header:len$}").map_err(failed)?;
    for (_, tensor) in tensors {
        for value in tensor.to_vec::<f32>()? {
            file.write_all(&value.to_le_bytes()).map_err(failed)?;
        }
    }
    file.flush().map_err(failed)
}
