//! Masks of one object, with how good they are, and whether it is there (official `sam/mask_decoder.py`).

use sam3_tensor::{
    Result, Tensor,
    ops::{ConvTranspose2x2, LayerNorm, masks_of_gelu},
};

use super::transformer::{Projected, TwoWayTransformer};
use crate::{model::mlp::Mlp, weights::Weights};

/// One for an object that is clear, and three for one that is not: a part, a whole, and what is between.
pub const MASKS: usize = 4;
/// Of the channel-wise norm, official `LayerNorm2d`.
const EPS: f64 = 1e-6;

pub struct MaskDecoder {
    /// `obj_score_token`, `iou_token` and `mask_tokens`: `[2 + masks, d_model]`.
    output_tokens: Tensor,
    transformer: TwoWayTransformer,
    output_upscaling: Upscaling,
    output_hypernetworks_mlps: Vec<Mlp>,
    iou_prediction_head: Mlp,
    pred_obj_score_head: Mlp,
}

/// What the decoder says of one object.
pub struct Decoded {
    /// Logits of the masks: `[4, 4 grid, 4 grid]`.
    pub masks: Tensor,
    /// The logit of each one's predicted IoU with the object: `[4]`.
    pub iou_logits: Tensor,
    /// `[1]`: is the object there?
    pub object_score_logit: Tensor,
    /// What each mask is made of: `[4, d_model]`.
    pub mask_tokens: Tensor,
}

impl MaskDecoder {
    pub fn load(weights: &Weights, d_model: usize) -> crate::Result<Self> {
        let tokens = |name: &str, count: usize| weights.pp(name).tensor("weight", &[count, d_model]);
        let head = |name: &str, outputs: usize| {
            let weights = weights.pp(name);
            let hidden = weights.rows("layers.0.weight").unwrap_or(d_model);
            Mlp::load(&weights, &[d_model, hidden, hidden, outputs])
        };
        let hypernetworks = weights.pp("output_hypernetworks_mlps");
        Ok(Self {
            output_tokens: Tensor::cat(
                &[
                    tokens("obj_score_token", 1)?,
                    tokens("iou_token", 1)?,
                    tokens("mask_tokens", MASKS)?,
                ],
                0,
            )?,
            transformer: TwoWayTransformer::load(&weights.pp("transformer"), d_model)?,
            output_upscaling: Upscaling::load(&weights.pp("output_upscaling"), d_model)?,
            output_hypernetworks_mlps: (0..MASKS)
                .map(|i| Mlp::load(&hypernetworks.pp(i), &[d_model, d_model, d_model, d_model / 8]))
                .collect::<crate::Result<_>>()?,
            iou_prediction_head: head("iou_prediction_head", MASKS)?,
            pred_obj_score_head: head("pred_obj_score_head", 1)?,
        })
    }

    /// What is made of an image before any point is known: `image` is `[grid², d_model]`, with the mask prompt or what
    /// stands for none; `image_pe` its positions.
    pub fn project(&self, image: &Tensor, image_pe: &Tensor) -> Result<Projected> {
        self.transformer.project(image, image_pe)
    }

    /// `image` is what [`project`](Self::project) made of it; `fine` are the maps at 4 and 2 times its resolution;
    /// `sparse` is `[tokens, d_model]`, if any point was given.
    pub fn forward(
        &self,
        image: &Projected,
        image_pe: &Tensor,
        fine: [&Tensor; 2],
        sparse: Option<&Tensor>,
    ) -> Result<Decoded> {
        let tokens = match sparse {
            Some(sparse) => Tensor::cat(&[&self.output_tokens, sparse], 0)?,
            None => self.output_tokens.clone(),
        };
        let attended = self.transformer.forward(&tokens, image, image_pe)?;
        let pixels = self.output_upscaling.forward(&attended.image, fine)?;
        let (height, width, channels) = pixels.dims3()?;
        let token = |i: usize| attended.tokens.rows(i, 1);
        let kernels = self.output_hypernetworks_mlps.iter().enumerate();
        let kernels = kernels
            .map(|(i, mlp)| mlp.forward(&token(2 + i)?))
            .collect::<Result<Vec<_>>>()?;
        let masks = masks_of_gelu(&Tensor::cat(&kernels, 0)?, &pixels.reshape((height * width, channels))?)?;
        Ok(Decoded {
            masks: masks.reshape((MASKS, height, width))?,
            iou_logits: self.iou_prediction_head.forward(&token(1)?)?.flatten_all(),
            object_score_logit: self.pred_obj_score_head.forward(&token(0)?)?.flatten_all(),
            mask_tokens: attended.tokens.rows(2, MASKS)?,
        })
    }
}

/// The image at 4 times its resolution, with the finer maps added on the way.
struct Upscaling {
    first: ConvTranspose2x2,
    norm: LayerNorm,
    second: ConvTranspose2x2,
}

impl Upscaling {
    fn load(weights: &Weights, d_model: usize) -> crate::Result<Self> {
        Ok(Self {
            first: weights.conv_transpose_2x2("0", d_model, d_model / 4)?,
            norm: weights.layer_norm("1", d_model / 4, EPS)?,
            second: weights.conv_transpose_2x2("3", d_model / 4, d_model / 8)?,
        })
    }

    /// `image` is `[grid², d_model]`; returns `[4 grid, 4 grid, d_model / 8]`, to which the last GELU is still to be
    /// applied.
    fn forward(&self, image: &Tensor, [x4, x2]: [&Tensor; 2]) -> Result<Tensor> {
        let grid = x2.dim(0)? / 2;
        let x = self.first.forward_add(&image.reshape((grid, grid, ()))?, x2)?;
        self.second.forward_add(&self.norm.forward_gelu(&x)?, x4)
    }
}
