//! A package for clicks alone: the time of encoding, of the first click in a picture, and of each further one.

use std::time::Instant;

use sam3_model::{Clicks, Segmenter, image::Image};
use serde_json::{Map, Value, json};

use super::{Args, median, memory, place};
use crate::output::Output;

/// What a round times; the first click has the tracker's neck in it.
const STAGES: [&str; 3] = ["encode", "first click", "click"];

/// Times a model that was loaded in so many seconds.
pub fn run(segmenter: &Segmenter, image: &Image, load: f64, args: &Args, output: &Output) -> anyhow::Result<()> {
    segmenter.load_click_head()?;
    for _ in 0..args.warm_up {
        round(segmenter, image)?;
    }
    let rounds = (0..args.rounds).map(|_| round(segmenter, image));
    let rounds = rounds.collect::<anyhow::Result<Vec<_>>>()?;
    let medians = [0, 1, 2].map(|stage| median(rounds.iter().map(|round| round[stage])).unwrap_or_default());
    let totals: Vec<f64> = rounds.iter().map(|[encode, first, _]| encode + first).collect();
    let total = median(totals.iter().copied()).unwrap_or_default();

    let main = memory::Main::now();
    let named = STAGES.into_iter().zip(medians);
    let rows = [("load", load)]
        .into_iter()
        .chain(named.clone())
        .chain([("total", total)]);
    let mut text: String = rows
        .map(|(name, seconds)| format!("{name:<18} {seconds:8.3} s\n"))
        .collect();
    text += &main.to_string();
    text += &place(segmenter, args.rounds);
    let stages: Map<String, Value> = named.map(|(name, seconds)| (name.into(), json!(seconds))).collect();
    let report = json!({
        "compute": segmenter.compute().name(),
        "image_size": segmenter.image_size(),
        "device": segmenter.device().to_string(),
        "cpu": sam3_model::cpu_name(),
        "load_seconds": load,
        "stage_seconds": stages,
        "total_seconds": total,
        "rounds_seconds": totals,
        "peak_rss_bytes": main.peak,
        "anonymous_bytes": main.anonymous,
    });
    output.result(&report, &text)
}

/// Seconds of each stage.
fn round(segmenter: &Segmenter, image: &Image) -> anyhow::Result<[f64; 3]> {
    let start = Instant::now();
    let encoded = segmenter.encode(image)?;
    segmenter.synchronize()?;
    let encode = start.elapsed().as_secs_f64();
    let middle = [image.width(), image.height()].map(|extent| extent as f32 / 2.0);
    let click = || {
        let start = Instant::now();
        segmenter.click(&encoded, &Clicks::new().point(middle))?;
        anyhow::Ok(start.elapsed().as_secs_f64())
    };
    Ok([encode, click()?, click()?])
}
