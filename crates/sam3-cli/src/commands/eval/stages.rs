//! Two packages of a model on one picture: the error of every stage, and of the instances.

use std::path::Path;

use sam3_model::{
    Comparison, Config, Instance, Segmenter, StageError, Trace,
    image::Image,
    report::{Loaded, ModelRecord},
};
use serde::Serialize;

use super::{Args, sentence};
use crate::{
    commands::prompts,
    failure::Failure,
    output::{Output, serialize_plain, table},
};

#[derive(Serialize)]
struct Record<'a> {
    #[serde(serialize_with = "serialize_plain")]
    image: &'a Path,
    prompt: &'a str,
    model: ModelRecord<'a>,
    against: ModelRecord<'a>,
    stages: Vec<StageError>,
    instances: Comparison,
}

/// Runs the command on a picture.
pub fn run(args: &Args, path: &Path, prompt: &str, against: &Path, output: &Output) -> anyhow::Result<()> {
    let prompt = &prompts::one("--prompt", prompt)?;
    let image = Image::open(path).map_err(sam3_model::Error::from)?;
    let reference = args.open_reference(against, output)?;
    let loaded = args.open(output)?;
    prompts::warn_of_long([prompt.as_str()], &loaded.segmenter, output);
    if architecture(&loaded) != architecture(&reference) {
        return Err(Failure::input(
            format!(
                "{} and {} are models of different architectures",
                args.checkpoint_path.display(),
                against.display()
            ),
            "--against takes the same model in another precision; `sam3 inspect` shows what a file holds",
        ));
    }
    let (expected, expected_instances) = trace(&reference, &image, prompt, output)?;
    let (found, found_instances) = trace(&loaded, &image, prompt, output)?;
    let record = Record {
        image: path,
        prompt,
        model: loaded.record(),
        against: reference.record(),
        stages: found.errors(&expected)?,
        instances: Comparison::of(&expected_instances, &found_instances),
    };
    output.result(&record, &text(&record))
}

/// But for the text encoder, which a package with baked prompts leaves out.
fn architecture(loaded: &Loaded) -> Config {
    let mut config = loaded.segmenter.config().clone();
    if let Some(detector) = &mut config.detector {
        detector.text = None;
    }
    config
}

fn trace(loaded: &Loaded, image: &Image, prompt: &str, output: &Output) -> anyhow::Result<(Trace, Vec<Instance>)> {
    let _spinner = output.spinner(&format!("running {}", loaded.path().display()));
    let (encoded, detections, trace) = loaded.segmenter.trace(image, prompt)?;
    Ok((trace, detections.instances(&encoded, Segmenter::THRESHOLD)?))
}

fn text(record: &Record) -> String {
    let mut rows = vec![
        ["stage", "output", "shape", "max error", "mean error"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(record.stages.iter().map(|error| {
        let shape: Vec<String> = error.shape.iter().map(usize::to_string).collect();
        vec![
            error.stage.to_owned(),
            error.output.to_owned(),
            shape.join(" × "),
            format!("{:.2e}", error.max),
            format!("{:.2e}", error.mean),
        ]
    }));
    let sizes = [&record.model, &record.against].map(ModelRecord::image_size);
    let left_out = match sizes {
        [size, of_reference] if size != of_reference => {
            format!("maps at {size} x {size} and {of_reference} x {of_reference} have other shapes, and are left out\n")
        }
        _ => String::new(),
    };
    format!(
        "{} against {}: shares of the reference's largest and mean magnitude\n{}{left_out}{}",
        record.model.label(),
        record.against.label(),
        table(&rows),
        sentence(&record.instances)
    )
}
