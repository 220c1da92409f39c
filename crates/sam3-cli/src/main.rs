//! `sam3`: package SAM 3 checkpoints on a desktop, segment images by text on a device without a network.

// They panic where the stream is closed: `output` does not.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

mod args;
mod commands;
mod failure;
mod memory;
mod output;
mod signals;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    signals::install();
    memory::keep_buffers();
    let args = args::Args::parse();
    let output = output::Output::new(&args.global);
    let done = threads(args.global.threads).and_then(|()| commands::run(args.command, &output));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            signals::wait_for_the_end();
            output.fail(&error)
        }
    }
}

/// Sets how many threads all work shares; unless told, as many as the machine has.
fn threads(wanted: Option<usize>) -> anyhow::Result<()> {
    let Some(wanted) = wanted else { return Ok(()) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(wanted).build_global();
    pool.map_err(|error| {
        failure::Failure::environment(
            format!("--threads {wanted}: {error}"),
            "ask for fewer, or leave the flag out",
        )
    })
}
