//! Products of two tensors that are neither of them a layer's weight.

use crate::{DType, Result, Tensor, error::mismatch};

use super::{
    Compute, cuda, host,
    product::{self, Epilogue, Matrix},
};

/// `a bᵀ`: `a` is `[m, depth]`, `b` `[n, depth]`, both of one float type; returns `[m, n]` in it. Sums are f32.
///
/// # Errors
/// When shapes or types differ, there is no room, or the device fails.
pub fn matmul_t(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let ((rows, depth), (columns, b_depth)) = (a.dims2()?, b.dims2()?);
    if depth != b_depth || a.dtype() != b.dtype() {
        mismatch!("the product of {a:?} and the transpose of {b:?}");
    }
    if !a.device().is_cpu() {
        return cuda::product(a, b);
    }
    if depth == 0 {
        return Tensor::zeros((rows, columns), a.dtype(), a.device());
    }
    let (left, right) = (a.to_dtype(DType::F32)?, b.to_dtype(DType::F32)?);
    let (left, right) = (left.values()?, right.values()?);
    let [left, right] = [left, right].map(|values| Matrix { values, depth });
    let write = |out: &mut [_]| product::product(Compute::F32, &left, &right, Epilogue::default(), out);
    // SAFETY: a product writes every element.
    let out = unsafe { host::written(rows * columns, write)? };
    Tensor::from_vec(out, (rows, columns), a.device())?.to_dtype(a.dtype())
}

#[cfg(test)]
mod tests {
    use super::matmul_t;
    use crate::{
        DType,
        ops::testing::{assert_close, plain_matmul_t, tensor},
    };

    #[test]
    fn equals_its_plain_twin() {
        for (rows, depth, columns) in [(1, 1, 1), (7, 31, 33), (3, 130, 5), (2, 0, 3)] {
            let (a, b) = (tensor(&[rows, depth], 1), tensor(&[columns, depth], 2));
            let what = format!("{rows}×{depth}×{columns}");
            let found = matmul_t(&a, &b).unwrap();
            assert_close(&found, &plain_matmul_t(&a, &b), 2e-5, &what);
            let [a, b] = [a, b].map(|x| x.to_dtype(DType::BF16).unwrap());
            let found = matmul_t(&a, &b).unwrap();
            assert_eq!(found.dtype(), DType::BF16);
            let [a, b, found] = [a, b, found].map(|x| x.to_dtype(DType::F32).unwrap());
            // Sums of values below 1, rounded to 8 bits.
            assert_close(&found, &plain_matmul_t(&a, &b), depth as f32 / 256.0, &what);
        }
        assert!(matmul_t(&tensor(&[2, 3], 1), &tensor(&[2, 4], 2)).is_err());
    }
}
