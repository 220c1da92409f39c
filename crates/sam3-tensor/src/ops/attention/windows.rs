//! Self-attention of a map with its projections, as ViTDet has it.

use std::sync::Arc;

use super::MapAttention;
use crate::{
    Result, Tensor,
    ops::{Linear, Rope},
};

/// Self-attention of a map's tokens, all together or window by window.
pub struct WindowAttention {
    qkv: Linear,
    proj: Linear,
    heads: usize,
    window: Option<usize>,
}

impl WindowAttention {
    /// `qkv` is the fused projection, `window` a window's side; without one, every token sees the whole map.
    pub fn new(qkv: Linear, proj: Linear, heads: usize, window: Option<usize>) -> Self {
        Self {
            qkv: qkv.before_products(),
            proj,
            heads,
            window,
        }
    }

    /// `residual + attention(x)`; both are `[height, width, channels]`. `rope` is for `window²` tokens, or for the
    /// whole map.
    ///
    /// # Errors
    /// When shapes do not fit, there is no room, or the device fails.
    pub fn forward_add(&self, residual: &Tensor, x: &Tensor, rope: &Arc<Rope>) -> Result<Tensor> {
        let attention = MapAttention::new(self.heads, rope.clone(), self.window, self.qkv.compute());
        self.proj
            .forward_add(&attention.forward_through(&self.qkv, x)?, residual)
    }
}
