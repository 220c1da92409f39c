//! The operations that the stages are made of, one a file.

mod attention;
mod box_bias;
mod compute;
mod conv;
mod cuda;
mod device;
mod dots;
mod edge_distance;
#[cfg(test)]
mod finite_tests;
mod gelu;
mod host;
mod hypernetwork;
pub(crate) mod int8;
mod interpolate;
mod linear;
mod lines;
mod matmul;
mod norm;
mod pixels;
mod product;
mod rates;
mod resize;
mod roi_align;
mod rope;
mod sigmoid;
mod simd;
mod sine;
#[cfg(test)]
pub mod testing;
mod upsample;

pub use attention::{Attention, Bias, Keys, Queries, RotaryAttention, RotaryTable, WindowAttention};
pub use box_bias::BoxBias;
pub use compute::Compute;
pub use conv::{Conv3x3, Conv3x3Stride2, ConvTranspose2x2, DepthwiseConv7x7};
pub use dots::dots;
pub use edge_distance::EdgeDistance;
pub use gelu::gelu;
pub use hypernetwork::masks_of_gelu;
pub use interpolate::interpolate;
pub use linear::{Activation, Linear, Mlp};
pub use matmul::matmul_t;
pub use norm::{GroupNorm, LayerNorm};
pub use pixels::{masks, pixels};
pub use rates::{Rate, op_rates};
pub use resize::{resize, resize_bicubic, triangle_taps};
pub use roi_align::roi_align;
pub use rope::Rope;
pub use sigmoid::{logistic, sigmoid};
pub use simd::name as cpu_name;
pub use sine::{SineEncoding, encode as sine_encode};
pub use upsample::{Between, between, upsample_threshold};

use attention::{MapAttention, attention};
pub(crate) use cuda::dequantize;
pub(crate) use device::operand;
use edge_distance::Axis;
#[cfg(any(test, feature = "testing"))]
pub use host::as_accelerator;
pub(crate) use host::{is_host, is_main_memory, written};
pub(crate) use product::Rows;
