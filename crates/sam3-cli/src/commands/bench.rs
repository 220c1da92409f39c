//! `sam3 bench`: wall time of each stage of the model, and peak memory.

mod clicks;
pub mod memory;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use memory::OnTheGpu;
use sam3_model::{Prompt, Segmenter, StageTimes, image::Image};
use sam3_package::{StateDict, Tasks};
use serde_json::{Value, json};

use crate::{
    args::{ModelFlags, TextFlags},
    commands::prompts,
    output::Output,
};

/// One image and one prompt, again and again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Checkpoint or package
    #[arg(long, value_name = "FILE", required_unless_present = "ops")]
    checkpoint_path: Option<PathBuf>,
    /// Time single operations at SAM 3's sizes on the CPU instead, without a checkpoint
    #[arg(long, conflicts_with_all = ["checkpoint_path", "image", "prompt", "warm_up", "text_device"])]
    #[arg(conflicts_with_all = ["device", "gpu", "image_size"])]
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
    #[command(flatten)]
    texts: TextFlags,
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
    let before = memory::available();
    let device = args.model.device.open(output)?;
    args.texts.check(&device)?;
    let start = Instant::now();
    let dict = Arc::new(StateDict::open(path)?);
    let clicks_alone = Tasks::of(dict.tensors().map(|tensor| tensor.name)).is_for_clicks_alone();
    let mut options = args.texts.of(args.model.options(&dict, &device), &device);
    if !clicks_alone {
        options = options.without_clicks();
    }
    let segmenter = Segmenter::load(dict, &options)?;
    segmenter.synchronize()?;
    let load = start.elapsed().as_secs_f64();
    let weights = device.usage().map(|usage| usage.held);
    let image = match &args.image {
        Some(path) => Image::open(path)?,
        None => seeded(641, 427),
    };
    if clicks_alone {
        return clicks::run(&segmenter, &image, load, args, output);
    }
    let on_gpu = !device.is_cpu();
    // The memory is that of the first picture: the rounds that time each stage make every query's mask, which `segment`
    // does not.
    if on_gpu {
        Uninterrupted::measure(&segmenter, &image, phrase)?;
    }
    let on_the_gpu = weights.and_then(|weights| OnTheGpu::of(&device, weights, before));
    for _ in 0..args.warm_up {
        segmenter.time(&image, phrase)?;
        if on_gpu {
            Uninterrupted::measure(&segmenter, &image, phrase)?;
        }
    }
    let rounds = (0..args.rounds).map(|round| Round::measure(&segmenter, &image, phrase, round));
    let rounds = rounds.collect::<anyhow::Result<Vec<_>>>()?;
    let medians = Medians::of(&rounds);
    let main = memory::Main::now();
    let mut text = format!("{:<18} {load:8.3} s\n{medians}{main}", "load");
    if let Some(memory) = &on_the_gpu {
        text += &memory.to_string();
    }
    text += &place(&segmenter, args.rounds);
    let totals: Vec<f64> = rounds.iter().map(|round| round.stages.total().as_secs_f64()).collect();
    let by_name = |parts: &[(&str, f64)]| -> serde_json::Map<String, Value> {
        let named = parts.iter().map(|(name, s)| (name.replace(' ', "_"), json!(s)));
        named.collect()
    };
    let stages: serde_json::Map<String, Value> = medians
        .stages
        .iter()
        .map(|(name, s)| ((*name).into(), json!(s)))
        .collect();
    let report = json!({
        "compute": segmenter.compute().name(),
        "image_size": segmenter.image_size(),
        "device": device.to_string(),
        "cpu": sam3_model::cpu_name(),
        "load_seconds": load,
        "stage_seconds": stages,
        "total_seconds": medians.total,
        "rounds_seconds": totals,
        "second_prompt_seconds": medians.second_prompt,
        "peak_rss_bytes": main.peak,
        "anonymous_bytes": main.anonymous,
        "uninterrupted_seconds": on_gpu.then(|| by_name(&medians.uninterrupted)),
        "device_memory_bytes": on_the_gpu,
    });
    output.result(&report, &text)
}

/// What was timed, and where.
fn place(segmenter: &Segmenter, rounds: u32) -> String {
    let place = match segmenter.device() {
        device if device.is_cpu() => sam3_model::cpu_name().to_owned(),
        device => device.to_string(),
    };
    let (compute, side) = (segmenter.compute().name(), segmenter.image_size());
    format!("{compute} at {side} x {side} on {place}, {rounds} rounds, medians\n")
}

/// The median; of an even number, the mean of the middle two. `None` of nothing.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(match values.len() % 2 {
        0 => (values[middle - 1] + upper) / 2.0,
        _ => upper,
    })
}

/// One picture and one prompt.
struct Round {
    /// With a clock between the stages.
    stages: StageTimes,
    /// Seconds of another prompt about the same picture, to instances.
    second_prompt: f64,
    /// On a GPU.
    uninterrupted: Option<Uninterrupted>,
}

impl Round {
    fn measure(segmenter: &Segmenter, image: &Image, phrase: &str, round: u32) -> anyhow::Result<Self> {
        let (encoded, _, stages) = segmenter.time(image, phrase)?;
        let start = Instant::now();
        // A prompt that was not seen before, so that it is encoded; a package with baked prompts knows only its own,
        // and encodes none.
        let prompt = Prompt::text(match segmenter.baked_prompts() {
            [] => format!("{phrase} {round}"),
            _ => phrase.to_owned(),
        });
        segmenter.segment(&encoded, &prompt)?;
        let second_prompt = start.elapsed().as_secs_f64();
        // Freed here, so that one picture is in memory at a time, as in `segment`.
        drop(encoded);
        let on_gpu = !segmenter.device().is_cpu();
        Ok(Self {
            stages,
            second_prompt,
            uninterrupted: match on_gpu {
                true => Some(Uninterrupted::measure(segmenter, image, phrase)?),
                false => None,
            },
        })
    }
}

/// One of the times of [`Uninterrupted`].
type Seconds = fn(&Uninterrupted) -> f64;

/// Seconds, each the median of all rounds.
struct Medians {
    stages: Vec<(&'static str, f64)>,
    total: f64,
    second_prompt: f64,
    /// Empty on the CPU.
    uninterrupted: Vec<(&'static str, f64)>,
}

impl Medians {
    fn of(rounds: &[Round]) -> Self {
        let median = |of: &dyn Fn(&Round) -> Option<f64>| median(rounds.iter().filter_map(of));
        let names = StageTimes::default().named().map(|(name, _)| name);
        let stage = |(index, name): (usize, &'static str)| {
            let seconds = median(&|round: &Round| Some(round.stages.named()[index].1.as_secs_f64()));
            (name, seconds.unwrap_or_default())
        };
        let part = |(name, of): (_, Seconds)| {
            let seconds = median(&|round: &Round| round.uninterrupted.as_ref().map(of));
            seconds.map(|seconds| (name, seconds))
        };
        let parts: [(_, Seconds); 3] = [
            ("encode", |times| times.encode),
            ("prompt", |times| times.prompt),
            ("end to end", |times| times.end_to_end),
        ];
        Self {
            stages: names.into_iter().enumerate().map(stage).collect(),
            total: median(&|round: &Round| Some(round.stages.total().as_secs_f64())).unwrap_or_default(),
            second_prompt: median(&|round: &Round| Some(round.second_prompt)).unwrap_or_default(),
            uninterrupted: parts.into_iter().filter_map(part).collect(),
        }
    }
}

impl fmt::Display for Medians {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = [("total", self.total), ("second prompt", self.second_prompt)];
        for (name, seconds) in self.stages.iter().chain(&whole) {
            writeln!(f, "{name:<18} {seconds:8.3} s")?;
        }
        for (name, seconds) in &self.uninterrupted {
            writeln!(f, "{name:<18} {:8.1} ms, uninterrupted", seconds * 1e3)?;
        }
        Ok(())
    }
}

/// Seconds of the work without a clock between its stages, which a GPU would have to stop for.
struct Uninterrupted {
    /// A decoded picture to its features.
    encode: f64,
    /// A text that was encoded before, to masks at the picture's size in main memory.
    prompt: f64,
    /// Both, one after the other, as `segment` does: while a GPU encodes, it is already told what to do with the
    /// prompt.
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

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn a_median_is_in_the_middle() {
        for (values, expected) in [
            (&[][..], None),
            (&[3.0], Some(3.0)),
            (&[4.0, 1.0], Some(2.5)),
            (&[9.0, 1.0, 2.0], Some(2.0)),
            (&[9.0, 1.0, 2.0, 4.0], Some(3.0)),
        ] {
            assert_eq!(median(values.iter().copied()), expected, "{values:?}");
        }
    }
}
