//! A checkpoint file as it lies on disk: recognised by content, mapped, listed, borrowed.
//!
//! Names are the file's own here; [`crate::layout`] turns them into official ones.

use std::{borrow::Cow, path::Path};

use crate::Result;

/// Element types a SAM 3 checkpoint or package may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// Brain floating point.
    BF16,
    /// Signed bytes of a quantised weight.
    I8,
    /// Pairs of f32: real, imaginary (`freqs_cis`).
    C64,
}

/// What kind of file a checkpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// PyTorch's zip of a pickle and raw storages.
    Pth,
    /// One safetensors file, or an index with its shards.
    Safetensors,
}

/// One tensor, borrowed from the mapped file; row-major, little-endian.
pub struct TensorView<'a> {
    /// Name in the dictionary that was asked.
    pub name: &'a str,
    /// Element type as stored.
    pub dtype: Dtype,
    /// Extent of each axis.
    pub shape: &'a [usize],
    /// The bytes, in one piece or (a fused `qkv` stored as three tensors) in several.
    pub parts: Vec<Cow<'a, [u8]>>,
}

impl TensorView<'_> {
    /// Values widened to f32; `None` for I8 and C64, which are not plain numbers.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        todo!()
    }
}

/// An open checkpoint.
pub struct Checkpoint {}

impl Checkpoint {
    /// Opens and validates a checkpoint: `.pt`/`.pth`, `.safetensors`, an index with shards, or a package.
    pub fn open(path: &Path) -> Result<Self> {
        let _ = path;
        todo!()
    }
}
