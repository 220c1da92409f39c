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
    match commands::run(args.command, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output.fail(&error),
    }
}
