//! No vector instructions: what runs elsewhere, and what the others are tested against.

use std::marker::PhantomData;

use super::{
    Dot, Isa,
    dot::{PlainDot, tile},
};

/// Whatever the compiler makes of it.
#[derive(Clone, Copy)]
pub struct Portable;

impl Isa for Portable {
    const NAME: &'static str = "portable";
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        // Without the instruction, `mul_add` is a call into the C library.
        a * b + c
    }
}

/// The dot product of any element.
#[derive(Clone, Copy)]
pub struct PortableDot<E>(PhantomData<E>);

impl<E: PlainDot> Dot for PortableDot<E> {
    type Isa = Portable;
    type Value = E::Value;
    type Element = E;
    type V = [u32; 4];
    const LANES: usize = 4;
    const MR: usize = 6;
    const NR: usize = 16;

    #[inline(always)]
    unsafe fn load(lanes: *const u32) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { lanes.cast::<[u32; 4]>().read() }
    }
    #[inline(always)]
    unsafe fn dot(acc: Self::V, a: *const u32, b: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        let a = unsafe { *a };
        std::array::from_fn(|i| E::dot(acc[i], a, b[i]))
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| E::add(a[i], b[i]))
    }
    #[inline(always)]
    unsafe fn store(sums: Self::V, out: *mut u32) {
        // SAFETY: the caller's promise.
        unsafe { out.cast::<[u32; 4]>().write(sums) }
    }
    #[inline(always)]
    unsafe fn tile(start: *const u32, a: *const u32, b: *const u32, depth: usize, out: *mut u32) {
        // SAFETY: the caller's promise.
        unsafe { tile::<Self, 6, 4>(start, a, b, depth, out) }
    }
    #[inline(always)]
    unsafe fn half_tile(start: *const u32, a: *const u32, b: *const u32, depth: usize, out: *mut u32) {
        // SAFETY: the caller's promise.
        unsafe { tile::<Self, 6, 2>(start, a, b, depth, out) }
    }
}
