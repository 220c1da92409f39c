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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::grid;

    /// `PositionEmbeddingSine` with `num_pos_feats = width / 2`, `temperature = 10000`, `normalize = True`.
    #[test]
    fn equals_the_official_formula() {
        for (side, width) in [(1, 4), (3, 8), (10, 24), (7, 64)] {
            let found = grid(side, width, &Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(found.len(), side * side);
            for (token, found) in found.iter().enumerate() {
                let half = width / 2;
                for (i, found) in found.iter().enumerate() {
                    let cell = if i < half { token / side } else { token % side };
                    let position = (cell + 1) as f64 / (side as f64 + 1e-6) * 2.0 * std::f64::consts::PI;
                    let phase = position / 10000f64.powf((2 * (i % half / 2)) as f64 / half as f64);
                    let expected = if i % 2 == 0 { phase.sin() } else { phase.cos() };
                    let error = (f64::from(*found) - expected).abs();
                    assert!(
                        error < 2e-6,
                        "{side}² × {width} [{token}, {i}]: {found}, expected {expected}"
                    );
                }
            }
        }
    }
}
