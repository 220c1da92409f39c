//! Dot products of the rows of two matrices: masks of queries over the pixels of a map.

use crate::{Result, Tensor};

use super::{
    Compute, cuda, host, matmul_t,
    product::{self, Epilogue, Matrix},
};

/// Rows of `b` that are packed at a time: 4 MB at a depth of 256, where the finest map has 85.
const BLOCK: usize = 4096;

/// `a bᵀ + shift` in f32: `a` is `[m, depth]`, `b` `[n, depth]`, `shift` `[m]`; returns `[m, n]`.
pub fn dots(a: &Tensor, b: &Tensor, shift: &Tensor) -> Result<Tensor> {
    if !host::is_host(a) {
        return cuda::shift_rows(&matmul_t(a, b)?, shift);
    }
    let ((rows, depth), columns) = (a.dims2()?, b.dim(0)?);
    let (a_values, b_values, shifts) = (a.values::<f32>()?, b.values::<f32>()?, shift.values::<f32>()?);
    let left = Matrix {
        values: a_values,
        depth,
    };
    let write = |out: &mut [_]| {
        for (i, block) in b_values.chunks(BLOCK * depth).enumerate() {
            let right = Matrix { values: block, depth };
            let epilogue = Epilogue {
                shift: Some(shifts),
                ..Epilogue::default()
            };
            let place = |row| row * columns + i * BLOCK;
            // SAFETY: rows are `columns` apart, and a block has no more.
            unsafe { product::product_at(Compute::F32, &left, &right, epilogue, out, place)? };
        }
        Ok(())
    };
    // SAFETY: the blocks are all rows of `b`, which are the columns of the result.
    let out = unsafe { host::written(rows * columns, write)? };
    Tensor::from_vec(out, (rows, columns), a.device())
}

#[cfg(test)]
mod tests {
    use super::dots;
    use crate::ops::{
        simd::at_every_level,
        testing::{assert_close, plain_matmul_t, tensor},
    };

    #[test]
    fn equals_its_plain_twin() {
        at_every_level(|| {
            for (rows, depth, columns) in [(1, 1, 1), (7, 31, 33), (201, 64, 5000)] {
                let (a, b) = (tensor(&[rows, depth], 1), tensor(&[columns, depth], 2));
                let shift = tensor(&[rows], 3);
                let found = dots(&a, &b, &shift).unwrap();
                let expected = (plain_matmul_t(&a, &b) + shift.unsqueeze(1).unwrap()).unwrap();
                assert_close(&found, &expected, 1e-5, &format!("{rows}×{depth}×{columns}"));
            }
        });
    }
}
