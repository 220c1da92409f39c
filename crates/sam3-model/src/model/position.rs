//! Sine position encodings of the grid (`PositionEmbeddingSine`).

use candle_core::{Device, Result, Tensor};

use crate::ops::sine_encode;

/// The encoding of a square grid of `side²` tokens: `[side², width]`, row features before column features.
pub fn grid(side: usize, width: usize, device: &Device) -> Result<Tensor> {
    let coordinate = |i: usize| (i + 1) as f32 / (side as f32 + 1e-6) * std::f32::consts::TAU;
    let mut features = Vec::with_capacity(side * side * width);
    for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
        sine_encode([coordinate(y), coordinate(x)], width / 2, &mut features);
    }
    Tensor::from_vec(features, (side * side, width), device)
}
