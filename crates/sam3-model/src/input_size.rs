//! What depends on the size of the picture that the model sees, and on nothing else.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use sam3_tensor::{
    Device, Tensor,
    ops::{EdgeDistance, Rope, sine_encode},
};

use crate::{Config, Result};

/// The tables of the sizes that were asked for so far, each built once and kept: of SAM 3, 8 MB at 1008 pixels.
#[derive(Default)]
pub struct InputSizes(Mutex<BTreeMap<usize, Arc<InputSize>>>);

impl InputSizes {
    /// Those of one size, which the model has to have.
    ///
    /// # Errors
    /// When the device has no room for them.
    pub fn get(&self, image_size: usize, config: &Config, device: &Device) -> Result<Arc<InputSize>> {
        let mut built = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(size) = built.get(&image_size) {
            return Ok(size.clone());
        }
        let size = Arc::new(InputSize::new(image_size, config, device)?);
        built.insert(image_size, size.clone());
        Ok(size)
    }
}

/// The tables of one input size: built once, and then good for every picture that is resized to it.
pub struct InputSize {
    /// Sides of the picture, in pixels.
    pub image_size: usize,
    /// Rotary positions inside a window.
    pub window_rope: Arc<Rope>,
    /// Rotary positions in the whole grid of patches.
    pub global_rope: Arc<Rope>,
    /// Sine encoding of the grid: `[grid², d_model]`.
    pub pos: Tensor,
    /// Where the grid's cells are, for the decoder's box bias.
    pub cells: EdgeDistance,
}

impl InputSize {
    /// Of pictures with sides of `image_size` pixels, a multiple of the patch, for a model on `device`.
    ///
    /// # Errors
    /// When the device has no room for the tables.
    pub fn new(image_size: usize, config: &Config, device: &Device) -> Result<Self> {
        let vit = &config.vit;
        let grid = image_size / vit.patch_size;
        let head_dim = vit.width / vit.heads;
        let rope = |side, scale| Rope::new(side, head_dim, scale, device).map(Arc::new);
        Ok(Self {
            image_size,
            window_rope: rope(vit.window, 1.0)?,
            // The trained positions are a window's: the grid's are as far apart.
            global_rope: rope(grid, vit.window as f64 / grid as f64)?,
            pos: position(grid, config.d_model, device)?,
            cells: EdgeDistance::new(grid, device)?,
        })
    }
}

/// The encoding of a square grid of `side²` tokens (`PositionEmbeddingSine`): `[side², width]`, row features before
/// column features.
pub fn position(side: usize, width: usize, device: &Device) -> sam3_tensor::Result<Tensor> {
    let coordinate = |i: usize| (i + 1) as f32 / (side as f32 + 1e-6) * std::f32::consts::TAU;
    let mut features = Vec::with_capacity(side * side * width);
    for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
        sine_encode([coordinate(y), coordinate(x)], width / 2, &mut features);
    }
    Tensor::from_vec(features, (side * side, width), device)
}

#[cfg(test)]
mod tests {
    use sam3_tensor::Device;

    use super::position;

    /// `PositionEmbeddingSine` with `num_pos_feats = width / 2`, `temperature = 10000`, `normalize = True`.
    #[test]
    fn positions_equal_the_official_formula() {
        for (side, width) in [(1, 4), (3, 8), (10, 24), (7, 64)] {
            let found = position(side, width, &Device::Cpu).unwrap();
            assert_eq!(found.dims(), [side * side, width]);
            for (token, found) in found.to_vec::<f32>().unwrap().chunks_exact(width).enumerate() {
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
