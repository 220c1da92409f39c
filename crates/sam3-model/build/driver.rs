//! The names of the NVIDIA driver's functions, and a jump for each: see `src/gpu/driver.rs`.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

/// Opens the library, so it is written in Rust.
const FIRST: &str = "cuInit";

/// Writes `driver_names.rs` and `driver.s` into `out`, where the target's linker and the toolkit allow it; says so by `cfg(driver_slots)`.
pub fn write(nvcc: &Path, out: &Path) {
    let target = |of: &str| env::var(format!("CARGO_CFG_TARGET_{of}")).unwrap_or_default();
    let jump: fn(usize) -> String = match (target("OS").as_str(), target("ARCH").as_str()) {
        ("linux", "x86_64") => |slot| format!("    jmp qword ptr [rip + sam3_driver_slots + {}]\n", 8 * slot),
        ("linux", "aarch64") => |slot| {
            let slot = format!("sam3_driver_slots + {}", 8 * slot);
            format!("    adrp x16, {slot}\n    ldr x16, [x16, :lo12:{slot}]\n    br x16\n")
        },
        _ => return,
    };
    let names = names(nvcc);
    if !names.contains(FIRST) {
        println!(
            "cargo::warning=no cuda.h beside {}: this sam3 will not start without a driver",
            nvcc.display()
        );
        return;
    }
    let (mut list, mut assembly) = (String::from("[\n"), String::from(".text\n"));
    for (slot, name) in names.iter().enumerate() {
        list += &format!("    c\"{name}\",\n");
        if name != FIRST {
            assembly += &format!(
                ".globl {name}\n.hidden {name}\n.type {name}, @function\n{name}:\n{}",
                jump(slot)
            );
        }
    }
    fs::write(out.join("driver_names.rs"), list + "]\n").expect("cargo's own folder can be written");
    fs::write(out.join("driver.s"), assembly).expect("cargo's own folder can be written");
    println!("cargo::rustc-cfg=driver_slots");
}

/// Every word of the toolkit's headers that looks like a function of the driver; some are types, which does no harm.
fn names(nvcc: &Path) -> BTreeSet<String> {
    let beside = fs::canonicalize(nvcc)
        .ok()
        .and_then(|nvcc| Some(nvcc.parent()?.parent()?.to_owned()));
    let homes = ["CUDA_HOME", "CUDA_PATH"]
        .into_iter()
        .filter_map(env::var_os)
        .map(PathBuf::from);
    let mut folders = homes
        .chain(beside)
        .chain(["/usr/local/cuda".into()])
        .map(|home| home.join("include"));
    let Some(folder) = folders.find(|folder| folder.join("cuda.h").exists()) else {
        return BTreeSet::new();
    };
    let mut names = BTreeSet::new();
    for header in ["cuda.h", "cudaProfiler.h"] {
        println!("cargo::rerun-if-changed={}", folder.join(header).display());
        let text = fs::read_to_string(folder.join(header)).unwrap_or_default();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = text.split(|c| !is_name(c));
        let is_function = |word: &&str| {
            let is_type = ["_enum", "_st", "_t"].iter().any(|end| word.ends_with(end));
            word.strip_prefix("cu")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
                && !is_type
        };
        names.extend(words.filter(is_function).map(str::to_owned));
    }
    names
}
