//! Axial rotary position embedding.

use crate::{Device, Result, Tensor};

/// Rotations of a square grid of tokens.
///
/// Neighbouring channels `(2i, 2i + 1)` of a head are one complex number; the first half of the pairs turns with the
/// column, the second half with the row, pair `j` by `position × 10000^(-j / pairs)` radians.
pub struct Rope {
    /// `[side², 1, head_dim / 2]`.
    cos: Tensor,
    sin: Tensor,
}

impl Rope {
    /// For `side × side` tokens at positions `0, scale, 2 scale, …`.
    pub fn new(side: usize, head_dim: usize, scale: f64, device: &Device) -> Result<Self> {
        const BASE: f32 = 10000.0;
        let pairs = head_dim / 4;
        let scale = scale as f32;
        let frequencies: Vec<f32> = (0..pairs).map(|j| 1.0 / BASE.powf(j as f32 / pairs as f32)).collect();
        let mut angles = Vec::with_capacity(side * side * 2 * pairs);
        for token in 0..side * side {
            for position in [token % side, token / side] {
                angles.extend(frequencies.iter().map(|frequency| position as f32 * scale * frequency));
            }
        }
        let angles = Tensor::from_vec(angles, (side * side, 1, 2 * pairs), device)?;
        Ok(Self {
            cos: angles.cos()?,
            sin: angles.sin()?,
        })
    }

    /// Cosines and sines where they lie, each `[side², 1, head_dim / 2]`.
    pub fn tensors(&self) -> (&Tensor, &Tensor) {
        (&self.cos, &self.sin)
    }

    /// Cosines and sines on the host, each `[side², head_dim / 2]`.
    pub fn tables(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        Ok((self.cos.flatten_all().to_vec()?, self.sin.flatten_all().to_vec()?))
    }

    /// What each channel and its partner in the pair are multiplied with, on the host, each `[side², head_dim]`: the
    /// cosine, and the sine with the sign that it has there.
    pub fn turns(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        let (cos, sin) = self.tables()?;
        let pairs = |values: Vec<f32>, sign: f32| values.iter().flat_map(|x| [sign * x, *x]).collect();
        Ok((pairs(cos, 1.0), pairs(sin, -1.0)))
    }

    /// Rotates `[batch, side², heads × head_dim]`.
    #[cfg(test)]
    pub fn forward(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        let (batch, tokens, width) = x.dims3()?;
        let pairs = x.reshape((batch, tokens, heads, width / heads / 2, 2))?;
        let (re, im) = (pairs.narrow(4, 0, 1)?.squeeze(4)?, pairs.narrow(4, 1, 1)?.squeeze(4)?);
        let turned_re = ((&re * &self.cos)? - (&im * &self.sin)?)?;
        let turned_im = ((&re * &self.sin)? + (&im * &self.cos)?)?;
        Tensor::stack(&[turned_re, turned_im], 4)?.reshape((batch, tokens, width))
    }
}

#[cfg(test)]
mod tests {
    use crate::Device;

    use super::Rope;
    use crate::ops::testing::{tensor, values};

    /// The official `compute_axial_cis`: `1 / 10000^(4j / head_dim)` for the column, then for the row.
    fn angle(token: usize, pair: usize, (side, head_dim, scale): (usize, usize, f64)) -> f64 {
        let pairs = head_dim / 4;
        let position = if pair < pairs { token % side } else { token / side } as f64 * scale;
        position / 10000f64.powf((4 * (pair % pairs)) as f64 / head_dim as f64)
    }

    const SIZES: [(usize, usize, f64); 4] = [(1, 4, 1.0), (3, 12, 0.5), (24, 64, 1.0), (10, 16, 1.0 / 3.0)];

    #[test]
    fn angles_are_the_official_ones() {
        for size in SIZES {
            let (side, head_dim, scale) = size;
            let rope = Rope::new(side, head_dim, scale, &Device::Cpu).unwrap();
            let ((cos, sin), (cosines, signed)) = (rope.tables().unwrap(), rope.turns().unwrap());
            assert_eq!([cos.len(), sin.len()], [side * side * head_dim / 2; 2]);
            for (i, (cos, sin)) in cos.into_iter().zip(sin).enumerate() {
                let angle = angle(i / (head_dim / 2), i % (head_dim / 2), size);
                let error = (f64::from(cos) - angle.cos())
                    .abs()
                    .max((f64::from(sin) - angle.sin()).abs());
                assert!(error < 4e-6, "{size:?} [{i}]: {error:e}");
                assert_eq!((cosines[2 * i], cosines[2 * i + 1]), (cos, cos), "{size:?} [{i}]");
                assert_eq!((signed[2 * i], signed[2 * i + 1]), (-sin, sin), "{size:?} [{i}]");
            }
        }
    }

    #[test]
    fn neighbouring_channels_turn_as_one_complex_number() {
        const HEADS: usize = 2;
        for size in SIZES {
            let (side, head_dim, scale) = size;
            let width = HEADS * head_dim;
            let shape = [2, side * side, width];
            let rope = Rope::new(side, head_dim, scale, &Device::Cpu).unwrap();
            let found = rope.forward(&tensor(&shape, 1), HEADS).unwrap();
            let found = found.flatten_all().to_vec::<f32>().unwrap();
            let x = values(shape.iter().product(), 1);
            for (i, (x, found)) in x.chunks_exact(2).zip(found.chunks_exact(2)).enumerate() {
                let (token, pair) = (2 * i / width % (side * side), i % (head_dim / 2));
                let (sin, cos) = angle(token, pair, size).sin_cos();
                let (re, im) = (f64::from(x[0]), f64::from(x[1]));
                let error = (f64::from(found[0]) - (re * cos - im * sin)).abs();
                let error = error.max((f64::from(found[1]) - (re * sin + im * cos)).abs());
                assert!(error < 6e-6, "{size:?} [{i}]: {error:e}");
            }
        }
    }
}
