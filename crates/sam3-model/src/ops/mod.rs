//! The operations that the stages are made of, one a file.

mod attention;
mod box_bias;
mod clamp;
mod compute;
mod conv;
pub(crate) mod cuda;
mod device;
mod dots;
mod edge_distance;
#[cfg(test)]
mod finite_tests;
mod host;
pub(crate) mod int8;
mod linear;
mod lines;
mod norm;
mod pixels;
mod product;
mod rates;
mod roi_align;
mod rope;
mod simd;
mod sine;
#[cfg(test)]
pub mod testing;

pub use attention::{Bias, MapAttention, attention};
pub use box_bias::BoxBias;
pub use clamp::clamp;
pub use compute::Compute;
pub use conv::{Conv3x3, ConvTranspose2x2};
pub use cuda::dequantize;
#[cfg(test)]
pub use cuda::emulated;
pub use device::{operand, wait_for};
pub use dots::dots;
use edge_distance::{Axis, EdgeDistance};
#[cfg(test)]
pub use host::as_accelerator;
pub use host::{is_host, is_main_memory};
pub use linear::{Activation, Linear};
pub use norm::{GroupNorm, LayerNorm};
pub use pixels::{masks, pixels};
pub use product::Rows;
pub use rates::{Rate, op_rates};
pub use roi_align::roi_align;
pub use rope::Rope;
pub use simd::name as cpu_name;
pub use sine::{SineEncoding, encode as sine_encode};
