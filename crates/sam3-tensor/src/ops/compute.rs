//! What precision the large matrix products take.

use super::simd::{self, DotOp};
use crate::DType;

/// Inputs of matrix products; sums, norms, softmax and everything else are f32 always. What a GPU makes of it is in
/// `ops/device.rs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compute {
    /// Exact f32.
    #[default]
    F32,
    /// bf16 inputs, f32 sums.
    Bf16,
    /// f16 inputs, f32 sums: on a GPU only.
    F16,
    /// int8 codes of weights and activations, exact sums: in linear layers whose activations allow it. The rest is as
    /// with `auto`.
    Int8,
}

impl Compute {
    /// The fastest that this CPU has at no visible cost: bf16 where it is twice as fast, else f32.
    pub fn auto() -> Self {
        if simd::has_bf16() { Self::Bf16 } else { Self::F32 }
    }

    /// The name that `--compute` has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }

    /// The same; for int8, what `auto` takes, which is the precision of the products that are not int8.
    pub fn float(self) -> Self {
        match self {
            Self::Int8 => Self::auto(),
            float => float,
        }
    }

    /// What inputs of products are held in on an accelerator.
    pub(super) fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            // `Segmenter` refuses int8 there.
            Self::F16 | Self::Int8 => DType::F16,
        }
    }
}

/// A choice of dot product for values of type `V`.
pub(super) trait Unit<V>: Copy + Send + Sync {
    /// Runs `op` with this CPU's unit for it.
    fn dispatch<O: DotOp<V>>(self, op: O) -> O::Out;
}

impl Unit<f32> for Compute {
    fn dispatch<O: DotOp<f32>>(self, op: O) -> O::Out {
        match self.float() {
            Self::Bf16 => simd::dispatch_bf16(op),
            _ => simd::dispatch_f32(op),
        }
    }
}

/// The unit for int8 codes.
#[derive(Clone, Copy)]
pub(super) struct Int8;

impl Unit<i8> for Int8 {
    fn dispatch<O: DotOp<i8>>(self, op: O) -> O::Out {
        simd::dispatch_int8(op)
    }
}
