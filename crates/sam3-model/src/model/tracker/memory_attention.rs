//! A frame's map looks at what is remembered of an object (official `transformer.encoder` of the tracker).

use sam3_tensor::{
    Result, Tensor,
    ops::{LayerNorm, Mlp, RotaryAttention, RotaryTable},
};

use crate::weights::Weights;

/// Neither names nor shapes tell it.
const EPS: f64 = 1e-5;
/// What positions are multiplied with before they are added to the map.
const POS_SHARE: f64 = 0.1;

pub struct MemoryAttention {
    layers: Vec<Layer>,
    norm: LayerNorm,
}

/// How far a frame gets without a memory: this is the same for all objects.
pub struct FrameStart {
    /// Behind the first layer's self-attention: `[grid², d_model]`.
    x: Tensor,
    /// What the first layer asks the memory.
    queries: Tensor,
}

impl FrameStart {
    /// All that it holds.
    pub fn tensors(&self) -> [&Tensor; 2] {
        [&self.x, &self.queries]
    }
}

/// What is remembered of an object, as tokens.
pub struct MemoryTokens {
    /// `[tokens, memory width]`.
    pub values: Tensor,
    /// The same with the tokens' positions added.
    pub placed: Tensor,
    /// Tokens that are places of a map: the leading ones. Those of pointers come behind.
    pub spatial: usize,
}

impl MemoryAttention {
    pub fn load(weights: &Weights, [d_model, memory]: [usize; 2]) -> crate::Result<Self> {
        let layers = weights.pp("layers");
        let depth = (0..)
            .take_while(|i| layers.pp(i).rows("norm1.weight").is_some())
            .count();
        Ok(Self {
            // One at least, so that a file without any lacks its keys.
            layers: (0..depth.max(1))
                .map(|i| Layer::load(&layers.pp(i), [d_model, memory]))
                .collect::<crate::Result<_>>()?,
            norm: weights.layer_norm("norm", d_model, EPS)?,
        })
    }

    /// `f` is the frame's map, `[grid², d_model]`, and `pos` its positions.
    pub fn start(&self, f: &Tensor, pos: &Tensor, table: &RotaryTable) -> Result<FrameStart> {
        let first = &self.layers[0];
        let x = first.look_around(&(f + (pos * POS_SHARE)?)?, table)?;
        Ok(FrameStart {
            queries: first.ask(&x)?,
            x,
        })
    }

    /// The map as the memory lets it be seen: `[grid², d_model]`.
    pub fn forward(&self, start: &FrameStart, memory: &MemoryTokens, table: &RotaryTable) -> Result<Tensor> {
        let (first, others) = self.layers.split_first().expect("there is a layer");
        let mut x = first.remember(&start.x, &start.queries, memory, table)?;
        for layer in others {
            let around = layer.look_around(&x, table)?;
            x = layer.remember(&around, &layer.ask(&around)?, memory, table)?;
        }
        self.norm.forward(&x)
    }
}

/// One pre-norm layer.
struct Layer {
    norm1: LayerNorm,
    self_attn: RotaryAttention,
    norm2: LayerNorm,
    cross_attn_image: RotaryAttention,
    norm3: LayerNorm,
    ffn: Mlp,
}

impl Layer {
    fn load(weights: &Weights, [d_model, memory]: [usize; 2]) -> crate::Result<Self> {
        let norm = |name| weights.layer_norm_before_products(name, d_model, EPS);
        Ok(Self {
            norm1: norm("norm1")?,
            self_attn: weights.rotary_attention("self_attn", d_model)?,
            norm2: norm("norm2")?,
            cross_attn_image: weights.rotary_attention_to("cross_attn_image", d_model, memory)?,
            norm3: norm("norm3")?,
            ffn: weights.feed_forward(d_model)?,
        })
    }

    /// Self-attention.
    fn look_around(&self, x: &Tensor, table: &RotaryTable) -> Result<Tensor> {
        let y = self.norm1.forward(x)?;
        let places = y.dim(0)?;
        self.self_attn
            .forward_add(x, &self.self_attn.queries(&y)?, [&y, &y], places, table)
    }

    /// What the memory is asked.
    fn ask(&self, x: &Tensor) -> Result<Tensor> {
        self.cross_attn_image.queries(&self.norm2.forward(x)?)
    }

    /// Attention to the memory, and the feed-forward.
    fn remember(&self, x: &Tensor, queries: &Tensor, memory: &MemoryTokens, table: &RotaryTable) -> Result<Tensor> {
        let MemoryTokens {
            values,
            placed,
            spatial,
        } = memory;
        let x = self
            .cross_attn_image
            .forward_add(x, queries, [placed, values], *spatial, table)?;
        self.ffn.forward_add(&x, &self.norm3.forward(&x)?)
    }
}
