//! AMX: the tiles that Intel's Xeons have beside AVX-512 since 2023, by inline assembly, as their intrinsics are not
//! stable.
//!
//! Eight registers hold 16 rows of 64 bytes each. A register tile of ours is 2 × 2 of them; two more hold 32 rows of
//! `a`, two 32 columns of `b`, of 16 lanes of depth. Which rows and bytes of a register count is configured, and every
//! product here wants all of them, so [`run_bf16`] and [`run_int8`] configure a thread once for a whole op.
//!
//! On two cores of a Xeon (model 207), the image encoder's first MLP layer has 1,030 to 1,410 GFLOP/s in bf16 and 1,810
//! in int8, where AVX-512 has 200 to 257 in f32 and 590 to 810 in int8; in bf16 subnormals count as zero. Asking for
//! lines of both operands two steps ahead gave the tile alone, over such blocks and panels, 17 % in the median of ten
//! measurements (from −19 to 38).

use std::arch::{asm, x86_64::__m512i};

use super::{
    COLUMNS, Dot, DotOp, Element,
    avx512::{Avx512, Avx512Bf16, Avx512Vnni},
    dot::{Bf16, Blocking, Int8},
};

/// Rows of a register, and lanes in one.
const SIDE: usize = 16;

/// `tdpbf16ps`: 16 times the products of the f32 unit.
#[derive(Clone, Copy)]
pub struct AmxBf16;

/// `tdpbssd`: 32 times the products of the f32 unit.
#[derive(Clone, Copy)]
pub struct AmxInt8;

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_of_a_row: [u16; 16],
    rows: [u8; 16],
}

/// Eight whole registers.
static WHOLE: Configuration = {
    let mut whole = Configuration {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        bytes_of_a_row: [0; 16],
        rows: [0; 16],
    };
    let mut register = 0;
    while register < 8 {
        whole.bytes_of_a_row[register] = 4 * SIDE as u16;
        whole.rows[register] = SIDE as u8;
        register += 1;
    }
    whole
};

/// Asks the kernel for the registers, which it saves for no process that did not ask; false where they cannot be had.
#[cfg(target_os = "linux")]
pub fn request() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // Later compilers than our oldest know that it is safe.
    #[allow(unused_unsafe)]
    // SAFETY: every CPU with AVX-512 has the leaf.
    let leaf = unsafe { std::arch::x86_64::__cpuid_count(7, 0) };
    let has = |bit: u32| leaf.edx & (1 << bit) != 0;
    let (bf16, tiles, int8) = (has(22), has(24), has(25));
    // SAFETY: a question about numbers, which kernels that do not know it refuse.
    bf16 && tiles
        && int8
        && unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) } == 0
}

/// Elsewhere nobody asked yet how it is done.
#[cfg(not(target_os = "linux"))]
pub fn request() -> bool {
    false
}

/// # Safety
/// The CPU has these features, and [`request`] was granted.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
pub unsafe fn run_bf16<O: DotOp<f32>>(op: O) -> O::Out {
    // SAFETY: the caller's promise.
    unsafe { configure() };
    let out = op.run::<AmxBf16>();
    // SAFETY: the caller's promise.
    unsafe { release() };
    out
}

/// # Safety
/// See [`run_bf16`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
pub unsafe fn run_int8<O: DotOp<i8>>(op: O) -> O::Out {
    // SAFETY: the caller's promise.
    unsafe { configure() };
    let out = op.run::<AmxInt8>();
    // SAFETY: the caller's promise.
    unsafe { release() };
    out
}

/// # Safety
/// See [`run_bf16`].
#[inline(always)]
unsafe fn configure() {
    // SAFETY: it is 64 bytes, and right; no code but that of this module's tiles touches the registers.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const WHOLE, options(nostack, readonly, preserves_flags)) };
}

/// Empties the registers, so that the kernel has less to save.
///
/// # Safety
/// See [`run_bf16`].
#[inline(always)]
unsafe fn release() {
    // SAFETY: the op that used them is over.
    unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
}

/// Asks for the 32 lines of an operand that the step after the next one reads.
macro_rules! ahead {
    ($operand:literal) => {
        ahead!($operand, 0 64 128 192 256 320 384 448 512 576 640 704 768 832 896 960 1024 1088 1152 1216 1280 1344 1408 1472 1536 1600 1664 1728 1792 1856 1920 1984)
    };
    ($operand:literal, $($line:literal)*) => {
        concat!($("prefetcht0 [{", $operand, "} + 4096 + ", $line, "]\n"),*)
    };
}

/// [`Dot::tile`] of 32 rows by 32 columns: sums in `tmm0` to `tmm3`, rows in `tmm4` and `tmm5`, columns in `tmm6` and
/// `tmm7`.
macro_rules! whole_tile {
    ($dot:literal, $a:ident, $b:ident, $depth:ident, $out:ident) => {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{a} + {lane}]",
            "tileloadd tmm6, [{b} + {row}]",
            concat!($dot, " tmm0, tmm4, tmm6"),
            "tileloadd tmm7, [{b} + {row} + 64]",
            concat!($dot, " tmm1, tmm4, tmm7"),
            "tileloadd tmm5, [{a} + {lane} + 1024]",
            concat!($dot, " tmm2, tmm5, tmm6"),
            concat!($dot, " tmm3, tmm5, tmm7"),
            ahead!("a"),
            ahead!("b"),
            "add {a}, 2048",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{out} + {row}], tmm0",
            "tilestored [{out} + {row} + 64], tmm1",
            "tilestored [{out} + {row} + 2048], tmm2",
            "tilestored [{out} + {row} + 2112], tmm3",
            a = inout(reg) $a => _,
            b = inout(reg) $b => _,
            lane = in(reg) 4 * SIDE,
            row = in(reg) 4 * Self::NR,
            steps = inout(reg) $depth / SIDE => _,
            out = in(reg) $out,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

/// [`Dot::half_tile`]: the same without `tmm1`, `tmm3` and `tmm7`.
macro_rules! half_tile {
    ($dot:literal, $a:ident, $b:ident, $depth:ident, $out:ident) => {
        asm!(
            "tilezero tmm0",
            "tilezero tmm2",
            "2:",
            "tileloadd tmm4, [{a} + {lane}]",
            "tileloadd tmm6, [{b} + {row}]",
            concat!($dot, " tmm0, tmm4, tmm6"),
            "tileloadd tmm5, [{a} + {lane} + 1024]",
            concat!($dot, " tmm2, tmm5, tmm6"),
            "add {a}, 2048",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{out} + {row}], tmm0",
            "tilestored [{out} + {row} + 2048], tmm2",
            a = inout(reg) $a => _,
            b = inout(reg) $b => _,
            lane = in(reg) 4 * SIDE,
            row = in(reg) 4 * Self::NR,
            steps = inout(reg) $depth / SIDE => _,
            out = in(reg) $out,
            out("tmm0") _, out("tmm2") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
            options(nostack),
        )
    };
}

/// Half of the depth of SAM 3's MLP in bf16, all of it in int8: 288 rows of it take 1.4 of the 2 MB of L2 that these
/// CPUs have.
const DEPTH: usize = 1184;

/// `$vectors` is the unit that packs the same lanes, and adds the same sums.
macro_rules! dot {
    ($name:ident, $element:ty, $dot:literal, as $vectors:ident) => {
        impl Blocking for $name {
            const MR: usize = 2 * SIDE;
            const NR: usize = 2 * SIDE;
            const DEPTH_BLOCK: usize = DEPTH;
            const BLOCK_LANES: usize = DEPTH * 288;
            const NEXT_PANEL: bool = false;
            const DEPTH_STEP: usize = SIDE;
        }

        impl Dot for $name {
            type Isa = Avx512;
            type Value = <$element as Element>::Value;
            type Element = $element;
            type V = __m512i;
            const LANES: usize = $vectors::LANES;

            #[inline(always)]
            unsafe fn load(lanes: *const u32) -> __m512i {
                // SAFETY: the caller's promise.
                unsafe { $vectors::load(lanes) }
            }
            #[inline(always)]
            unsafe fn add(a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: as above.
                unsafe { $vectors::add(a, b) }
            }
            #[inline(always)]
            unsafe fn store(sums: __m512i, out: *mut u32) {
                // SAFETY: as above.
                unsafe { $vectors::store(sums, out) }
            }
            #[inline(always)]
            unsafe fn tile(_start: *const u32, a: *const u32, b: *const u32, depth: usize, out: *mut u32) {
                debug_assert!(depth > 0 && depth.is_multiple_of(SIDE));
                // SAFETY: as above.
                unsafe { whole_tile!($dot, a, b, depth, out) }
            }
            #[inline(always)]
            unsafe fn half_tile(_start: *const u32, a: *const u32, b: *const u32, depth: usize, out: *mut u32) {
                debug_assert!(depth > 0 && depth.is_multiple_of(SIDE));
                // SAFETY: as above.
                unsafe { half_tile!($dot, a, b, depth, out) }
            }
            #[inline(always)]
            unsafe fn lanes(values: &[Self::Value], out: &mut [u32]) {
                // SAFETY: as above.
                unsafe { $vectors::lanes(values, out) }
            }
            #[inline(always)]
            unsafe fn pair(first: &[Self::Value; COLUMNS], last: &[Self::Value; COLUMNS], out: &mut [u32; COLUMNS]) {
                // SAFETY: as above.
                unsafe { $vectors::pair(first, last, out) }
            }
            #[inline(always)]
            unsafe fn transpose(rows: *const u32, stride: usize, width: usize, lanes: usize, out: *mut u32) {
                // SAFETY: as above.
                unsafe { $vectors::transpose(rows, stride, width, lanes, out) }
            }
        }
    };
}

dot!(AmxBf16, Bf16, "tdpbf16ps", as Avx512Bf16);
dot!(AmxInt8, Int8, "tdpbssd", as Avx512Vnni);
