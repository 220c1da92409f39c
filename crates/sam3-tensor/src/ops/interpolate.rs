//! A map of values at another size: bilinear, and antialiased where it shrinks (`interpolate` with `antialias=True`).

use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::{Result, Tensor};

use super::{host, matmul_t, resize::triangle_taps};

/// Rows of the result that one task makes.
const ROWS: usize = 16;

/// `x`, f32 `[h, w]`, at `(height, width)`: where an axis grows, the same as without antialiasing.
///
/// # Errors
/// When `x` is no matrix, there is no room, or the device fails.
///
/// # Panics
/// Where an extent is 0.
pub fn interpolate(x: &Tensor, (height, width): (usize, usize)) -> Result<Tensor> {
    let (h, w) = x.dims2()?;
    assert!(h * w * height * width > 0, "a map {h}×{w} at {height}×{width}");
    if (h, w) == (height, width) {
        return Ok(x.clone());
    }
    let (rows, columns) = (Taps::new(h, height), Taps::new(w, width));
    if !host::is_host(x) {
        // Rows, then columns, each as a product with a matrix of shares.
        let rows = x.new_tensor(rows.matrix(h), (height, h))?;
        let columns = x.new_tensor(columns.matrix(w), (width, w))?;
        return matmul_t(&rows, &matmul_t(&columns, x)?);
    }
    let values = x.values::<f32>()?;
    // Every row as wide as the result.
    let widen = |out: &mut [_]| {
        let pairs = out.par_chunks_mut(width).zip(values.par_chunks(w));
        pairs.for_each(|(out, row)| columns.along(row, out));
        Ok(())
    };
    // SAFETY: the chunks are all rows, and every value of a row is written.
    let wide = unsafe { host::written(h * width, widen)? };
    let write = |out: &mut [MaybeUninit<f32>]| {
        let blocks = out.par_chunks_mut(ROWS * width).enumerate();
        blocks.for_each(|(block, out)| {
            let mut sums = vec![0f32; width];
            for (i, out) in out.chunks_exact_mut(width).enumerate() {
                rows.across(block * ROWS + i, &wide, &mut sums);
                out.iter_mut().zip(&sums).for_each(|(out, sum)| _ = out.write(*sum));
            }
        });
        Ok(())
    };
    // SAFETY: the blocks are all rows, and every value of a row is written.
    let out = unsafe { host::written(height * width, write)? };
    Tensor::from_vec(out, (height, width), x.device())
}

/// What each output of an axis is made of.
struct Taps(Vec<(usize, Vec<f32>)>);

impl Taps {
    fn new(input: usize, output: usize) -> Self {
        let taps = triangle_taps(input, output).into_iter();
        Self(
            taps.map(|(start, weights)| (start, weights.into_iter().map(|weight| weight as f32).collect()))
                .collect(),
        )
    }

    /// `[output, input]`.
    fn matrix(&self, input: usize) -> Vec<f32> {
        let mut matrix = vec![0.0; self.0.len() * input];
        for (row, (start, weights)) in matrix.chunks_exact_mut(input).zip(&self.0) {
            row[*start..*start + weights.len()].copy_from_slice(weights);
        }
        matrix
    }

    fn along(&self, row: &[f32], out: &mut [MaybeUninit<f32>]) {
        for (out, (start, weights)) in out.iter_mut().zip(&self.0) {
            out.write(weights.iter().zip(&row[*start..]).map(|(weight, x)| weight * x).sum());
        }
    }

    /// Output `i` of the first axis of rows as long as `sums`.
    fn across(&self, i: usize, rows: &[f32], sums: &mut [f32]) {
        let (start, weights) = &self.0[i];
        sums.fill(0.0);
        for (row, weight) in rows.chunks_exact(sums.len()).skip(*start).zip(weights) {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += weight * x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Taps, interpolate};
    use crate::ops::{
        host::as_accelerator,
        testing::{assert_close, tensor},
        upsample::{Between, between},
    };

    #[test]
    fn a_map_that_grows_lies_between_its_values() {
        for (h, w, height, width) in [(1, 1, 3, 5), (5, 7, 5, 9), (9, 4, 33, 31), (16, 16, 56, 64)] {
            let x = tensor(&[h, w], 1);
            let values = x.values::<f32>().unwrap();
            let (rows, columns) = (between(h, height), between(w, width));
            let across =
                |y: &Between, x: usize| values[y.low * w + x] * y.low_weight + values[y.high * w + x] * y.high_weight;
            let at = |y, x: &Between| across(y, x.low) * x.low_weight + across(y, x.high) * x.high_weight;
            let expected = rows
                .iter()
                .flat_map(|y| columns.iter().map(move |x| at(y, x)))
                .collect();
            let expected = x.new_tensor(expected, (height, width)).unwrap();
            let what = format!("{h}×{w} to {height}×{width}");
            assert_close(&interpolate(&x, (height, width)).unwrap(), &expected, 3e-6, &what);
        }
    }

    #[test]
    fn it_is_the_sum_of_shares_wherever_it_runs() {
        for (h, w, height, width) in [(12, 9, 3, 9), (40, 33, 7, 70), (5, 64, 64, 5), (3, 3, 3, 3)] {
            let x = tensor(&[h, w], 2);
            let values = x.values::<f32>().unwrap();
            let (rows, columns) = (Taps::new(h, height).matrix(h), Taps::new(w, width).matrix(w));
            let at = |y: usize, x: usize| -> f32 {
                let share = |i: usize| f64::from(rows[y * h + i / w]) * f64::from(columns[x * w + i % w]);
                (0..h * w).map(|i| share(i) * f64::from(values[i])).sum::<f64>() as f32
            };
            let expected = (0..height * width).map(|i| at(i / width, i % width)).collect();
            let expected = x.new_tensor(expected, (height, width)).unwrap();
            let what = format!("{h}×{w} to {height}×{width}");
            let run = || interpolate(&x, (height, width)).unwrap();
            assert_close(&run(), &expected, 3e-6, &what);
            assert_close(
                &as_accelerator(run),
                &expected,
                3e-6,
                &format!("{what} on an accelerator"),
            );
        }
    }
}
