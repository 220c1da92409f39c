//! `sam3 unpack`: extracts an archive and verifies it in the same pass.

use std::{path::PathBuf, time::Instant};

use serde_json::json;

use super::verify::{report, sentence};
use crate::output::{Output, plain, size, table};

/// Files appear under their names only after every digest was right.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The archive, X.tar.gz, X.tar.zst or X.tar, or one of its parts, X.tar.gz.000
    #[arg(value_name = "FILE")]
    archive: PathBuf,
    /// The folder to extract into, made if it is not there
    #[arg(short = 'C', long = "directory", value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<()> {
    let start = Instant::now();
    let progress = output.progress();
    let unpacked = sam3_package::unpack(&args.archive, &args.directory, args.force, &progress)?;
    drop(progress);
    let seconds = start.elapsed().as_secs_f64();
    let files: Vec<_> = unpacked
        .files
        .iter()
        .map(|(path, bytes)| json!({"path": plain(path), "bytes": bytes}))
        .collect();
    let archive = args.archive.display().to_string();
    let checks = [report(&archive, &unpacked.verified)];
    let rows: Vec<_> = unpacked
        .files
        .iter()
        .map(|(path, bytes)| vec![path.display().to_string(), size(*bytes)])
        .collect();
    for warning in &unpacked.verified.warnings {
        output.warn(warning);
    }
    let text = format!("{}{}\n", table(&rows), sentence(&unpacked.verified, seconds));
    output.result(&json!({"files": files, "seconds": seconds, "verified": checks}), &text)
}
