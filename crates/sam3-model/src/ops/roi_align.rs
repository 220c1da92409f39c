//! RoIAlign: a box of a feature map, sampled to a small square.

use candle_core::{Result, Tensor};

use super::host;

/// Pools each box of `map` `[height, width, channels]` to `[boxes, size, size, channels]`.
///
/// `boxes` are `x0, y0, x1, y1` in cells. As torchvision's `roi_align(…, aligned=False, sampling_ratio=-1)`: boxes are at
/// least one cell large, each bin averages a grid of `ceil(box / size)` bilinear samples a side, and a
/// sample more than one cell outside the map is zero.
pub fn roi_align(map: &Tensor, boxes: &[[f32; 4]], size: usize) -> Result<Tensor> {
    let (height, width, channels) = map.dims3()?;
    let (bins, shape) = (boxes.len() * size * size, (boxes.len(), size, size, channels));
    if !host::is_host(map) {
        // Sampling is linear in the map: a matrix of shares, a row a bin, goes there, and the map stays where it is.
        let mut shares = vec![0f32; bins * height * width];
        sample(boxes, size, (height, width), |bin, cell, share| {
            shares[bin * height * width + cell] += share;
        });
        let shares = Tensor::from_vec(shares, (bins, height * width), map.device())?;
        return shares.matmul(&map.reshape((height * width, channels))?)?.reshape(shape);
    }
    let map = map.contiguous()?;
    let values = host::values(&map)?;
    let mut pooled = vec![0f32; bins * channels];
    sample(boxes, size, (height, width), |bin, cell, share| {
        let out = &mut pooled[bin * channels..][..channels];
        let source = &values[cell * channels..][..channels];
        (out.iter_mut().zip(source)).for_each(|(out, value)| *out += value * share);
    });
    Tensor::from_vec(pooled, shape, map.device())
}

/// Calls `add(bin, cell, share)` for every cell that a bin has a share of, perhaps several times for one cell.
fn sample(boxes: &[[f32; 4]], size: usize, (height, width): (usize, usize), mut add: impl FnMut(usize, usize, f32)) {
    for (index, &[x0, y0, x1, y1]) in boxes.iter().enumerate() {
        let bin = |low: f32, high: f32| (high - low).max(1.0) / size as f32;
        let (bin_w, bin_h) = (bin(x0, x1), bin(y0, y1));
        let samples = |bin: f32| bin.ceil() as usize;
        let (nx, ny) = (samples(bin_w), samples(bin_h));
        let weight = 1.0 / (nx * ny) as f32;
        for (by, bx) in (0..size).flat_map(|by| (0..size).map(move |bx| (by, bx))) {
            for (sy, sx) in (0..ny).flat_map(|sy| (0..nx).map(move |sx| (sy, sx))) {
                let at = |low: f32, bin: f32, index: usize, sample: usize, samples: usize| {
                    low + index as f32 * bin + (sample as f32 + 0.5) * bin / samples as f32
                };
                let corners = bilinear(at(y0, bin_h, by, sy, ny), at(x0, bin_w, bx, sx, nx), height, width);
                for (cell, share) in corners.into_iter().flatten() {
                    add((index * size + by) * size + bx, cell, share * weight);
                }
            }
        }
    }
}

/// The four cells around a point and their shares; `None` outside the map.
fn bilinear(y: f32, x: f32, height: usize, width: usize) -> Option<[(usize, f32); 4]> {
    let outside = |v: f32, n: usize| v < -1.0 || v > n as f32;
    if outside(y, height) || outside(x, width) {
        return None;
    }
    let clamp = |v: f32, n: usize| {
        let v = v.max(0.0);
        let low = v as usize;
        if low >= n - 1 {
            (n - 1, n - 1, 0.0)
        } else {
            (low, low + 1, v - low as f32)
        }
    };
    let ((y0, y1, ly), (x0, x1, lx)) = (clamp(y, height), clamp(x, width));
    let (hy, hx) = (1.0 - ly, 1.0 - lx);
    Some([
        (y0 * width + x0, hy * hx),
        (y0 * width + x1, hy * lx),
        (y1 * width + x0, ly * hx),
        (y1 * width + x1, ly * lx),
    ])
}
