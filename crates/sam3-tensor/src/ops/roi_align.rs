//! RoIAlign: a box of a feature map, sampled to a small square.

use crate::{Result, Tensor};

use super::{host, matmul_t};

/// Pools each box of `map` `[height, width, channels]` to `[boxes, size, size, channels]`.
///
/// `boxes` are `x0, y0, x1, y1` in cells. As torchvision's `roi_align(…, aligned=False, sampling_ratio=-1)`: boxes are
/// at least one cell large, each bin averages a grid of `ceil(box / size)` bilinear samples a side, and a sample more
/// than one cell outside the map is zero.
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
        return matmul_t(&shares, &map.reshape((height * width, channels))?.t()?)?.reshape(shape);
    }
    let values = map.values::<f32>()?;
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

#[cfg(test)]
mod tests {
    use crate::{Device, Tensor};

    use super::roi_align;
    use crate::ops::host::as_accelerator;

    const HEIGHT: usize = 10;
    const WIDTH: usize = 12;

    /// `[HEIGHT, WIDTH, 2]`.
    fn map(value: impl Fn(f32, f32) -> [f32; 2]) -> Tensor {
        let values = (0..HEIGHT * WIDTH).flat_map(|i| value((i % WIDTH) as f32, (i / WIDTH) as f32));
        Tensor::from_vec(values.collect::<Vec<f32>>(), (HEIGHT, WIDTH, 2), &Device::Cpu).unwrap()
    }

    /// Both channels of every bin, in main memory and where accelerators run.
    fn check(map: &Tensor, boxes: &[[f32; 4]], size: usize, expected: impl Fn(usize, usize, usize) -> [f32; 2]) {
        let run = || roi_align(map, boxes, size).unwrap().flatten_all();
        for (place, found) in [("host", run()), ("accelerator", as_accelerator(run))] {
            let found = found.to_vec::<f32>().unwrap();
            assert_eq!(found.len(), boxes.len() * size * size * 2);
            for (i, found) in found.chunks_exact(2).enumerate() {
                let (index, y, x) = (i / (size * size), i / size % size, i % size);
                let expected = expected(index, y, x);
                let error = (found[0] - expected[0]).abs().max((found[1] - expected[1]).abs());
                assert!(
                    error < 2e-5,
                    "{place}, box {index} bin {y}, {x}: {found:?}, expected {expected:?}"
                );
            }
        }
    }

    /// Bilinear samples of a plane lie on it, and those of a bin are symmetric around its middle.
    #[test]
    fn bins_of_a_plane_are_its_values_at_their_middles() {
        let plane = |x: f32, y: f32| [2.0 * x - 3.0 * y + 1.0, 0.25 * y - x];
        let boxes = [[1.3, 2.1, 7.9, 6.4], [0.0, 0.0, 11.0, 9.0], [4.5, 3.25, 5.75, 8.0]];
        for size in [1, 2, 7] {
            check(&map(plane), &boxes, size, |index, y, x| {
                let [x0, y0, x1, y1] = boxes[index];
                let middle = |low: f32, high: f32, bin: usize| low + (high - low) * (bin as f32 + 0.5) / size as f32;
                plane(middle(x0, x1, x), middle(y0, y1, y))
            });
        }
    }

    /// As torchvision's with `aligned=False`.
    #[test]
    fn a_box_is_at_least_a_cell_large() {
        let plane = |x: f32, y: f32| [x, y];
        check(&map(plane), &[[2.5, 3.5, 2.5, 3.75]], 1, |_, _, _| [3.0, 4.0]);
    }

    #[test]
    fn samples_more_than_a_cell_outside_are_zero_and_nearer_ones_are_the_edges() {
        // Eight samples along x, at −3.5, −2.5 …: three are more than a cell outside.
        check(&map(|_, _| [1.0, 8.0]), &[[-4.0, 2.0, 4.0, 3.0]], 1, |_, _, _| {
            [0.625, 5.0]
        });
        // Five along y, at 7.5, 8.5 …: the third has the last row's value, the last two are more than a cell below it.
        check(&map(|_, y| [y, 1.0]), &[[2.0, 7.0, 3.0, 12.0]], 1, |_, _, _| {
            [(7.5 + 8.5 + 9.0) / 5.0, 3.0 / 5.0]
        });
    }
}
