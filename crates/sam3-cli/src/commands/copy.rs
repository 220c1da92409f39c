//! `sam3 copy`: carries packages and archives to a mounted drive and proves that they arrived.

use std::{path::PathBuf, time::Instant};

use serde_json::json;

use crate::output::{Output, plain, size, table};

/// Free space is checked first, an interrupted copy goes on where it ended, and every byte is read back.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files to copy; all parts of an archive go along, and a package's metadata
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A folder on the drive
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Replace other files of the same names
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<()> {
    let start = Instant::now();
    let progress = output.progress();
    let copied = sam3_package::copy(&args.files, &args.folder, args.force, &progress)?;
    drop(progress);
    let seconds = start.elapsed().as_secs_f64();
    let rows: Vec<_> = copied
        .iter()
        .map(|file| {
            let note = match file.found {
                0 => "copied".to_owned(),
                found if found == file.bytes => "was there".to_owned(),
                found => format!("resumed at {}", size(found)),
            };
            vec![file.path.display().to_string(), size(file.bytes), note]
        })
        .collect();
    let files: Vec<_> = copied
        .iter()
        .map(|file| {
            json!({
                "path": plain(&file.path),
                "bytes": file.bytes,
                "sha256": file.sha256,
                "found": file.found,
                "read_from_drive": file.is_from_drive,
            })
        })
        .collect();
    if copied.iter().any(|file| !file.is_from_drive) {
        output.warn(
            "this system may have read the copies back from its memory, not from the drive: connect the drive again \
             and run `sam3 verify` there",
        );
    }
    let total = copied.iter().map(|file| file.bytes).sum();
    let text = format!(
        "{}{} on the drive and read back in {seconds:.1} s\n",
        table(&rows),
        size(total)
    );
    output.result(&json!({"files": files, "seconds": seconds}), &text)
}
