//! `sam3 inspect`: what a checkpoint, package or archive holds.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use sam3_package::{
    Component, Container, Error, Layout, StateDict, Tasks,
    archive::{self, ExtraFile},
    package::{Metadata, Tallies, Tally, TestRun},
};
use serde_json::{Value, json};

use super::{
    package::worst_rows,
    verify::{extras, extras_list},
};
use crate::output::{Output, plain, size, table};

/// Reads no tensor, so it is fast and checks no digest: `sam3 verify` does.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Any checkpoint, package or archive
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Which set of weights to take where the checkpoint has several, such as ema
    #[arg(long, value_name = "NAME")]
    weights: Option<String>,
    /// List every tensor
    #[arg(long)]
    tensors: bool,
}

/// What is shown, wherever it comes from.
struct Contents {
    container: String,
    names: &'static str,
    tallies: Tallies,
    metadata: Option<Metadata>,
    extras: Vec<ExtraFile>,
    synthesised: Vec<String>,
    warnings: Vec<String>,
    tensors: Vec<(String, String, Vec<usize>)>,
}

impl Contents {
    fn tasks(&self) -> Tasks {
        Tasks::of(self.tensors.iter().map(|(name, _, _)| name.as_str()))
    }
}

/// Which commands the file serves, by the names of its tensors.
fn can(tasks: Tasks) -> String {
    let texts = match tasks.texts {
        true => "`sam3 segment` answers texts with it",
        false => "no texts: it has no detector, which a package without --components click has",
    };
    let clicks = match tasks {
        Tasks { clicks: true, .. } => "`sam3 click` and `sam3 track` take clicks",
        Tasks { is_sam31: true, .. } => "no clicks: SAM 3.1's click head is not supported",
        _ => "no clicks and no videos: it has no tracker, which a package without --components image has",
    };
    format!("{texts}; {clicks}")
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<()> {
    let contents = if archive::is_archive(&args.file) {
        of_archive(&args.file)?
    } else {
        of_checkpoint(&args.file, args.weights.as_deref())?
    };
    output.result(
        &as_json(&args.file, &contents)?,
        &as_text(&args.file, &contents, args.tensors),
    )
}

fn of_archive(path: &Path) -> anyhow::Result<Contents> {
    let sam3_package::Contents { metadata, extras } = sam3_package::contents(path)?;
    let tensors = metadata
        .tensors
        .iter()
        .map(|t| (t.name.clone(), t.dtype.clone(), t.shape.clone()))
        .collect();
    Ok(Contents {
        container: format!("{} of a package", archive::kind(path)?),
        names: "official",
        tallies: Tallies {
            total: metadata.total,
            dtypes: metadata.dtypes.clone(),
            components: metadata.components.clone(),
        },
        synthesised: metadata.synthesised.clone(),
        warnings: Vec::new(),
        tensors,
        metadata: Some(metadata),
        extras,
    })
}

fn of_checkpoint(path: &Path, weights: Option<&str>) -> anyhow::Result<Contents> {
    let source = StateDict::open_weights(path, weights)?;
    let metadata = match source.metadata_json() {
        Some(text) => {
            let path = path.to_owned();
            Some(Metadata::from_json(text).map_err(|reason| Error::Invalid { path, reason })?)
        }
        None => None,
    };
    Ok(Contents {
        container: match source.checkpoint().container() {
            Container::Pth => "PyTorch zip",
            Container::Safetensors => "safetensors",
        }
        .to_owned(),
        names: match source.layout() {
            Layout::Official => "official",
            Layout::Transformers => "transformers'",
        },
        tallies: Tallies::of(source.tensors()),
        metadata,
        extras: Vec::new(),
        synthesised: source.synthesised().map(str::to_owned).collect(),
        warnings: crate::args::warnings(&source),
        tensors: source
            .tensors()
            .map(|t| (t.name.to_owned(), t.dtype.name().to_owned(), t.shape.to_vec()))
            .collect(),
    })
}

fn as_json(path: &Path, contents: &Contents) -> anyhow::Result<Value> {
    let tensors: Vec<Value> = contents
        .tensors
        .iter()
        .map(|(name, dtype, shape)| {
            json!({"name": name, "dtype": dtype, "shape": shape, "component": Component::of(name).name()})
        })
        .collect();
    Ok(json!({
        "file": plain(path),
        "container": contents.container,
        "names": contents.names,
        "package": contents.metadata.is_some(),
        "total": contents.tallies.total,
        "dtypes": contents.tallies.dtypes,
        "components": contents.tallies.components,
        "texts": contents.tasks().texts,
        "clicks": contents.tasks().clicks,
        "synthesised": contents.synthesised,
        "warnings": contents.warnings,
        "metadata": contents.metadata,
        "extras": extras(&contents.extras),
        "tensors": tensors,
    }))
}

fn as_text(path: &Path, contents: &Contents, list: bool) -> String {
    let total = contents.tallies.total;
    let mut text = format!("{}: {}, {} names", path.display(), contents.container, contents.names);
    text += &format!(
        ", {} tensors, {} values, {}\n",
        total.tensors,
        total.elements,
        size(total.bytes)
    );
    match &contents.metadata {
        Some(metadata) => text += &about_package(metadata),
        None => text += "not a sam3 package: no metadata, no digests\n",
    }
    text += &format!("{}\n", can(contents.tasks()));
    if !contents.extras.is_empty() {
        text += &format!("with it {}\n", extras_list(&contents.extras));
    }
    for warning in &contents.warnings {
        text += &format!("note: {warning}\n");
    }
    if !contents.synthesised.is_empty() {
        text += &format!(
            "{} tensors are computed, the file has none of them\n",
            contents.synthesised.len()
        );
    }
    text += &format!("by type\n{}", tally_table(&contents.tallies.dtypes));
    text += &format!("by component\n{}", tally_table(&contents.tallies.components));
    if list {
        let rows: Vec<Vec<String>> = contents
            .tensors
            .iter()
            .map(|(name, dtype, shape)| vec![name.clone(), dtype.clone(), format!("{shape:?}")])
            .collect();
        text += &format!("tensors\n{}", table(&rows));
    }
    text
}

fn about_package(metadata: &Metadata) -> String {
    let (source, quantization) = (&metadata.source, &metadata.quantization);
    let mut text = format!(
        "package of {} ({}), {} by {} {}\n  {}: {}\n  source sha256 {}, {}\n  {}\n",
        source.file,
        source.published,
        metadata.created,
        metadata.tool,
        metadata.tool_version,
        quantization.scheme.name(),
        quantization.description,
        source.sha256,
        size(source.bytes),
        metadata.license,
    );
    if let Some(test) = &metadata.test {
        text += &about_test(test);
    }
    if !quantization.worst.is_empty() {
        text += &format!("{} tensors rounded, the five that lost most\n", quantization.changed);
        text += &table(&worst_rows(&quantization.worst));
    }
    text
}

/// What the package did to the picture that it was tried on.
fn about_test(test: &TestRun) -> String {
    let agreement = &test.agreement;
    let mut text = format!(
        "  tried on {} with \"{}\" ({}): {} found, {} by the source, {} matched",
        test.image, test.prompt, test.device, agreement.package_instances, test.source_instances, agreement.matched,
    );
    if let Some(iou) = agreement.worst_mask_iou {
        text += &format!(", lowest mask IoU {iou:.3}");
    }
    if let Some(difference) = agreement.largest_score_difference {
        text += &format!(", largest difference of scores {difference:.4}");
    }
    text + "\n"
}

fn tally_table(tallies: &BTreeMap<String, Tally>) -> String {
    let rows: Vec<Vec<String>> = tallies
        .iter()
        .map(|(name, tally)| {
            vec![
                name.clone(),
                format!("{} tensors", tally.tensors),
                format!("{} values", tally.elements),
                size(tally.bytes),
            ]
        })
        .collect();
    table(&rows)
}
