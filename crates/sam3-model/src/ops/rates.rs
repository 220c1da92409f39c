//! The rate of each large op at SAM 3's sizes, beside what the register tile alone reaches: `sam3 bench --ops`.

use std::{hint::black_box, sync::Arc, time::Instant};

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use super::{
    Activation, Compute, Conv3x3, LayerNorm, Linear, MapAttention, Rope, attention,
    simd::{Dot, DotOp, Element, MR},
};
use crate::weights::Weight;

/// What an op reached, at best.
#[derive(Clone, Debug)]
pub struct Rate {
    /// The op and its sizes.
    pub name: &'static str,
    /// Shortest wall time of a call.
    pub seconds: f64,
    /// Floating-point operations of a call; 0 where memory is what counts.
    pub flop: f64,
}

/// Runs every op `rounds` times with all cores.
///
/// # Errors
/// When memory runs out.
pub fn op_rates(compute: Compute, rounds: usize) -> Result<Vec<Rate>> {
    let mut rates = Vec::new();
    let mut measure = |name, flop: f64, op: &mut dyn FnMut() -> Result<()>| -> Result<()> {
        let mut seconds = f64::INFINITY;
        for _ in 0..rounds {
            let start = Instant::now();
            op()?;
            seconds = seconds.min(start.elapsed().as_secs_f64());
        }
        rates.push(Rate { name, seconds, flop });
        Ok(())
    };
    let threads = rayon::current_num_threads();
    measure(
        "register tile in L1, every core",
        threads as f64 * PEAK_FLOP,
        &mut || {
            (0..threads).into_par_iter().for_each(|_| compute.dispatch(Peak));
            Ok(())
        },
    )?;
    let linear = |input: usize, output: usize| -> Result<Linear> {
        let weight = Weight::from_tensor(&noise(&[output, input])?)?;
        Ok(Linear::new(weight, Some(noise(&[output])?)).with_compute(compute))
    };
    let (x, hidden) = (noise(&[5184, 1024])?, noise(&[5184, 4736])?);
    let (fc1, fc2) = (linear(1024, 4736)?, linear(4736, 1024)?);
    let flop = 2.0 * 5184.0 * 1024.0 * 4736.0;
    measure("linear 5184x1024 -> 4736", flop, &mut || fc1.forward(&x).map(drop))?;
    measure("linear 5184x1024 -> 4736, GELU", flop, &mut || {
        fc1.forward_then(&x, Activation::Gelu).map(drop)
    })?;
    measure("linear 5184x4736 -> 1024, added", flop, &mut || {
        fc2.forward_add(&hidden, &x).map(drop)
    })?;
    drop(hidden);
    let text = noise(&[32, 1024])?;
    measure("linear 32x1024 -> 4736", 2.0 * 32.0 * 1024.0 * 4736.0, &mut || {
        fc1.forward(&text).map(drop)
    })?;
    let qkv = noise(&[72, 72, 3072])?;
    for (name, window, flop) in [
        (
            "attention, 9 windows of 576, 16 heads",
            Some(24),
            9.0 * 4.0 * 576.0 * 576.0 * 1024.0,
        ),
        ("attention, 5184 tokens, 16 heads", None, 4.0 * 5184.0 * 5184.0 * 1024.0),
    ] {
        let rope = Arc::new(Rope::new(window.unwrap_or(72), 64, 1.0, &Device::Cpu)?);
        let op = MapAttention::new(16, rope, window, compute);
        measure(name, flop, &mut || op.forward(&qkv, None).map(drop))?;
    }
    let fused = noise(&[1, 5184, 256])?;
    measure(
        "attention, 5184 tokens, 8 heads of 32",
        4.0 * 5184.0 * 5184.0 * 256.0,
        &mut || attention(compute, &fused, &fused, &fused, 8, None).map(drop),
    )?;
    let norm = LayerNorm::new(noise(&[1024])?, noise(&[1024])?, 1e-5);
    measure("layer norm 5184x1024", 0.0, &mut || norm.forward(&x).map(drop))?;
    let (conv, map) = (
        Conv3x3::new(&noise(&[256, 9 * 256])?, noise(&[256])?, compute)?,
        noise(&[144, 144, 256])?,
    );
    measure(
        "convolution 3x3, 144x144x256 -> 256",
        2.0 * 144.0 * 144.0 * 9.0 * 65536.0,
        &mut || conv.forward(&map).map(drop),
    )?;
    Ok(rates)
}

const DEPTH: usize = 96;
const TILES: usize = 20_000;
/// Counted at the widest tile.
const PEAK_FLOP: f64 = 2.0 * (TILES * DEPTH * MR * 64) as f64;

/// The tile over operands that stay in L1, as often as makes `PEAK_FLOP`.
struct Peak;

impl DotOp for Peak {
    type Out = ();
    #[inline(always)]
    fn run<D: Dot>(self) {
        let depth = DEPTH / D::Element::GROUP;
        let (a, b) = (vec![0u32; DEPTH * MR], vec![0u32; DEPTH * D::NR]);
        let mut out = vec![0f32; MR * D::NR];
        for _ in 0..TILES * (64 / D::NR) {
            // SAFETY: the slices have the tile's extents; `dispatch` chose D for this CPU.
            unsafe { D::tile(a.as_ptr(), b.as_ptr(), depth, out.as_mut_ptr()) };
            black_box(&mut out);
        }
    }
}

/// A seeded tensor of small values.
fn noise(shape: &[usize]) -> Result<Tensor> {
    let mut state = 1u32;
    let values = (0..shape.iter().product()).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    });
    Tensor::from_vec(values.collect::<Vec<f32>>(), shape, &Device::Cpu)
}
