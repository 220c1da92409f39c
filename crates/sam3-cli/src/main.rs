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
    #[cfg(feature = "manual")]
    if let Some(args) = commands::manual::Args::of_process() {
        let output = output::Output::new(&args.global);
        return match commands::manual::run(&args, &output) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => output.fail(&error),
        };
    }
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

/// Starts the threads that all work shares; unless told how many, as many as the machine has.
fn threads(wanted: Option<usize>) -> anyhow::Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(wanted.unwrap_or(0));
    pool.build_global().map_err(failure::Failure::threads)
}
