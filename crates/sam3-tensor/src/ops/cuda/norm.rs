//! LayerNorm over the last axis, GroupNorm over a feature map.

use crate::{
    DType, Result, Tensor,
    error::mismatch,
    launch::{self, Address, Args, Launch, Module, module, type_name},
};

use super::host;
use crate::ops::simd::math;

const MODULE: Module = module!("norm");

/// `weight (x - mean) / √(variance + eps) + bias` of each token of `x`, `[.., width]`, as the type `out`.
///
/// `weight` and `bias` are f32 `[width]`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64, out: DType) -> Result<Tensor> {
    let width = x.last_dim()?;
    if weight.dims() != [width] || bias.dims() != [width] {
        mismatch!(
            "LayerNorm of {:?}: weight {:?}, bias {:?}",
            x.dims(),
            weight.dims(),
            bias.dims()
        );
    }
    if !launch::runs_on(x.device()) {
        return layer_norm_twin(x, weight, bias, eps, out);
    }
    /// Rows that a block takes, a warp each.
    const ROWS: usize = 4;
    let (x, rows) = (x, x.elem_count() / width.max(1));
    let y = launch::uninitialised(x.dims(), out, x.device())?;
    let mut launch = Launch::on(x.device());
    let args = LayerNormArgs {
        x: launch.input(x, x.dtype())?,
        weight: launch.input(weight, DType::F32)?,
        bias: launch.input(bias, DType::F32)?,
        out: launch.output(&y)?,
        rows: rows as u32,
        width: width as u32,
        eps: eps as f32,
        unused: 0,
    };
    // A row in registers is at most 32 lanes × 8 × 4 values.
    let vectors = width <= 1024
        && width.is_multiple_of(4)
        && launch::aligned(
            &[
                (args.x, x.dtype()),
                (args.weight, DType::F32),
                (args.bias, DType::F32),
                (args.out, out),
            ],
            4,
        );
    let kernel = if vectors { "layer_norm_vectors" } else { "layer_norm" };
    let kernel = format!("{kernel}_{}_{}", type_name(x.dtype())?, type_name(out)?);
    // SAFETY: a warp for each row of `width` values, in both tensors.
    unsafe { launch.run(MODULE, &kernel, [rows.div_ceil(ROWS), 1, 1], 32 * ROWS, args)? };
    Ok(y)
}

/// `LayerNormArgs` of `kernels/norm.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LayerNormArgs {
    x: Address,
    weight: Address,
    bias: Address,
    out: Address,
    rows: u32,
    width: u32,
    eps: f32,
    unused: u32,
}

// SAFETY: as its source has it; 48 bytes.
unsafe impl Args for LayerNormArgs {}

fn layer_norm_twin(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64, out: DType) -> Result<Tensor> {
    let (weight, bias) = (host::values(weight)?, host::values(bias)?);
    let mut values = host::values(x)?;
    for row in values.chunks_exact_mut(weight.len().max(1)) {
        let (mean, scale) = statistics(row.iter().copied(), eps);
        for ((x, weight), bias) in row.iter_mut().zip(&weight).zip(&bias) {
            *x = (*x - mean) * scale * weight + bias;
        }
    }
    host::tensor(values, x.dims(), out, x)
}

/// GroupNorm with ReLU, which always follows here: `x` is `[height, width, channels]`, its channels in `groups` groups
/// that each have one mean and variance over the whole map.
///
/// `weight` and `bias` are f32 `[channels]`; returns `x`'s shape as the type `out`.
pub fn group_norm_relu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    out: DType,
) -> Result<Tensor> {
    if !launch::runs_on(x.device()) {
        check_group_norm(x, weight, bias, groups)?;
        return group_norm_twin(x, weight, bias, groups, eps, out);
    }
    let y = launch::uninitialised(x.dims(), out, x.device())?;
    group_norm_into(x, weight, bias, groups, eps, &y)?;
    Ok(y)
}

/// The same in the type of `x`, which is overwritten where nobody else holds it: the finest map has 85 MB, and one is
/// enough.
pub fn group_norm_relu_in_place(x: Tensor, weight: &Tensor, bias: &Tensor, groups: usize, eps: f64) -> Result<Tensor> {
    if !launch::runs_on(x.device()) || !x.is_sole() {
        return group_norm_relu(&x, weight, bias, groups, eps, x.dtype());
    }
    group_norm_into(&x, weight, bias, groups, eps, &x)?;
    Ok(x)
}

fn check_group_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, groups: usize) -> Result<()> {
    let (_, _, channels) = x.dims3()?;
    if weight.dims() != [channels] || bias.dims() != [channels] || channels % groups != 0 {
        mismatch!(
            "GroupNorm of {:?} in {groups} groups: weight {:?}, bias {:?}",
            x.dims(),
            weight.dims(),
            bias.dims()
        );
    }
    Ok(())
}

/// Writes the result into `y`, of `x`'s shape; it may be `x`, each value of which is read by the thread that writes it.
fn group_norm_into(x: &Tensor, weight: &Tensor, bias: &Tensor, groups: usize, eps: f64, y: &Tensor) -> Result<()> {
    check_group_norm(x, weight, bias, groups)?;
    let ((_, _, channels), out) = (x.dims3()?, y.dtype());
    let (scale, shift) = group_norm_parts(x, weight, bias, groups, eps)?;
    let mut launch = Launch::on(x.device());
    let args = GroupApplyArgs {
        x: launch.input(x, x.dtype())?,
        scale: launch.input(&scale, DType::F32)?,
        shift: launch.input(&shift, DType::F32)?,
        out: launch.output(y)?,
        total: x.elem_count() as u32,
        channels: channels as u32,
    };
    let vectors = channels.is_multiple_of(4) && launch::aligned(&[(args.x, x.dtype()), (args.out, out)], 4);
    let (kernel, each) = if vectors {
        ("group_norm_apply_vectors", 4)
    } else {
        ("group_norm_apply", 1)
    };
    let kernel = format!("{kernel}_{}_{}", type_name(x.dtype())?, type_name(out)?);
    let blocks = x.elem_count().div_ceil(each * THREADS);
    // SAFETY: a thread for each `each` values of both tensors.
    unsafe { launch.run(MODULE, &kernel, [blocks, 1, 1], THREADS, args) }
}

/// Threads of a block of each of GroupNorm's kernels.
const THREADS: usize = 256;

/// What each channel is multiplied with, and what is added then, both `[channels]`.
fn group_norm_parts(x: &Tensor, weight: &Tensor, bias: &Tensor, groups: usize, eps: f64) -> Result<(Tensor, Tensor)> {
    /// Pixels whose mean and variance a block finds by itself, before all are merged.
    const EACH: usize = 64;
    let (height, width, channels) = x.dims3()?;
    let pixels = height * width;
    let count = pixels.div_ceil(EACH);
    let parts = launch::uninitialised((count, groups, 2), DType::F32, x.device())?;
    let mut launch = Launch::on(x.device());
    let args = GroupStatisticsArgs {
        x: launch.input(x, x.dtype())?,
        parts: launch.output(&parts)?,
        pixels: pixels as u32,
        channels: channels as u32,
        groups: groups as u32,
        each: EACH as u32,
    };
    let kernel = format!("group_norm_statistics_{}", type_name(x.dtype())?);
    // SAFETY: a block for each part, which holds 1 to `EACH` pixels.
    unsafe { launch.run(MODULE, &kernel, [count, groups, 1], THREADS, args)? };

    let scale = launch::uninitialised(channels, DType::F32, x.device())?;
    let shift = launch::uninitialised(channels, DType::F32, x.device())?;
    let mut launch = Launch::on(x.device());
    let args = GroupMergeArgs {
        parts: launch.input(&parts, DType::F32)?,
        weight: launch.input(weight, DType::F32)?,
        bias: launch.input(bias, DType::F32)?,
        scale: launch.output(&scale)?,
        shift: launch.output(&shift)?,
        count: count as u32,
        pixels: pixels as u32,
        channels: channels as u32,
        groups: groups as u32,
        each: EACH as u32,
        eps: eps as f32,
    };
    // SAFETY: a block for each group, of `count` parts.
    unsafe { launch.run(MODULE, "group_norm_merge", [groups, 1, 1], THREADS, args)? };
    Ok((scale, shift))
}

/// `GroupStatisticsArgs` of `kernels/norm.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct GroupStatisticsArgs {
    x: Address,
    parts: Address,
    pixels: u32,
    channels: u32,
    groups: u32,
    each: u32,
}

// SAFETY: as its source has it; 32 bytes.
unsafe impl Args for GroupStatisticsArgs {}

/// `GroupMergeArgs` of `kernels/norm.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct GroupMergeArgs {
    parts: Address,
    weight: Address,
    bias: Address,
    scale: Address,
    shift: Address,
    count: u32,
    pixels: u32,
    channels: u32,
    groups: u32,
    each: u32,
    eps: f32,
}

// SAFETY: as its source has it; 64 bytes.
unsafe impl Args for GroupMergeArgs {}

/// `GroupApplyArgs` of `kernels/norm.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct GroupApplyArgs {
    x: Address,
    scale: Address,
    shift: Address,
    out: Address,
    total: u32,
    channels: u32,
}

// SAFETY: as its source has it; 40 bytes.
unsafe impl Args for GroupApplyArgs {}

fn group_norm_twin(x: &Tensor, weight: &Tensor, bias: &Tensor, groups: usize, eps: f64, out: DType) -> Result<Tensor> {
    let (weight, bias) = (host::values(weight)?, host::values(bias)?);
    let mut values = host::values(x)?;
    let channels = weight.len();
    let size = channels / groups;
    for group in 0..groups {
        let of_group = values
            .chunks_exact(channels)
            .flat_map(|pixel| &pixel[group * size..][..size]);
        let (mean, scale) = statistics(of_group.copied(), eps);
        for pixel in values.chunks_exact_mut(channels) {
            for i in group * size..(group + 1) * size {
                pixel[i] = math::relu((pixel[i] - mean) * scale * weight[i] + bias[i]);
            }
        }
    }
    host::tensor(values, x.dims(), out, x)
}

/// Mean and `1 / √(variance + eps)`.
fn statistics(values: impl Iterator<Item = f32> + Clone, eps: f64) -> (f32, f32) {
    let count = values.clone().count() as f64;
    let mean = values.clone().map(f64::from).sum::<f64>() / count;
    let variance = values.map(|x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
    // As in the kernels, whose sums are f32: a variance beyond it is no number, and would hide all values as a scale of
    // 0.
    let is_number = (variance as f32) < f32::INFINITY;
    let scale = if is_number {
        (1.0 / (variance + eps).sqrt()) as f32
    } else {
        f32::NAN
    };
    (mean as f32, scale)
}
