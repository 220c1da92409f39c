//! The image encoder's trunk: a plain ViT with windowed and global attention (official `vitdet.py`).

use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::{
    config::VitConfig,
    model::{Observer, Stage},
    ops::{Activation, LayerNorm, Linear, MapAttention, Rope},
    weights::Weights,
};

pub struct ViT {
    patch_embed: PatchEmbed,
    /// `[side, side, width]`: the pretraining table without the class token's row. Tiled it would be 21 MB.
    pos_embed: Tensor,
    grid: usize,
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
            grid,
            ln_pre: LayerNorm::load(&weights.pp("ln_pre"), width, config.eps)?,
            blocks: (0..config.depth).map(block).collect::<crate::Result<_>>()?,
        })
    }

    fn load_pos_embed(weights: &Weights, config: &VitConfig) -> crate::Result<Tensor> {
        let (side, width) = (config.pretrain_grid, config.width);
        let table = weights.tensor("pos_embed", &[1, side * side + 1, width])?;
        Ok(table.narrow(1, 1, side * side)?.reshape((side, side, width))?)
    }

    /// The table repeated over the grid; nothing is interpolated.
    fn tiled_pos_embed(&self) -> Result<Tensor> {
        let tiles = self.grid.div_ceil(self.pos_embed.dim(0)?);
        self.pos_embed
            .repeat((tiles, tiles, 1))?
            .narrow(0, 0, self.grid)?
            .narrow(1, 0, self.grid)
    }

    /// `pixels` is `[3, image_size, image_size]`; returns `[grid, grid, width]`.
    pub fn forward(&self, pixels: &Tensor, observer: &mut dyn Observer) -> crate::Result<Tensor> {
        let x = (self.patch_embed.forward(pixels)? + self.tiled_pos_embed()?)?;
        let mut x = self.ln_pre.forward(&x)?;
        observer.passed("vit.patch_embed", None, &x);
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x)?;
            observer.passed("vit.block", Some(i), &x);
            observer.layer(Stage::Trunk, i + 1, self.blocks.len())?;
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
            // Pixels are 8 bits themselves: nothing is to be had from quantising them again.
            proj: Linear::new(kernel.flatten(), None).with_compute(weights.compute().float()),
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
}

impl Block {
    fn load(weights: &Weights, config: &VitConfig, window: Option<usize>, rope: Arc<Rope>) -> crate::Result<Self> {
        let (width, hidden) = (config.width, config.mlp);
        Ok(Self {
            norm1: LayerNorm::load(&weights.pp("norm1"), width, config.eps)?,
            attn: Attention::load(&weights.pp("attn"), width, config.heads, window, rope)?,
            norm2: LayerNorm::load(&weights.pp("norm2"), width, config.eps)?,
            fc1: Linear::load(&weights.pp("mlp").pp("fc1"), width, hidden)?,
            fc2: Linear::load(&weights.pp("mlp").pp("fc2"), hidden, width)?,
        })
    }

    /// `x` is `[grid, grid, width]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.attn.forward(&self.norm1.forward_operand(x)?, x)?;
        self.fc1
            .forward_through(&self.norm2.forward_operand(&x)?, Activation::Gelu, &self.fc2, Some(&x))
    }
}

/// Self-attention with rotary positions.
struct Attention {
    qkv: Linear,
    proj: Linear,
    attention: MapAttention,
}

impl Attention {
    fn load(
        weights: &Weights,
        width: usize,
        heads: usize,
        window: Option<usize>,
        rope: Arc<Rope>,
    ) -> crate::Result<Self> {
        Ok(Self {
            qkv: Linear::load(&weights.pp("qkv"), width, 3 * width)?,
            proj: Linear::load(&weights.pp("proj"), width, width)?,
            attention: MapAttention::new(heads, rope, window, weights.compute()),
        })
    }

    /// `residual + attention(x)`; both are `[grid, grid, width]`.
    fn forward(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let y = self.attention.forward_through(&self.qkv, x)?;
        self.proj.forward_add(&y, residual)
    }
}
