//! Axial rotary position embedding.

use candle_core::{Device, Result, Tensor};

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
        Ok((self.cos.flatten_all()?.to_vec1()?, self.sin.flatten_all()?.to_vec1()?))
    }

    /// What each channel and its partner in the pair are multiplied with, on the host, each `[side², head_dim]`: the cosine, and the
    /// sine with the sign that it has there.
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
        let turned_re = (re.broadcast_mul(&self.cos)? - im.broadcast_mul(&self.sin)?)?;
        let turned_im = (re.broadcast_mul(&self.sin)? + im.broadcast_mul(&self.cos)?)?;
        Tensor::stack(&[turned_re, turned_im], 4)?.reshape((batch, tokens, width))
    }
}
