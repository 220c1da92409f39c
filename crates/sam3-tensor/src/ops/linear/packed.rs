//! A layer with its weight packed, for as many blocks of rows as one call has.

use std::mem::MaybeUninit;

use crate::{Result, Tensor};

use super::{Activation, Linear, few};
use crate::ops::{
    Compute,
    compute::Int8,
    int8,
    product::{self, Epilogue, Matrix, Panels},
};

/// Int8 sums of this many products fit in 32 bits: 2^17 × 127 × 128 < 2^31.
const MAX_INT8_DEPTH: usize = 1 << 17;

/// The largest [`error`](int8::Codes::error) of quantised activations at which they are multiplied as int8. A block of
/// rows with more keeps its floats: a rule on what a layer is given, because which layers of a checkpoint have outliers
/// is not known before.
///
/// Measured, mean and largest over the calls of a layer, on the demo's picture with its trained model and on a photo
/// with a seeded model of full size:
///
/// | input of | demo | full size, first seven blocks |
/// | --- | --- | --- |
/// | `qkv` | 0.028, 0.033 | 0.010, 0.011 |
/// | `proj` | 0.011, 0.015 | 0.011, 0.012 |
/// | `fc1` | 0.031, 0.034 | 0.011, 0.011 |
/// | `fc2` | 0.049, 0.063 | 0.021, 0.022 |
///
/// With all of these as int8, `sam3 eval` moves by 0.2 points at most. A normal distribution of 1024 values has 0.010;
/// one value of a hundred times the others' deviation makes it 0.25.
const MAX_INT8_ERROR: f32 = 0.08;

/// See the module.
pub struct Packed<'a> {
    layer: &'a Linear,
    bias: Option<&'a [f32]>,
    /// Packed when a block of rows first needs it.
    float: Option<Panels<Compute>>,
    int8: Option<Panels<Int8>>,
}

impl Linear {
    /// Gets the layer ready for [`Packed::run`].
    pub(super) fn packed(&self) -> Result<Packed<'_>> {
        Ok(Packed {
            layer: self,
            bias: self.bias.as_ref().map(Tensor::values::<f32>).transpose()?,
            float: None,
            int8: None,
        })
    }
}

impl Packed<'_> {
    /// `residual + activation(x Wᵀ + b)` of rows of `x`; every element of `out` is written.
    pub fn run(
        &mut self,
        x: &[f32],
        activation: Activation,
        residual: Option<&[f32]>,
        out: &mut [MaybeUninit<f32>],
    ) -> Result<()> {
        let Linear { weight, compute, .. } = self.layer;
        let depth = weight.shape()[1];
        let epilogue = Epilogue {
            bias: self.bias,
            activation,
            residual,
            ..Epilogue::default()
        };
        if *compute == Compute::Int8 && depth <= MAX_INT8_DEPTH {
            let x = int8::quantize(x, depth)?;
            if x.error <= MAX_INT8_ERROR {
                let scales = self.layer.scales();
                let panels = match &mut self.int8 {
                    Some(panels) => panels,
                    none => none.insert(product::pack(Int8, &weight.codes(scales))?),
                };
                let epilogue = Epilogue {
                    scales: Some((&x.scales, scales)),
                    ..epilogue
                };
                let codes = Matrix {
                    values: &x.codes,
                    depth,
                };
                product::run(&codes, panels, epilogue, out);
                return Ok(());
            }
        }
        if x.len() <= few::MOST * depth {
            return few::run(*compute, x, &weight.reader(), epilogue, out);
        }
        let panels = match &mut self.float {
            Some(panels) => panels,
            none => none.insert(product::pack(*compute, &weight.reader())?),
        };
        let x = Matrix { values: x, depth };
        product::run(&x, panels, epilogue, out);
        Ok(())
    }
}
