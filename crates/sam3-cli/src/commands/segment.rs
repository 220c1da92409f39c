//! `sam3 segment`: finds what a text or example boxes mean, in each of some images.

mod files;
mod loaded;
mod report;

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    time::Instant,
};

use sam3_model::{ExemplarBox, Instance, Prompt, Segmenter, image::Image};
use serde::Serialize;

use self::{
    files::Files,
    report::{Found, Timings},
};
pub use self::{
    files::draw,
    loaded::{Loaded, ModelRecord},
    report::{Report, instance_rows},
};
use crate::{
    args::{ComputeFlag, DeviceFlags},
    failure::Failure,
    output::{Output, serialize_plain},
};

/// Each image is encoded once and each text once, whatever the number of both.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Images: JPEG, PNG, WebP or BMP
    #[arg(long, short, value_name = "FILE", required = true, num_args = 1..)]
    image: Vec<PathBuf>,
    /// What to look for: noun phrases such as "boat" or "red car"
    #[arg(long, short, value_name = "TEXT", num_args = 1..)]
    prompt: Vec<String>,
    /// A checkpoint or a package of it
    #[arg(long, value_name = "FILE")]
    checkpoint_path: PathBuf,
    /// Of several sets of weights in the checkpoint, which, such as ema
    #[arg(long, value_name = "NAME")]
    weights: Option<String>,
    /// Precision of the large matrix products
    #[arg(long, value_enum, value_name = "MODE", default_value_t = ComputeFlag::Auto)]
    compute: ComputeFlag,
    #[command(flatten)]
    device: DeviceFlags,
    /// An example of what to find (label 1) or not to find (0), in pixels; without --prompt, the only hint
    #[arg(long = "box", value_name = "x1,y1,x2,y2[,0|1]", allow_hyphen_values = true)]
    boxes: Vec<BoxFlag>,
    /// Keep instances whose score is above this
    #[arg(long, value_name = "SCORE", default_value_t = Segmenter::THRESHOLD, value_parser = parse_threshold)]
    threshold: f32,
    /// Folder for STEM_overlay.png, STEM.json and the rest, made if it is not there
    #[arg(long, short, value_name = "DIR", default_value = "sam3-output")]
    output: PathBuf,
    /// Also write each mask as STEM_masks/*.png
    #[arg(long)]
    masks: bool,
    /// Also give each mask's outlines in the JSON
    #[arg(long)]
    polygons: bool,
    /// Write the raw outputs of the first image and prompt, under transformers' names
    #[arg(long, value_name = "FILE.safetensors")]
    dump_tensors: Option<PathBuf>,
}

/// `x1,y1,x2,y2` and perhaps `,0` or `,1`.
#[derive(Clone, Copy, Debug)]
struct BoxFlag(ExemplarBox);

impl FromStr for BoxFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected x1,y1,x2,y2 in pixels and perhaps ,0 or ,1, found {text:?}");
        let numbers = text
            .split(',')
            .map(|number| number.trim().parse::<f32>().ok().filter(|n| n.is_finite()));
        let numbers: Vec<f32> = numbers.collect::<Option<_>>().ok_or_else(expected)?;
        let (xyxy, positive) = match *numbers {
            [x1, y1, x2, y2] | [x1, y1, x2, y2, 1.0] => ([x1, y1, x2, y2], true),
            [x1, y1, x2, y2, 0.0] => ([x1, y1, x2, y2], false),
            _ => return Err(expected()),
        };
        Ok(Self(ExemplarBox { xyxy, positive }))
    }
}

fn parse_threshold(text: &str) -> Result<f32, String> {
    let value = text.parse::<f32>().ok().filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| format!("expected a score from 0 to 1, found {text:?}"))
}

/// Runs the command: a bad image is reported, and the others still go on.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<()> {
    let prompts = prompts(args)?;
    let device = args.device.open(output)?;
    let files = Files::new(&args.output, &args.image, args.masks)?;
    let start = Instant::now();
    let loaded = Loaded::open(&args.checkpoint_path, args.weights.as_deref(), &device, args.compute)?;
    let load_ms = milliseconds(start);
    output.note(loaded.sentence());
    for warning in loaded.warnings() {
        output.warn(warning);
    }

    let mut failed = None;
    for (index, path) in args.image.iter().enumerate() {
        let dump = args.dump_tensors.as_deref().filter(|_| index == 0);
        match segment(args, &loaded, path, &prompts, dump, load_ms, output) {
            Ok((image, report)) => {
                let written = files.write(index, &image, &report, args.polygons)?;
                output.record(&report.to_json(args.polygons), &report.to_text(&written))?;
            }
            Err(error) if args.image.len() > 1 => {
                output.complain(&error);
                failed.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match failed {
        Some(error) => Err(error.context("some images were not segmented, the first because")),
        None => Ok(()),
    }
}

/// Every text with all the boxes; the boxes alone where there is no text.
fn prompts(args: &Args) -> anyhow::Result<Vec<Prompt>> {
    let boxes: Vec<ExemplarBox> = args.boxes.iter().map(|flag| flag.0).collect();
    if args.prompt.is_empty() && boxes.is_empty() {
        return Err(Failure::usage(
            "nothing to look for",
            "give --prompt \"boat\", --box x1,y1,x2,y2, or both",
        ));
    }
    if args.prompt.iter().any(|text| text.trim().is_empty()) {
        return Err(Failure::usage(
            "--prompt is empty",
            "name what to look for, for example --prompt \"boat\"",
        ));
    }
    if args.prompt.is_empty() {
        return Ok(vec![Prompt { text: None, boxes }]);
    }
    let with_text = |text: &String| Prompt {
        text: Some(text.clone()),
        boxes: boxes.clone(),
    };
    Ok(args.prompt.iter().map(with_text).collect())
}

fn segment<'a>(
    args: &Args,
    loaded: &'a Loaded,
    path: &'a Path,
    prompts: &'a [Prompt],
    dump: Option<&Path>,
    load_ms: f64,
    output: &Output,
) -> anyhow::Result<(Image, Report<'a>)> {
    let image = Image::open(path).map_err(sam3_model::Error::from)?;
    let spinner = output.spinner(&format!("segmenting {}", path.display()));
    let (report, detections) = segment_image(loaded, path, &image, prompts, args.threshold, load_ms)?;
    drop(spinner);
    if let (Some(target), Some(first)) = (dump, detections) {
        files::dump(target, &first)?;
    }
    Ok((image, report))
}

/// Segments one image with each prompt; also returns the first prompt's raw outputs.
pub fn segment_image<'a>(
    loaded: &'a Loaded,
    path: &'a Path,
    image: &Image,
    prompts: &'a [Prompt],
    threshold: f32,
    load_ms: f64,
) -> anyhow::Result<(Report<'a>, Option<sam3_model::Detections>)> {
    let segmenter = &loaded.segmenter;
    let start = Instant::now();
    let encoded = segmenter.encode(image)?;
    segmenter.synchronize()?;
    let mut timings = Timings {
        load_ms,
        encode_ms: milliseconds(start),
        ..Timings::default()
    };
    let (mut found, mut first) = (Vec::with_capacity(prompts.len()), None);
    for prompt in prompts {
        let start = Instant::now();
        segmenter.encode_text(prompt)?;
        segmenter.synchronize()?;
        timings.text_ms += milliseconds(start);
        let start = Instant::now();
        let detections = segmenter.detect(&encoded, prompt)?;
        segmenter.synchronize()?;
        timings.detect_ms += milliseconds(start);
        let start = Instant::now();
        let instances: Vec<Instance> = detections.instances(&encoded, threshold)?;
        found.push(Found {
            prompt,
            presence: detections.presence()?,
            instances,
        });
        timings.masks_ms += milliseconds(start);
        first.get_or_insert(detections);
    }
    Ok((
        Report {
            path,
            width: image.width,
            height: image.height,
            loaded,
            timings,
            found,
        },
        first,
    ))
}

/// Time since `start`.
pub fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// An image's place in the JSON.
#[derive(Serialize)]
struct ImageRecord<'a> {
    #[serde(serialize_with = "serialize_plain")]
    file: &'a Path,
    width: u32,
    height: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_four_numbers_and_perhaps_a_label() {
        let parse = |text: &str| text.parse::<BoxFlag>().map(|flag| (flag.0.xyxy, flag.0.positive));
        assert_eq!(parse("1,2,3.5,4"), Ok(([1.0, 2.0, 3.5, 4.0], true)));
        assert_eq!(parse("1, 2, 3, 4, 0"), Ok(([1.0, 2.0, 3.0, 4.0], false)));
        assert_eq!(parse("1,2,3,4,1"), Ok(([1.0, 2.0, 3.0, 4.0], true)));
        for bad in [
            "",
            "1,2,3",
            "1,2,3,4,2",
            "1,2,3,4,1,1",
            "1,2,3,x",
            "1,2,3,nan",
            "1,2,3,inf",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
