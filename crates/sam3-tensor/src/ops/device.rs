//! The ops where tensors live on an accelerator, and what holds what there. This is the one place where that is
//! decided:
//!
//! - Weights lie there once, as their file has them: halves as halves, int8 as codes and scales, which are dequantised
//!   into scratch for the one product that uses them.
//! - What goes into a product is of the layer's [`Compute`]: f16 or bf16 in the trunk, the neck, the fusion encoder and
//!   the mask head; f32 in the geometry encoder, the decoder, whose boxes add up over layers, and the scores, and in
//!   the text encoder, so that baked prompts are the same everywhere.
//! - Sums of products are f32 (no reduced precision is asked for) and are rounded once to be stored, as PyTorch's are;
//!   bias, activation and residual are then added in f32.
//! - Softmax, LayerNorm and GroupNorm compute in f32.
//! - What an op's `forward` hands on is f32: the residual streams, the maps, boxes, logits. Only what a layer made that
//!   was told it stands `before_products`, and goes into them and nowhere else, stays in their precision.
//!
//! f16 ends at 65504. Others report that the published weights stay below it in PyTorch's f16; a checkpoint that does
//! not gives infinities and NaN, of which who reads the result makes an error. For that, every op here and on the CPU
//! hands NaN on, where a maximum or a comparison would drop it: ReLU, softmax, `clamp`, int8 scales. A norm makes NaN
//! of an infinity. Only where its sign alone decides, in ReLU and softmax, does −∞ give what a number as low would: 0.

use crate::{Result, Tensor};

use super::Compute;

/// `x` in the precision that products of `compute` take.
pub fn operand(x: &Tensor, compute: Compute) -> Result<Tensor> {
    x.to_dtype(compute.dtype())
}
