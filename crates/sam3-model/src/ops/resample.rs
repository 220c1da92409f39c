//! Nearest-neighbour upsampling of feature maps.

use candle_core::{Result, Tensor};

/// `[h, w, c]` -> `[height, width, c]`, as `F.interpolate(mode="nearest")`.
pub fn upsample_nearest(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (h, w, _) = x.dims3()?;
    let index = |from: usize, to: usize| {
        let index: Vec<u32> = (0..to).map(|i| (i * from / to) as u32).collect();
        Tensor::from_vec(index, to, x.device())
    };
    x.index_select(&index(h, height)?, 0)?
        .index_select(&index(w, width)?, 1)
}
