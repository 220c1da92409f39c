//! GELU of a map, where it does not follow a product.

use std::mem::MaybeUninit;

use crate::{DType, Result, Tensor};

use super::{
    Activation, cuda, host,
    simd::{self, Isa, Op, math},
};

/// `x Φ(x)` of each value of an f32 tensor, as `torch.nn.GELU()`.
///
/// # Errors
/// When there is no room, or the device fails.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    if !host::is_host(x) {
        return cuda::finish(x, None, Activation::Gelu, None, DType::F32);
    }
    // SAFETY: a block is written whole.
    unsafe { host::in_blocks(x, |values, out| simd::dispatch(Block { values, out })) }
}

struct Block<'a> {
    values: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
}

impl Op for Block<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for (out, x) in self.out.iter_mut().zip(self.values) {
            out.write(math::gelu::<I>(*x));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::gelu;
    use crate::ops::{
        host::as_accelerator,
        simd::at_every_level,
        testing::{assert_close, plain_gelu, tensor},
    };

    #[test]
    fn equals_the_exact_one_wherever_it_runs() {
        at_every_level(|| {
            for dims in [&[1][..], &[3, 7], &[5, 33, 101]] {
                let x = (tensor(dims, 1) * 8.0).unwrap();
                let expected = x.map(|x| plain_gelu(f64::from(x)) as f32).unwrap();
                assert_close(&gelu(&x).unwrap(), &expected, 1e-6, &format!("{dims:?}"));
                let found = as_accelerator(|| gelu(&x)).unwrap();
                assert_close(&found, &expected, 1e-6, &format!("{dims:?} on an accelerator"));
            }
        });
    }
}
