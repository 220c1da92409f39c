//! The operations that the stages are made of, one a file.

mod activation;
mod attention;
mod conv;
mod linear;
mod norm;
mod resample;
mod roi_align;
mod rope;

pub use activation::{gelu, relu};
pub use attention::attention;
pub use conv::{Conv3x3, ConvTranspose2x2};
pub use linear::Linear;
pub use norm::{GroupNorm, LayerNorm};
pub use resample::upsample_nearest;
pub use roi_align::roi_align;
pub use rope::Rope;
