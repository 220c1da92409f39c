//! `sam3 verify`: every digest of packages and archives.

use std::{path::PathBuf, time::Instant};

use sam3_package::{
    archive::{ExtraFile, Machine},
    package::Verified,
};
use serde_json::{Value, json};

use crate::output::{Output, plain, size};

/// Checks what is inside and the metadata file beside it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Packages (.pth, .safetensors) or archives (.tar.gz, .tar.zst, .tar, or any part of one)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Runs the command; of several files a wrong one does not keep the others from being checked.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<()> {
    let (mut all, mut text) = (Vec::new(), String::new());
    let mut failed = None;
    for file in &args.files {
        let start = Instant::now();
        let progress = output.progress();
        let verified = sam3_package::verify(file, &progress);
        drop(progress);
        match verified {
            Ok(verified) => {
                for warning in &verified.warnings {
                    output.warn(warning);
                }
                all.push(report(&file.display().to_string(), &verified));
                text += &format!(
                    "{}: {}\n",
                    file.display(),
                    sentence(&verified, start.elapsed().as_secs_f64())
                );
            }
            Err(error) if args.files.len() > 1 => {
                let error = anyhow::Error::from(error);
                output.complain(&error);
                failed.get_or_insert(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    if !all.is_empty() {
        output.result(&json!({"verified": all}), &text)?;
    }
    match failed {
        Some(error) => Err(error.context("some files are not right, the first because")),
        None => Ok(()),
    }
}

/// The machine's form of one check.
pub fn report(file: &str, verified: &Verified) -> Value {
    json!({
        "file": file,
        "tensors": verified.tensors,
        "bytes": verified.bytes,
        "metadata_file": verified.beside.as_deref().map(plain),
        "precision": verified.metadata.quantization.scheme,
        "source": verified.metadata.source,
        "extras": extras(&verified.extras),
    })
}

/// The machine's form of what an archive holds beside the package.
pub fn extras(files: &[ExtraFile]) -> Vec<Value> {
    let machine = |file: &ExtraFile| file.machine.map(Machine::name);
    let extra = |file: &ExtraFile| json!({"path": plain(&file.path), "bytes": file.bytes, "machine": machine(file)});
    files.iter().map(extra).collect()
}

/// The reader's form of it: "sam3 for aarch64 (21.0 MB), SHA256SUMS (380 bytes)".
pub fn extras_list(files: &[ExtraFile]) -> String {
    let one = |file: &ExtraFile| {
        let machine = file.machine.map(|machine| format!(" for {}", machine.name()));
        format!(
            "{}{} ({})",
            file.path.display(),
            machine.unwrap_or_default(),
            size(file.bytes)
        )
    };
    files.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The reader's form of one check.
pub fn sentence(verified: &Verified, seconds: f64) -> String {
    let metadata = &verified.metadata;
    let beside = match &verified.beside {
        Some(path) => format!("{} equal to the metadata inside", path.display()),
        None => "no metadata file beside it".to_owned(),
    };
    let with = match &verified.extras[..] {
        [] => String::new(),
        extras => format!("; with it {}", extras_list(extras)),
    };
    format!(
        "verified {} tensors, {}, in {seconds:.1} s; {} of {} ({}), packaged {}; {beside}{with}",
        verified.tensors,
        size(verified.bytes),
        metadata.quantization.scheme.name(),
        metadata.source.file,
        metadata.source.published,
        metadata.created,
    )
}
