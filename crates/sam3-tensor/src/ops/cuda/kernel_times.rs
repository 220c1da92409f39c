//! How long the kernels take on a GPU at SAM 3's sizes: `cargo test --release --features cuda -p sam3-tensor --lib --
//! --ignored --nocapture times_on_a_gpu`.

use std::time::Instant;

use crate::{DType, Device, Result, Tensor};

use crate::ops::{Activation, testing::tensor};

/// Prints the mean of 20 runs, and how fast that is.
fn time(device: &Device, what: &str, (amount, unit): (f64, &str), run: impl Fn() -> Result<Tensor>) -> Result<()> {
    const RUNS: u32 = 20;
    for _ in 0..3 {
        run()?;
    }
    device.synchronize()?;
    let start = Instant::now();
    for _ in 0..RUNS {
        run()?;
    }
    device.synchronize()?;
    let seconds = start.elapsed().as_secs_f64() / f64::from(RUNS);
    println!("{what:<44} {:>9.3} ms {:>9.1} {unit}", 1e3 * seconds, amount / seconds);
    Ok(())
}

#[test]
#[ignore = "needs a CUDA device"]
fn times_on_a_gpu() -> Result<()> {
    let device = crate::open_gpu(0).unwrap();
    let random = |shape: &[usize], dtype| tensor(shape, 1).to_device(&device)?.to_dtype(dtype);
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        let qkv = random(&[72, 72, 3072], dtype)?;
        let bias = random(&[3072], DType::F32)?;
        for (what, window) in [("whole map", None), ("windows of 24", Some(24))] {
            let tokens = window.map_or(5184, |side| side * side);
            let turns = random(&[tokens, 32], DType::F32)?;
            let teraflop = 4.0 * 5184.0 * tokens as f64 * 1024.0 / 1e12;
            time(
                &device,
                &format!("ViT, {what}, {dtype:?}"),
                (teraflop, "TFLOP/s"),
                || super::map_attention_biased(&qkv, &bias, 16, &turns, &turns, window),
            )?;
        }
        let (map, queries) = (random(&[1, 5184, 256], dtype)?, random(&[1, 201, 256], dtype)?);
        let teraflop = |queries: f64| 4.0 * 5184.0 * queries * 256.0 / 1e12;
        time(
            &device,
            &format!("encoder, {dtype:?}"),
            (teraflop(5184.0), "TFLOP/s"),
            || super::attention(&map, &map, &map, 8, None),
        )?;
        let boxes = random(&[8, 201, 5184], DType::F32)?;
        time(
            &device,
            &format!("decoder with its box bias, {dtype:?}"),
            (teraflop(201.0), "TFLOP/s"),
            || super::attention(&queries, &map, &map, 8, Some(&boxes)),
        )?;
        let size = dtype.size_in_bytes() as f64;
        let (residual, wide) = (random(&[5184, 1024], DType::F32)?, random(&[5184, 4736], dtype)?);
        let (narrow, one) = (random(&[5184, 1024], dtype)?, random(&[1024], DType::F32)?);
        let gigabytes = |values: f64, bytes: f64| values * bytes / 1e9;
        time(
            &device,
            &format!("LayerNorm, f32 to {dtype:?}"),
            (gigabytes(5184.0 * 1024.0, 4.0 + size), "GB/s"),
            || super::layer_norm(&residual, &one, &one, 1e-5, dtype),
        )?;
        let wide_bias = random(&[4736], DType::F32)?;
        time(
            &device,
            &format!("bias and GELU, {dtype:?}"),
            (gigabytes(5184.0 * 4736.0, 2.0 * size), "GB/s"),
            || super::finish(&wide, Some(&wide_bias), Activation::Gelu, None, dtype),
        )?;
        time(
            &device,
            &format!("bias and residual, {dtype:?} to f32"),
            (gigabytes(5184.0 * 1024.0, 8.0 + size), "GB/s"),
            || super::finish(&narrow, Some(&one), Activation::None, Some(&residual), DType::F32),
        )?;
    }
    Ok(())
}
