//! The image encoder's trunk: a plain ViT with windowed and global attention (official `vitdet.py`).

use sam3_tensor::{
    Result, Tensor,
    ops::{Activation, LayerNorm, Linear, Mlp, WindowAttention},
};

use crate::{
    config::VitConfig,
    input_size::InputSize,
    model::{Observer, Stage},
    weights::Weights,
};

pub struct ViT {
    patch_embed: PatchEmbed,
    /// `[side, side, width]`: the pretraining table without the class token's row. Tiled it would be 21 MB.
    pos_embed: Tensor,
    ln_pre: LayerNorm,
    blocks: Vec<Block>,
}

impl ViT {
    pub fn load(weights: &Weights, config: &VitConfig) -> crate::Result<Self> {
        let block = |index| {
            let is_global = config.global_blocks.contains(&index);
            Block::load(&weights.pp("blocks").pp(index), config, is_global)
        };
        Ok(Self {
            patch_embed: PatchEmbed::load(&weights.pp("patch_embed"), config)?,
            pos_embed: Self::load_pos_embed(weights, config)?,
            ln_pre: weights.layer_norm("ln_pre", config.width, config.eps)?,
            blocks: (0..config.depth).map(block).collect::<crate::Result<_>>()?,
        })
    }

    fn load_pos_embed(weights: &Weights, config: &VitConfig) -> crate::Result<Tensor> {
        let (side, width) = (config.pretrain_grid, config.width);
        let table = weights.tensor("pos_embed", &[1, side * side + 1, width])?;
        Ok(table.narrow(1, 1, side * side)?.reshape((side, side, width))?)
    }

    /// The table repeated over a grid; nothing is interpolated.
    fn tiled_pos_embed(&self, grid: usize) -> Result<Tensor> {
        let tiles = grid.div_ceil(self.pos_embed.dim(0)?);
        let table = self.pos_embed.repeat([tiles, tiles, 1])?;
        table.narrow(0, 0, grid)?.narrow(1, 0, grid)
    }

    /// `pixels` is `[3, image_size, image_size]`; returns `[grid, grid, width]`.
    pub fn forward(&self, pixels: Tensor, size: &InputSize, observer: &mut dyn Observer) -> crate::Result<Tensor> {
        self.forward_stacked(vec![pixels], size, observer)
    }

    /// As [`forward`](Self::forward) of several pictures, each of which is `grid` rows of the map: `[pictures × grid,
    /// grid, width]`. The products of all of them share one packing of each weight.
    pub fn forward_stacked(
        &self,
        pixels: Vec<Tensor>,
        size: &InputSize,
        observer: &mut dyn Observer,
    ) -> crate::Result<Tensor> {
        let mut maps = Vec::with_capacity(pixels.len());
        for pixels in pixels {
            let patches = self.patch_embed.forward(&pixels)?;
            drop(pixels);
            let pos_embed = self.tiled_pos_embed(patches.dim(0)?)?;
            maps.push(self.ln_pre.forward(&(patches + pos_embed)?)?);
        }
        let mut x = stacked(maps)?;
        observer.passed("vit.patch_embed", None, &x);
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x, size)?;
            observer.passed("vit.block", Some(i), &x);
            observer.layer(Stage::Trunk, i + 1, self.blocks.len())?;
        }
        observer.made(Stage::Trunk, "trunk", &x);
        Ok(x)
    }
}

/// Maps of one size below each other.
fn stacked(maps: Vec<Tensor>) -> Result<Tensor> {
    match <[Tensor; 1]>::try_from(maps) {
        Ok([map]) => Ok(map),
        Err(maps) => Tensor::cat(&maps, 0),
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
            proj: weights.in_floats().linear_of(kernel.flatten(), None)?,
            patch,
        })
    }

    fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let (channels, height, width) = pixels.dims3()?;
        let (rows, columns, patch) = (height / self.patch, width / self.patch, self.patch);
        let patches = pixels
            .reshape((channels, rows, patch, columns, patch))?
            .permute([1, 3, 0, 2, 4])?;
        self.proj
            .forward(&patches.reshape((rows, columns, channels * patch * patch))?)
    }
}

/// One pre-norm transformer block.
struct Block {
    norm1: LayerNorm,
    attn: WindowAttention,
    norm2: LayerNorm,
    mlp: Mlp,
    /// A window's side; none where every token sees the whole map.
    window: Option<usize>,
}

impl Block {
    fn load(weights: &Weights, config: &VitConfig, is_global: bool) -> crate::Result<Self> {
        let (width, window) = (config.width, (!is_global).then_some(config.window));
        let norm = |name| weights.layer_norm_before_products(name, width, config.eps);
        let mlp = weights.pp("mlp");
        Ok(Self {
            norm1: norm("norm1")?,
            attn: weights.window_attention("attn", width, config.heads, window)?,
            norm2: norm("norm2")?,
            mlp: mlp.mlp(["fc1", "fc2"], [width, config.mlp], Activation::Gelu)?,
            window,
        })
    }

    /// `x` is `[maps × grid, grid, width]`.
    fn forward(&self, x: &Tensor, size: &InputSize) -> Result<Tensor> {
        let x = self.attend(x, &self.norm1.forward(x)?, size)?;
        self.mlp.forward_add(&x, &self.norm2.forward(&x)?)
    }

    /// Each map's tokens see those of their own map alone.
    fn attend(&self, residual: &Tensor, x: &Tensor, size: &InputSize) -> Result<Tensor> {
        let (rows, grid, _) = x.dims3()?;
        match self.window {
            // Windows that fill a map do not reach into the next one.
            Some(window) if grid.is_multiple_of(window) || rows == grid => {
                self.attn.forward_add(residual, x, &size.window_rope)
            }
            window => {
                let rope = window.map_or(&size.global_rope, |_| &size.window_rope);
                let map = |start| {
                    let [residual, x] = [residual, x].map(|x| x.rows(start, grid));
                    self.attn.forward_add(&residual?, &x?, rope)
                };
                stacked((0..rows).step_by(grid).map(map).collect::<Result<_>>()?)
            }
        }
    }
}
