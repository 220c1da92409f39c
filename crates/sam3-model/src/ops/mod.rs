//! The operations that the stages are made of, one a file.

mod attention;
mod compute;
mod conv;
pub(crate) mod cuda;
mod device;
mod dots;
mod edge_distance;
mod host;
pub(crate) mod int8;
mod linear;
mod norm;
mod pixels;
mod product;
mod rates;
mod resample;
mod roi_align;
mod rope;
mod simd;
mod sine;
#[cfg(test)]
mod testing;

pub use attention::{Bias, MapAttention, attention};
pub use compute::Compute;
pub use conv::{Conv3x3, ConvTranspose2x2};
pub use cuda::dequantize;
#[cfg(test)]
pub use cuda::emulated;
pub use device::{operand, wait_for};
pub use dots::dots;
pub use edge_distance::{Axis, EdgeDistance};
#[cfg(test)]
pub use host::as_accelerator;
pub use host::{is_host, is_main_memory};
pub use linear::{Activation, Linear};
pub use norm::{GroupNorm, LayerNorm};
pub use pixels::{masks, pixels};
pub use product::Rows;
pub use rates::{Rate, op_rates};
use resample::upsample_nearest_add;
pub use roi_align::roi_align;
pub use rope::Rope;
pub use simd::name as cpu_name;
pub use sine::{SineEncoding, encode as sine_encode};
