//! What precision the large matrix products take.

use super::simd::{self, DotOp};

/// Inputs of matrix products; sums, norms, softmax and everything else are f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compute {
    /// Exact f32.
    #[default]
    F32,
    /// bf16 inputs, f32 sums.
    Bf16,
}

impl Compute {
    /// The fastest that this CPU has at no visible cost: bf16 where it is twice as fast, else f32.
    pub fn auto() -> Self {
        if simd::has_bf16() { Self::Bf16 } else { Self::F32 }
    }

    /// Runs `op` with this CPU's unit for it.
    pub(super) fn dispatch<O: DotOp>(self, op: O) -> O::Out {
        match self {
            Self::F32 => simd::dispatch_f32(op),
            Self::Bf16 => simd::dispatch_bf16(op),
        }
    }
}
