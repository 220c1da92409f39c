//! The command line: one variant a subcommand, its flags beside its code.

mod checkpoint;
mod device;
mod results;

use clap::{ArgAction, Parser, Subcommand};
use sam3_package::StateDict;

pub use self::{
    checkpoint::CheckpointFlags,
    device::{ComputeFlag, DeviceFlag, DeviceFlags, ModelFlags, TextFlags, parse_image_size},
    results::ResultsFlags,
};
use crate::commands::{bench, click, copy, demo, eval, inspect, package, segment, track, unpack, verify};

/// Package SAM 3 checkpoints on a desktop, segment images by text on a device without a network.
#[derive(Debug, Parser)]
#[command(name = "sam3", version, max_term_width = 100, propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 fine, 1 the input is at fault, 2 usage, 3 the environment (disk, permission, device).\n\
    SAM 3's weights are Meta's under the SAM License; this program is not."
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
}

/// Flags of every command.
#[derive(Clone, Debug, clap::Args)]
pub struct Global {
    /// Print the result as JSON on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// Print nothing but the result and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more; repeat for more still
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// CPU threads to work with [default: as many as the machine has]
    #[arg(long, global = true, value_name = "N", value_parser = parse_threads)]
    pub threads: Option<usize>,
}

/// What the user should know of a checkpoint, and the flag that takes other weights of it.
pub fn warnings(source: &StateDict) -> Vec<String> {
    let warnings = source.warnings().iter().cloned();
    warnings.chain(other_weights(source.other_weights())).collect()
}

/// The flag that takes the first of `names`, weights of the same checkpoint that were not taken.
pub fn other_weights(names: &[String]) -> Option<String> {
    let (first, rest) = names.split_first()?;
    let which = if rest.is_empty() { "the other" } else { "that one" };
    Some(format!("--weights {first} takes {which}"))
}

/// No machine has more cores; each thread takes memory.
const MOST_THREADS: usize = 1024;

fn parse_threads(text: &str) -> Result<usize, String> {
    let threads = text.parse().ok().filter(|threads| (1..=MOST_THREADS).contains(threads));
    threads.ok_or_else(|| format!("expected a number from 1 to {MOST_THREADS}, found {text:?}"))
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a checkpoint as a package in half precision or int8, with its metadata and an archive of both
    Package(package::Args),
    /// Extract and verify an archive in one pass
    Unpack(unpack::Args),
    /// Copy to a drive, read back and verify
    Copy(copy::Args),
    /// Check every digest of a package or archive
    Verify(verify::Args),
    /// Find what a text or example boxes mean in images
    Segment(segment::Args),
    /// Find the object under a point, a box or a mask in an image
    Click(click::Args),
    /// Answer over HTTP: one model, many clients
    #[cfg(feature = "serve")]
    Serve(crate::commands::serve::Args),
    /// Follow objects through a video: what a text means, or what is clicked
    Track(track::Args),
    /// The whole job on a miniature model: package, verify, unpack, segment
    Demo(demo::Args),
    /// Show the metadata and tensors of any checkpoint, package or archive
    Inspect(inspect::Args),
    /// Time each stage of the model
    Bench(bench::Args),
    /// Score a package on scenes with known answers, or against another package
    Eval(eval::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn flags_do_not_contradict_each_other() {
        super::Args::command().debug_assert();
    }
}
