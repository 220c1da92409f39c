//! Which instances of the ops this CPU runs.

use std::sync::LazyLock;

/// An instruction set, with what is optional in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    Portable,
    /// See `portable::PortableSteps`.
    #[cfg(test)]
    PortableSteps,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512 {
        bf16: bool,
        vnni: bool,
    },
    /// AVX-512 with all of these, and AMX.
    #[cfg(target_arch = "x86_64")]
    Amx,
    #[cfg(target_arch = "aarch64")]
    Neon {
        bf16: bool,
        dotprod: bool,
    },
}

static ALL: LazyLock<Vec<Level>> = LazyLock::new(detect);

/// The widest.
pub fn get() -> Level {
    #[cfg(test)]
    if let Some(level) = FORCED.get() {
        return level;
    }
    ALL[0]
}

/// Intel's CPUs have the bf16 dot product at half of AMD's rate: 117 GFLOP/s on two cores of a Xeon (model 207) whose
/// f32 unit has 207.
#[cfg(target_arch = "x86_64")]
pub fn is_intel() -> bool {
    // Later compilers than our oldest know that it is safe.
    #[allow(unused_unsafe)]
    // SAFETY: every x86-64 CPU has the instruction.
    let leaf = unsafe { std::arch::x86_64::__cpuid(0) };
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel"
}

/// What this CPU has, the widest first.
fn detect() -> Vec<Level> {
    let mut levels = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let has_avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let has_avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq");
        if has_avx2 && has_avx512 {
            let bf16 = is_x86_feature_detected!("avx512bf16");
            let vnni = is_x86_feature_detected!("avx512vnni");
            if bf16 && vnni && super::amx::request() {
                levels.push(Level::Amx);
            }
            levels.push(Level::Avx512 { bf16, vnni });
            if bf16 || vnni {
                levels.push(Level::Avx512 {
                    bf16: false,
                    vnni: false,
                });
            }
        }
        if has_avx2 {
            levels.push(Level::Avx2);
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        let bf16 = std::arch::is_aarch64_feature_detected!("bf16");
        let dotprod = std::arch::is_aarch64_feature_detected!("dotprod");
        levels.push(Level::Neon { bf16, dotprod });
        if bf16 || dotprod {
            levels.push(Level::Neon {
                bf16: false,
                dotprod: false,
            });
        }
    }
    #[cfg(test)]
    levels.push(Level::PortableSteps);
    levels.push(Level::Portable);
    levels
}

#[cfg(test)]
thread_local! {
    static FORCED: std::cell::Cell<Option<Level>> = const { std::cell::Cell::new(None) };
}

/// Runs `test` once at each level that this CPU has, on threads that know no other: narrower instances are tested on
/// wide CPUs too.
#[cfg(test)]
pub fn at_every_level(test: impl Fn() + Sync) {
    for &level in ALL.iter() {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(2)
            .start_handler(move |_| FORCED.set(Some(level)))
            .build()
            .unwrap();
        pool.install(|| {
            assert_eq!(get(), level);
            // A failure's output then says where.
            println!("at level {level:?}");
            test();
        });
    }
}
