//! Throws damaged checkpoints, pictures and requests at their readers: `cargo run --release -- TARGET SECONDS [SEED]`.
//!
//! A seeded mutator on stable Rust rather than libFuzzer, which needs nightly and a C++ compiler; what coverage would
//! find is made up for by starting from real files of every form. It stops at the first panic, at an input that takes
//! over a second, or when memory passes the input's size plus 64 MB, and leaves the input in `fuzz-TARGET.bin`. A
//! picture may take more of both: its size is a number in the file.

mod archives;
mod models;
mod pictures;
mod requests;

use std::{
    fs,
    io::Write as _,
    panic::catch_unwind,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use sam3_package::StateDict;

const TARGETS: [(&str, &[&str]); 7] = [
    (
        "pth",
        &[
            "flat.pt",
            "protocol3.pt",
            "protocol4.pt",
            "protocol5.pt",
            "wrapped.pt",
            "module.pt",
            "conj.pt",
            "legacy.pt",
        ],
    ),
    ("safetensors", &["transformers.safetensors"]),
    ("metadata", &["package.safetensors"]),
    // These make their own.
    ("archive", &[]),
    ("config", &[]),
    ("picture", &[]),
    ("request", &[]),
];

/// What an input may cost beyond its own size.
const MEMORY: u64 = 64 << 20;
const TIME: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let target = args.first().and_then(|name| TARGETS.iter().find(|t| t.0 == name));
    let (Some((name, seeds)), Some(seconds)) = (target, args.get(1).and_then(|s| s.parse().ok())) else {
        eprintln!("usage: sam3-fuzz pth|safetensors|metadata|archive|config|picture|request SECONDS [SEED]");
        return ExitCode::from(2);
    };
    let seed = args.get(2).and_then(|s| s.parse().ok()).unwrap_or(1);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/sam3-package/fixtures");
    let corpus: Vec<Vec<u8>> = match *name {
        "archive" => archives::seeds(&made("transformers.safetensors").expect("it is made")).into(),
        "config" => models::seeds(),
        "picture" => pictures::seeds(),
        "request" => requests::seeds(),
        _ => {
            let file = |name: &&str| made(name).unwrap_or_else(|| fs::read(fixtures.join(name)).unwrap());
            seeds.iter().map(file).collect()
        }
    };
    run(name, &corpus, Duration::from_secs(seconds), Random(seed | 1))
}

fn run(name: &str, corpus: &[Vec<u8>], time: Duration, mut random: Random) -> ExitCode {
    let path = std::env::temp_dir().join(format!("sam3-fuzz-{name}-{}.bin", std::process::id()));
    std::panic::set_hook(Box::new(|_| {}));
    let (open, memory, limit): (fn(&Path) -> bool, _, _) = match name {
        "archive" => (archives::try_open, MEMORY, TIME),
        "config" => (models::try_open, MEMORY, TIME),
        "picture" => (pictures::try_open, pictures::MEMORY, pictures::TIME),
        "request" => (requests::try_open, MEMORY, TIME),
        _ => (try_open, MEMORY, TIME),
    };
    let (start, before) = (Instant::now(), peak());
    let (mut runs, mut opened) = (0u64, 0u64);
    while start.elapsed() < time {
        let mut input = corpus[random.below(corpus.len())].clone();
        for _ in 0..1 + random.below(4) {
            mutate(&mut input, corpus, &mut random);
        }
        if name == "config" {
            input = models::file(&input);
        }
        if name == "archive" {
            // A damaged checksum hides what lies behind it: right them more often than not.
            if random.below(4) > 0 {
                archives::right_checksums(&mut input);
            }
            if !input.starts_with(&[0x28, 0xb5]) {
                input = if random.below(2) == 0 {
                    archives::gzip(&input)
                } else {
                    archives::zstd(&input)
                };
            }
            if random.below(8) == 0 {
                mutate(&mut input, corpus, &mut random);
            }
        }
        fs::write(&path, &input).expect("write the input");
        let attempt = || {
            let began = Instant::now();
            (catch_unwind(|| open(&path)), began.elapsed())
        };
        // A busy machine is slow once, a bad input every time.
        let (result, mut took) = attempt();
        for _ in 0..3 {
            if took > limit {
                took = took.min(attempt().1);
            }
        }
        let fault = match result {
            Err(_) => Some("a panic".to_owned()),
            Ok(_) if took > limit => Some(format!("{took:?}")),
            Ok(_) if peak() > before + memory + input.len() as u64 => {
                Some(format!("{} bytes of memory", peak() - before))
            }
            Ok(ok) => {
                opened += u64::from(ok);
                None
            }
        };
        runs += 1;
        if let Some(fault) = fault {
            let kept = PathBuf::from(format!("fuzz-{name}.bin"));
            fs::write(&kept, &input).expect("keep the input");
            println!("{name}: {fault} after {runs} inputs; kept {}", kept.display());
            return ExitCode::FAILURE;
        }
    }
    fs::remove_file(&path).ok();
    let extra = (peak() - before) >> 20;
    println!(
        "{name}: {runs} inputs in {:?}, {opened} opened, {extra} MB above the start, no fault",
        start.elapsed()
    );
    std::io::stdout().flush().ok();
    ExitCode::SUCCESS
}

/// Opens, and reads every tensor and the config, as a user would.
fn try_open(path: &Path) -> bool {
    let Ok(state) = StateDict::open(path) else {
        return false;
    };
    for i in 0..state.len() {
        let view = state.view(i);
        assert_eq!(view.byte_len(), view.numel() * view.dtype.size(), "{}", view.name);
        drop(view.to_f32());
    }
    state.config();
    true
}

/// One of: flip a bit, put an interesting number, cut, repeat, or splice from another input.
fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    if input.is_empty() {
        return;
    }
    let at = random.below(input.len());
    let len = 1 + random.below((input.len() - at).min(64));
    match random.below(8) {
        0 | 1 => input[at] ^= 1 << random.below(8),
        2 => input[at] = random.next() as u8,
        3 => {
            let number = [0, 1, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX][random.below(8)];
            let bytes = number.to_le_bytes();
            let width = [1, 2, 4, 8][random.below(4)].min(input.len() - at);
            input[at..at + width].copy_from_slice(&bytes[..width]);
        }
        4 => drop(input.drain(at..at + len)),
        5 => {
            let piece = input[at..at + len].repeat(1 + random.below(64));
            input.splice(at..at, piece);
        }
        6 => {
            let digits: &[&[u8]] = &[
                b"0",
                b"-1",
                b"9999999999999999999",
                b"[",
                b"{",
                b"\"",
                b"null",
                b"1e999",
            ];
            let word = digits[random.below(digits.len())];
            input.splice(at..at + len.min(word.len()), word.iter().copied());
        }
        _ => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len());
            let to = (from + len).min(other.len());
            input.splice(at..at + len, other[from..to].iter().copied());
        }
    }
}

/// Inputs that are made rather than kept.
fn made(name: &str) -> Option<Vec<u8>> {
    let tensor = |name: &str, shape: &str, from: usize, to: usize| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let header = match name {
        "transformers.safetensors" => [
            tensor("detector_model.geometry_encoder.boxes_direct_project.bias", "[2]", 0, 8),
            tensor("detector_model.text_encoder.text_projection.weight", "[2,2]", 8, 24),
            tensor(
                "detector_model.vision_encoder.backbone.embeddings.position_embeddings",
                "[1,2,2]",
                24,
                40,
            ),
            tensor("tracker_model.prompt_encoder.point_embed.weight", "[2,1]", 40, 48),
            tensor(
                "detector_model.vision_encoder.backbone.layers.0.attention.q_proj.bias",
                "[2]",
                48,
                56,
            ),
            tensor(
                "detector_model.vision_encoder.backbone.layers.0.attention.k_proj.bias",
                "[2]",
                56,
                64,
            ),
            tensor(
                "detector_model.vision_encoder.backbone.layers.0.attention.v_proj.bias",
                "[2]",
                64,
                72,
            ),
        ]
        .join(","),
        "package.safetensors" => format!(
            r#""__metadata__":{{"sam3_metadata":"{{\"format\":1,\"config\":{{\"vision_config\":{{\"a\":[1,2]}}}},\"tensors\":[]}}"}},{}"#,
            tensor("detector.backbone.x", "[18]", 0, 72)
        ),
        _ => return None,
    };
    let header = format!("{{{header}}}");
    Some([&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 72]].concat())
}

/// Peak resident bytes of this process.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .unwrap_or(0)
        << 10
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}
