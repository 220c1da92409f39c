//! `sam3 eval`: how right a package is, on drawn scenes with known answers or on labelled pictures, and how near to
//! another package.

mod coco;
mod scenes;
mod score;
mod stages;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use sam3_model::{
    Comparison, Device,
    report::{Loaded, ModelRecord},
};
use sam3_package::{StateDict, Tasks};
use serde::Serialize;

use self::score::{Answer, Score};
use super::segment::announce;
use crate::{
    args::{ComputeFlag, DeviceFlag, ModelFlags, TextFlags, parse_image_size},
    failure::Failure,
    output::{Output, table},
};

/// Scores a package of the demo's model on 512 held-out scenes, or with --coco any package on labelled pictures; with
/// --image, compares two packages of any size on a picture.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Checkpoint or package to judge
    #[arg(long, value_name = "FILE")]
    checkpoint_path: PathBuf,
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    texts: TextFlags,
    /// Reference to compare with: the same model in another package, or with the next three flags
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// The reference's --compute; without it, the same
    #[arg(long, value_enum, value_name = "MODE", requires = "against")]
    against_compute: Option<ComputeFlag>,
    /// The reference's --image-size; without it, the same
    #[arg(long, value_name = "N", requires = "against", value_parser = parse_image_size, allow_hyphen_values = true)]
    against_image_size: Option<usize>,
    /// The reference's --device; without it, the same
    #[arg(long, value_name = "DEVICE", requires = "against")]
    against_device: Option<DeviceFlag>,
    /// Exit with 1 where a score is more than this many points below the reference's
    #[arg(long, value_name = "POINTS", requires = "against", value_parser = parse_points, allow_hyphen_values = true)]
    max_drop: Option<f64>,
    /// Use the first N scenes only
    #[arg(long, value_name = "N", default_value_t = scenes::COUNT, value_parser = parse_count)]
    scenes: usize,
    /// Instead of the scenes, a picture: compares what each stage of the model hands on
    #[arg(long, value_name = "FILE", requires_all = ["prompt", "against"], conflicts_with_all = ["max_drop", "scenes"])]
    image: Option<PathBuf>,
    /// What to look for in --image
    #[arg(long, value_name = "TEXT", requires = "image")]
    prompt: Option<String>,
    #[command(flatten)]
    coco: coco::Flags,
}

fn parse_points(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|value| (0.0..=100.0).contains(value));
    value.ok_or_else(|| format!("expected points of a hundred, such as 0.2, found {text:?}"))
}

fn parse_count(text: &str) -> Result<usize, String> {
    let value = text.parse().ok().filter(|value| (1..=scenes::COUNT).contains(value));
    value.ok_or_else(|| format!("expected a number from 1 to {}, found {text:?}", scenes::COUNT))
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<()> {
    if let Some(labels) = &args.coco.coco {
        return coco::run(args, labels, output);
    }
    match (&args.image, &args.prompt, &args.against) {
        (Some(image), Some(prompt), Some(against)) => stages::run(args, image, prompt, against, output),
        _ => run_scenes(args, output),
    }
}

impl Args {
    fn open(&self, output: &Output) -> anyhow::Result<Loaded> {
        let device = self.model.device.open(output)?;
        self.texts.check(&device)?;
        self.load(&self.checkpoint_path, &self.model, &device, output)
    }

    fn open_reference(&self, path: &Path, output: &Output) -> anyhow::Result<Loaded> {
        let device = match self.against_device {
            Some(device) => device.open("--against-device", output)?,
            None => self.model.device.open(output)?,
        };
        let model = ModelFlags {
            compute: self.against_compute.unwrap_or(self.model.compute),
            image_size: self.against_image_size.or(self.model.image_size),
            device: self.model.device.clone(),
        };
        self.load(path, &model, &device, output)
    }

    fn load(&self, path: &Path, flags: &ModelFlags, device: &Device, output: &Output) -> anyhow::Result<Loaded> {
        let dict = Arc::new(StateDict::open(path)?);
        if Tasks::of(dict.tensors().map(|tensor| tensor.name)).is_for_clicks_alone() {
            return Err(Failure::input(
                format!(
                    "{}: packaged for clicks alone: `sam3 eval` asks for texts, which it has no detector for",
                    path.display()
                ),
                "`sam3 bench` times clicks; for texts, package sam3.pt without --components click",
            ));
        }
        let options = self.texts.of(flags.options(&dict, device).without_clicks(), device);
        let loaded = Loaded::load(dict, &options)?;
        announce(&loaded, output);
        Ok(loaded)
    }
}

#[derive(Serialize)]
struct Record<'a> {
    scenes: usize,
    model: ModelRecord<'a>,
    score: Score,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Against<'a>>,
}

#[derive(Serialize)]
struct Against<'a> {
    model: ModelRecord<'a>,
    score: Score,
    /// The model's score less the reference's, in points of a hundred.
    difference_points: Score,
    instances: Comparison,
}

fn run_scenes(args: &Args, output: &Output) -> anyhow::Result<()> {
    let scenes = scenes::draw(args.scenes)?;
    // Both before the work: what is wrong with either is known at once.
    let loaded = args.open(output)?;
    let reference = args.against.as_deref().map(|path| args.open_reference(path, output));
    let reference = reference.transpose()?;
    let answers = score::answers(&loaded, &scenes, output)?;
    let score = Score::of(&answers, &scenes);
    let reference = match reference {
        Some(reference) => {
            let answers_of_reference = score::answers(&reference, &scenes, output)?;
            Some((reference, answers_of_reference))
        }
        None => None,
    };
    let against = reference.as_ref().map(|(reference, its_answers)| {
        let its_score = Score::of(its_answers, &scenes);
        Against {
            model: reference.record(),
            score: its_score,
            difference_points: score.points_above(&its_score),
            instances: compare(its_answers, &answers),
        }
    });
    let record = Record {
        scenes: scenes.len(),
        model: loaded.record(),
        score,
        against,
    };
    output.result(&record, &text(&record))?;
    match (args.max_drop, &record.against) {
        (Some(allowed), Some(against)) => gate(allowed, against),
        _ => Ok(()),
    }
}

/// All scenes' instances together, the reference's first.
fn compare(reference: &[Answer], found: &[Answer]) -> Comparison {
    let scenes = reference.iter().zip(found);
    let comparisons = scenes.map(|(a, b)| Comparison::of(&a.instances, &b.instances));
    comparisons.fold(Comparison::default(), |all, one| all.and(&one))
}

fn gate(allowed: f64, against: &Against) -> anyhow::Result<()> {
    /// Points are differences of ratios: 0.2 comes out as 0.20000000000000018.
    const ROUNDING: f64 = 1e-9;
    let worst = against
        .difference_points
        .named()
        .into_iter()
        .min_by(|a, b| a.1.total_cmp(&b.1));
    match worst {
        Some((name, points)) if -points > allowed + ROUNDING => Err(Failure::input(
            format!(
                "{name} is {:.2} points below that of {}, and --max-drop allows {allowed}",
                -points,
                against.model.file.display()
            ),
            "package it in a higher precision, or compute in one: fp32 at the same --image-size loses nothing",
        )),
        _ => Ok(()),
    }
}

fn text(record: &Record) -> String {
    let row = |name: String, score: &Score, unit: f64, digits: usize| {
        let values = score.named().map(|(_, value)| format!("{:.digits$}", value * unit));
        [&[name][..], &values].concat()
    };
    let head = record.score.named().map(|(name, _)| name.to_owned());
    let mut rows = vec![[&[format!("{} scenes", record.scenes)][..], &head].concat()];
    rows.push(row(record.model.label(), &record.score, 1.0, 4));
    let Some(against) = &record.against else {
        return table(&rows);
    };
    rows.push(row(against.model.label(), &against.score, 1.0, 4));
    rows.push(row(
        "difference in points".to_owned(),
        &against.difference_points,
        1.0,
        2,
    ));
    table(&rows) + &sentence(&against.instances)
}

/// How near the instances of two models are.
fn sentence(comparison: &Comparison) -> String {
    let [reference, found] = comparison.instances;
    let iou = |value: Option<f64>| value.map_or("none".to_owned(), |iou| format!("{iou:.4}"));
    let score = |value: Option<f32>| iou(value.map(f64::from));
    let pixels = |value: Option<f32>| value.map_or("none".to_owned(), |pixels| format!("{pixels:.2} px"));
    format!(
        "{} of {found} instances are among the reference's {reference}: mask IoU mean {}, worst {}; \
         largest difference of score {}, of box {}\n",
        comparison.matched,
        iou(comparison.mean_iou),
        iou(comparison.worst_iou),
        score(comparison.score_difference),
        pixels(comparison.box_difference)
    )
}
