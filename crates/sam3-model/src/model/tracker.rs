//! The tracker (official `sam3_tracker_base.py`): as far as a picture needs it, its own neck, and SAM's heads; and what
//! videos need beside them.

mod memory_attention;
mod memory_encoder;
mod video;

pub use memory_attention::{FrameStart, MemoryTokens};
pub use video::{MemoryTables, VideoTracker};

use std::sync::OnceLock;

use sam3_tensor::{Result, Tensor};

use super::{
    neck::{Neck, Pyramid},
    once,
    sam::{Decoded, MaskDecoder, Point, Projected, PromptEncoder},
};
use crate::{config::Config, weights::Weights};

pub struct Tracker {
    neck: Neck,
    /// `[1, d_model]`: stands for the memory of a video, which a picture has none of.
    no_mem_embed: Tensor,
    sam_prompt_encoder: PromptEncoder,
    sam_mask_decoder: MaskDecoder,
}

/// What the tracker knows of a picture before anything is clicked.
pub struct TrackerFeatures {
    /// `[4 grid, 4 grid, d_model / 8]`.
    pub s0: Tensor,
    /// `[2 grid, 2 grid, d_model / 4]`.
    pub s1: Tensor,
    /// `[grid², d_model]`, without the embedding that stands for no memory.
    pub f: Tensor,
    /// The grid's positions: `[grid², d_model]`.
    pub image_pe: Tensor,
    /// What the mask decoder makes of `f` without a mask prompt, before any point is known: once something is clicked.
    pub without_mask: OnceLock<Projected>,
}

impl TrackerFeatures {
    /// What it holds of its own: positions are all pictures'.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        [&self.s0, &self.s1, &self.f]
            .into_iter()
            .chain(self.without_mask.get().into_iter().flat_map(Projected::tensors))
    }
}

/// What one object is to be found by.
pub struct Clicked<'a> {
    /// With a box's corners first.
    pub points: &'a [Point],
    /// Logits `[4 grid, 4 grid]` of what is known of it.
    pub mask: Option<&'a Tensor>,
}

impl Tracker {
    /// Loads the heads of an official state dict's `tracker`, and the neck before them.
    pub fn load(weights: &Weights, config: &Config) -> crate::Result<Self> {
        let neck = weights.in_floats().pp("detector.backbone.vision_backbone.sam2_convs");
        // A click is a thousandth of the work that encodes its picture, and has coordinates in it.
        let tracker = weights.exact().pp("tracker");
        let decoder = tracker.pp("sam_mask_decoder");
        let d_model = config.d_model;
        Ok(Self {
            neck: Neck::load_for_tracker(&neck, &decoder, config)?,
            no_mem_embed: tracker.tensor("no_mem_embed", &[1, 1, d_model])?.squeeze(0)?,
            sam_prompt_encoder: PromptEncoder::load(&tracker.pp("sam_prompt_encoder"), d_model)?,
            sam_mask_decoder: MaskDecoder::load(&decoder, d_model)?,
        })
    }

    /// `trunk` is the ViT's `[grid, grid, width]`.
    pub fn encode(&self, trunk: &Tensor) -> crate::Result<TrackerFeatures> {
        let Pyramid { x4, x2, x1 } = self.neck.forward(trunk, &mut ())?;
        let (height, width, d_model) = x1.dims3()?;
        let f = x1.reshape((height * width, d_model))?;
        let image_pe = self.sam_prompt_encoder.dense_pe(height)?;
        Ok(TrackerFeatures {
            s0: x4,
            s1: x2,
            without_mask: OnceLock::new(),
            f,
            image_pe,
        })
    }

    /// The masks of one object in a picture.
    pub fn click(&self, features: &TrackerFeatures, clicked: &Clicked<'_>) -> Result<Decoded> {
        let encoder = &self.sam_prompt_encoder;
        let project = |dense: &Tensor| self.project(&features.f, dense, &features.image_pe);
        let with_mask = match clicked.mask {
            Some(logits) => Some(project(&encoder.embed_mask(logits)?)?),
            None => None,
        };
        let image = match &with_mask {
            Some(image) => image,
            None => once(&features.without_mask, || project(encoder.no_mask()))?,
        };
        // A mask alone has no token at all, not even the one that ends a list of points.
        let sparse = match clicked.points {
            [] => None,
            points => Some(encoder.embed_points(points)?),
        };
        self.decode(features, image, sparse.as_ref())
    }

    /// The masks of one object in a frame of a video on which nothing is clicked: `image` is its map, `[grid²,
    /// d_model]`, as the memory lets it be seen, and `mask` the logits of a mask prompt.
    pub fn decode_unclicked(
        &self,
        features: &TrackerFeatures,
        image: &Tensor,
        mask: Option<&Tensor>,
    ) -> Result<Decoded> {
        let encoder = &self.sam_prompt_encoder;
        let image = match mask {
            Some(logits) => (image + encoder.embed_mask(logits)?)?,
            None => (image + encoder.no_mask())?,
        };
        let image = self.sam_mask_decoder.project(&image, &features.image_pe)?;
        self.decode(features, &image, Some(&encoder.embed_no_point()?))
    }

    /// A frame's map where nothing is remembered: `[grid², d_model]`.
    pub fn without_memory(&self, features: &TrackerFeatures) -> Result<Tensor> {
        &features.f + &self.no_mem_embed
    }

    /// `dense` is the embedding of a mask prompt, or the one that stands for none.
    fn project(&self, f: &Tensor, dense: &Tensor, image_pe: &Tensor) -> Result<Projected> {
        let image = (f + (dense + &self.no_mem_embed)?)?;
        self.sam_mask_decoder.project(&image, image_pe)
    }

    fn decode(&self, features: &TrackerFeatures, image: &Projected, sparse: Option<&Tensor>) -> Result<Decoded> {
        let fine = [&features.s0, &features.s1];
        self.sam_mask_decoder.forward(image, &features.image_pe, fine, sparse)
    }
}

#[cfg(test)]
mod goldens;
