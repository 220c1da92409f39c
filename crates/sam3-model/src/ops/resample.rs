//! Nearest-neighbour upsampling of feature maps.

use candle_core::{Result, Tensor};

/// `F.interpolate(x, mode="nearest") + level`: `x` is `[h, w, c]`, `level` `[height, width, c]`.
pub fn upsample_nearest_add(x: &Tensor, level: &Tensor) -> Result<Tensor> {
    let (height, width, channels) = level.dims3()?;
    let (h, w, _) = x.dims3()?;
    if height % h == 0 && width % w == 0 {
        // As every pyramid of SAM 3 has it: each pixel meets a block of the level, and no upsampled map is made.
        let level = level.reshape((h, height / h, w, width / w, channels))?;
        let sum = level.broadcast_add(&x.reshape((h, 1, w, 1, channels))?)?;
        return sum.reshape((height, width, channels));
    }
    plain(x, height, width)? + level
}

/// The upsampling alone, by candle's gather: `[h, w, c]` -> `[height, width, c]`.
fn plain(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (h, w, _) = x.dims3()?;
    let index = |from: usize, to: usize| {
        let index: Vec<u32> = (0..to).map(|i| (i * from / to) as u32).collect();
        Tensor::from_vec(index, to, x.device())
    };
    x.index_select(&index(h, height)?, 0)?
        .index_select(&index(w, width)?, 1)
}

#[cfg(test)]
mod tests {
    use super::{plain, upsample_nearest_add};
    use crate::ops::testing::{assert_close, tensor};

    #[test]
    fn equals_its_plain_twin() {
        for (h, w, height, width, channels) in [(1, 1, 1, 1, 1), (3, 5, 7, 31, 3), (7, 7, 14, 14, 33)] {
            let (x, level) = (tensor(&[h, w, channels], 1), tensor(&[height, width, channels], 2));
            let expected = (plain(&x, height, width).unwrap() + &level).unwrap();
            let what = format!("{h}×{w} → {height}×{width}");
            assert_close(&upsample_nearest_add(&x, &level).unwrap(), &expected, 0.0, &what);
        }
    }
}
