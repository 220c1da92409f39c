//! The operations as CUDA kernels, each beside its plain twin.
//!
//! Every function takes tensors of any device. On a GPU it launches a kernel of `kernels/`; elsewhere it computes the
//! same in plain loops, which is what the kernel is tested against. Tensors are f32, f16 or bf16; sums, statistics and
//! softmax are always f32.

mod attention;
mod box_bias;
mod depthwise;
mod dequantize;
mod finish;
#[cfg(feature = "cuda")]
mod frame;
mod host;
#[cfg(test)]
mod kernel_tests;
#[cfg(all(test, feature = "cuda"))]
mod kernel_times;
mod map_attention;
mod norm;
mod patches;
mod pixels;
mod product;
mod softmax;
mod upsample;

#[cfg(test)]
mod twin_tests;

pub use attention::attention;
pub use box_bias::{MOST_HEADS, MOST_HIDDEN, Network, box_bias};
pub use depthwise::depthwise_7x7;
pub use dequantize::dequantize;
pub use finish::{finish, shift_rows};
pub use map_attention::{map_attention, map_attention_biased};
#[cfg(test)]
pub use norm::group_norm_relu;
pub use norm::{group_norm_relu_in_place, layer_norm};
#[cfg(test)]
pub use patches::patches3x3;
pub use patches::{patches3x3_rows, shuffle2x2};
#[cfg(test)]
pub use pixels::resize_normalize;
pub use pixels::{resize_normalize_from, upsample_masks};
pub use product::{product, product_add};
pub use softmax::softmax;
pub use upsample::upsample_add_rows;
