//! The subcommands, a file each.

pub mod bench;
pub mod click;
pub mod copy;
mod decoding;
pub mod demo;
pub mod eval;
mod hub;
pub mod inspect;
#[cfg(feature = "manual")]
pub mod manual;
mod objects;
pub mod package;
pub mod prompts;
pub mod segment;
#[cfg(feature = "serve")]
pub mod serve;
pub mod track;
pub mod unpack;
pub mod verify;

use crate::{args::Command, output::Output};

/// Runs the command that was asked for.
pub fn run(command: Command, output: &Output) -> anyhow::Result<()> {
    match command {
        Command::Package(args) => package::run(&args, output),
        Command::Unpack(args) => unpack::run(&args, output),
        Command::Copy(args) => copy::run(&args, output),
        Command::Verify(args) => verify::run(&args, output),
        Command::Segment(args) => segment::run(&args, output),
        Command::Click(args) => click::run(&args, output),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(&args, output),
        Command::Track(args) => track::run(&args, output),
        Command::Demo(args) => demo::run(&args, output),
        Command::Inspect(args) => inspect::run(&args, output),
        Command::Bench(args) => bench::run(&args, output),
        Command::Eval(args) => eval::run(&args, output),
    }
}
