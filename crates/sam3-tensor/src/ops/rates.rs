//! The rate of each large op at SAM 3's sizes, beside what the register tile alone reaches: `sam3 bench --ops`.

use std::{hint::black_box, sync::Arc, time::Instant};

use crate::{Device, Result, Tensor};
use rayon::prelude::*;

use super::{
    Activation, Compute, Conv3x3, ConvTranspose2x2, LayerNorm, Linear, MapAttention, Rope, attention,
    compute::{Int8, Unit},
    simd::{Dot, DotOp, ZEROS},
};
use crate::weight::Weight;

/// What an op reached, at best.
#[derive(Clone, Debug)]
pub struct Rate {
    /// The op.
    pub name: &'static str,
    /// Its sizes.
    pub shape: &'static str,
    /// Shortest wall time of a call.
    pub seconds: f64,
    /// Floating-point, or integer, operations of a call by the definition of the op; 0 where memory is what counts.
    pub flop: f64,
    /// `flop / seconds` as a share of what the register tile alone reaches on operands in L1, in the precision of this
    /// op's products. Above 1 where an algorithm takes fewer: convolutions in f32.
    pub share: Option<f64>,
}

/// Runs every op `rounds` times with all cores.
///
/// # Errors
/// When memory runs out.
pub fn op_rates(compute: Compute, rounds: usize) -> Result<Vec<Rate>> {
    let mut bench = Bench {
        rounds,
        rates: Vec::new(),
    };
    let f32_peak = bench.peak("register tile in L1", "f32, every core", Compute::F32)?;
    let bf16_peak = bench.peak("register tile in L1", "bf16, every core", Compute::Bf16)?;
    let int8_peak = bench.peak("register tile in L1", "int8, every core", Int8)?;
    let float = if compute.float() == Compute::Bf16 {
        bf16_peak
    } else {
        f32_peak
    };
    let linear_peak = if compute == Compute::Int8 { int8_peak } else { float };

    let linear = |input: usize, output: usize| -> Result<Linear> {
        let weight = Weight::from_tensor(&noise(&[output, input])?)?;
        Ok(Linear::new(weight, Some(noise(&[output])?)).with_compute(compute))
    };
    let x = noise(&[5184, 1024])?;
    let (fc1, fc2) = (linear(1024, 4736)?, linear(4736, 1024)?);
    let flop = 2.0 * 5184.0 * 1024.0 * 4736.0;
    bench.measure("linear", "5184x1024 -> 4736", flop, linear_peak, &mut || {
        fc1.forward(&x).map(drop)
    })?;
    bench.measure("linear, GELU", "5184x1024 -> 4736", flop, linear_peak, &mut || {
        fc1.forward_then(&x, Activation::Gelu).map(drop)
    })?;
    let hidden = noise(&[5184, 4736])?;
    bench.measure("linear, added", "5184x4736 -> 1024", flop, linear_peak, &mut || {
        fc2.forward_add(&hidden, &x).map(drop)
    })?;
    drop(hidden);
    let shape = "5184x1024 -> 4736 -> 1024";
    bench.measure(
        "linear, GELU, linear, added",
        shape,
        2.0 * flop,
        linear_peak,
        &mut || fc1.forward_through(&x, Activation::Gelu, &fc2, Some(&x)).map(drop),
    )?;
    let text = noise(&[32, 1024])?;
    let flop = 2.0 * 32.0 * 1024.0 * 4736.0;
    bench.measure("linear", "32x1024 -> 4736", flop, linear_peak, &mut || {
        fc1.forward(&text).map(drop)
    })?;

    let qkv = noise(&[72, 72, 3072])?;
    for (shape, window, flop) in [
        (
            "9 windows x 16 heads, 576x64",
            Some(24),
            9.0 * 4.0 * 576.0 * 576.0 * 1024.0,
        ),
        ("16 heads, 5184x64", None, 4.0 * 5184.0 * 5184.0 * 1024.0),
    ] {
        let rope = Arc::new(Rope::new(window.unwrap_or(72), 64, 1.0, &Device::Cpu)?);
        let op = MapAttention::new(16, rope, window, compute);
        bench.measure("attention", shape, flop, float, &mut || {
            op.forward(&qkv, None).map(drop)
        })?;
    }
    let fused = noise(&[1, 5184, 256])?;
    let flop = 4.0 * 5184.0 * 5184.0 * 256.0;
    bench.measure("attention", "8 heads, 5184x32", flop, float, &mut || {
        attention(compute, &fused, &fused, &fused, 8, None).map(drop)
    })?;

    let norm = LayerNorm::new(noise(&[1024])?, noise(&[1024])?, 1e-5);
    bench.measure("layer norm", "5184x1024", 0.0, 0.0, &mut || norm.forward(&x).map(drop))?;
    let (conv, map) = (
        Conv3x3::new(&noise(&[256, 9 * 256])?, noise(&[256])?, compute)?,
        noise(&[144, 144, 256])?,
    );
    let flop = 2.0 * 144.0 * 144.0 * 9.0 * 65536.0;
    bench.measure("convolution 3x3", "144x144x256 -> 256", flop, float, &mut || {
        conv.forward(&map).map(drop)
    })?;
    let up = ConvTranspose2x2::new(&noise(&[4 * 512, 1024])?, noise(&[512])?, compute)?;
    let trunk = noise(&[72, 72, 1024])?;
    let flop = 2.0 * 5184.0 * 4.0 * 512.0 * 1024.0;
    bench.measure(
        "transposed convolution 2x2",
        "72x72x1024 -> 512",
        flop,
        float,
        &mut || up.forward(&trunk, Activation::None).map(drop),
    )?;
    Ok(bench.rates)
}

struct Bench {
    rounds: usize,
    rates: Vec<Rate>,
}

impl Bench {
    /// Operations a second of the tile.
    fn peak<V, U: Unit<V>>(&mut self, name: &'static str, shape: &'static str, unit: U) -> Result<f64>
    where
        Peak: DotOp<V>,
        <Peak as DotOp<V>>::Out: Send,
    {
        let threads = rayon::current_num_threads();
        self.measure(name, shape, threads as f64 * PEAK_FLOP, 0.0, &mut || {
            (0..threads).into_par_iter().for_each(|_| drop(unit.dispatch(Peak)));
            Ok(())
        })
    }

    fn measure(
        &mut self,
        name: &'static str,
        shape: &'static str,
        flop: f64,
        peak: f64,
        op: &mut dyn FnMut() -> Result<()>,
    ) -> Result<f64> {
        let mut seconds = f64::INFINITY;
        for _ in 0..self.rounds {
            let start = Instant::now();
            op()?;
            seconds = seconds.min(start.elapsed().as_secs_f64());
        }
        self.rates.push(Rate {
            name,
            shape,
            seconds,
            flop,
            share: (peak > 0.0).then(|| flop / seconds / peak),
        });
        Ok(flop / seconds)
    }
}

/// Values of depth; a multiple of what every `DEPTH_STEP` holds.
const DEPTH: usize = 128;
/// Sums in the tiles of a call.
const PEAK_SUMS: usize = 20_000 * 12 * 32;
const PEAK_FLOP: f64 = 2.0 * (PEAK_SUMS * DEPTH) as f64;

/// The tile over operands that stay in L1, as often as makes `PEAK_FLOP`.
struct Peak;

impl<V> DotOp<V> for Peak {
    type Out = ();
    #[inline(always)]
    fn run<D: Dot<Value = V>>(self) {
        let depth = D::depth(DEPTH);
        // What they hold is hidden: the compiler would see that it is zero.
        let (a, b) = black_box((vec![0u32; depth * D::MR], vec![0u32; depth * D::NR]));
        let mut out = vec![0u32; D::MR * D::NR];
        for _ in 0..PEAK_SUMS / (D::MR * D::NR) {
            // SAFETY: the slices have the tile's extents; `dispatch` chose D for this CPU.
            unsafe { D::tile(ZEROS.as_ptr(), a.as_ptr(), b.as_ptr(), depth, out.as_mut_ptr()) };
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
