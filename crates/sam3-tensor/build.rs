//! Compiles `kernels/`, where the feature `cuda` asks for it.
//!
//! Each file becomes a fat binary: machine code for the card asked for, which starts at once, and PTX, from which the driver makes
//! machine code for later cards.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, exit},
};

/// Files of `kernels/` that hold kernels.
const MODULES: [&str; 12] = [
    "arrange",
    "elementwise",
    "attention",
    "attention_exact",
    "rotate",
    "norm",
    "finish",
    "dequantize",
    "rearrange",
    "pixels",
    "upsample",
    "box_bias",
];

/// The first cards whose tensor cores take bf16, and with asynchronous copies.
const LEAST: u32 = 80;

fn main() {
    println!("cargo::rerun-if-changed=kernels");
    for name in [
        "CUDA_COMPUTE_CAP",
        "CUDA_HOME",
        "CUDA_PATH",
        "NVCC",
        "NVCC_CCBIN",
        "PATH",
    ] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let (nvcc, capability) = (nvcc(), capability());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let jobs = MODULES.map(|name| {
        let source = Path::new("kernels").join(name).with_extension("cu");
        let mut command = Command::new(&nvcc);
        command
            .args(["-fatbin", "-O3", "-std=c++17", "--Werror=all-warnings", "-gencode"])
            .arg(format!(
                "arch=compute_{capability},code=[sm_{capability},compute_{capability}]"
            ))
            .arg("-o")
            .args([out.join(name).with_extension("fatbin"), source]);
        if let Some(compiler) = env::var_os("NVCC_CCBIN") {
            command.arg("-ccbin").arg(compiler);
        }
        let child = command.spawn();
        (
            name,
            child.unwrap_or_else(|e| fail(&format!("{}: {e}", nvcc.display()))),
        )
    });
    for (name, mut job) in jobs {
        match job.wait() {
            Ok(status) if status.success() => (),
            _ => fail(&format!(
                "{} compiles no kernels/{name}.cu for sm_{capability}",
                nvcc.display()
            )),
        }
    }
}

/// CUDA's compiler: what `NVCC` names, or in the toolkit's folder, or on the path.
fn nvcc() -> PathBuf {
    if let Some(nvcc) = env::var_os("NVCC") {
        return nvcc.into();
    }
    let homes = ["CUDA_HOME", "CUDA_PATH"]
        .into_iter()
        .filter_map(env::var_os)
        .map(PathBuf::from);
    homes
        .chain(["/usr/local/cuda".into()])
        .map(|home| home.join("bin/nvcc"))
        .find(|nvcc| nvcc.exists())
        .unwrap_or("nvcc".into())
}

/// The cards to compile for: 87 is a Jetson Orin.
fn capability() -> u32 {
    let named = env::var("CUDA_COMPUTE_CAP").ok();
    let capability = named.or_else(|| {
        let query = ["--query-gpu=compute_cap", "--format=csv,noheader"];
        let output = Command::new("nvidia-smi").args(query).output().ok()?;
        String::from_utf8(output.stdout).ok()
    });
    // 8.7, 87 and 90a alike; the least of several cards.
    let number = |line: &str| {
        line.chars()
            .filter(char::is_ascii_digit)
            .collect::<String>()
            .parse()
            .ok()
    };
    match capability.and_then(|lines| lines.lines().filter_map(number).min()) {
        Some(capability) if capability >= LEAST => capability,
        Some(capability) => fail(&format!(
            "the kernels want compute capability {LEAST} or later, not {capability}"
        )),
        None => fail("nvidia-smi names no card: set CUDA_COMPUTE_CAP (87 is a Jetson Orin, 90 an H100)"),
    }
}

fn fail(reason: &str) -> ! {
    println!("cargo::error={reason}");
    exit(1)
}
