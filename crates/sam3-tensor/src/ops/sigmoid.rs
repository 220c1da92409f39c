//! The logistic function.

use std::mem::MaybeUninit;

use crate::{Result, Tensor};

use super::{
    host,
    simd::{self, Isa, Op, math},
};

/// `1 / (1 + e⁻ˣ)` of each value of an f32 tensor.
///
/// # Errors
/// When there is no room, or the device fails.
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    if !host::is_host(x) {
        // e⁻ˣ may be infinite: its share is 0 then.
        return (x.affine(-1.0, 0.0)?.exp()? + 1.0)?.recip();
    }
    // SAFETY: a block is written whole.
    unsafe { host::in_blocks(x, |values, out| simd::dispatch(Block { values, out })) }
}

/// The same of one value.
pub fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
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
            // Of the magnitude, so that the exponential is no more than 1.
            let small = math::exp2::<I>(-x.abs() * std::f32::consts::LOG2_E);
            let large = 1.0 / (1.0 + small);
            out.write(if *x < 0.0 { small * large } else { large });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{logistic, sigmoid};
    use crate::ops::{
        host::as_accelerator,
        simd::at_every_level,
        testing::{assert_close, assert_no_number, tensor, with_value},
    };

    #[test]
    fn equals_the_exact_one_wherever_it_runs() {
        at_every_level(|| {
            for (dims, scale) in [(&[1][..], 1.0), (&[3, 7], 5.0), (&[33, 101], 1024.0)] {
                let x = (tensor(dims, 1) * scale).unwrap();
                let exact = |x: f32| (1.0 / (1.0 + f64::from(-x).exp())) as f32;
                let expected = x.map(exact).unwrap();
                assert_close(&sigmoid(&x).unwrap(), &expected, 1e-6, &format!("{dims:?}"));
                let found = as_accelerator(|| sigmoid(&x)).unwrap();
                assert_close(&found, &expected, 1e-6, &format!("{dims:?} on an accelerator"));
            }
        });
    }

    #[test]
    fn one_value_has_the_same() {
        let x = tensor(&[257], 3);
        let x = (x * 40.0).unwrap();
        assert_close(&sigmoid(&x).unwrap(), &x.map(logistic).unwrap(), 1e-6, "one value");
        assert_eq!([logistic(0.0), logistic(200.0), logistic(-200.0)], [0.5, 1.0, 0.0]);
    }

    #[test]
    fn of_what_is_no_number_comes_none() {
        at_every_level(|| {
            let x = with_value(&[9], 1, 4, f32::NAN);
            let of = |x: &crate::Tensor| sigmoid(x).unwrap().rows(4, 1).unwrap();
            assert_no_number(&of(&x), "sigmoid");
            assert_no_number(&as_accelerator(|| of(&x)), "sigmoid on an accelerator");
        });
    }
}
