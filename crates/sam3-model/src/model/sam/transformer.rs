//! Tokens and the image attend to each other (official `sam/transformer.py`).

use sam3_tensor::{
    Result, Tensor,
    ops::{Attention, LayerNorm, Mlp},
};

use crate::weights::Weights;

/// Layers, and heads of every attention: neither names nor shapes tell them.
const DEPTH: usize = 2;
const HEADS: usize = 8;
const EPS: f64 = 1e-5;

pub struct TwoWayTransformer {
    layers: Vec<TwoWayAttentionBlock>,
    final_attn_token_to_image: Attention,
    norm_final_attn: LayerNorm,
}

/// What both sides became.
pub struct Attended {
    /// `[tokens, d_model]`.
    pub tokens: Tensor,
    /// `[grid², d_model]`.
    pub image: Tensor,
}

impl TwoWayTransformer {
    pub fn load(weights: &Weights, d_model: usize) -> crate::Result<Self> {
        let layers = weights.pp("layers");
        Ok(Self {
            layers: (0..DEPTH)
                .map(|i| TwoWayAttentionBlock::load(&layers.pp(i), d_model, i == 0))
                .collect::<crate::Result<_>>()?,
            final_attn_token_to_image: weights.projected_attention("final_attn_token_to_image", d_model, HEADS)?,
            norm_final_attn: weights.layer_norm("norm_final_attn", d_model, EPS)?,
        })
    }

    /// `tokens` is `[tokens, d_model]` and their positions too, `image` `[grid², d_model]`, and `image_pe` its
    /// positions.
    pub fn forward(&self, tokens: &Tensor, image: &Tensor, image_pe: &Tensor) -> Result<Attended> {
        let (mut queries, mut keys) = (tokens.clone(), image.clone());
        let mut placed_keys = (&keys + image_pe)?;
        for layer in &self.layers {
            queries = layer.forward_tokens(&queries, tokens, &keys, &placed_keys)?;
            keys = layer.forward_image(&queries, tokens, &keys, &placed_keys)?;
            placed_keys = (&keys + image_pe)?;
        }
        let q = (&queries + tokens)?;
        let queries = self
            .final_attn_token_to_image
            .forward_add(&queries, [&q, &placed_keys, &keys], None)?;
        Ok(Attended {
            tokens: self.norm_final_attn.forward(&queries)?,
            image: keys,
        })
    }
}

/// One post-norm layer.
struct TwoWayAttentionBlock {
    self_attn: Attention,
    /// Of the first layer, whose tokens are their positions: nothing is added to what self-attention makes.
    skip_first_layer_pe: bool,
    norm1: LayerNorm,
    cross_attn_token_to_image: Attention,
    norm2: LayerNorm,
    mlp: Mlp,
    norm3: LayerNorm,
    cross_attn_image_to_token: Attention,
    norm4: LayerNorm,
}

impl TwoWayAttentionBlock {
    fn load(weights: &Weights, d_model: usize, skip_first_layer_pe: bool) -> crate::Result<Self> {
        let norm = |name| weights.layer_norm(name, d_model, EPS);
        let attention = |name| weights.projected_attention(name, d_model, HEADS);
        Ok(Self {
            self_attn: attention("self_attn")?,
            skip_first_layer_pe,
            norm1: norm("norm1")?,
            cross_attn_token_to_image: attention("cross_attn_token_to_image")?,
            norm2: norm("norm2")?,
            mlp: weights.pp("mlp").relu_mlp(["lin1", "lin2"], d_model)?,
            norm3: norm("norm3")?,
            cross_attn_image_to_token: attention("cross_attn_image_to_token")?,
            norm4: norm("norm4")?,
        })
    }

    /// The tokens look at each other and at the image.
    fn forward_tokens(&self, x: &Tensor, pe: &Tensor, keys: &Tensor, placed_keys: &Tensor) -> Result<Tensor> {
        let x = if self.skip_first_layer_pe {
            self.self_attn.forward([x, x, x], None)?
        } else {
            let q = (x + pe)?;
            self.self_attn.forward_add(x, [&q, &q, x], None)?
        };
        let x = self.norm1.forward(&x)?;
        let q = (&x + pe)?;
        let x = self
            .cross_attn_token_to_image
            .forward_add(&x, [&q, placed_keys, keys], None)?;
        let x = self.norm2.forward(&x)?;
        self.norm3.forward(&self.mlp.forward_add(&x, &x)?)
    }

    /// The image looks at the tokens.
    fn forward_image(&self, queries: &Tensor, pe: &Tensor, keys: &Tensor, placed_keys: &Tensor) -> Result<Tensor> {
        let k = (queries + pe)?;
        let keys = self
            .cross_attn_image_to_token
            .forward_add(keys, [placed_keys, &k, queries], None)?;
        self.norm4.forward(&keys)
    }
}
