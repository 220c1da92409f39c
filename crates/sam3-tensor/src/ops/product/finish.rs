//! What follows a product: sums of a register tile become values of the output.

use std::{mem::MaybeUninit, ops::Range};

use super::super::simd::{Dot, Element, MAX_NR, math};

/// What is applied to each element of a product.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// `x Φ(x)`.
    Gelu,
    /// `max(x, 0)`; NaN stays NaN.
    Relu,
}

/// What follows a product, in this order.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// What one code is worth in each row of `a` and in each row of `b`: multiplied with the sum, one after the other.
    pub scales: Option<(&'a [f32], &'a [f32])>,
    /// Added to every row: one value a column.
    pub bias: Option<&'a [f32]>,
    /// Added to every column: one value a row.
    pub shift: Option<&'a [f32]>,
    /// Applied to each element.
    pub activation: Activation,
    /// Added last; laid out as the output.
    pub residual: Option<&'a [f32]>,
}

/// Of the columns of a panel; where there is nothing, what changes nothing, so that loops over a tile have no branches.
pub struct Columns {
    scales: [f32; MAX_NR],
    bias: [f32; MAX_NR],
}

impl Epilogue<'_> {
    /// What columns of the product get.
    pub(super) fn columns(&self, columns: Range<usize>) -> Columns {
        let mut found = Columns {
            scales: [1.0; MAX_NR],
            bias: [0.0; MAX_NR],
        };
        if let Some((_, scales)) = self.scales {
            found.scales[..columns.len()].copy_from_slice(&scales[columns.clone()]);
        }
        if let Some(bias) = self.bias {
            found.bias[..columns.len()].copy_from_slice(&bias[columns]);
        }
        found
    }

    /// Turns rows of sums, `NR` each, into the bits of values to which only the residual is to be added. `first` is the
    /// first row.
    ///
    /// One loop a step, over a tile that stays in L1: in registers, the branches between the steps would break the
    /// vectors up.
    #[inline(always)]
    pub(super) fn apply<D: Dot>(&self, sums: &mut [u32], first: usize, columns: &Columns) {
        for (row, sums) in (first..).zip(sums.chunks_exact_mut(D::NR)) {
            let scale = self.scales.map_or(1.0, |(rows, _)| rows[row]);
            let shift = self.shift.map_or(0.0, |shift| shift[row]);
            for ((sum, of_column), bias) in sums.iter_mut().zip(&columns.scales).zip(&columns.bias) {
                *sum = (D::Element::value(*sum) * scale * of_column + bias + shift).to_bits();
            }
        }
        match self.activation {
            Activation::None => {}
            Activation::Gelu => {
                for x in sums {
                    *x = math::gelu::<D::Isa>(f32::from_bits(*x)).to_bits();
                }
            }
            Activation::Relu => {
                for x in sums {
                    *x = math::relu(f32::from_bits(*x)).to_bits();
                }
            }
        }
    }

    /// Writes a row of such values to the output, in which it begins at `at`.
    #[inline(always)]
    pub(super) fn write(&self, values: &[u32], at: usize, out: &mut [MaybeUninit<f32>]) {
        match self.residual {
            None => {
                for (out, x) in out.iter_mut().zip(values) {
                    out.write(f32::from_bits(*x));
                }
            }
            Some(residual) => {
                for ((out, x), residual) in out.iter_mut().zip(values).zip(&residual[at..][..values.len()]) {
                    out.write(f32::from_bits(*x) + residual);
                }
            }
        }
    }
}
