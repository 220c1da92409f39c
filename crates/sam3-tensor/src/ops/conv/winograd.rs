//! The 3 × 3 convolution by [Winograd's](https://arxiv.org/abs/1509.09308) F(2 × 2, 3 × 3), in f32: a square of 2 × 2
//! results takes 16 products of transformed pixels and kernels where patches take 36. The same sums in another order:
//! at SAM 3's depth the largest error is some twice that of patches, 6e-7 of the largest result
//! (`tests::errors_are_not_far_from_those_of_patches`). Measured beside patches on two Zen 3 cores with AVX2, 144 × 144
//! × 256: 145 instead of 188 ms.
//!
//! Transforms are sums of a few pixels, made while a product packs its rows, so that no transformed map is in memory.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::{Conv3x3, Map, read_padded};
use crate::{
    Result,
    ops::{
        Compute, host,
        product::{self, Epilogue, Rows},
        simd::{self, COLUMNS, Isa, Op},
    },
    weight::Reader,
};

/// Transformed pixels of a square, and of a kernel.
const POINTS: usize = 16;
/// Squares whose 16 products are in memory at once, at least one row of them: 9 MB at SAM 3's width, in L3.
const BLOCK: usize = 576;
/// Channels that are transformed at a time.
const PIECE: usize = 64;

/// Of each row of the input's transform: the two rows of pixels that it takes, and the second one's sign.
const INPUT: [(usize, usize, f32); 4] = [(0, 2, -1.0), (1, 2, 1.0), (2, 1, -1.0), (1, 3, -1.0)];
/// The kernel's transform.
const KERNEL: [[f32; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

/// `[height, width, output]`.
pub fn conv_3x3(conv: &Conv3x3, bias: &[f32], map: &impl Map) -> Result<Vec<f32>> {
    let [height, width, input] = map.extents();
    let output = bias.len();
    let (rows, columns) = (height.div_ceil(2), width.div_ceil(2));
    let panels: Vec<_> = (0..POINTS)
        .map(|point| {
            let (row, column) = (KERNEL[point / 4], KERNEL[point % 4]);
            let kernel = Kernel {
                reader: conv.kernel.reader(),
                input,
                taps: std::array::from_fn(|tap| row[tap / 3] * column[tap % 3]),
            };
            product::pack(Compute::F32, &kernel)
        })
        .collect::<Result<_>>()?;
    let block = (BLOCK / columns).clamp(1, rows);
    let mut products = host::room(POINTS * block * columns * output)?;
    let write = |out: &mut [_]| {
        for (i, out) in out.chunks_mut(2 * block * width * output).enumerate() {
            let first = i * block;
            let squares = block.min(rows - first) * columns;
            let products = &mut products[..POINTS * squares * output];
            let points = panels.iter().zip(products.chunks_exact_mut(squares * output));
            for (point, (panels, products)) in points.enumerate() {
                let pixels = Pixels {
                    map,
                    rows: INPUT[point / 4],
                    columns: INPUT[point % 4],
                    first,
                    squares,
                    width: columns,
                };
                product::run(&pixels, panels, Epilogue::default(), products);
            }
            // SAFETY: a product writes every element.
            let products = unsafe { host::values_in(products) };
            let lines = out.par_chunks_mut(2 * width * output).enumerate();
            lines.for_each(|(row, out)| {
                simd::dispatch(Results {
                    products,
                    squares,
                    first: row * columns,
                    width,
                    bias,
                    out,
                });
            });
        }
        Ok(())
    };
    // SAFETY: `Results` writes every pixel of its rows.
    unsafe { host::written(height * width * output, write) }
}

/// One point of every square's transformed pixels: a row a square.
struct Pixels<'a, M> {
    map: &'a M,
    rows: (usize, usize, f32),
    columns: (usize, usize, f32),
    /// The first row of squares.
    first: usize,
    squares: usize,
    /// Squares in a row.
    width: usize,
}

impl<M: Map> Rows for Pixels<'_, M> {
    fn count(&self) -> usize {
        self.squares
    }

    fn depth(&self) -> usize {
        self.map.extents()[2]
    }

    #[inline(always)]
    fn read(&self, square: usize, start: usize, out: &mut [f32]) {
        let (y, x) = (2 * (self.first + square / self.width), 2 * (square % self.width));
        let ((top, bottom, row_sign), (left, right, column_sign)) = (self.rows, self.columns);
        let mut rooms = [[0f32; PIECE]; 4];
        let [a, b, c, d] = &mut rooms;
        for (i, out) in out.chunks_mut(PIECE).enumerate() {
            let (channel, len) = (start + i * PIECE, out.len());
            // One above and to the left of the square is row 0, column 0.
            read_padded(self.map, y + top, x + left, channel, &mut a[..len]);
            read_padded(self.map, y + top, x + right, channel, &mut b[..len]);
            read_padded(self.map, y + bottom, x + left, channel, &mut c[..len]);
            read_padded(self.map, y + bottom, x + right, channel, &mut d[..len]);
            for ((((out, a), b), c), d) in out.iter_mut().zip(&*a).zip(&*b).zip(&*c).zip(&*d) {
                *out = (a + column_sign * b) + row_sign * (c + column_sign * d);
            }
        }
    }
}

/// One point of every transformed kernel: a row an output channel.
struct Kernel<'a> {
    reader: Reader<'a>,
    input: usize,
    /// What each of the 3 × 3 taps counts for.
    taps: [f32; 9],
}

impl Rows for Kernel<'_> {
    fn count(&self) -> usize {
        self.reader.count()
    }

    fn depth(&self) -> usize {
        self.input
    }

    #[inline(always)]
    fn read(&self, row: usize, start: usize, out: &mut [f32]) {
        out.fill(0.0);
        let mut room = [0f32; PIECE];
        for (i, out) in out.chunks_mut(PIECE).enumerate() {
            let room = &mut room[..out.len()];
            for (tap, share) in self.taps.into_iter().enumerate().filter(|(_, share)| *share != 0.0) {
                self.reader.read(row, tap * self.input + start + i * PIECE, room);
                out.iter_mut().zip(&*room).for_each(|(out, x)| *out += share * x);
            }
        }
    }
}

/// A row of squares of results out of their products.
struct Results<'a> {
    /// `[POINTS][squares][output]`.
    products: &'a [f32],
    squares: usize,
    /// The first square of this row.
    first: usize,
    width: usize,
    bias: &'a [f32],
    /// Two rows of `[width][output]`, or the last one of an odd map.
    out: &'a mut [MaybeUninit<f32>],
}

impl Op for Results<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let (output, width) = (self.bias.len(), self.width);
        let rows = self.out.len() / width / output;
        for column in 0..width.div_ceil(2) {
            let square = (self.first + column) * output;
            let mut points: [&[f32]; POINTS] = [&[]; POINTS];
            for (i, point) in points.iter_mut().enumerate() {
                *point = &self.products[i * self.squares * output + square..][..output];
            }
            for y in 0..rows {
                for x in 0..2.min(width - 2 * column) {
                    let out = &mut self.out[(y * width + 2 * column + x) * output..][..output];
                    result(y, x, points, self.bias, out);
                }
            }
        }
    }
}

/// One pixel of a square: the rows, and columns, 0 + 1 + 2 of its products, or 1 − 2 − 3.
#[inline(always)]
fn result(y: usize, x: usize, points: [&[f32]; POINTS], bias: &[f32], out: &mut [MaybeUninit<f32>]) {
    let (whole, rest) = out.as_chunks_mut::<COLUMNS>();
    let done = whole.len() * COLUMNS;
    for (i, out) in whole.iter_mut().enumerate() {
        channels(y, x, &points, bias, i * COLUMNS, out);
    }
    for (i, out) in rest.iter_mut().enumerate() {
        channels::<1>(y, x, &points, bias, done + i, std::array::from_mut(out));
    }
}

#[inline(always)]
fn channels<const N: usize>(
    y: usize,
    x: usize,
    points: &[&[f32]; POINTS],
    bias: &[f32],
    first: usize,
    out: &mut [MaybeUninit<f32>; N],
) {
    let signs = [1.0, -1.0];
    let mut rows = [[0f32; N]; 3];
    for (row, sums) in rows.iter_mut().enumerate() {
        let at = 4 * (y + row) + x;
        let [a, b, c] = [points[at], points[at + 1], points[at + 2]].map(|point| &point[first..][..N]);
        for (((sum, a), b), c) in sums.iter_mut().zip(a).zip(b).zip(c) {
            *sum = a + signs[x] * (b + c);
        }
    }
    let [a, b, c] = rows;
    for (i, (out, bias)) in out.iter_mut().zip(&bias[first..][..N]).enumerate() {
        out.write(a[i] + signs[y] * (b[i] + c[i]) + bias);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Compute, Conv3x3, Single, patches};
    use crate::ops::testing::{tensor, values};

    #[test]
    fn errors_are_not_far_from_those_of_patches() {
        let [height, width, input, output] = [5, 7, 256, 16];
        let kernel = values(output * 9 * input, 1);
        let map = values(height * width * input, 2);
        let conv = Conv3x3::new(&tensor(&[output, 9 * input], 1), tensor(&[output], 3), Compute::F32).unwrap();
        let bias = conv.bias.values::<f32>().unwrap();
        let single = Single {
            values: &map,
            extents: [height, width, input],
        };
        let exact = |i: usize| -> f64 {
            let (y, x, channel) = (i / output / width, i / output % width, i % output);
            let mut sum = f64::from(bias[channel]);
            for (tap, (dy, dx)) in (0..9).map(|tap| (tap, (tap / 3, tap % 3))) {
                if (1..=height).contains(&(y + dy)) && (1..=width).contains(&(x + dx)) {
                    let pixel = &map[((y + dy - 1) * width + x + dx - 1) * input..][..input];
                    let row = &kernel[(channel * 9 + tap) * input..][..input];
                    sum += pixel
                        .iter()
                        .zip(row)
                        .map(|(a, b)| f64::from(*a) * f64::from(*b))
                        .sum::<f64>();
                }
            }
            sum
        };
        let error = |found: Vec<f32>| {
            let errors = found.iter().enumerate().map(|(i, &x)| (f64::from(x) - exact(i)).abs());
            errors.fold(0.0, f64::max)
        };
        let (found, by_patches) = (
            error(super::conv_3x3(&conv, bias, &single).unwrap()),
            error(patches::conv_3x3(&conv, bias, &single).unwrap()),
        );
        assert!(found <= 3.0 * by_patches, "{found:e}, by patches {by_patches:e}");
        assert!(by_patches < 3e-5, "{by_patches:e}");
    }
}
