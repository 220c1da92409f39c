//! An encoded image: its extents, what it takes, and where boxes lie in it.

use sam3_tensor::Tensor;

use super::{Encoded, ExemplarBox, Segmenter};
use crate::{
    error::{Error, Result},
    model::{BoxPrompt, Features},
};

impl Segmenter {
    /// About how many bytes [`encode`](Self::encode) and a first prompt take beside the weights, at most, with what
    /// [`Encoded`] keeps: for who asks before whether there is room.
    pub fn bytes_to_encode(&self) -> u64 {
        let (vit, maps) = (&self.shared.config.vit, self.shared.config.d_model);
        let tokens = (self.image_size / vit.patch_size).pow(2);
        // A token's f32 values in the widest layer, and in the pyramid, whose finest map has 16 pixels a token.
        let values = 4 * vit.width + 2 * vit.mlp + (3 * 16 + 2 * 4 + 4) * maps;
        (4 * tokens * values) as u64
    }

    /// Whether the model may take clicks, which is not known of each part of its click head before it is loaded.
    pub fn takes_clicks(&self) -> bool {
        self.shared.takes_clicks
    }
}

impl Encoded {
    /// Bytes of main memory, or a GPU's, that it holds, with what the click head keeps of it.
    pub fn bytes(&self) -> u64 {
        let features = self.features.iter().flat_map(Features::tensors);
        features.map(bytes_of).sum::<u64>() + self.bytes_for_clicks()
    }

    /// Pixels in a row of the image.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Its rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    pub(super) fn normalise(&self, exemplar: &ExemplarBox) -> Result<BoxPrompt> {
        let [x1, y1, x2, y2] = exemplar.xyxy;
        let (width, height) = (self.width as f32, self.height as f32);
        let inside = |low: f32, high: f32, size: f32| 0.0 <= low && low < high && high <= size;
        if !(inside(x1, x2, width) && inside(y1, y2, height)) {
            return Err(Error::Prompt(format!(
                "box {x1},{y1},{x2},{y2} is not inside the image; \
                 expected x1,y1,x2,y2 in pixels with 0 <= x1 < x2 <= {width} and 0 <= y1 < y2 <= {height}"
            )));
        }
        Ok(BoxPrompt {
            cxcywh: [
                (x1 + x2) / 2.0 / width,
                (y1 + y2) / 2.0 / height,
                (x2 - x1) / width,
                (y2 - y1) / height,
            ],
            positive: exemplar.positive,
        })
    }
}

/// What a tensor's elements take.
pub(crate) fn bytes_of(tensor: &Tensor) -> u64 {
    (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64
}
