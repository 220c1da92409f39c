//! `sam3 eval --coco`: how right a model is on anybody's labelled pictures, by COCO's numbers and SA-Co's.

mod draw;
mod metrics;
mod pairs;
mod report;
mod results;
mod truth;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use sam3_model::{Encoded, Prompt, image::Image, report::Loaded};
use serde_json::json;

use self::{
    draw::Draw,
    metrics::Judgement,
    pairs::Kind,
    report::{Against, Measured, Record},
    results::{Detection, Lines},
    truth::{Picture, Truth},
};
use super::Args;
use crate::{commands::prompts, failure::Failure, output::Output, signals};

/// Flags of labelled pictures.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Instead of the scenes, labelled pictures: COCO's or SA-Co's JSON
    #[arg(long, value_name = "FILE", requires = "coco_images", conflicts_with_all = ["scenes", "image"])]
    pub coco: Option<PathBuf>,
    /// The folder that its file_names are below
    #[arg(long, value_name = "DIR", requires = "coco")]
    coco_images: Option<PathBuf>,
    /// What to ask for a class by, where its name is no good text; may be repeated
    #[arg(long, value_name = "CLASS=TEXT", requires = "coco", value_parser = parse_class)]
    class_prompt: Vec<(String, String)>,
    /// Keep detections whose score is above this; AP wants them all
    #[arg(long, value_name = "SCORE", requires = "coco", default_value_t = 0.0, allow_negative_numbers = true,
        value_parser = crate::commands::segment::parse_threshold)]
    threshold: f32,
    /// Keep so many detections of a picture, the best of all classes together
    #[arg(long, value_name = "N", requires = "coco", default_value_t = 100, value_parser = parse_positive)]
    max_detections: usize,
    /// N of the pictures, drawn by --seed
    #[arg(long, value_name = "N", requires = "coco", value_parser = parse_positive)]
    limit: Option<usize>,
    /// What --limit and the bootstrap draw by
    #[arg(long, value_name = "SEED", requires = "coco", default_value_t = 0)]
    seed: u64,
    /// Folder for the results; a run that was ended goes on from what is there
    #[arg(long, short, value_name = "DIR", requires = "coco", default_value = "sam3-eval")]
    output: PathBuf,
}

/// Resampled sets of pictures for an interval.
const ROUNDS: usize = 1000;

fn parse_class(text: &str) -> Result<(String, String), String> {
    let (name, prompt) = text.split_once('=').unwrap_or_default();
    match (name.trim(), prompt.trim()) {
        ("", _) | (_, "") => Err(format!(
            "expected CLASS=TEXT, such as \"tv=television\", found {text:?}"
        )),
        (name, prompt) => Ok((name.to_owned(), prompt.to_owned())),
    }
}

fn parse_positive(text: &str) -> Result<usize, String> {
    let value = text.parse().ok().filter(|&value| value > 0);
    value.ok_or_else(|| format!("expected a number from 1, found {text:?}"))
}

/// Runs the command on labelled pictures.
pub fn run(args: &Args, labels: &Path, output: &Output) -> anyhow::Result<()> {
    let flags = &args.coco;
    let folder = flags.coco_images.as_deref().unwrap_or(Path::new("."));
    let truth = Truth::read(labels)?;
    let prompts = flags.prompts(&truth)?;
    let chosen = match flags.limit {
        Some(limit) => Draw::new(flags.seed).some(truth.pictures.len(), limit),
        None => (0..truth.pictures.len()).collect(),
    };
    let pictures: Vec<&Picture> = chosen.iter().map(|&place| &truth.pictures[place]).collect();
    if let Some(picture) = pictures
        .iter()
        .find(|picture| !folder.join(&picture.file_name).is_file())
    {
        let missing = pictures
            .iter()
            .filter(|picture| !folder.join(&picture.file_name).is_file());
        let missing = missing.count();
        output.warn(format!("{missing} of {} pictures are not there", pictures.len()));
        if missing == pictures.len() {
            return Err(Failure::input(
                format!(
                    "{}: there is no such picture",
                    folder.join(&picture.file_name).display()
                ),
                "--coco-images names the folder that the file_names in --coco begin in",
            ));
        }
    }
    // Both before the work: what is wrong with either is known at once.
    let loaded = args.open(output)?;
    let reference = args.against.as_deref().map(|path| args.open_reference(path, output));
    let reference = reference.transpose()?;
    let digest = sam3_package::sha256(std::fs::File::open(labels)?)?;
    let ask = Ask {
        folder,
        prompts: &prompts,
        threshold: flags.threshold,
        most: flags.max_detections,
        only: truth.categories[0].id,
        labels: digest,
    };
    let mut failed = HashSet::new();
    let lines = ask.all(&loaded, &pictures, &flags.output, &mut failed, output)?;
    let of_reference = match &reference {
        Some(reference) => Some(ask.all(reference, &pictures, &flags.output.join("against"), &mut failed, output)?),
        None => None,
    };
    let pictures: Vec<&Picture> = pictures
        .into_iter()
        .filter(|picture| !failed.contains(&picture.id))
        .collect();
    let ids: Vec<i64> = pictures.iter().map(|picture| picture.id).collect();
    for lines in [Some(&lines), of_reference.as_ref()].into_iter().flatten() {
        lines.write_results(&ids)?;
    }
    if ids.len() < truth.pictures.len() {
        let part = truth::part(labels, &ids.iter().copied().collect())?;
        results::write(&flags.output.join("instances.json"), &part)?;
    }
    let spinner = output.spinner("scoring");
    let measured = Measured::of(&truth, &pictures, &lines)?;
    let against = match (&reference, &of_reference) {
        (Some(reference), Some(lines)) => {
            let theirs = Measured::of(&truth, &pictures, lines)?;
            spinner.say(format!("resampling {} pictures {ROUNDS} times", ids.len()));
            Some(Against {
                model: reference.record(),
                differences: measured.above(&theirs, ROUNDS, flags.seed),
                scores: theirs.scores(),
            })
        }
        _ => None,
    };
    drop(spinner);
    let record = Record {
        generator: sam3_model::report::GENERATOR,
        coco: labels,
        pictures: ids.len(),
        failed: failed.len(),
        limit: flags.limit,
        seed: flags.seed,
        prompts: prompts
            .iter()
            .map(|(category, text)| (category.name.clone(), text.clone()))
            .collect(),
        threshold: flags.threshold,
        max_detections: flags.max_detections,
        phrase_score: pairs::PHRASE_SCORE,
        model: loaded.record(),
        scores: measured.scores(),
        against,
    };
    let mut json = serde_json::to_vec_pretty(&record)?;
    json.push(b'\n');
    results::write(&flags.output.join("scores.json"), &json)?;
    output.result(&record, &record.text(&flags.output))?;
    if let (Some(allowed), Some(against)) = (args.max_drop, &record.against) {
        against.gate(allowed)?;
    }
    match failed.len() {
        0 => Ok(()),
        count => Err(Failure::input(
            format!("{count} pictures could not be scored and are left out"),
            "the errors above say why; the scores are of the others",
        )),
    }
}

impl Flags {
    /// Each class with its text; where the pictures bring phrases, none.
    fn prompts(&self, truth: &Truth) -> anyhow::Result<Vec<(truth::Category, String)>> {
        let is_class = |name: &str| truth.categories.iter().any(|category| category.name == name);
        if let Some((name, _)) = self
            .class_prompt
            .iter()
            .find(|(name, _)| !is_class(name) || truth.has_phrases)
        {
            let names: Vec<&str> = truth
                .categories
                .iter()
                .take(10)
                .map(|category| category.name.as_str())
                .collect();
            return Err(Failure::usage(
                format!("--class-prompt {name}=…: --coco has no such class to ask for"),
                format!("its classes are {}", names.join(", ")),
            ));
        }
        if truth.has_phrases {
            return Ok(Vec::new());
        }
        let text = |category: &truth::Category| {
            let own = self.class_prompt.iter().rev().find(|(name, _)| *name == category.name);
            (category.clone(), own.map_or(&category.name, |(_, text)| text).clone())
        };
        Ok(truth.categories.iter().map(text).collect())
    }
}

/// What is asked of each picture.
struct Ask<'a> {
    folder: &'a Path,
    prompts: &'a [(truth::Category, String)],
    threshold: f32,
    most: usize,
    /// The class of what pictures' own phrases find, where there is one.
    only: i64,
    /// SHA-256 of the labels.
    labels: String,
}

impl Ask<'_> {
    /// Asks a model for all, but for what the lines in `folder` have already.
    fn all(
        &self,
        loaded: &Loaded,
        pictures: &[&Picture],
        folder: &Path,
        failed: &mut HashSet<i64>,
        output: &Output,
    ) -> anyhow::Result<Lines> {
        let prompts: Vec<_> = self
            .prompts
            .iter()
            .map(|(category, text)| json!([category.id, text]))
            .collect();
        let settings = json!({
            "labels": self.labels, "model": loaded.id(), "compute": loaded.compute(),
            "image_size": loaded.segmenter.image_size(), "device": loaded.segmenter.device().to_string(),
            "prompts": prompts, "threshold": self.threshold, "max_detections": self.most,
        });
        loaded.segmenter.check_texts()?;
        let texts = self.prompts.iter().map(|(_, text)| text.as_str());
        prompts::warn_of_long(texts, &loaded.segmenter, output);
        let mut lines = Lines::open(folder, &settings)?;
        let rest: Vec<&&Picture> = pictures
            .iter()
            .filter(|picture| !lines.found.contains_key(&picture.id))
            .collect();
        if rest.len() < pictures.len() {
            output.note(format!(
                "{}: {} of {} pictures are there already",
                folder.display(),
                pictures.len() - rest.len(),
                pictures.len()
            ));
        }
        let bar = output.pictures(rest.len());
        let mut last: Option<(String, Encoded)> = None;
        for picture in rest {
            let path = self.folder.join(&picture.file_name);
            bar.at(&path);
            let _stoppable = signals::Stoppable::new();
            let found = self.one(loaded, picture, &path, &mut last, &bar);
            match found {
                Ok(found) => lines.add(picture.id, found)?,
                Err(error) if matches!(error.downcast_ref(), Some(sam3_model::Error::Stopped { .. })) => {
                    return Err(error);
                }
                Err(error) => {
                    bar.suspend(|| output.complain(&error));
                    failed.insert(picture.id);
                }
            }
            bar.advance(1);
        }
        Ok(lines)
    }

    /// Asks for each text in a picture; keeps the best of all.
    fn one(
        &self,
        loaded: &Loaded,
        picture: &Picture,
        path: &Path,
        last: &mut Option<(String, Encoded)>,
        bar: &crate::output::Pictures,
    ) -> anyhow::Result<Vec<Detection>> {
        let mut watch = |progress| {
            bar.layer(progress);
            signals::go_on()
        };
        // Of SA-Co, one picture stands in several entries.
        if last.as_ref().is_none_or(|(name, _)| *name != picture.file_name) {
            *last = None;
            let image = Image::open(path).map_err(sam3_model::Error::from)?;
            if (image.width(), image.height()) != (picture.width, picture.height) {
                return Err(Failure::input(
                    format!(
                        "{}: {} x {} pixels, and --coco says {} x {}",
                        path.display(),
                        image.width(),
                        image.height(),
                        picture.width,
                        picture.height
                    ),
                    "labels are of the picture at its own size, upright as its EXIF asks",
                ));
            }
            let encoded = loaded.segmenter.encode_watched(&image, &mut watch)?;
            *last = Some((picture.file_name.clone(), encoded));
        }
        let Some((_, encoded)) = last else {
            return Ok(Vec::new());
        };
        let own = picture.text_input.as_ref().map(|text| (self.only, text.as_str()));
        let texts = self.prompts.iter().map(|(category, text)| (category.id, text.as_str()));
        let mut found: Vec<Detection> = Vec::new();
        for (category, text) in own.into_iter().chain(texts) {
            // What scores below all that are kept needs no mask.
            let floor = found
                .get(self.most - 1)
                .map_or(self.threshold, |last| last.score as f32);
            let detections = loaded
                .segmenter
                .detect_watched(encoded, &Prompt::text(text), &mut watch)?;
            let instances = detections.best_instances(encoded, floor.max(self.threshold), self.most)?;
            found.extend(instances.iter().map(|instance| Detection::of(category, instance)));
            found.sort_by(|a, b| b.score.total_cmp(&a.score));
            found.truncate(self.most);
        }
        Ok(found)
    }
}

/// A model's detections beside the labels, boxes and masks.
fn judgement(truth: &Truth, pictures: &[&Picture], lines: &Lines, kind: Kind) -> anyhow::Result<Judgement> {
    let judge = |picture: &&Picture| {
        let found = lines.found.get(&picture.id).map_or(&[][..], Vec::as_slice);
        pairs::judge(truth, picture, found, kind).map_err(|what| {
            Failure::input(
                format!("--coco: {what}"),
                "correct the labels; what was found is kept, and the next run goes on from it",
            )
        })
    };
    let cells: Vec<_> = pictures.par_iter().map(judge).collect::<anyhow::Result<_>>()?;
    Ok(Judgement::of(cells, truth.categories.len()))
}
