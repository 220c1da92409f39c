//! Refuses platforms that nobody has tested. Compiles `kernels/`, where the feature `cuda` asks for it: each file to
//! machine code for every card, which starts at once, and to PTX, from which the driver makes machine code for later
//! cards.
//!
//! `CUDA_COMPUTE_CAP` names the cards, such as `87,90`; without it they are all that nvcc knows of `CARDS`.
//! `SAM3_KERNELS` names a folder where `tools/kernels.py` compiled them: then there need be no nvcc.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, exit},
    thread::available_parallelism,
};

/// Files of `kernels/` that hold kernels.
const MODULES: [&str; 14] = [
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
    "softmax",
    "depthwise",
];

/// A100, RTX 3090, Jetson Orin, RTX 4090, H100, Jetson Thor, RTX 5090.
const CARDS: [u32; 7] = [80, 86, 87, 89, 90, 110, 120];

/// The first cards whose tensor cores take bf16, and with asynchronous copies.
const LEAST: u32 = 80;

fn main() {
    check_platform();
    println!("cargo::rerun-if-changed=kernels");
    for name in [
        "CUDA_COMPUTE_CAP",
        "CUDA_HOME",
        "CUDA_PATH",
        "NVCC",
        "NVCC_CCBIN",
        "PATH",
        "SAM3_KERNELS",
    ] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let folder = match env::var_os("SAM3_KERNELS") {
        Some(folder) => {
            println!("cargo::rerun-if-changed={}", folder.display());
            folder.into()
        }
        None => {
            compile(&out);
            out.clone()
        }
    };
    for module in MODULES {
        describe(module, &folder, &out);
    }
}

/// Says in one sentence that a platform is none of ours: this script runs before most crates are compiled for it.
fn check_platform() {
    const ANYWAY: &str = "SAM3_ANY_PLATFORM";
    println!("cargo::rerun-if-env-changed={ANYWAY}");
    let target = |what| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    let (system, cpu) = (target("OS"), target("ARCH"));
    let is_ours = system == "linux" && ["x86_64", "aarch64"].contains(&cpu.as_str());
    if !is_ours && env::var_os(ANYWAY).is_none() {
        fail(&format!(
            "sam3 is for Linux on x86-64 and aarch64, and this is {system} on {cpu}: on Windows build it in WSL 2, which is such \
             a Linux; elsewhere {ANYWAY}=1 tries to build what nobody has tested"
        ));
    }
}

/// All modules for all cards, a process each, so many at once as there are cores.
fn compile(out: &Path) {
    let nvcc = nvcc();
    let cards = cards(&nvcc);
    for module in MODULES {
        // Of an earlier build, for cards that are no longer asked for.
        for target in CARDS
            .into_iter()
            .flat_map(|card| [Target::Code(card), Target::Ptx(card)])
        {
            let _ = fs::remove_file(out.join(target.file(module)));
        }
    }
    let mut targets: Vec<Target> = cards.iter().map(|&card| Target::Code(card)).collect();
    targets.extend(cards.iter().max().map(|&card| Target::Ptx(card)));
    let all = MODULES
        .iter()
        .flat_map(|module| targets.iter().map(move |target| (*module, *target)));
    let most = available_parallelism().map_or(1, usize::from);
    let mut running: Vec<(&str, Target, Child)> = Vec::new();
    for (module, target) in all {
        if running.len() == most {
            finish(&nvcc, running.remove(0));
        }
        let mut command = Command::new(&nvcc);
        command.args(["-O3", "-std=c++17", "--Werror=all-warnings"]);
        match target {
            Target::Code(card) => command.arg("-cubin").arg(format!("-arch=sm_{card}")),
            Target::Ptx(card) => command.arg("-ptx").arg(format!("-arch=compute_{card}")),
        };
        if let Some(compiler) = env::var_os("NVCC_CCBIN") {
            command.arg("-ccbin").arg(compiler);
        }
        let source = Path::new("kernels").join(module).with_extension("cu");
        let child = command.arg("-o").arg(out.join(target.file(module))).arg(source).spawn();
        match child {
            Ok(child) => running.push((module, target, child)),
            Err(error) => fail(&format!("{}: {error}", nvcc.display())),
        }
    }
    for one in running {
        finish(&nvcc, one);
    }
}

fn finish(nvcc: &Path, (module, target, mut child): (&str, Target, Child)) {
    match child.wait() {
        Ok(status) if status.success() => (),
        _ => fail(&format!(
            "{} makes no {} of kernels/{module}.cu",
            nvcc.display(),
            target.file(module)
        )),
    }
}

/// What a file of kernels is compiled to.
#[derive(Clone, Copy)]
enum Target {
    Code(u32),
    Ptx(u32),
}

impl Target {
    fn file(self, module: &str) -> String {
        match self {
            Self::Code(card) => format!("{module}_{card}.cubin"),
            Self::Ptx(card) => format!("{module}_{card}.ptx"),
        }
    }
}

/// Writes what `module!` includes: an array of all that lies in `folder` of a module.
fn describe(module: &str, folder: &Path, out: &Path) {
    let (mut images, mut newest) = (String::new(), 0);
    for card in CARDS.into_iter().chain(named_cards().into_iter().flatten()) {
        for (target, kind) in [(Target::Code(card), "Code"), (Target::Ptx(card), "Ptx")] {
            let name = target.file(module);
            let Ok(mut bytes) = fs::read(folder.join(&name)) else {
                continue;
            };
            if matches!(target, Target::Ptx(_)) && bytes.last() != Some(&0) {
                bytes.push(0);
            }
            let path = out.join(&name);
            if let Err(error) = fs::write(&path, bytes) {
                fail(&format!("{}: {error}", path.display()));
            }
            let entry = format!("Image::{kind}({card}, include_bytes!({path:?})),");
            if !images.contains(&entry) {
                images += &entry;
            }
            newest = newest.max(card);
        }
    }
    if newest == 0 {
        fail(&format!(
            "{} has no {module}_87.cubin, nor any for another card",
            folder.display()
        ));
    }
    let path = out.join(module).with_extension("rs");
    if let Err(error) = fs::write(&path, format!("&[{images}]")) {
        fail(&format!("{}: {error}", path.display()));
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

/// Those of `CUDA_COMPUTE_CAP`: 8.7, 87 and 90a alike.
fn named_cards() -> Option<Vec<u32>> {
    let text = env::var("CUDA_COMPUTE_CAP")
        .ok()
        .filter(|text| !text.trim().is_empty())?;
    let number = |word: &str| -> Option<u32> {
        word.chars()
            .filter(char::is_ascii_digit)
            .collect::<String>()
            .parse()
            .ok()
    };
    let cards: Option<Vec<u32>> = text
        .split([',', ' ', ';'])
        .filter(|word| !word.is_empty())
        .map(number)
        .collect();
    match cards {
        Some(cards) if cards.iter().all(|&card| card >= LEAST) => Some(cards),
        Some(_) => fail(&format!(
            "CUDA_COMPUTE_CAP={text}: the kernels want compute capability {LEAST} or later"
        )),
        None => fail(&format!("CUDA_COMPUTE_CAP={text}: expected cards such as 87,90")),
    }
}

/// The cards to compile for: those that are named, or all that this nvcc knows.
fn cards(nvcc: &Path) -> Vec<u32> {
    if let Some(cards) = named_cards() {
        return cards;
    }
    let known = match Command::new(nvcc).arg("--list-gpu-arch").output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => fail(&format!(
            "{}: {error}; install NVIDIA's toolkit, or name a folder of compiled kernels in SAM3_KERNELS",
            nvcc.display()
        )),
    };
    let is_known = |card: &u32| known.lines().any(|line| line.trim() == format!("compute_{card}"));
    CARDS.into_iter().filter(is_known).collect()
}

fn fail(reason: &str) -> ! {
    println!("cargo::error={reason}");
    exit(1)
}
