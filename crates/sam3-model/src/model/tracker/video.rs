//! What videos need beside a picture's clicks: the memory of objects, and pointers to them.

use std::sync::Arc;

use sam3_tensor::{
    Result, Tensor, Weight,
    ops::{Linear, Rope, RotaryTable},
};

use super::{
    FrameStart, MemoryTokens, Tracker, TrackerFeatures, memory_attention::MemoryAttention,
    memory_encoder::MemoryEncoder,
};
use crate::{
    config::Config,
    input_size::position,
    model::{mlp::Mlp, sam::Decoded},
    weights::Weights,
};

/// Frames that memories come from, and rows of `maskmem_tpos_enc`.
const NUM_MASKMEM: usize = 7;
/// Pixels in a side of the squares that a mask prompt is shrunk by.
const DOWNSAMPLE: usize = 4;

/// The whole tracker (official `Sam3TrackerPredictor`).
pub struct VideoTracker {
    tracker: Arc<Tracker>,
    memory_encoder: MemoryEncoder,
    memory_attention: MemoryAttention,
    mask_downsample: Linear,
    obj_ptr_proj: Mlp,
    /// `[d_model]`.
    no_obj_ptr: Tensor,
    obj_ptr_tpos_proj: Linear,
    /// `[7, memory width]`.
    maskmem_tpos_enc: Tensor,
    patch_size: usize,
}

/// What depends on the grid alone.
pub struct MemoryTables {
    rotary: RotaryTable,
    /// Of the map: `[grid², d_model]`.
    pos: Tensor,
    /// Places of memories, by the row of `maskmem_tpos_enc`: `[grid², memory width]` each.
    memory_pos: Vec<Tensor>,
}

impl VideoTracker {
    /// Loads what an official state dict's `tracker` has for videos.
    pub fn load(weights: &Weights, config: &Config, tracker: Arc<Tracker>) -> crate::Result<Self> {
        let own = weights.in_floats().pp("tracker");
        let exact = own.exact();
        let d_model = config.d_model;
        let memory = own.rows("maskmem_backbone.out_proj.weight").unwrap_or(d_model / 4);
        let rows = exact.tensor("maskmem_tpos_enc", &[NUM_MASKMEM, 1, 1, memory])?;
        let shrink = exact.pp("mask_downsample");
        let kernel = shrink.tensor("weight", &[1, 1, DOWNSAMPLE, DOWNSAMPLE])?;
        let kernel = Weight::from_tensor(&kernel.reshape((1, DOWNSAMPLE * DOWNSAMPLE))?)?;
        Ok(Self {
            tracker,
            memory_encoder: MemoryEncoder::load(&own, [d_model, memory])?,
            memory_attention: MemoryAttention::load(&own.pp("transformer").pp("encoder"), [d_model, memory])?,
            mask_downsample: exact.linear_of(kernel, Some(shrink.tensor("bias", &[1])?))?,
            obj_ptr_proj: Mlp::load(&exact.pp("obj_ptr_proj"), &[d_model; 4])?,
            no_obj_ptr: exact.tensor("no_obj_ptr", &[1, d_model])?.squeeze(0)?,
            obj_ptr_tpos_proj: exact.linear("obj_ptr_tpos_proj", d_model, memory)?,
            maskmem_tpos_enc: rows.reshape((NUM_MASKMEM, memory))?,
            patch_size: config.vit.patch_size,
        })
    }

    /// The part of it that clicks in pictures need.
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// Pixels in a side of a token.
    pub fn patch_size(&self) -> usize {
        self.patch_size
    }

    /// The tables of a grid of `grid × grid` tokens. Positions are not rescaled.
    pub fn tables(&self, grid: usize) -> Result<MemoryTables> {
        let (memory, device) = (self.maskmem_tpos_enc.dim(1)?, self.no_obj_ptr.device());
        let d_model = self.no_obj_ptr.dim(0)?;
        let places = position(grid, memory, device)?;
        let memory_pos = (0..NUM_MASKMEM).map(|row| &places + self.maskmem_tpos_enc.rows(row, 1)?);
        Ok(MemoryTables {
            rotary: RotaryTable::new(Rope::new(grid, d_model, 1.0, device)?),
            pos: position(grid, d_model, device)?,
            memory_pos: memory_pos.collect::<Result<_>>()?,
        })
    }

    /// What the memory encoder adds masks to: `[grid², d_model]`, once a frame.
    pub fn pix_feat(&self, features: &TrackerFeatures) -> Result<Tensor> {
        self.memory_encoder.pix_feat(&features.f)
    }

    /// How far memory attention gets without a memory, once a frame.
    pub fn start(&self, features: &TrackerFeatures, tables: &MemoryTables) -> Result<FrameStart> {
        self.memory_attention.start(&features.f, &tables.pos, &tables.rotary)
    }

    /// What is to be remembered of an object: `mask` is `[16 grid, 16 grid]`, −10 outside to 10 inside. Returns
    /// `[grid², memory width]`.
    pub fn encode_memory(&self, pix_feat: &Tensor, mask: &Tensor, is_present: bool) -> Result<Tensor> {
        self.memory_encoder.forward(pix_feat, mask, is_present)
    }

    /// What is remembered of an object, as tokens: its memories, `[grid², memory width]` each with its row of
    /// `maskmem_tpos_enc`, and pointers, `[d_model]` each with its distance in time as a share of the largest.
    pub fn memory_tokens(
        &self,
        memories: &[(&Tensor, usize)],
        pointers: &[(&Tensor, f64)],
        tables: &MemoryTables,
    ) -> Result<MemoryTokens> {
        let width = self.maskmem_tpos_enc.dim(1)?;
        let (mut values, mut placed) = (Vec::new(), Vec::new());
        for (memory, row) in memories {
            let memory = memory.to_dtype(tables.pos.dtype())?;
            placed.push((&memory + &tables.memory_pos[*row])?);
            values.push(memory);
        }
        let spatial = values.iter().map(|memory| memory.dims()[0]).sum();
        for (pointer, distance) in pointers {
            let tokens = pointer.reshape((pointer.elem_count() / width, width))?;
            placed.push((&tokens + self.obj_ptr_tpos_proj.forward(&self.time(*distance)?)?)?);
            values.push(tokens);
        }
        Ok(MemoryTokens {
            values: Tensor::cat(&values, 0)?,
            placed: Tensor::cat(&placed, 0)?,
            spatial,
        })
    }

    /// Sines and then cosines of a distance in time: `[1, d_model]`.
    fn time(&self, distance: f64) -> Result<Tensor> {
        let half = self.no_obj_ptr.dim(0)? / 2;
        let angle = |k: usize| distance / 10_000f64.powf((2 * (k / 2)) as f64 / half as f64);
        let sines = (0..half).map(|k| angle(k).sin() as f32);
        let values = sines.chain((0..half).map(|k| angle(k).cos() as f32)).collect();
        self.no_obj_ptr.new_tensor(values, (1, 2 * half))
    }

    /// The frame's map as the memory lets it be seen: `[grid², d_model]`.
    pub fn condition(&self, start: &FrameStart, memory: &MemoryTokens, tables: &MemoryTables) -> Result<Tensor> {
        self.memory_attention.forward(start, memory, &tables.rotary)
    }

    /// A mask prompt, `[16 grid, 16 grid]` of 0 to 1, as the prompt encoder takes it: `[4 grid, 4 grid]`.
    pub fn downsample_mask(&self, mask: &Tensor) -> Result<Tensor> {
        let (height, width) = mask.dims2()?;
        let (rows, columns) = (height / DOWNSAMPLE, width / DOWNSAMPLE);
        let squares = mask
            .reshape((rows, DOWNSAMPLE, columns, DOWNSAMPLE))?
            .permute([0, 2, 1, 3])?;
        let squares = squares.reshape((rows * columns, DOWNSAMPLE * DOWNSAMPLE))?;
        self.mask_downsample.forward(&squares)?.reshape((rows, columns))
    }

    /// The pointer to an object whose mask is of this token: `[d_model]`.
    pub fn pointer(&self, decoded: &Decoded, token: usize) -> Result<Tensor> {
        self.obj_ptr_proj
            .forward(&decoded.mask_tokens.rows(token, 1)?)?
            .squeeze(0)
    }

    /// The pointer to an object that is not there.
    pub fn no_pointer(&self) -> Result<Tensor> {
        Ok(self.no_obj_ptr.clone())
    }
}
