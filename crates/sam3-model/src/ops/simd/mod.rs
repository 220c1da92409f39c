//! The CPU's vector units, chosen once at run time.
//!
//! An op is written once, over lanes. [`dispatch`] compiles it once for each [`Isa`] and runs the instance for the widest one this CPU
//! has, so that a binary built without flags uses them all. On aarch64 that is the portable instance: NEON is part of every such target, so
//! the compiler uses it there.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod dot;
pub mod math;
mod portable;

use std::sync::LazyLock;

pub use dot::{Bf16, Dot, Element, F32, MR, tile};

/// An instruction set, as far as element-wise code needs to know it.
pub trait Isa: Copy + Send + Sync + 'static {
    /// For logs and `sam3 bench --ops`.
    const NAME: &'static str;
    /// `a × b + c`, fused where that is one instruction.
    fn fma(a: f32, b: f32, c: f32) -> f32;
}

/// Code to run under an instruction set; `run` must be `#[inline(always)]`, or it is compiled without.
pub trait Op {
    /// What it returns.
    type Out;
    /// Runs it.
    fn run<I: Isa>(self) -> Self::Out;
}

/// Code to run with a dot-product unit; as [`Op`].
pub trait DotOp {
    /// What it returns.
    type Out;
    /// Runs it.
    fn run<D: Dot>(self) -> Self::Out;
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512 {
        bf16: bool,
    },
}

static LEVEL: LazyLock<Level> = LazyLock::new(detect);

fn detect() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let has_avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq");
        if has_avx2 && has_avx512 {
            let bf16 = is_x86_feature_detected!("avx512bf16");
            return Level::Avx512 { bf16 };
        }
        if has_avx2 {
            return Level::Avx2;
        }
    }
    Level::Portable
}

/// Runs `op` under the widest instruction set of this CPU.
pub fn dispatch<O: Op>(op: O) -> O::Out {
    match *LEVEL {
        Level::Portable => op.run::<portable::Portable>(),
        // SAFETY: `detect` found the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2::run(op) },
        // SAFETY: `detect` found the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 { .. } => unsafe { avx512::run(op) },
    }
}

/// Runs `op` with this CPU's f32 dot product.
pub fn dispatch_f32<O: DotOp>(op: O) -> O::Out {
    match *LEVEL {
        Level::Portable => op.run::<portable::PortableDot<F32>>(),
        // SAFETY: `detect` found the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2::run_f32(op) },
        // SAFETY: `detect` found the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 { .. } => unsafe { avx512::run_f32(op) },
    }
}

/// Runs `op` with this CPU's bf16 dot product, or a portable one; [`has_bf16`] tells which.
pub fn dispatch_bf16<O: DotOp>(op: O) -> O::Out {
    match *LEVEL {
        // SAFETY: `detect` found the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 { bf16: true } => unsafe { avx512::run_bf16(op) },
        _ => op.run::<portable::PortableDot<Bf16>>(),
    }
}

/// Does this CPU multiply bf16 faster than f32?
pub fn has_bf16() -> bool {
    match *LEVEL {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 { bf16 } => bf16,
        _ => false,
    }
}

/// The instruction set in use, for people.
pub fn name() -> &'static str {
    struct Name;
    impl Op for Name {
        type Out = &'static str;
        #[inline(always)]
        fn run<I: Isa>(self) -> &'static str {
            I::NAME
        }
    }
    dispatch(Name)
}
