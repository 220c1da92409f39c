//! The largest number of each kind: far above SAM 3's, which stands behind each, and small enough that no product of
//! them overflows, and that the tables made from them stay below two gigabytes.

use sam3_package::layout::Backbone;

/// Pixels in a side of the input; 1008.
pub const IMAGE_SIZE: usize = Backbone::MAX_IMAGE_SIZE;
/// Pixels in a side of a patch; 14.
pub const PATCH_SIZE: usize = 512;
/// Patches in a side of the image (72), of a window (24) or of the position table (24).
pub const GRID: usize = Backbone::MAX_GRID;
/// Width of an encoder; 1024.
pub const WIDTH: usize = 16384;
/// Hidden width of a block's MLP; 4736.
pub const MLP: usize = 65536;
/// Channels of an attention head; 64.
pub const HEAD: usize = 256;
/// Layers of a stack; 32.
pub const DEPTH: usize = 512;
/// Tokens of a text; 32.
pub const CONTEXT: usize = 1024;
/// Tokens that there are; 49408.
pub const VOCABULARY: usize = 1 << 21;
/// Width behind the encoders; 256.
pub const D_MODEL: usize = 1024;
/// Object queries; 200.
pub const QUERIES: usize = 4096;
/// Side of a pooled box; 7.
pub const ROI: usize = 64;
