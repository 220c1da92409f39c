//! `sam3 bench`: wall time of each stage of the model, and peak memory.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use sam3_model::{Prompt, Segmenter, StageTimes, image::Image};
use sam3_package::StateDict;
use serde_json::{Value, json};

use crate::{
    args::ModelFlags,
    commands::prompts,
    output::{Output, size},
};

/// One image and one prompt, again and again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Checkpoint or package
    #[arg(long, value_name = "FILE", required_unless_present = "ops")]
    checkpoint_path: Option<PathBuf>,
    /// Time single operations at SAM 3's sizes on the CPU instead, without a checkpoint
    #[arg(long, conflicts_with_all = ["device", "gpu", "image_size"])]
    ops: bool,
    /// Image to segment; a seeded one of 641 x 427 by default
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// What to look for
    #[arg(long, default_value = "a yellow school bus")]
    prompt: String,
    /// Rounds before those that count
    #[arg(long, default_value_t = 1)]
    warm_up: u32,
    /// Rounds that count
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    model: ModelFlags,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<()> {
    match &args.checkpoint_path {
        Some(path) if !args.ops => run_model(path, args, output),
        _ => run_ops(args, output),
    }
}

fn run_ops(args: &Args, output: &Output) -> anyhow::Result<()> {
    let compute = args.model.compute.on_the_cpu();
    let rates = sam3_model::op_rates(compute, args.rounds as usize)?;
    let mut text = format!(
        "{} on {}, best of {}\n",
        compute.name(),
        sam3_model::cpu_name(),
        args.rounds
    );
    for rate in &rates {
        let gflops = rate.flop / rate.seconds / 1e9;
        let share = rate
            .share
            .map_or(String::new(), |share| format!("{:5.0} % of the tile's", share * 100.0));
        text += &format!(
            "{:<28} {:<28} {:9.1} ms {gflops:8.1} GFLOP/s {share}\n",
            rate.name,
            rate.shape,
            rate.seconds * 1e3
        );
    }
    let ops: Vec<Value> = rates
        .iter()
        .map(|rate| json!({"name": rate.name, "shape": rate.shape, "seconds": rate.seconds, "flop": rate.flop, "share": rate.share}))
        .collect();
    output.result(&json!({"cpu": sam3_model::cpu_name(), "ops": ops}), &text)
}

fn run_model(path: &Path, args: &Args, output: &Output) -> anyhow::Result<()> {
    let phrase = &prompts::one("--prompt", &args.prompt)?;
    let device = args.model.device.open(output)?;
    let start = Instant::now();
    let dict = Arc::new(StateDict::open(path)?);
    let options = args.model.options(&dict, &device).without_clicks();
    let segmenter = Segmenter::load(dict, &options)?;
    let (compute, image_size) = (segmenter.compute(), segmenter.image_size());
    segmenter.synchronize()?;
    let load = start.elapsed().as_secs_f64();
    let image = match &args.image {
        Some(path) => Image::open(path)?,
        None => seeded(641, 427),
    };
    let on_gpu = !device.is_cpu();
    for _ in 0..args.warm_up {
        segmenter.time(&image, phrase)?;
        if on_gpu {
            Uninterrupted::measure(&segmenter, &image, phrase)?;
        }
    }
    let mut rounds = Vec::new();
    let mut second = Vec::new();
    let mut uninterrupted = Vec::new();
    for round in 0..args.rounds {
        let (encoded, _, times) = segmenter.time(&image, phrase)?;
        rounds.push(times);
        let start = Instant::now();
        // A text of nobody's before, but where only some are known, and none is encoded.
        let prompt = Prompt::text(match segmenter.baked_prompts() {
            [] => format!("{phrase} {round}"),
            _ => phrase.clone(),
        });
        segmenter.segment(&encoded, &prompt)?;
        second.push(start.elapsed().as_secs_f64());
        // Not a picture more than `segment` has: memory is told too.
        drop(encoded);
        if on_gpu {
            uninterrupted.push(Uninterrupted::measure(&segmenter, &image, phrase)?);
        }
    }
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let stage = |index: usize| {
        median(
            rounds
                .iter()
                .map(|times| times.named()[index].1.as_secs_f64())
                .collect(),
        )
    };
    let names = StageTimes::default().named().map(|(name, _)| name);
    let stages: Vec<(&str, f64)> = names.iter().enumerate().map(|(i, name)| (*name, stage(i))).collect();
    let totals: Vec<f64> = rounds.iter().map(|times| times.total().as_secs_f64()).collect();
    let (total, second) = (median(totals.clone()), median(second));
    let peak = peak_rss();
    let mut text = format!("{:<18} {load:8.3} s\n", "load");
    for (name, seconds) in &stages {
        text += &format!("{name:<18} {seconds:8.3} s\n");
    }
    text += &format!(
        "{:<18} {total:8.3} s\n{:<18} {second:8.3} s\n",
        "total", "second prompt"
    );
    let uninterrupted = on_gpu.then(|| {
        let part = |of: fn(&Uninterrupted) -> f64| median(uninterrupted.iter().map(of).collect());
        [
            ("encode", part(|times| times.encode)),
            ("prompt", part(|times| times.prompt)),
            ("end to end", part(|times| times.end_to_end)),
        ]
    });
    for (name, seconds) in uninterrupted.iter().flatten() {
        text += &format!("{name:<18} {:8.1} ms, uninterrupted\n", seconds * 1e3);
    }
    text += &format!("{:<18} {}\n", "peak memory", peak.map_or("unknown".to_owned(), size));
    let memory = device.usage();
    if let Some(memory) = memory {
        let [peak, in_use, total] = [memory.peak, memory.in_use, memory.total].map(size);
        text += &format!("{:<18} {peak}; {in_use} of {total} in use there\n", "peak on the GPU");
    }
    let place = match device.is_cpu() {
        true => sam3_model::cpu_name().to_owned(),
        false => device.to_string(),
    };
    text += &format!(
        "{} at {image_size} x {image_size} on {place}, {} rounds, medians\n",
        compute.name(),
        args.rounds
    );
    let stages: serde_json::Map<String, Value> = stages.into_iter().map(|(name, s)| (name.into(), json!(s))).collect();
    let report = json!({
        "compute": compute.name(),
        "image_size": image_size,
        "device": device.to_string(),
        "cpu": sam3_model::cpu_name(),
        "load_seconds": load,
        "stage_seconds": stages,
        "total_seconds": total,
        "rounds_seconds": totals,
        "second_prompt_seconds": second,
        "peak_rss_bytes": peak,
        "uninterrupted_seconds": uninterrupted.map(|parts| serde_json::Map::from_iter(parts.map(|(name, s)| (name.replace(' ', "_"), json!(s))))),
        "device_memory_bytes": memory.map(|memory| json!({"peak": memory.peak, "in_use": memory.in_use, "total": memory.total})),
    });
    output.result(&report, &text)
}

/// Seconds of the work without a clock between its stages, which a GPU would have to stop for.
struct Uninterrupted {
    /// A decoded picture to its features.
    encode: f64,
    /// A text that was encoded before, to masks at the picture's size in main memory.
    prompt: f64,
    /// Both, one after the other, as `segment` does: while a GPU encodes, it is already told what to do with the prompt.
    end_to_end: f64,
}

impl Uninterrupted {
    fn measure(segmenter: &Segmenter, image: &Image, text: &str) -> anyhow::Result<Self> {
        let prompt = Prompt::text(text);
        segmenter.encode_text(&prompt)?;
        segmenter.synchronize()?;
        let start = Instant::now();
        let encoded = segmenter.encode(image)?;
        segmenter.synchronize()?;
        let encode = start.elapsed().as_secs_f64();
        let start = Instant::now();
        segmenter.segment(&encoded, &prompt)?;
        let alone = start.elapsed().as_secs_f64();
        drop(encoded);
        let start = Instant::now();
        segmenter.segment(&segmenter.encode(image)?, &prompt)?;
        Ok(Self {
            encode,
            prompt: alone,
            end_to_end: start.elapsed().as_secs_f64(),
        })
    }
}

/// A picture of noise, the same every time.
fn seeded(width: u32, height: u32) -> Image {
    let mut state = 1u32;
    let pixels = (0..width * height * 3).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    Image::new(width, height, pixels.collect()).expect("three bytes a pixel")
}

/// The most memory that was ever resident, where the system tells.
fn peak_rss() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}
