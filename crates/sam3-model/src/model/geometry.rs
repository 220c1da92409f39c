//! The geometry encoder: box prompts, and a class token that is always there (official `geometry_encoders.py`).

use sam3_tensor::{
    Result, Tensor,
    ops::{LayerNorm, Linear, roi_align, sine_encode},
};

use crate::{
    config::DetectorConfig,
    model::{
        Observer, Stage,
        encoder_layer::{Memory, TransformerEncoderLayer},
    },
    weights::Weights,
};

const EPS: f64 = 1e-5;

/// An exemplar: a box around something to find, or around something that is not meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxPrompt {
    /// `center x, center y, width, height`, as shares of the image, 0 to 1.
    pub cxcywh: [f32; 4],
    /// An example of what is meant, or of what is not.
    pub positive: bool,
}

pub struct GeometryEncoder {
    img_pre_norm: LayerNorm,
    boxes_direct_project: Linear,
    /// A convolution as large as the pooled box, hence a linear map of it.
    boxes_pool_project: Linear,
    boxes_pos_enc_project: Linear,
    /// `[2, d_model]`: negative, positive.
    label_embed: Tensor,
    cls_embed: Tensor,
    final_proj: Linear,
    norm: LayerNorm,
    encode: Vec<TransformerEncoderLayer>,
    encode_norm: LayerNorm,
    roi_size: usize,
}

impl GeometryEncoder {
    pub fn load(weights: &Weights, d_model: usize, config: &DetectorConfig) -> crate::Result<Self> {
        let roi = config.roi_size;
        let norm = |name| weights.layer_norm(name, d_model, EPS);
        let pool = weights.weight("boxes_pool_project.weight", &[d_model, d_model, roi, roi])?;
        let pool_bias = weights.tensor("boxes_pool_project.bias", &[d_model])?;
        Ok(Self {
            img_pre_norm: norm("img_pre_norm")?,
            boxes_direct_project: weights.linear("boxes_direct_project", 4, d_model)?,
            boxes_pool_project: weights.linear_of(pool.flatten(), Some(pool_bias))?,
            boxes_pos_enc_project: weights.linear("boxes_pos_enc_project", d_model + 2, d_model)?,
            label_embed: weights.tensor("label_embed.weight", &[2, d_model])?,
            cls_embed: weights.tensor("cls_embed.weight", &[1, d_model])?,
            final_proj: weights.linear("final_proj", d_model, d_model)?,
            norm: norm("norm")?,
            encode: (0..config.geometry.depth)
                .map(|i| TransformerEncoderLayer::load(&weights.pp("encode").pp(i), d_model, config.geometry.heads))
                .collect::<crate::Result<_>>()?,
            encode_norm: norm("encode_norm")?,
            roi_size: roi,
        })
    }

    /// `features` is the image's `[grid, grid, d_model]`, `pos` its encoding `[grid², d_model]`.
    /// Returns `[boxes + 1, d_model]`, the class token last.
    pub fn forward(
        &self,
        boxes: &[BoxPrompt],
        features: &Tensor,
        pos: &Tensor,
        observer: &mut dyn Observer,
    ) -> crate::Result<Tensor> {
        let (height, width, d_model) = features.dims3()?;
        let x = match boxes {
            [] => self.cls_embed.clone(),
            boxes => Tensor::cat(&[&self.embed_boxes(boxes, features)?, &self.cls_embed], 0)?,
        };
        let mut x = self.norm.forward(&self.final_proj.forward(&x)?)?;
        observer.passed("geometry.input", None, &x);
        let memory = features.reshape((height * width, d_model))?;
        let keys = (&memory + pos)?;
        let memory = Memory {
            keys: &keys,
            values: &memory,
            bias: None,
        };
        for (i, layer) in self.encode.iter().enumerate() {
            x = layer.forward(&x, None, &memory)?;
            observer.passed("geometry.layer", Some(i), &x);
            observer.layer(Stage::Geometry, i + 1, self.encode.len())?;
        }
        let x = self.encode_norm.forward(&x)?;
        observer.passed("geometry.features", None, &x);
        Ok(x)
    }

    /// Coordinates, pooled image features and position encoding, each projected; plus the label.
    fn embed_boxes(&self, boxes: &[BoxPrompt], features: &Tensor) -> Result<Tensor> {
        let (height, width, d_model) = features.dims3()?;
        let coordinates: Vec<f32> = boxes.iter().flat_map(|prompt| prompt.cxcywh).collect();
        let direct = self
            .boxes_direct_project
            .forward(&features.new_tensor(coordinates, (boxes.len(), 4))?)?;

        let cells: Vec<[f32; 4]> = boxes
            .iter()
            .map(|prompt| {
                let [cx, cy, w, h] = prompt.cxcywh;
                let (sx, sy) = (width as f32, height as f32);
                [
                    (cx - 0.5 * w) * sx,
                    (cy - 0.5 * h) * sy,
                    (cx + 0.5 * w) * sx,
                    (cy + 0.5 * h) * sy,
                ]
            })
            .collect();
        let pooled = roi_align(&self.img_pre_norm.forward(features)?, &cells, self.roi_size)?;
        // Channels first, as the kernel has them: it stays as it lies in the file.
        let pooled = pooled.permute([0, 3, 1, 2])?.flatten_from(1)?;
        let pooled = self.boxes_pool_project.forward(&pooled)?;

        let mut encoded = Vec::with_capacity(boxes.len() * (d_model + 2));
        for BoxPrompt {
            cxcywh: [cx, cy, w, h], ..
        } in boxes
        {
            sine_encode([cy, cx].map(|c| c * std::f32::consts::TAU), d_model / 2, &mut encoded);
            encoded.extend([h, w]);
        }
        let encoded = features.new_tensor(encoded, (boxes.len(), d_model + 2))?;
        let encoded = self.boxes_pos_enc_project.forward(&encoded)?;

        let labels: Vec<usize> = boxes.iter().map(|prompt| usize::from(prompt.positive)).collect();
        let labels = self.label_embed.select(&labels)?;
        (direct + pooled)? + (encoded + labels)?
    }
}
