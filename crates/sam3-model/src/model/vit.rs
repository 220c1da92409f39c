//! The image encoder's trunk: a plain ViT with windowed and global attention (official `vitdet.py`).

use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::{
    config::VitConfig,
    ops::{self, Activation, LayerNorm, Linear, Rope},
    weights::Weights,
};

pub struct ViT {
    patch_embed: PatchEmbed,
    /// `[grid, grid, width]`: the pretraining table, tiled.
    pos_embed: Tensor,
    ln_pre: LayerNorm,
    blocks: Vec<Block>,
}

impl ViT {
    pub fn load(weights: &Weights, config: &VitConfig) -> crate::Result<Self> {
        let (grid, width, device) = (config.grid(), config.width, weights.device());
        let head_dim = width / config.heads;
        let window_rope = Arc::new(Rope::new(config.window, head_dim, 1.0, device)?);
        let global_rope = Arc::new(Rope::new(grid, head_dim, config.window as f64 / grid as f64, device)?);
        let block = |index: usize| {
            let global = config.global_blocks.contains(&index);
            let (window, rope) = if global {
                (None, global_rope.clone())
            } else {
                (Some(config.window), window_rope.clone())
            };
            Block::load(&weights.pp("blocks").pp(index), config, window, rope)
        };
        Ok(Self {
            patch_embed: PatchEmbed::load(&weights.pp("patch_embed"), config)?,
            pos_embed: Self::load_pos_embed(weights, config)?,
            ln_pre: LayerNorm::load(&weights.pp("ln_pre"), width, config.eps)?,
            blocks: (0..config.depth).map(block).collect::<crate::Result<_>>()?,
        })
    }

    /// Drops the class token's row and repeats the table over the grid; nothing is interpolated.
    fn load_pos_embed(weights: &Weights, config: &VitConfig) -> crate::Result<Tensor> {
        let (side, grid, width) = (config.pretrain_grid, config.grid(), config.width);
        let table = weights.tensor("pos_embed", &[1, side * side + 1, width])?;
        let table = table.narrow(1, 1, side * side)?.reshape((side, side, width))?;
        let tiles = grid.div_ceil(side);
        Ok(table
            .repeat((tiles, tiles, 1))?
            .narrow(0, 0, grid)?
            .narrow(1, 0, grid)?
            .contiguous()?)
    }

    /// `pixels` is `[3, image_size, image_size]`; returns `[grid, grid, width]`.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let x = (self.patch_embed.forward(pixels)? + &self.pos_embed)?;
        let mut x = self.ln_pre.forward(&x)?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        Ok(x)
    }
}

/// `Conv2d(3, width, kernel_size=patch, stride=patch, bias=False)`: one linear map of each patch.
struct PatchEmbed {
    proj: Linear,
    patch: usize,
}

impl PatchEmbed {
    fn load(weights: &Weights, config: &VitConfig) -> crate::Result<Self> {
        let patch = config.patch_size;
        let kernel = weights.weight("proj.weight", &[config.width, 3, patch, patch])?;
        Ok(Self {
            proj: Linear::new(kernel.flatten(), None),
            patch,
        })
    }

    fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let (channels, height, width) = pixels.dims3()?;
        let (rows, columns, patch) = (height / self.patch, width / self.patch, self.patch);
        let patches = pixels
            .reshape((channels, rows, patch, columns, patch))?
            .permute((1, 3, 0, 2, 4))?;
        self.proj
            .forward(&patches.reshape((rows, columns, channels * patch * patch))?)
    }
}

/// One pre-norm transformer block.
struct Block {
    norm1: LayerNorm,
    attn: Attention,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    /// Side of the attention windows; `None` attends to the whole image.
    window: Option<usize>,
}

impl Block {
    fn load(weights: &Weights, config: &VitConfig, window: Option<usize>, rope: Arc<Rope>) -> crate::Result<Self> {
        let (width, hidden) = (config.width, config.mlp);
        Ok(Self {
            norm1: LayerNorm::load(&weights.pp("norm1"), width, config.eps)?,
            attn: Attention::load(&weights.pp("attn"), width, config.heads, rope)?,
            norm2: LayerNorm::load(&weights.pp("norm2"), width, config.eps)?,
            fc1: Linear::load(&weights.pp("mlp").pp("fc1"), width, hidden)?,
            fc2: Linear::load(&weights.pp("mlp").pp("fc2"), hidden, width)?,
            window,
        })
    }

    /// `x` is `[grid, grid, width]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (height, width, channels) = x.dims3()?;
        let y = self.norm1.forward(x)?;
        let y = match self.window {
            Some(window) => {
                let windows = window_partition(&y, window)?;
                window_unpartition(&self.attn.forward(&windows)?, window, height, width)?
            }
            None => self
                .attn
                .forward(&y.reshape((1, height * width, channels))?)?
                .reshape((height, width, channels))?,
        };
        let x = (x + y)?;
        let hidden = self.fc1.forward_then(&self.norm2.forward(&x)?, Activation::Gelu)?;
        self.fc2.forward_add(&hidden, &x)
    }
}

/// Self-attention with rotary positions.
struct Attention {
    qkv: Linear,
    proj: Linear,
    heads: usize,
    rope: Arc<Rope>,
}

impl Attention {
    fn load(weights: &Weights, width: usize, heads: usize, rope: Arc<Rope>) -> crate::Result<Self> {
        Ok(Self {
            qkv: Linear::load(&weights.pp("qkv"), width, 3 * width)?,
            proj: Linear::load(&weights.pp("proj"), width, width)?,
            heads,
            rope,
        })
    }

    /// `x` is `[windows, tokens, width]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let width = x.dim(2)?;
        let qkv = self.qkv.forward(x)?;
        let part = |index: usize| qkv.narrow(2, index * width, width);
        let q = self.rope.forward(&part(0)?, self.heads)?;
        let k = self.rope.forward(&part(1)?, self.heads)?;
        self.proj.forward(&ops::attention(&q, &k, &part(2)?, self.heads, None)?)
    }
}

/// `[height, width, channels]` -> `[windows, window², channels]`, padded with zeros to whole windows.
fn window_partition(x: &Tensor, window: usize) -> Result<Tensor> {
    let (height, width, channels) = x.dims3()?;
    let (rows, columns) = (height.div_ceil(window), width.div_ceil(window));
    let x = x
        .pad_with_zeros(0, 0, rows * window - height)?
        .pad_with_zeros(1, 0, columns * window - width)?;
    x.reshape((rows, window, columns, window, channels))?
        .permute((0, 2, 1, 3, 4))?
        .reshape((rows * columns, window * window, channels))
}

/// The way back: `[windows, window², channels]` -> `[height, width, channels]`.
fn window_unpartition(x: &Tensor, window: usize, height: usize, width: usize) -> Result<Tensor> {
    let channels = x.dim(2)?;
    let (rows, columns) = (height.div_ceil(window), width.div_ceil(window));
    x.reshape((rows, columns, window, window, channels))?
        .permute((0, 2, 1, 3, 4))?
        .reshape((rows * window, columns * window, channels))?
        .narrow(0, 0, height)?
        .narrow(1, 0, width)?
        .contiguous()
}
