//! `sam3 click`: the object under a point, a box or a mask, in one image.

mod everything;
mod report;
pub mod shown;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use sam3_model::{
    ClickedObject, Clicks, Result, Segmenter,
    image::Image,
    report::{ClickTimings, ImageRecord, Loaded},
};
use sam3_package::{Checkpoint, Staged, StateDict};

pub use self::report::label;
use self::report::{Group, Report};
use super::{
    objects::ObjectsFlags,
    segment::{Folders, Guard, Input, Named, Place, Results, Wanted, Writer, announce, milliseconds, places},
};
use crate::{
    args::{ModelFlags, ResultsFlags},
    failure::Failure,
    output::Output,
    signals,
};

/// The image is encoded once, whatever the number of objects. One point: the best of the model's three masks; several
/// points, a box or a mask: one mask.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The image (JPEG, PNG, WebP, BMP, GIF or TIFF), or - for one from stdin
    #[arg(long, short, value_name = "FILE")]
    image: PathBuf,
    /// A checkpoint or a package of it, with the tracker
    #[arg(long, value_name = "FILE")]
    checkpoint_path: PathBuf,
    /// Which set of weights to take where the checkpoint has several, such as ema
    #[arg(long, value_name = "NAME")]
    weights: Option<String>,
    #[command(flatten)]
    objects: ObjectsFlags,
    #[command(flatten)]
    everything: everything::Flags,
    /// Give three masks of each object: a part, a whole, and what is between
    #[arg(long, conflicts_with = "everything")]
    multimask: bool,
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    results: ResultsFlags,
    /// Write the logits of each object's best mask, for the --mask of the next step
    #[arg(long, value_name = "FILE.safetensors", conflicts_with = "everything")]
    save_logits: Option<PathBuf>,
    /// Write the raw outputs: masks at the model's resolution, predicted IoUs, object scores
    #[arg(long, value_name = "FILE.safetensors", conflicts_with = "everything")]
    dump_tensors: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<()> {
    args.check_clicks()?;
    let device = args.model.device.open(output)?;
    let start = Instant::now();
    let dict = Arc::new(StateDict::open_weights(&args.checkpoint_path, args.weights.as_deref())?);
    let input = Input::of(&args.image);
    let wanted = args.wanted();
    let place = Place::of(&args.results.output, &input);
    let guard = args.guard(&input, dict.checkpoint());
    args.check(&place, &wanted, &guard)?;
    let (image, sha256) = input.open()?;
    shown::check_inside(&args.objects.0, image.width(), image.height())?;

    let options = args.model.options(&dict, &device);
    let loaded = Loaded::load(dict, &options)?;
    loaded.segmenter.load_click_head()?;
    let load_ms = milliseconds(start);
    announce(&loaded, output);
    let clicks = args.clicks(&image, &loaded.segmenter)?;

    let spinner = output.spinner("clicking");
    let _stoppable = signals::Stoppable::new();
    let start = Instant::now();
    let model = &loaded.segmenter;
    let encoded = model.encode_watched(&image, &mut |_| signals::go_on())?;
    model.synchronize()?;
    let encode_ms = milliseconds(start);
    let start = Instant::now();
    let mut found = Vec::new();
    let groups = if args.everything.is_asked_for() {
        vec![Group::of_segments(&args.everything.find(model, &encoded, &spinner)?)]
    } else {
        found = clicks
            .iter()
            .map(|clicks| model.click(&encoded, clicks))
            .collect::<Result<_>>()?;
        let objects = args.objects.0.iter().zip(&found).zip(1..);
        objects
            .map(|((shown, found), number)| Group::of_object(number, shown, found))
            .collect()
    };
    let click_ms = milliseconds(start);
    let report = Report {
        image: ImageRecord {
            file: &args.image,
            sha256: &sha256,
            width: image.width(),
            height: image.height(),
        },
        loaded: &loaded,
        timings: ClickTimings {
            load_ms,
            encode_ms,
            click_ms,
        },
        groups,
    };
    if let Some(target) = &args.dump_tensors {
        save(target, &guard, |path| ClickedObject::save_all(&found, path))?;
    }
    if let Some(target) = &args.save_logits {
        save(target, &guard, |path| ClickedObject::save_logits(&found, path))?;
    }
    let writer = Writer {
        guard: &guard,
        wanted: &wanted,
    };
    let mut written = writer.write(&place, &image, &report)?;
    written.extend([&args.dump_tensors, &args.save_logits].into_iter().flatten().cloned());
    drop(spinner);
    output.record(&report.to_json(args.results.polygons), &report.to_text(&written))
}

/// Writes a file that appears whole or not at all.
fn save(target: &Path, guard: &Guard, write: impl Fn(&Path) -> Result<()>) -> anyhow::Result<()> {
    let file = Staged::create(target, guard.may_replace(target))?;
    write(file.temporary()).map_err(|error| {
        Failure::environment(
            format!("{}: {error}", target.display()),
            "free some space, or name a file on another drive",
        )
    })?;
    Ok(file.commit()?)
}

impl Args {
    fn check_clicks(&self) -> anyhow::Result<()> {
        self.objects.check()?;
        match (self.everything.is_asked_for(), self.objects.0.is_empty()) {
            (false, true) => Err(Failure::usage(
                "nothing is clicked",
                "give --point x,y, --box x1,y1,x2,y2 or --mask FILE of an object, or ask for --everything",
            )),
            (true, false) => Err(Failure::usage(
                "--everything clicks by itself: --point, --box and --mask are of one object",
                "leave one of the two away",
            )),
            _ => Ok(()),
        }
    }

    fn wanted(&self) -> Wanted {
        let labels: Vec<String> = match self.everything.is_asked_for() {
            true => vec![report::SEGMENT.to_owned()],
            false => (1..=self.objects.0.len()).map(report::label).collect(),
        };
        Wanted {
            masks: self.results.masks,
            prefixes: labels.iter().map(|label| label.replace(' ', "_")).collect(),
            ids: self.results.id_map,
            polygons: self.results.polygons,
        }
    }

    fn clicks(&self, image: &Image, model: &Segmenter) -> anyhow::Result<Vec<Clicks>> {
        let (extents, side) = ((image.width(), image.height()), model.mask_side());
        let objects = self.objects.0.iter().enumerate();
        objects
            .map(|(index, object)| shown::clicks(object, index, extents, side, self.multimask))
            .collect()
    }

    /// Everything that this run reads is guarded.
    fn guard(&self, input: &Input, checkpoint: &Checkpoint) -> Guard {
        let image = (!input.is_stdin()).then_some(input.path.as_path());
        let masks = self.objects.0.iter().filter_map(|object| object.mask.as_deref());
        Guard::of_run(self.results.force, checkpoint, image.into_iter().chain(masks))
    }

    /// Looks at every name that will be written, so that what cannot be is known before the work.
    fn check(&self, place: &Place, wanted: &Wanted, guard: &Guard) -> anyhow::Result<()> {
        let mut folders = Folders::default();
        folders.try_out(&self.results.output)?;
        let mut targets = places::targets(place, wanted, &mut folders)?;
        guard.check(targets.iter().map(PathBuf::as_path))?;
        targets.push(place.masks());
        let named = [
            ("--dump-tensors", &self.dump_tensors),
            ("--save-logits", &self.save_logits),
        ];
        for (flag, file) in named {
            if let Some(file) = file {
                Named { flag, file }.check(&self.results.output, &targets, guard)?;
                drop(Staged::create(file, true)?);
                targets.push(file.clone());
            }
        }
        Ok(())
    }
}
