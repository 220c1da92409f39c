//! What was clicked, as tokens, and a mask prompt, as a map (official `sam/prompt_encoder.py`).

use std::f64::consts::TAU;

use sam3_tensor::{
    Device, Result, Tensor,
    ops::{LayerNorm, Linear, gelu},
};

use crate::weights::Weights;

/// Of the channel-wise norms, official `LayerNorm2d`.
const EPS: f64 = 1e-6;

/// What a point means: its number is that of its embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// Not of the object.
    Negative,
    /// Of the object.
    Positive,
    /// The box's corner of the smallest coordinates.
    TopLeft,
    /// The other one.
    BottomRight,
}

/// A point in what the model sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// In shares of its sides, from the middle of its first pixel: 0 to 1 inside, and it may lie outside.
    pub share: [f64; 2],
    pub label: Label,
}

pub struct PromptEncoder {
    /// What x and y are multiplied by: `[2, d_model / 2]`.
    gaussian: [Vec<f32>; 2],
    /// By [`Label`], `[d_model]` each.
    point_embeddings: Vec<Vec<f32>>,
    /// Of the token that ends every list of points.
    not_a_point_embed: Vec<f32>,
    /// `[1, d_model]`.
    no_mask_embed: Tensor,
    mask_downscaling: MaskDownscaling,
    device: Device,
}

impl PromptEncoder {
    pub fn load(weights: &Weights, d_model: usize) -> crate::Result<Self> {
        let embedding = |name: &str| weights.tensor(name, &[1, d_model]);
        let values = |name: &str| -> crate::Result<Vec<f32>> { Ok(embedding(name)?.to_vec()?) };
        let gaussian = weights
            .pp("pe_layer")
            .tensor("positional_encoding_gaussian_matrix", &[2, d_model / 2])?;
        let no_mask_embed = embedding("no_mask_embed.weight")?;
        Ok(Self {
            gaussian: [gaussian.get(0)?.to_vec()?, gaussian.get(1)?.to_vec()?],
            point_embeddings: (0..4)
                .map(|label| values(&format!("point_embeddings.{label}.weight")))
                .collect::<crate::Result<_>>()?,
            not_a_point_embed: values("not_a_point_embed.weight")?,
            device: no_mask_embed.device().clone(),
            no_mask_embed,
            mask_downscaling: MaskDownscaling::load(&weights.pp("mask_downscaling"), d_model)?,
        })
    }

    /// `[points + 1, d_model]`: a token a point, and one that is none behind them.
    pub fn embed_points(&self, points: &[Point]) -> Result<Tensor> {
        let d_model = self.not_a_point_embed.len();
        let mut tokens = Vec::with_capacity((points.len() + 1) * d_model);
        for Point { share, label } in points {
            let embedding = &self.point_embeddings[*label as usize];
            let start = tokens.len();
            self.encode(*share, &mut tokens);
            tokens[start..].iter_mut().zip(embedding).for_each(|(x, of)| *x += of);
        }
        tokens.extend(&self.not_a_point_embed);
        Tensor::from_vec(tokens, (points.len() + 1, d_model), &self.device)
    }

    /// What stands for points where there are none in a video, `[2, d_model]`: officially a point that is none, and the
    /// token that ends every list.
    pub fn embed_no_point(&self) -> Result<Tensor> {
        let tokens = self.not_a_point_embed.repeat(2);
        Tensor::from_vec(tokens, (2, self.not_a_point_embed.len()), &self.device)
    }

    /// What is added to the image without a mask prompt: `[1, d_model]`.
    pub fn no_mask(&self) -> &Tensor {
        &self.no_mask_embed
    }

    /// The same of a mask prompt: `logits` are `[4 grid, 4 grid]`; returns `[grid², d_model]`.
    pub fn embed_mask(&self, logits: &Tensor) -> Result<Tensor> {
        self.mask_downscaling.forward(logits)
    }

    /// The positions of a square grid's cells, row by row: `[side², d_model]`.
    pub fn dense_pe(&self, side: usize) -> Result<Tensor> {
        let d_model = self.not_a_point_embed.len();
        let middle = |i: usize| (i as f64 + 0.5) / side as f64;
        let mut values = Vec::with_capacity(side * side * d_model);
        for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
            self.encode([middle(x), middle(y)], &mut values);
        }
        Tensor::from_vec(values, (side * side, d_model), &self.device)
    }

    /// Appends random Fourier features of a place (official `PositionEmbeddingRandom`): sines, then cosines.
    fn encode(&self, [x, y]: [f64; 2], out: &mut Vec<f32>) {
        let [of_x, of_y] = &self.gaussian;
        let start = out.len();
        out.resize(start + 2 * of_x.len(), 0.0);
        let (sines, cosines) = out[start..].split_at_mut(of_x.len());
        for (((sine, cosine), of_x), of_y) in sines.iter_mut().zip(cosines).zip(of_x).zip(of_y) {
            let turns = (2.0 * x - 1.0) * f64::from(*of_x) + (2.0 * y - 1.0) * f64::from(*of_y);
            let (sin, cos) = (TAU * turns).sin_cos();
            (*sine, *cosine) = (sin as f32, cos as f32);
        }
    }
}

/// Two halvings of the mask, and a linear map of every pixel.
struct MaskDownscaling {
    halvings: [(Linear, LayerNorm); 2],
    last: Linear,
}

impl MaskDownscaling {
    fn load(weights: &Weights, d_model: usize) -> crate::Result<Self> {
        let channels = |name: &str, otherwise| weights.rows(&format!("{name}.weight")).unwrap_or(otherwise);
        let (first, second) = (channels("0", 4), channels("3", 16));
        Ok(Self {
            halvings: [
                (weights.conv_2x2("0", 1, first)?, weights.layer_norm("1", first, EPS)?),
                (
                    weights.conv_2x2("3", first, second)?,
                    weights.layer_norm("4", second, EPS)?,
                ),
            ],
            last: weights.conv_1x1("6", second, d_model)?,
        })
    }

    fn forward(&self, logits: &Tensor) -> Result<Tensor> {
        let (height, width) = logits.dims2()?;
        let mut x = logits.reshape((height, width, 1))?;
        for (conv, norm) in &self.halvings {
            let (height, width, channels) = x.dims3()?;
            // Each pixel of the result looks at a 2 × 2 square, whose values go side by side.
            let squares = x.reshape((height / 2, 2, width / 2, 2, channels))?;
            let squares = squares.permute([0, 2, 1, 3, 4])?;
            let halved = conv.forward(&squares.reshape((height / 2, width / 2, 4 * channels))?)?;
            x = gelu(&norm.forward(&halved)?)?;
        }
        self.last.forward(&x.reshape((x.dim(0)? * x.dim(1)?, ()))?)
    }
}
