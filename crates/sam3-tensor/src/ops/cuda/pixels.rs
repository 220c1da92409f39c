//! Pictures in and masks out, in pixels.

use crate::{
    DType, Device, Result, Tensor,
    error::mismatch,
    launch::{self, Address, Args, Launch, Module, module},
    ops::{resize as picture, upsample as mask},
};

#[cfg(feature = "cuda")]
use super::frame;
use super::host;
#[cfg(feature = "cuda")]
use crate::gpu::Gpu;

const MODULE: Module = module!("pixels");
const THREADS: usize = 256;

/// A picture as the model wants it: `rgb`, u8 `[height, width, 3]`, to f32 `[3, size, size]` in -1 to 1.
///
/// Bit for bit what [`picture::normalized`] makes of it.
pub fn resize_normalize(rgb: &Tensor, size: usize) -> Result<Tensor> {
    let (height, width, channels) = rgb.dims3()?;
    if rgb.dtype() != DType::U8 || channels != 3 || height * width * size == 0 {
        mismatch!("a picture of {:?} {:?} to {size}×{size}", rgb.dims(), rgb.dtype());
    }
    if !launch::runs_on(rgb.device()) {
        return resize_twin(rgb, size);
    }
    resize(Source::Tensor(rgb), (height, width), size, rgb.device())
}

/// The same of a picture in main memory, `[height, width, 3]`, on `device`.
pub fn resize_normalize_from(
    rgb: &[u8],
    (height, width): (usize, usize),
    size: usize,
    device: &Device,
) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(gpu) = device {
        return resize_staged(rgb, (height, width), size, gpu, frame::Way::of(gpu));
    }
    resize_normalize(&Tensor::from_slice(rgb, (height, width, 3), device)?, size)
}

/// The same with the way it takes there.
#[cfg(feature = "cuda")]
pub(super) fn resize_staged(
    rgb: &[u8],
    (height, width): (usize, usize),
    size: usize,
    gpu: &Gpu,
    way: frame::Way,
) -> Result<Tensor> {
    if rgb.len() != height * width * 3 || rgb.is_empty() || size == 0 {
        mismatch!("a picture of {height}×{width} in {} bytes to {size}×{size}", rgb.len());
    }
    frame::with_bytes_on(gpu, rgb, way, |address| {
        resize(
            Source::Address(address),
            (height, width),
            size,
            &Device::Cuda(gpu.clone()),
        )
    })
}

/// Where a picture's bytes are: in a tensor, or in memory that no tensor owns.
#[derive(Clone, Copy)]
enum Source<'a> {
    Tensor(&'a Tensor),
    #[cfg(feature = "cuda")]
    Address(Address),
}

fn resize(rgb: Source, (height, width): (usize, usize), size: usize, device: &Device) -> Result<Tensor> {
    let between = launch::uninitialised((height, size, 3), DType::U8, device)?;
    let planes = launch::uninitialised((3, size, size), DType::F32, device)?;
    resize_axis("resize_rows", rgb, (width, width), (size, height), &between)?;
    let between = Source::Tensor(&between);
    resize_axis("resize_columns", between, (height, size), (size, size), &planes)?;
    Ok(planes)
}

/// One pass: `input` pixels of the axis become `size.0`, or of columns `size.1`, where rows of `from` have `from_width`
/// pixels.
fn resize_axis(
    kernel: &str,
    from: Source,
    (input, from_width): (usize, usize),
    (width, height): (usize, usize),
    to: &Tensor,
) -> Result<()> {
    let output = if kernel == "resize_rows" { width } else { height };
    let axis = picture::Weights::new(input, output);
    let taps = axis.taps.iter().map(|(_, weights)| weights.len()).max().unwrap_or(0);
    let [mut starts, mut counts, mut weights] = [const { Vec::new() }; 3];
    for (start, tap_weights) in &axis.taps {
        starts.push(*start as i32);
        counts.push(tap_weights.len() as i32);
        weights.extend_from_slice(tap_weights);
        weights.resize(starts.len() * taps, 0);
    }
    let table = |values: Vec<i32>| {
        let len = values.len();
        Tensor::from_vec(values, len, to.device())
    };
    let (starts, counts, weights) = (table(starts)?, table(counts)?, table(weights)?);
    let mut launch = Launch::on(to.device());
    let args = ResizeArgs {
        from: match from {
            Source::Tensor(from) => launch.input(from, DType::U8)?,
            #[cfg(feature = "cuda")]
            Source::Address(address) => address,
        },
        starts: launch.input(&starts, DType::I32)?,
        counts: launch.input(&counts, DType::I32)?,
        weights: launch.input(&weights, DType::I32)?,
        out: launch.output(to)?,
        taps: taps as u32,
        precision: axis.precision,
        from_width: from_width as u32,
        width: width as u32,
        height: height as u32,
        unused: 0,
    };
    // SAFETY: a thread for each output pixel, whose taps lie within the input.
    unsafe {
        launch.run(
            MODULE,
            kernel,
            [(width * height).div_ceil(THREADS), 1, 1],
            THREADS,
            args,
        )
    }
}

/// `ResizeArgs` of `kernels/pixels.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct ResizeArgs {
    from: Address,
    starts: Address,
    counts: Address,
    weights: Address,
    out: Address,
    taps: u32,
    precision: u32,
    from_width: u32,
    width: u32,
    height: u32,
    unused: u32,
}

// SAFETY: as its source has it; 64 bytes.
unsafe impl Args for ResizeArgs {}

fn resize_twin(rgb: &Tensor, size: usize) -> Result<Tensor> {
    let (height, width, _) = rgb.dims3()?;
    let planes = picture::normalized(&rgb.to_vec::<u8>()?, (height, width), size)?;
    Tensor::from_vec(planes, (3, size, size), &Device::Cpu)?.to_device(rgb.device())
}

/// Masks at a picture's size: `logits`, `[n, h, w]`, resized as [`mask::upsample_threshold`] does it, then a bit for
/// each pixel, set where they are above `threshold`: i32 `[n, height, words]`, pixel x being bit x % 32 of word x / 32.
/// Words come in pairs, so that rows are those of a [`Mask`](crate::masks::Mask).
pub fn upsample_masks(logits: &Tensor, height: usize, width: usize, threshold: f32) -> Result<Tensor> {
    let (n, h, w) = logits.dims3()?;
    if h * w == 0 {
        mismatch!("masks of {h}×{w} logits");
    }
    if !launch::runs_on(logits.device()) {
        return upsample_twin(logits, height, width, threshold);
    }
    let logits = logits.to_dtype(DType::F32)?;
    let axis = |input, output| {
        let mut bits = Vec::with_capacity(4 * output);
        for at in mask::between(input, output) {
            bits.extend([at.low as i32, at.high as i32]);
            bits.extend([at.low_weight, at.high_weight].map(|weight| weight.to_bits() as i32));
        }
        Tensor::from_vec(bits, (output, 4), logits.device())
    };
    let (rows, columns) = (axis(h, height)?, axis(w, width)?);
    let words = words_per_row(width);
    let masks = launch::uninitialised((n, height, words), DType::I32, logits.device())?;
    let mut launch = Launch::on(logits.device());
    let args = MaskArgs {
        logits: launch.input(&logits, DType::F32)?,
        rows: launch.input(&rows, DType::I32)?,
        columns: launch.input(&columns, DType::I32)?,
        out: launch.output(&masks)?,
        h: h as u32,
        w: w as u32,
        height: height as u32,
        width: width as u32,
        threshold,
        words: words as u32,
    };
    // SAFETY: a warp for each word of each mask, whose pixels lie between pixels of the logits.
    unsafe {
        launch.run(
            MODULE,
            "upsample_masks",
            [(height * words * 32).div_ceil(THREADS), n, 1],
            THREADS,
            args,
        )?
    };
    Ok(masks)
}

/// Of 32 bits.
fn words_per_row(width: usize) -> usize {
    2 * width.div_ceil(64)
}

/// `MaskArgs` of `kernels/pixels.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct MaskArgs {
    logits: Address,
    rows: Address,
    columns: Address,
    out: Address,
    h: u32,
    w: u32,
    height: u32,
    width: u32,
    threshold: f32,
    words: u32,
}

// SAFETY: as its source has it; 56 bytes.
unsafe impl Args for MaskArgs {}

fn upsample_twin(logits: &Tensor, height: usize, width: usize, threshold: f32) -> Result<Tensor> {
    let (n, h, w) = logits.dims3()?;
    let values = host::values(logits)?;
    let (rows, columns) = (mask::between(h, height), mask::between(w, width));
    let words = words_per_row(width);
    let mut masks = vec![0i32; n * height * words];
    let all_rows = values
        .chunks_exact(h * w)
        .flat_map(|logits| rows.iter().map(move |row| (logits, row)));
    for ((logits, row), bits) in all_rows.zip(masks.chunks_exact_mut(words)) {
        for (x, column) in columns.iter().enumerate() {
            let along = |y: usize| {
                let row = &logits[y * w..][..w];
                row[column.low] * column.low_weight + row[column.high] * column.high_weight
            };
            let value = along(row.low) * row.low_weight + along(row.high) * row.high_weight;
            bits[x / 32] |= i32::from(value > threshold) << (x % 32);
        }
    }
    Tensor::from_vec(masks, (n, height, words), &Device::Cpu)?.to_device(logits.device())
}
