//! Sine position encodings (`PositionEmbeddingSine`).

use candle_core::{Device, Result, Tensor};

const TEMPERATURE: f32 = 10000.0;

/// `width` features of each value: sines in the even places, cosines in the odd ones.
///
/// `values` are radians at the highest frequency, that is, coordinates × 2π.
pub fn encode(values: impl IntoIterator<Item = f32>, width: usize, out: &mut Vec<f32>) {
    for value in values {
        out.extend((0..width).map(|i| {
            let phase = value / TEMPERATURE.powf((2 * (i / 2)) as f32 / width as f32);
            if i % 2 == 0 { phase.sin() } else { phase.cos() }
        }));
    }
}

/// The encoding of a square grid of `side²` tokens: `[side², width]`, row features before column features.
pub fn grid(side: usize, width: usize, device: &Device) -> Result<Tensor> {
    let coordinate = |i: usize| (i + 1) as f32 / (side as f32 + 1e-6) * std::f32::consts::TAU;
    let mut features = Vec::with_capacity(side * side * width);
    for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
        encode([coordinate(y), coordinate(x)], width / 2, &mut features);
    }
    Tensor::from_vec(features, (side * side, width), device)
}
