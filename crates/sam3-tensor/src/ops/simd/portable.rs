//! No vector instructions: what runs elsewhere, and what the others are tested against.

use std::marker::PhantomData;

use super::{
    Dot, Isa,
    dot::{Blocking, ByLane, PlainDot, tile},
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

impl<E: PlainDot> Blocking for PortableDot<E> {
    const MR: usize = 6;
    const NR: usize = 16;
}

impl<E: PlainDot> Dot for PortableDot<E> {
    type Isa = Portable;
    type Value = E::Value;
    type Element = E;
    type V = [u32; 4];
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn load(lanes: *const u32) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { lanes.cast::<[u32; 4]>().read() }
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

impl<E: PlainDot> ByLane for PortableDot<E> {
    #[inline(always)]
    unsafe fn dot(acc: Self::V, a: *const u32, b: Self::V) -> Self::V {
        // SAFETY: the caller's promise.
        let a = unsafe { *a };
        std::array::from_fn(|i| E::dot(acc[i], a, b[i]))
    }
}

/// The same sums from strips with a [`DEPTH_STEP`](Blocking::DEPTH_STEP): the plain twin of AMX, so that what is around its
/// tiles is tested on every CPU.
#[cfg(test)]
#[derive(Clone, Copy)]
pub struct PortableSteps<E>(PhantomData<E>);

#[cfg(test)]
impl<E: PlainDot> Blocking for PortableSteps<E> {
    const MR: usize = 32;
    const NR: usize = 32;
    // Of all levels only AVX2 has chunks, and not every CPU has that.
    const DEPTH_CHUNK: usize = 128;
    const DEPTH_STEP: usize = 16;
}

#[cfg(test)]
impl<E: PlainDot> Dot for PortableSteps<E> {
    type Isa = Portable;
    type Value = E::Value;
    type Element = E;
    type V = [u32; 4];
    const LANES: usize = 4;

    unsafe fn load(lanes: *const u32) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { PortableDot::<E>::load(lanes) }
    }
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as above.
        unsafe { PortableDot::<E>::add(a, b) }
    }
    unsafe fn store(sums: Self::V, out: *mut u32) {
        // SAFETY: as above.
        unsafe { PortableDot::<E>::store(sums, out) }
    }
    unsafe fn tile(start: *const u32, a: *const u32, b: *const u32, depth: usize, out: *mut u32) {
        assert!(depth > 0 && depth.is_multiple_of(Self::DEPTH_STEP));
        for (row, column) in (0..Self::MR).flat_map(|row| (0..Self::NR).map(move |column| (row, column))) {
            let lane_of_a =
                |l: usize| (l / Self::DEPTH_STEP * Self::MR + row) * Self::DEPTH_STEP + l % Self::DEPTH_STEP;
            // SAFETY: as above.
            unsafe {
                let mut sum = *start.add(column);
                for l in 0..depth {
                    sum = E::dot(sum, *a.add(lane_of_a(l)), *b.add(l * Self::NR + column));
                }
                *out.add(row * Self::NR + column) = sum;
            }
        }
    }
    unsafe fn half_tile(start: *const u32, a: *const u32, b: *const u32, depth: usize, out: *mut u32) {
        // SAFETY: as above.
        unsafe { Self::tile(start, a, b, depth, out) }
    }
}
