//! Sine encodings of numbers (`PositionEmbeddingSine`).

use crate::{Device, Result, Tensor};

use super::host;

const TEMPERATURE: f32 = 10000.0;

/// `width` features of each value: sines in the even places, cosines in the odd ones.
///
/// `values` are radians at the highest frequency, that is, coordinates × 2π.
pub fn encode(values: impl IntoIterator<Item = f32>, width: usize, out: &mut Vec<f32>) {
    for value in values {
        out.extend((0..width).map(|i| {
            let phase = value / period(i / 2, width);
            if i % 2 == 0 { phase.sin() } else { phase.cos() }
        }));
    }
}

/// What values are divided by for the sine and the cosine at `2 pair` and `2 pair + 1`.
fn period(pair: usize, width: usize) -> f32 {
    TEMPERATURE.powf((2 * pair) as f32 / width as f32)
}

/// [`encode`] of values that lie where the model runs.
pub struct SineEncoding {
    width: usize,
    /// `[width / 2]`.
    periods: Tensor,
}

impl SineEncoding {
    /// `width` features of each value.
    pub fn new(width: usize, device: &Device) -> Result<Self> {
        let periods: Vec<f32> = (0..width / 2).map(|pair| period(pair, width)).collect();
        Ok(Self {
            width,
            periods: Tensor::from_vec(periods, width / 2, device)?,
        })
    }

    /// `x` is `[rows, values]`; returns `[rows, values × width]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, values) = x.dims2()?;
        if !host::is_host(x) {
            let phases = (x.unsqueeze(2)? / &self.periods)?;
            return Tensor::stack(&[phases.sin()?, phases.cos()?], 3)?.reshape((rows, values * self.width));
        }
        let mut encoded = Vec::with_capacity(rows * values * self.width);
        encode(x.values::<f32>()?.iter().copied(), self.width, &mut encoded);
        Tensor::from_vec(encoded, (rows, values * self.width), x.device())
    }
}

#[cfg(test)]
mod tests {
    use crate::Device;

    use super::SineEncoding;
    use crate::ops::{
        host::as_accelerator,
        testing::{assert_close, tensor},
    };

    #[test]
    fn an_accelerator_has_the_same() {
        for (rows, values, width) in [(1, 1, 2), (7, 4, 32), (33, 3, 6)] {
            let (x, op) = (
                tensor(&[rows, values], 1),
                SineEncoding::new(width, &Device::Cpu).unwrap(),
            );
            let found = as_accelerator(|| op.forward(&x)).unwrap();
            assert_close(
                &found,
                &op.forward(&x).unwrap(),
                1e-6,
                &format!("{rows}×{values}×{width}"),
            );
        }
    }
}
