//! One value after the other: sums and products of tensors that broadcast, functions, other types.

use std::{
    mem::MaybeUninit,
    ops::{Add, Div, Mul, Sub},
};

use half::{bf16, f16, slice::HalfFloatSliceExt};
use rayon::prelude::*;

use crate::{
    DType, Result, Tensor,
    error::mismatch,
    launch::{self, Address, Args, Launch, MOST_AXES, Module, axes, module, type_name},
    ops::written,
    shape::{broadcast, broadcast_strides, elements},
    storage::{Buffer, filled},
};

/// Values that one task takes.
const BLOCK: usize = 1 << 14;

/// # In another type
impl Tensor {
    /// With the elements of another float type, rounded to the nearest, ties to even; a clone where they are of it.
    ///
    /// # Errors
    /// When one of the two is no float, there is no room, or the device fails.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        if self.dtype() == dtype {
            return Ok(self.clone());
        }
        let (from, to) = (type_name(self.dtype())?, type_name(dtype)?);
        if launch::runs_on(self.device()) {
            let out = launch::uninitialised(self.dims(), dtype, self.device())?;
            let mut launch = Launch::on(self.device());
            let args = CastArgs {
                x: launch.input(self, self.dtype())?,
                out: launch.output(&out)?,
                total: self.elem_count() as u64,
            };
            // SAFETY: a thread for each element of both.
            unsafe { launch.run(MODULE, &format!("cast_{from}_{to}"), blocks(self), THREADS, args)? };
            return Ok(out);
        }
        let values = self.widened()?;
        match dtype {
            DType::F16 => {
                let mut out = filled(values.len(), f16::ZERO)?;
                out.convert_from_f32_slice(&values);
                Self::from_vec(out, self.dims(), self.device())
            }
            DType::BF16 => {
                let mut out = filled(values.len(), bf16::ZERO)?;
                out.convert_from_f32_slice(&values);
                Self::from_vec(out, self.dims(), self.device())
            }
            _ => Self::from_vec(values, self.dims(), self.device()),
        }
    }

    /// The values of floats in main memory, as f32.
    fn widened(&self) -> Result<Vec<f32>> {
        let Some((buffer, range)) = self.buffer() else {
            mismatch!("{self:?}: expected a tensor in main memory");
        };
        let mut values = filled(range.len(), 0f32)?;
        match buffer {
            Buffer::F32(from) => values.copy_from_slice(&from[range]),
            Buffer::F16(from) => from[range].convert_to_f32_slice(&mut values),
            Buffer::BF16(from) => from[range].convert_to_f32_slice(&mut values),
            Buffer::U8(_) | Buffer::I32(_) => mismatch!("{self:?}: expected floats"),
        }
        Ok(values)
    }
}

/// # Functions of each value, in f32
impl Tensor {
    /// `x × scale + shift`.
    ///
    /// # Errors
    /// When the elements are not f32, there is no room, or the device fails; as for those below.
    pub fn affine(&self, scale: f64, shift: f64) -> Result<Self> {
        let [scale, shift] = [scale, shift].map(|of| of as f32);
        self.unary("affine", [scale, shift], |x| x.mul_add(scale, shift))
    }

    /// `x` between two bounds; NaN where `x` is not finite, for which a GPU's own minimum would give a bound.
    ///
    /// # Errors
    /// As [`affine`](Self::affine).
    #[expect(clippy::eq_op, reason = "0 of numbers, NaN of all else")]
    pub fn clamp(&self, low: f32, high: f32) -> Result<Self> {
        self.unary("clamp", [low, high], |x| x.clamp(low, high) + (x - x))
    }

    /// `eˣ`.
    ///
    /// # Errors
    /// As [`affine`](Self::affine).
    pub fn exp(&self) -> Result<Self> {
        self.unary("exponential", [0.0; 2], f32::exp)
    }

    /// The natural logarithm.
    ///
    /// # Errors
    /// As [`affine`](Self::affine).
    pub fn log(&self) -> Result<Self> {
        self.unary("logarithm", [0.0; 2], f32::ln)
    }

    /// The sine of radians.
    ///
    /// # Errors
    /// As [`affine`](Self::affine).
    pub fn sin(&self) -> Result<Self> {
        self.unary("sine", [0.0; 2], f32::sin)
    }

    /// The cosine of radians.
    ///
    /// # Errors
    /// As [`affine`](Self::affine).
    pub fn cos(&self) -> Result<Self> {
        self.unary("cosine", [0.0; 2], f32::cos)
    }

    /// `1 / x`.
    ///
    /// # Errors
    /// As [`affine`](Self::affine).
    pub fn recip(&self) -> Result<Self> {
        self.unary("reciprocal", [0.0; 2], f32::recip)
    }

    /// The magnitude.
    ///
    /// # Errors
    /// As [`affine`](Self::affine).
    pub fn abs(&self) -> Result<Self> {
        self.unary("absolute", [0.0; 2], f32::abs)
    }

    /// −1, 0 or 1; NaN of NaN.
    ///
    /// # Errors
    /// As [`affine`](Self::affine).
    pub fn sign(&self) -> Result<Self> {
        self.unary("sign", [0.0; 2], |x| if x == 0.0 { x } else { x.signum() })
    }

    /// The sum of each row of a matrix, `[rows]`.
    ///
    /// # Errors
    /// As [`affine`](Self::affine); and when it is no matrix.
    pub fn sum_rows(&self) -> Result<Self> {
        let (rows, columns) = self.dims2()?;
        if launch::runs_on(self.device()) {
            let out = launch::uninitialised(rows, DType::F32, self.device())?;
            let mut launch = Launch::on(self.device());
            let args = SumArgs {
                x: launch.input(self, DType::F32)?,
                out: launch.output(&out)?,
                columns: columns as u64,
            };
            // SAFETY: a warp for each row.
            unsafe { launch.run(MODULE, "sum", [rows, 1, 1], 32, args)? };
            return Ok(out);
        }
        let values = self.values::<f32>()?;
        let sums = (0..rows).map(|row| values[row * columns..][..columns].iter().sum());
        Self::from_vec(sums.collect::<Vec<f32>>(), rows, self.device())
    }

    fn unary(&self, kernel: &str, [scale, shift]: [f32; 2], of: impl Fn(f32) -> f32 + Sync) -> Result<Self> {
        if launch::runs_on(self.device()) {
            let out = launch::uninitialised(self.dims(), DType::F32, self.device())?;
            let mut launch = Launch::on(self.device());
            let args = UnaryArgs {
                x: launch.input(self, DType::F32)?,
                out: launch.output(&out)?,
                total: self.elem_count() as u64,
                scale,
                shift,
            };
            // SAFETY: a thread for each element of both.
            unsafe { launch.run(MODULE, kernel, blocks(self), THREADS, args)? };
            return Ok(out);
        }
        self.map(of)
    }

    /// `of` each value of a tensor in main memory.
    pub(crate) fn map(&self, of: impl Fn(f32) -> f32 + Sync) -> Result<Self> {
        let values = self.values::<f32>()?;
        let write = |out: &mut [_]| {
            in_blocks(out, BLOCK, |first, out| {
                let len = out.len();
                each(out, &values[first..][..len], |x| of(*x));
            });
            Ok(())
        };
        // SAFETY: the blocks are all values.
        let out = unsafe { written(values.len(), write)? };
        Self::from_vec(out, self.dims(), self.device())
    }
}

/// What is done with two values.
#[derive(Clone, Copy)]
enum Binary {
    Add,
    Sub,
    Mul,
    Div,
}

impl Tensor {
    fn binary(&self, other: &Self, what: Binary) -> Result<Self> {
        let dims = broadcast(self.dims(), other.dims())?;
        let strides = [self, other].map(|x| broadcast_strides(x.dims(), &dims));
        if launch::runs_on(self.device()) {
            return launch_binary([self, other], strides, &dims, what);
        }
        let operands = [self.values::<f32>()?, other.values::<f32>()?];
        let write = |out: &mut [_]| {
            match what {
                Binary::Add => zip(out, operands, &strides, &dims, |a, b| a + b),
                Binary::Sub => zip(out, operands, &strides, &dims, |a, b| a - b),
                Binary::Mul => zip(out, operands, &strides, &dims, |a, b| a * b),
                Binary::Div => zip(out, operands, &strides, &dims, |a, b| a / b),
            }
            Ok(())
        };
        // SAFETY: `zip` writes a value for each index.
        let out = unsafe { written(elements(&dims)?, write)? };
        Self::from_vec(out, dims, self.device())
    }
}

/// Writes `of(a, b)` for each index; all of two tensors of one shape as one axis.
fn zip(
    out: &mut [MaybeUninit<f32>],
    [a, b]: [&[f32]; 2],
    strides: &[Vec<usize>; 2],
    dims: &[usize],
    of: impl Fn(f32, f32) -> f32 + Copy + Sync,
) {
    let (Some(extent), false) = (dims.first(), out.is_empty()) else {
        return rows(out, [a, b], [&[], &[]], dims, of);
    };
    if a.len() == b.len() && strides[0] == strides[1] {
        return in_blocks(out, BLOCK, |first, out| {
            let len = out.len();
            let pairs = a[first..][..len].iter().zip(&b[first..][..len]);
            each(out, pairs, |(a, b)| of(*a, *b));
        });
    }
    let row = out.len() / extent;
    in_blocks(out, BLOCK.div_ceil(row) * row, |first, out| {
        let index = first / row;
        let operands = [&a[index * strides[0][0]..], &b[index * strides[1][0]..]];
        let dims = [&[out.len() / row], &dims[1..]].concat();
        rows(out, operands, [&strides[0], &strides[1]], &dims, of);
    });
}

/// Writes blocks of `out` in parallel, each with the index of its first value; a single block is written here.
fn in_blocks(out: &mut [MaybeUninit<f32>], block: usize, write: impl Fn(usize, &mut [MaybeUninit<f32>]) + Sync) {
    if out.len() <= block {
        return write(0, out);
    }
    let blocks = out.par_chunks_mut(block).enumerate();
    blocks.for_each(|(i, out)| write(i * block, out));
}

/// Writes `of` each value.
#[inline(always)]
fn each<T>(out: &mut [MaybeUninit<f32>], values: impl IntoIterator<Item = T>, of: impl Fn(T) -> f32) {
    for (out, value) in out.iter_mut().zip(values) {
        out.write(of(value));
    }
}

fn rows(
    out: &mut [MaybeUninit<f32>],
    [a, b]: [&[f32]; 2],
    strides: [&[usize]; 2],
    dims: &[usize],
    of: impl Fn(f32, f32) -> f32 + Copy,
) {
    match (dims, strides) {
        _ if out.is_empty() => {}
        ([], _) => each(out, [()], |()| of(a[0], b[0])),
        ([len], [[1], [1]]) => each(out, a[..*len].iter().zip(&b[..*len]), |(a, b)| of(*a, *b)),
        ([len], [[1], [0]]) => each(out, &a[..*len], |a| of(*a, b[0])),
        ([len], [[0], [1]]) => each(out, &b[..*len], |b| of(a[0], *b)),
        ([len], [[a_step], [b_step]]) => each(out, 0..*len, |i| of(a[i * a_step], b[i * b_step])),
        ([len, dims @ ..], [[a_step, a_rest @ ..], [b_step, b_rest @ ..]]) => {
            for (i, out) in out.chunks_exact_mut(out.len() / len).enumerate() {
                rows(out, [&a[i * a_step..], &b[i * b_step..]], [a_rest, b_rest], dims, of);
            }
        }
        _ => unreachable!("as many strides as axes"),
    }
}

/// Both shapes broadcast, as PyTorch's do; f32.
macro_rules! binary {
    ($($op:ident $method:ident $what:ident)*) => {$(
        impl $op<&Tensor> for &Tensor {
            type Output = Result<Tensor>;
            fn $method(self, other: &Tensor) -> Result<Tensor> {
                self.binary(other, Binary::$what)
            }
        }
        impl $op<Tensor> for &Tensor {
            type Output = Result<Tensor>;
            fn $method(self, other: Tensor) -> Result<Tensor> {
                self.binary(&other, Binary::$what)
            }
        }
        impl $op<&Tensor> for Tensor {
            type Output = Result<Tensor>;
            fn $method(self, other: &Tensor) -> Result<Tensor> {
                self.binary(other, Binary::$what)
            }
        }
        impl $op<Tensor> for Tensor {
            type Output = Result<Tensor>;
            fn $method(self, other: Tensor) -> Result<Tensor> {
                self.binary(&other, Binary::$what)
            }
        }
    )*};
}
binary!(Add add Add Sub sub Sub Mul mul Mul Div div Div);

/// With a number.
macro_rules! scalar {
    ($($op:ident $method:ident |$number:ident| $scale:expr, $shift:expr;)*) => {$(
        impl $op<f64> for &Tensor {
            type Output = Result<Tensor>;
            fn $method(self, $number: f64) -> Result<Tensor> {
                self.affine($scale, $shift)
            }
        }
        impl $op<f64> for Tensor {
            type Output = Result<Tensor>;
            fn $method(self, number: f64) -> Result<Tensor> {
                (&self).$method(number)
            }
        }
    )*};
}
scalar! {
    Add add |number| 1.0, number;
    Sub sub |number| 1.0, -number;
    Mul mul |number| number, 0.0;
    Div div |number| number.recip(), 0.0;
}

impl Sub<&Tensor> for f64 {
    type Output = Result<Tensor>;
    fn sub(self, x: &Tensor) -> Result<Tensor> {
        x.affine(-1.0, self)
    }
}

const MODULE: Module = module!("elementwise");
const THREADS: usize = 256;
fn blocks(x: &Tensor) -> [usize; 3] {
    [x.elem_count().div_ceil(THREADS), 1, 1]
}

/// `BinaryArgs` of `kernels/elementwise.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct BinaryArgs {
    a: Address,
    b: Address,
    out: Address,
    total: u64,
    dims: [u32; MOST_AXES],
    a_strides: [u32; MOST_AXES],
    b_strides: [u32; MOST_AXES],
}

// SAFETY: as its source has it; 104 bytes.
unsafe impl Args for BinaryArgs {}

/// `UnaryArgs` of the same.
#[repr(C)]
#[derive(Clone, Copy)]
struct UnaryArgs {
    x: Address,
    out: Address,
    total: u64,
    scale: f32,
    shift: f32,
}

// SAFETY: as its source has it; 32 bytes.
unsafe impl Args for UnaryArgs {}

/// `CastArgs` of the same.
#[repr(C)]
#[derive(Clone, Copy)]
struct CastArgs {
    x: Address,
    out: Address,
    total: u64,
}

// SAFETY: as its source has it; 24 bytes.
unsafe impl Args for CastArgs {}

/// `SumArgs` of the same.
#[repr(C)]
#[derive(Clone, Copy)]
struct SumArgs {
    x: Address,
    out: Address,
    columns: u64,
}

// SAFETY: as its source has it; 24 bytes.
unsafe impl Args for SumArgs {}

fn launch_binary([a, b]: [&Tensor; 2], strides: [Vec<usize>; 2], dims: &[usize], what: Binary) -> Result<Tensor> {
    let total = dims.iter().product::<usize>();
    if dims.len() > MOST_AXES || u32::try_from(total).is_err() {
        mismatch!("{a:?} and {b:?}: a kernel takes {MOST_AXES} axes and 2³² elements at most");
    }
    let out = launch::uninitialised(dims, DType::F32, a.device())?;
    let mut launch = Launch::on(a.device());
    let args = BinaryArgs {
        a: launch.input(a, DType::F32)?,
        b: launch.input(b, DType::F32)?,
        out: launch.output(&out)?,
        total: total as u64,
        dims: axes(dims, 1),
        a_strides: axes(&strides[0], 0),
        b_strides: axes(&strides[1], 0),
    };
    let kernel = match what {
        Binary::Add => "add",
        Binary::Sub => "subtract",
        Binary::Mul => "multiply",
        Binary::Div => "divide",
    };
    // SAFETY: a thread for each element of the result, whose places are within both tensors.
    unsafe { launch.run(MODULE, kernel, [total.div_ceil(THREADS), 1, 1], THREADS, args)? };
    Ok(out)
}

#[cfg(test)]
mod tests;
