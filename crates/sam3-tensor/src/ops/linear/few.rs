//! A layer of few rows: a prompt's tokens. Packing a weight is most of the work then, so the operands change places:
//! the rows of `x` are packed whole, and the weight by the block, which never leaves L2.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::{
    Result,
    ops::{
        Compute, host,
        product::{self, Epilogue, Matrix, Rows},
        simd::MAX_NR,
    },
};

/// Rows that fit in one panel, or two of a narrower tile.
pub const MOST: usize = MAX_NR;

/// `epilogue(x Wᵀ)`: the same bits as with the operands in their places.
pub fn run(
    compute: Compute,
    x: &[f32],
    weight: &impl Rows,
    epilogue: Epilogue<'_>,
    out: &mut [MaybeUninit<f32>],
) -> Result<()> {
    let (columns, depth) = (weight.count(), weight.depth());
    let rows = x.len() / depth;
    let x = Matrix { values: x, depth };
    let swapped = Epilogue {
        shift: epilogue.bias,
        activation: epilogue.activation,
        ..Epilogue::default()
    };
    // SAFETY: a product writes every element.
    let turned = unsafe {
        host::written(out.len(), |turned| {
            product::product(compute, weight, &x, swapped, turned)
        })?
    };
    out.par_chunks_exact_mut(columns).enumerate().for_each(|(row, out)| {
        let turned = turned.chunks_exact(rows).map(|turned| turned[row]);
        match epilogue.residual {
            None => out.iter_mut().zip(turned).for_each(|(x, turned)| _ = x.write(turned)),
            Some(residual) => {
                let sums = turned
                    .zip(&residual[row * columns..])
                    .map(|(turned, residual)| turned + residual);
                out.iter_mut().zip(sums).for_each(|(x, sum)| _ = x.write(sum));
            }
        }
    });
    Ok(())
}
