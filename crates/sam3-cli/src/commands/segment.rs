//! `sam3 segment`: finds what a text or example boxes mean, in each of some images.

mod batch;
mod boxes;
mod failures;
mod files;
mod formats;
mod inputs;
mod loaded;
pub mod places;
mod refine;
mod report;
mod resume;
pub mod stamp;
mod tiles;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use sam3_model::{
    Detections, ExemplarBox, Progress, Prompt, Segmenter,
    image::Image,
    report::{How, Loaded, Timings, find_in_tiles},
};
use sam3_package::{Checkpoint, Staged};

use self::{batch::Ready, boxes::BoxFlag, failures::Failures, formats::Formats, resume::Settings, tiles::TileFlags};
pub use self::{
    files::{Writer, draw},
    inputs::{Input, Inputs, Walk},
    loaded::announce,
    places::{Folders, Guard, Named, Place, Wanted},
    report::{Report, Results, instance_rows},
};
use super::prompts;
use crate::{
    args::{CheckpointFlags, ResultsFlags},
    failure::Failure,
    output::Output,
    signals,
};

/// Each image is encoded once and each text once, whatever the number of both.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Images (JPEG, PNG, WebP, BMP, GIF or TIFF), folders of them, or - for one from stdin
    #[arg(long, short, value_name = "FILE|DIR", required_unless_present = "image_list", num_args = 1..)]
    image: Vec<PathBuf>,
    /// A file with the path of an image or folder on each line, or - for such a list from stdin
    #[arg(long, value_name = "FILE")]
    image_list: Option<PathBuf>,
    /// Read the sub-folders of folders too; the results keep them
    #[arg(long)]
    recursive: bool,
    /// What to look for: noun phrases between commas, such as "boat, red car"; \, is a comma
    #[arg(long, short, value_name = "TEXTS", num_args = 1..)]
    prompt: Vec<String>,
    #[command(flatten)]
    checkpoint: CheckpointFlags,
    /// An example of what to find (label 1) or not to find (0), in pixels; without --prompt, the only hint
    #[arg(long = "box", value_name = "x1,y1,x2,y2[,0|1]", allow_hyphen_values = true)]
    boxes: Vec<BoxFlag>,
    #[arg(long, hide = true, value_parser = refuse_points, allow_hyphen_values = true)]
    point: Option<String>,
    /// Keep instances whose score is above this
    #[arg(long, value_name = "SCORE", default_value_t = Segmenter::THRESHOLD, value_parser = parse_threshold,
        allow_negative_numbers = true)]
    threshold: f32,
    /// Pass each mask once through the head of `sam3 click`, with its box: finer edges; says what changed
    #[arg(long)]
    refine: bool,
    #[command(flatten)]
    tiles: TileFlags,
    /// Encode so many pictures, or tiles of a picture, at once: faster where there is memory for as many
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64),
        allow_hyphen_values = true)]
    batch: u8,
    #[command(flatten)]
    results: ResultsFlags,
    /// Also write all that was found in the format of a labelling tool or trainer; commas separate several
    #[arg(long, value_enum, value_name = "FORMAT", value_delimiter = ',')]
    format: Vec<formats::Format>,
    /// Write the raw outputs of the first image and prompt, under transformers' names
    #[arg(long, value_name = "FILE.safetensors", conflicts_with = "skip_existing")]
    dump_tensors: Option<PathBuf>,
    /// Skip images whose results are there, of the same image, package, prompts, threshold, --refine, --tiles,
    /// --compute and --image-size
    #[arg(long)]
    skip_existing: bool,
}

/// A score, for `--threshold`.
pub fn parse_threshold(text: &str) -> Result<f32, String> {
    let value = text.parse::<f32>().ok().filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| format!("expected a score from 0 to 1, found {text:?}"))
}

/// Whoever gives one means the object there, not all that is like it.
fn refuse_points(_: &str) -> Result<String, String> {
    Err("segment finds all that a text or an example box means; `sam3 click` finds the object at a point".into())
}

/// Runs the command: a bad image is reported, and the others still go on.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<()> {
    let prompts = prompts(args)?;
    let wanted = args.wanted(&prompts);
    let device = args.checkpoint.device(output)?;
    let walk = Walk {
        recursive: args.recursive,
        hint: "--recursive reads its sub-folders too",
        except: &args.results.output,
    };
    let inputs = Inputs::gather(&args.image, args.image_list.as_deref(), walk)?;
    let start = Instant::now();
    let dict = args.checkpoint.open()?;
    let guard = args.guard(&inputs.pictures, dict.checkpoint());
    let mut failures = Failures::of(inputs.pictures.len() + inputs.failed.len(), output);
    for error in inputs.failed {
        failures.take::<()>(Err(error))?;
    }
    let places = places::assign(&args.results.output, &inputs.pictures);
    let mut jobs: Vec<Job> = inputs.pictures.into_iter().zip(places).collect();
    let formats = Formats::of(&args.format, &args.results.output, &prompts);
    args.check(&mut jobs, &wanted, &formats, &guard, &mut failures)?;
    if jobs.is_empty() {
        return failures.finish();
    }

    let mut options = args.checkpoint.options(&dict, &device);
    if !args.refine {
        options = options.without_clicks();
    }
    let loaded = Loaded::load(dict, &options)?;
    loaded.segmenter.check_texts()?;
    if args.refine {
        loaded.segmenter.load_click_head()?;
    }
    let load_ms = milliseconds(start);
    announce(&loaded, output);
    let texts = prompts.iter().filter_map(|prompt| prompt.text.as_deref());
    prompts::warn_of_long(texts, &loaded.segmenter, output);
    let mut done = Vec::new();
    if args.skip_existing {
        let settings = Settings {
            loaded: &loaded,
            prompts: &prompts,
            how: args.how(),
            wanted: &wanted,
        };
        done = skip_done(&mut jobs, &settings, output)?;
    }
    let writer = Writer {
        guard: &guard,
        wanted: &wanted,
    };
    let mut labelled: Vec<&Job> = done.iter().collect();
    let bar = output.pictures(jobs.len());
    let tell = |progress| bar.layer(progress);
    let at_once = usize::from(args.batch);
    for (start, group) in (0..).step_by(at_once).zip(jobs.chunks(at_once)) {
        let mut pictures = Vec::with_capacity(group.len());
        for (index, job) in (start..).zip(group) {
            bar.at(&job.0.path);
            if let Some((image, sha256)) = bar.suspend(|| failures.take(job.0.open()))? {
                pictures.push((index, job, image, sha256));
            }
        }
        let images: Vec<&Image> = pictures.iter().map(|(_, _, image, _)| image).collect();
        let encoded = batch::encode(&loaded.segmenter, &images, &tell)?;
        for ((index, job, image, sha256), ready) in pictures.iter().zip(encoded) {
            let (input, place) = job;
            bar.at(&input.path);
            let picture = Picture {
                path: &input.path,
                sha256: sha256.clone(),
                image,
            };
            let segmented = ready.and_then(|ready| {
                let (report, first) = segment_encoded(&loaded, picture, ready, &prompts, args.how(), &tell)?;
                if let (Some(target), Some(first), 0) = (&args.dump_tensors, first, *index) {
                    files::dump(target, &first, &guard)?;
                }
                Ok(report)
            });
            bar.suspend(|| {
                let Some(mut report) = failures.take(segmented)? else {
                    return Ok(());
                };
                report.timings.load_ms = load_ms;
                match failures.take_written(writer.write(place, image, &report))? {
                    Some(written) => {
                        labelled.push(job);
                        output.record(&report.to_json(args.results.polygons), &report.to_text(&written))
                    }
                    None => Ok(()),
                }
            })?;
        }
        bar.advance(group.len());
    }
    drop(bar);
    for written in formats.write(&labelled, &guard, &mut failures)? {
        output.note(format!("wrote {}", written.display()));
    }
    failures.finish()
}

/// A picture and where its results go.
type Job = (Input, Place);

impl Args {
    /// Looks at every name that will be written, so that what cannot be is known before the work.
    fn check(
        &self,
        jobs: &mut Vec<Job>,
        wanted: &Wanted,
        formats: &Formats,
        guard: &Guard,
        failures: &mut Failures,
    ) -> anyhow::Result<()> {
        let mut targets = Vec::new();
        let mut folders = Folders::default();
        folders.try_out(&self.results.output)?;
        let mut kept = Vec::with_capacity(jobs.len());
        for (input, place) in jobs.drain(..) {
            // A picture that is not there is reported when it is read.
            let own = match input.is_there() {
                true => places::targets(&place, wanted, &mut folders),
                false => Ok(Vec::new()),
            };
            let own = own.map_err(|error| failures::without_place(&input.path, error));
            if let Some(own) = failures.take_written(own)? {
                targets.extend(own);
                kept.push((input, place));
            }
        }
        *jobs = kept;
        guard.check(targets.iter().map(PathBuf::as_path))?;
        formats.check(jobs, &targets, guard)?;
        if let Some(file) = &self.dump_tensors {
            targets.extend(jobs.iter().map(|(_, place)| place.masks()));
            let flag = "--dump-tensors";
            Named { flag, file }.check(&self.results.output, &targets, guard)?;
            drop(Staged::create(file, true)?);
        }
        Ok(())
    }

    fn how(&self) -> How {
        How {
            threshold: self.threshold,
            refine: self.refine,
            tiling: self.tiles.tiling().map(|tiling| tiling.batch(self.batch.into())),
        }
    }

    fn wanted(&self, prompts: &[Prompt]) -> Wanted {
        Wanted {
            masks: self.results.masks,
            prefixes: files::mask_prefixes(prompts),
            ids: self.results.id_map,
            polygons: self.results.polygons,
        }
    }

    /// Everything that this run reads is guarded.
    fn guard(&self, pictures: &[Input], checkpoint: &Checkpoint) -> Guard {
        let pictures = pictures.iter().filter(|input| !input.is_stdin());
        let pictures = pictures.map(|input| input.path.as_path());
        Guard::of_run(
            self.results.force,
            checkpoint,
            pictures.chain(self.image_list.as_deref()),
        )
    }
}

/// Takes out the pictures whose results are there; of these, `--json` prints what is there.
fn skip_done(jobs: &mut Vec<Job>, settings: &Settings, output: &Output) -> anyhow::Result<Vec<Job>> {
    let spinner = output.spinner("looking for results that are there");
    let (done, rest): (Vec<Job>, Vec<Job>) = jobs
        .drain(..)
        .partition(|(input, place)| settings.is_done(input, place));
    drop(spinner);
    *jobs = rest;
    let all = done.len() + jobs.len();
    let images = if all == 1 { "image" } else { "images" };
    let why = if done.is_empty() { "no" } else { "their" };
    output.note(format!(
        "skipped {} of {all} {images}: {why} results are there",
        done.len()
    ));
    done.iter().try_for_each(|(_, place)| output.json_file(&place.json()))?;
    Ok(done)
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
    if args.prompt.is_empty() {
        return Ok(vec![Prompt::boxes(boxes)]);
    }
    let texts = args.prompt.iter().map(|flag| match prompts::split(flag) {
        texts if texts.is_empty() => Err(prompts::empty("--prompt")),
        texts => Ok(texts),
    });
    let texts: Vec<Vec<String>> = texts.collect::<anyhow::Result<_>>()?;
    let with_text = |text: String| Prompt::text(text).with_boxes(boxes.clone());
    Ok(texts.into_iter().flatten().map(with_text).collect())
}

/// A picture with its name and digest, for the report.
pub struct Picture<'a, 'i> {
    /// Its file.
    pub path: &'a Path,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Its pixels.
    pub image: &'i Image,
}

/// Segments one image with each prompt.
///
/// # Errors
/// As [`segment_encoded`].
pub fn segment_image<'a>(
    loaded: &'a Loaded,
    picture: Picture<'a, '_>,
    prompts: &'a [Prompt],
    how: How,
) -> anyhow::Result<Report<'a>> {
    let tell = |_| {};
    let ready = batch::encode(&loaded.segmenter, &[picture.image], &tell)?.remove(0)?;
    Ok(segment_encoded(loaded, picture, ready, prompts, how, &tell)?.0)
}

/// Looks for each prompt in an image that is encoded, and tells of the layers on the way; also returns the first
/// prompt's raw outputs.
///
/// Ctrl-C ends it at the next layer.
fn segment_encoded<'a>(
    loaded: &'a Loaded,
    picture: Picture<'a, '_>,
    (encoded, encode_ms): Ready,
    prompts: &'a [Prompt],
    how: How,
    tell: &(dyn Fn(Progress) + Sync),
) -> anyhow::Result<(Report<'a>, Option<Detections>)> {
    let (segmenter, image) = (&loaded.segmenter, picture.image);
    let _stoppable = signals::Stoppable::new();
    let mut watch = |progress| {
        tell(progress);
        signals::go_on()
    };
    let mut timings = Timings {
        encode_ms,
        ..Timings::default()
    };
    let (found, first) = find_in_tiles(segmenter, image, encoded, prompts, how, &mut timings, &mut watch)?;
    let report = Report {
        path: picture.path,
        sha256: picture.sha256,
        width: image.width(),
        height: image.height(),
        loaded,
        how,
        timings,
        found,
    };
    Ok((report, first))
}

/// Time since `start`.
pub fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
