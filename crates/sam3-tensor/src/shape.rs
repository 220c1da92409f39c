//! Extents as callers write them.

use crate::error::{Error, Result, mismatch};

/// Extents of a tensor: a number, a tuple of up to five, a slice or an array.
pub trait Shape {
    /// As a list.
    fn into_dims(self) -> Vec<usize>;
}

impl Shape for usize {
    fn into_dims(self) -> Vec<usize> {
        vec![self]
    }
}

impl Shape for Vec<usize> {
    fn into_dims(self) -> Vec<usize> {
        self
    }
}

impl Shape for &[usize] {
    fn into_dims(self) -> Vec<usize> {
        self.to_vec()
    }
}

impl<const N: usize> Shape for [usize; N] {
    fn into_dims(self) -> Vec<usize> {
        self.to_vec()
    }
}

impl<const N: usize> Shape for &[usize; N] {
    fn into_dims(self) -> Vec<usize> {
        self.to_vec()
    }
}

macro_rules! tuples {
    ($(($($extent:ident)*))*) => {$(
        impl Shape for ($(replace!($extent usize),)*) {
            fn into_dims(self) -> Vec<usize> {
                let ($($extent,)*) = self;
                vec![$($extent),*]
            }
        }
    )*};
}
macro_rules! replace {
    ($of:ident $by:ty) => {
        $by
    };
}
tuples!((a b) (a b c) (a b c d) (a b c d e));

/// Extents of which one may be left out, as `()`: it is what the number of elements makes it.
pub trait Reshape {
    /// The extents of so many elements.
    fn into_dims(self, elements: usize) -> Result<Vec<usize>>;
}

impl<S: Shape> Reshape for S {
    fn into_dims(self, elements: usize) -> Result<Vec<usize>> {
        let dims = Shape::into_dims(self);
        if self::elements(&dims)? != elements {
            mismatch!("{elements} elements in a shape {dims:?}");
        }
        Ok(dims)
    }
}

impl Reshape for (usize, ()) {
    fn into_dims(self, elements: usize) -> Result<Vec<usize>> {
        rest(vec![self.0], elements)
    }
}

impl Reshape for (usize, usize, ()) {
    fn into_dims(self, elements: usize) -> Result<Vec<usize>> {
        rest(vec![self.0, self.1], elements)
    }
}

fn rest(mut dims: Vec<usize>, elements: usize) -> Result<Vec<usize>> {
    let known = self::elements(&dims)?;
    if known == 0 || !elements.is_multiple_of(known) {
        mismatch!("{elements} elements in rows of a shape {dims:?}");
    }
    dims.push(elements / known);
    Ok(dims)
}

/// How many elements a shape has.
///
/// # Errors
/// When no memory has so many.
pub fn elements(dims: &[usize]) -> Result<usize> {
    let product = dims
        .iter()
        .try_fold(1usize, |product, extent| product.checked_mul(*extent));
    product.ok_or(Error::OutOfMemory { bytes: usize::MAX })
}

/// Elements from one index of each axis to the next, in a contiguous tensor.
pub fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// The extents that two shapes broadcast to, as PyTorch's: aligned at the last axis, where one of two is 1 or lacks.
pub fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let extent = |dims: &[usize], axis: usize| (axis + dims.len()).checked_sub(rank).map_or(1, |axis| dims[axis]);
    let mut dims = Vec::with_capacity(rank);
    for axis in 0..rank {
        dims.push(match (extent(a, axis), extent(b, axis)) {
            (a, b) if a == b => a,
            (1, b) => b,
            (a, 1) => a,
            _ => mismatch!("shapes {a:?} and {b:?} do not broadcast"),
        });
    }
    Ok(dims)
}

/// The strides with which a contiguous tensor of shape `from` is read as one of shape `to`, to which it broadcasts.
pub fn broadcast_strides(from: &[usize], to: &[usize]) -> Vec<usize> {
    let own = strides(from);
    let lacking = to.len() - from.len();
    (0..to.len())
        .map(|axis| match axis.checked_sub(lacking) {
            Some(axis) if from[axis] != 1 => own[axis],
            _ => 0,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_extent_may_be_left_out() {
        assert_eq!(Reshape::into_dims((2, 3, ()), 24), Ok(vec![2, 3, 4]));
        assert_eq!(Reshape::into_dims((4, ()), 24), Ok(vec![4, 6]));
        assert!(Reshape::into_dims((5, ()), 24).is_err());
        assert!(Reshape::into_dims((0, ()), 0).is_err());
        assert!(Reshape::into_dims((5, 5), 24).is_err());
        assert!(Reshape::into_dims((1 << 40, 1 << 40), 0).is_err());
    }

    #[test]
    fn shapes_broadcast_as_pytorchs() {
        assert_eq!(broadcast(&[3, 1, 5], &[4, 1]), Ok(vec![3, 4, 5]));
        assert!(broadcast(&[3], &[4]).is_err());
        assert_eq!(broadcast_strides(&[4, 1], &[3, 4, 5]), [0, 1, 0]);
        assert_eq!(broadcast_strides(&[3, 1, 5], &[3, 4, 5]), [5, 0, 1]);
    }
}
