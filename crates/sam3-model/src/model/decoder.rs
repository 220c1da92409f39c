//! The decoder: object queries refine their boxes layer by layer (official `decoder.py`).

use sam3_tensor::{
    Result, Tensor,
    ops::{self, Attention, Bias, BoxBias, LayerNorm, SineEncoding, sigmoid},
};

use crate::{
    config::DetectorConfig,
    input_size::InputSize,
    model::{Observer, Prompt, Stage, mlp::Mlp},
    weights::Weights,
};

/// Of every LayerNorm here.
const NORM_EPS: f64 = 1e-5;
/// How near to 0 and 1 a share of the image is taken to be by [`inverse_sigmoid`], at most.
const SHARE_EPS: f32 = 1e-3;

pub struct Decoder {
    query_embed: Tensor,
    reference_points: Tensor,
    presence_token: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
    ref_point_head: Mlp,
    bbox_embed: Mlp,
    presence_token_head: Mlp,
    presence_token_out_norm: LayerNorm,
    box_rpb: BoxBias,
    sine: SineEncoding,
}

/// What the decoder found.
pub struct Decoded {
    /// The queries after the last layer, normed: `[queries, d_model]`.
    pub queries: Tensor,
    /// `[queries, 4]`: `center x, center y, width, height`, as shares of the image.
    pub boxes: Tensor,
    /// `[1, 1]`: is there any such thing in the image?
    pub presence_logit: Tensor,
}

impl Decoder {
    pub fn load(weights: &Weights, d_model: usize, config: &DetectorConfig) -> crate::Result<Self> {
        let (heads, queries) = (config.decoder.heads, config.queries);
        let mlp = |name: &str, widths: &[usize]| Mlp::load(&weights.pp(name), widths);
        Ok(Self {
            query_embed: weights.tensor("query_embed.weight", &[queries, d_model])?,
            reference_points: weights.tensor("reference_points.weight", &[queries, 4])?,
            presence_token: weights.tensor("presence_token.weight", &[1, d_model])?,
            layers: (0..config.decoder.depth)
                .map(|i| Layer::load(&weights.pp("layers").pp(i), d_model, heads))
                .collect::<crate::Result<_>>()?,
            norm: weights.layer_norm("norm", d_model, NORM_EPS)?,
            ref_point_head: mlp("ref_point_head", &[2 * d_model, d_model, d_model])?,
            bbox_embed: mlp("bbox_embed", &[d_model, d_model, d_model, 4])?,
            presence_token_head: mlp("presence_token_head", &[d_model, d_model, d_model, 1])?,
            presence_token_out_norm: weights.layer_norm("presence_token_out_norm", d_model, NORM_EPS)?,
            box_rpb: weights.box_bias(d_model, heads)?,
            sine: weights.sine_encoding(d_model / 2)?,
        })
    }

    /// `memory` is the fusion encoder's `[grid², d_model]`.
    pub fn forward(
        &self,
        memory: &Tensor,
        size: &InputSize,
        prompt: &Prompt,
        observer: &mut dyn Observer,
    ) -> crate::Result<Decoded> {
        let count = self.query_embed.dim(0)?;
        let keys = (memory + &size.pos)?;
        // The presence token is query 0.
        let mut x = Tensor::cat(&[&self.presence_token, &self.query_embed], 0)?;
        let mut queries = self.query_embed.clone();
        let mut boxes = sigmoid(&self.reference_points)?;
        for (i, layer) in self.layers.iter().enumerate() {
            observer.passed("decoder.reference_boxes", Some(i), &boxes);
            let query_pos = self.query_pos(&boxes)?;
            let bias = self.box_rpb.forward(&boxes, &size.cells)?;
            x = layer.forward(&x, &query_pos, &keys, memory, prompt, bias.as_bias())?;
            observer.passed("decoder.layer", Some(i), &x);
            queries = self.norm.forward(&x.narrow(0, 1, count)?)?;
            observer.passed("decoder.hidden", Some(i), &queries);
            let delta = self.bbox_embed.forward(&queries)?;
            boxes = sigmoid(&(inverse_sigmoid(&boxes)? + delta)?)?;
            observer.passed("decoder.boxes", Some(i), &boxes);
            observer.layer(Stage::Decoder, i + 1, self.layers.len())?;
        }
        Ok(Decoded {
            queries,
            boxes,
            presence_logit: self.presence_logit(&x)?,
        })
    }

    /// `[1, 1]`, of what a layer made, `[1 + queries, d_model]`.
    pub(super) fn presence_logit(&self, x: &Tensor) -> Result<Tensor> {
        let presence = self.presence_token_out_norm.forward(&x.narrow(0, 0, 1)?)?;
        self.presence_token_head.forward(&presence)
    }

    /// `[1 + queries, d_model]`: where each query looks; the presence token looks nowhere.
    fn query_pos(&self, boxes: &Tensor) -> Result<Tensor> {
        let yxwh = Tensor::cat(
            &[boxes.narrow(1, 1, 1)?, boxes.narrow(1, 0, 1)?, boxes.narrow(1, 2, 2)?],
            1,
        )?;
        let encoded = self.sine.forward(&(yxwh * std::f64::consts::TAU)?)?;
        self.ref_point_head.forward(&encoded)?.pad_with_zeros(0, 1, 0)
    }
}

/// One post-norm layer.
struct Layer {
    self_attn: Attention,
    norm2: LayerNorm,
    ca_text: Attention,
    catext_norm: LayerNorm,
    cross_attn: Attention,
    norm1: LayerNorm,
    ffn: ops::Mlp,
    norm3: LayerNorm,
}

impl Layer {
    fn load(weights: &Weights, d_model: usize, heads: usize) -> crate::Result<Self> {
        let norm = |name| weights.layer_norm(name, d_model, NORM_EPS);
        let attention = |name| weights.attention(name, d_model, heads);
        Ok(Self {
            self_attn: attention("self_attn")?,
            norm2: norm("norm2")?,
            ca_text: attention("ca_text")?,
            catext_norm: norm("catext_norm")?,
            cross_attn: attention("cross_attn")?,
            norm1: norm("norm1")?,
            ffn: weights.feed_forward(d_model)?,
            norm3: norm("norm3")?,
        })
    }

    fn forward(
        &self,
        x: &Tensor,
        query_pos: &Tensor,
        keys: &Tensor,
        memory: &Tensor,
        prompt: &Prompt,
        bias: Bias<'_>,
    ) -> Result<Tensor> {
        let q = (x + query_pos)?;
        let x = self.self_attn.forward_add(x, [&q, &q, x], None)?;
        let x = self.norm2.forward(&x)?;
        let q = (&x + query_pos)?;
        let text = &prompt.features;
        let x = self
            .ca_text
            .forward_add(&x, [&q, text, text], Some(Bias::Scores(&prompt.padding)))?;
        let x = self.catext_norm.forward(&x)?;
        let q = (&x + query_pos)?;
        let x = self.cross_attn.forward_add(&x, [&q, keys, memory], Some(bias))?;
        let x = self.norm1.forward(&x)?;
        self.norm3.forward(&self.ffn.forward_add(&x, &x)?)
    }
}

/// `log(x / (1 - x))`, both at least [`SHARE_EPS`].
fn inverse_sigmoid(x: &Tensor) -> Result<Tensor> {
    let share = |x: &Tensor| x.clamp(SHARE_EPS, 1.0);
    (share(x)? / share(&(1.0 - x)?)?)?.log()
}

#[cfg(test)]
mod tests {
    use sam3_tensor::{Device, Tensor};

    use super::inverse_sigmoid;

    #[test]
    fn shares_near_the_edges_are_a_thousandth_from_them() {
        let shares = [0.0f32, 2e-4, 1e-3, 0.25, 0.5, 0.9, 0.9995, 1.0];
        let found = inverse_sigmoid(&Tensor::from_slice(&shares, shares.len(), &Device::Cpu).unwrap()).unwrap();
        for (share, found) in shares.into_iter().zip(found.to_vec::<f32>().unwrap()) {
            let share = f64::from(share);
            let expected = (share.max(0.001) / (1.0 - share).max(0.001)).ln();
            assert!(
                (f64::from(found) - expected).abs() < 1e-5,
                "{share}: {found}, expected {expected}"
            );
        }
        let none = inverse_sigmoid(&Tensor::from_slice(&[f32::NAN], 1, &Device::Cpu).unwrap()).unwrap();
        assert!(none.to_vec::<f32>().unwrap()[0].is_nan());
    }
}
