//! SAM's heads (official `sam3/sam/`): what a click, a box or a mask means. Clicks in a picture and the video tracker
//! share them.

mod mask_decoder;
mod prompt_encoder;
mod transformer;

pub use mask_decoder::{Decoded, MaskDecoder};
pub use prompt_encoder::{Label, Point, PromptEncoder};
pub use transformer::Projected;
