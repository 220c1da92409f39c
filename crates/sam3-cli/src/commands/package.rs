//! `sam3 package`: a checkpoint becomes `X.pth`, `X_metadata.json` and `X.tar.gz`.

use std::{
    path::PathBuf,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use sam3_package::{
    Precision, StateDict,
    package::{self, Options, Report},
};
use serde_json::json;

use crate::{
    failure::Failure,
    output::{Output, size, table},
};

/// The weights stay under Meta's SAM License; a copy of it has to travel with them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The checkpoint: sam3.pt, model.safetensors, its index, or a package to store anew
    #[arg(long, value_name = "FILE")]
    checkpoint_path: PathBuf,
    /// The package to write; .pth or .safetensors decides the format
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Precision of the weights
    #[arg(long, value_enum, default_value = "fp16")]
    quantize: Quantize,
    /// Write no .tar.gz
    #[arg(long)]
    no_tarball: bool,
    /// Replace outputs that exist
    #[arg(long)]
    force: bool,
    /// Accepted as the old scripts had it; packaging needs no GPU
    #[arg(long, value_name = "N")]
    gpu: Option<u32>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Quantize {
    /// Half precision for matrices, convolutions and embeddings
    Fp16,
    /// bfloat16 for the same
    Bf16,
    /// int8 with a scale per row for large Linear weights, the rest as fp16
    Int8,
    /// Every float as it is
    None,
}

impl From<Quantize> for Precision {
    fn from(quantize: Quantize) -> Self {
        match quantize {
            Quantize::Fp16 => Self::Fp16,
            Quantize::Bf16 => Self::Bf16,
            Quantize::Int8 => Self::Int8,
            Quantize::None => Self::None,
        }
    }
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<()> {
    let start = Instant::now();
    if !package::is_package_name(&args.output) {
        return Err(Failure::usage(
            format!(
                "--output {}: expected a name that ends in .pth, .pt or .safetensors",
                args.output.display()
            ),
            "for example --output sam3_fp16.pth",
        ));
    }
    let created = time_of_packaging()?;
    if let Some(gpu) = args.gpu {
        output.detail(format!("--gpu {gpu}: packaging runs on the CPU"));
    }
    let source = StateDict::open(&args.checkpoint_path)?;
    for warning in source.warnings() {
        output.warn(warning);
    }
    let options = Options {
        output: args.output.clone(),
        precision: args.quantize.into(),
        archive: !args.no_tarball,
        force: args.force,
        created,
        config: source.config().cloned(),
    };
    let progress = output.progress();
    let report = package::write(&source, &options, &progress)?;
    drop(progress);
    for warning in &report.warnings {
        output.warn(warning);
    }
    let seconds = start.elapsed().as_secs_f64();
    let files: Vec<_> = report
        .files
        .iter()
        .map(|(path, bytes)| json!({"path": path, "bytes": bytes}))
        .collect();
    let mut metadata = serde_json::to_value(&report.metadata)?;
    metadata.as_object_mut().and_then(|fields| fields.remove("tensors"));
    output.result(
        &json!({"files": files, "seconds": seconds, "metadata": metadata}),
        &summary(&report, seconds),
    )?;
    output.note("The weights are Meta's under the SAM License: pass a copy of it on with them.");
    Ok(())
}

fn summary(report: &Report, seconds: f64) -> String {
    let metadata = &report.metadata;
    let source = &metadata.source;
    let quantization = &metadata.quantization;
    let mut text = format!(
        "packaged {} ({}, {}) as {} in {seconds:.1} s\n",
        source.file,
        source.published,
        size(source.bytes),
        quantization.scheme.name(),
    );
    let rows: Vec<Vec<String>> = report
        .files
        .iter()
        .map(|(path, bytes)| vec![path.display().to_string(), size(*bytes)])
        .collect();
    text += &table(&rows);
    text += &format!("{} tensors, {}", metadata.total.tensors, size(metadata.total.bytes));
    if quantization.changed == 0 {
        text += "; no value changed\n";
        return text;
    }
    text += &format!("; {} rounded, the five that lost most:\n", quantization.changed);
    text += &table(&worst_rows(&quantization.worst));
    text
}

/// The error report's rows, with their head.
pub fn worst_rows(worst: &[package::WorstTensor]) -> Vec<Vec<String>> {
    let mut rows = vec![
        ["tensor", "max error", "mean error", "SNR dB"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(worst.iter().map(|tensor| {
        let error = tensor.error;
        vec![
            tensor.name.clone(),
            format!("{:.2e}", error.max_abs),
            format!("{:.2e}", error.mean_abs),
            format!("{:.1}", error.snr_db),
        ]
    }));
    rows
}

/// Now, or what SOURCE_DATE_EPOCH says for builds that must come out the same.
fn time_of_packaging() -> anyhow::Result<u64> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text
            .trim()
            .parse()
            .ok()
            .filter(|seconds| *seconds < 1 << 36)
            .ok_or_else(|| {
                Failure::usage(
                    format!("SOURCE_DATE_EPOCH={text}: expected whole seconds since 1970"),
                    "unset it, or set it to for example $(date +%s)",
                )
            }),
        Err(_) => Ok(SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())),
    }
}
