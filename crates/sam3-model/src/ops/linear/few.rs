//! A layer of few rows: a prompt's tokens. Packing a weight is most of the work then, so the operands change places: the rows of `x` are
//! packed whole, and the weight by the block, which never leaves L2.

use rayon::prelude::*;

use crate::ops::{
    Compute,
    product::{self, Epilogue, Matrix, Rows},
    simd::MAX_NR,
};

/// Rows that fit in one panel.
pub const MOST: usize = MAX_NR;

/// `epilogue(x Wᵀ)`: the same bits as with the operands in their places.
pub fn run(compute: Compute, x: &[f32], weight: &impl Rows, epilogue: Epilogue<'_>, out: &mut [f32]) {
    let (columns, depth) = (weight.count(), weight.depth());
    let rows = x.len() / depth;
    let mut turned = vec![0f32; out.len()];
    let x = Matrix { values: x, depth };
    let swapped = Epilogue {
        shift: epilogue.bias,
        activation: epilogue.activation,
        ..Epilogue::default()
    };
    product::product(compute, weight, &x, swapped, &mut turned);
    out.par_chunks_exact_mut(columns).enumerate().for_each(|(row, out)| {
        (out.iter_mut().zip(turned.chunks_exact(rows))).for_each(|(x, turned)| *x = turned[row]);
        if let Some(residual) = epilogue.residual {
            let residual = &residual[row * columns..];
            out.iter_mut().zip(residual).for_each(|(x, residual)| *x += residual);
        }
    });
}
