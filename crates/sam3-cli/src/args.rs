//! The command line: one variant a subcommand, its flags beside its code.

use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use sam3_model::{Compute, Device};

use crate::{
    commands::{bench, copy, demo, eval, inspect, package, segment, unpack, verify},
    failure::Failure,
    output::Output,
};

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
    /// The whole job on a miniature model: package, verify, unpack, segment
    Demo(demo::Args),
    /// Show the metadata and tensors of any checkpoint, package or archive
    Inspect(inspect::Args),
    /// Time each stage of the model
    Bench(bench::Args),
    /// Score a package on scenes with known answers, or against another package
    Eval(eval::Args),
}

/// Where the model runs.
#[derive(Clone, Debug, clap::Args)]
pub struct DeviceFlags {
    /// Where the model runs: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_parser = parse_device)]
    device: DeviceFlag,
    /// The same as --device cuda:N where there is such a GPU, else the CPU
    #[arg(long, value_name = "N", conflicts_with = "device")]
    gpu: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
enum DeviceFlag {
    Auto,
    Cpu,
    Cuda(u32),
}

fn parse_device(text: &str) -> Result<DeviceFlag, String> {
    let expected = || format!("expected auto, cpu, cuda or cuda:N, found {text:?}");
    match text {
        "auto" => Ok(DeviceFlag::Auto),
        "cpu" => Ok(DeviceFlag::Cpu),
        "cuda" => Ok(DeviceFlag::Cuda(0)),
        other => {
            let number = other.strip_prefix("cuda:").and_then(|number| number.parse().ok());
            number.map(DeviceFlag::Cuda).ok_or_else(expected)
        }
    }
}

impl DeviceFlags {
    /// The device that the flags mean on this machine.
    ///
    /// # Errors
    /// When CUDA is asked for by name: this build has none.
    pub fn open(&self, output: &Output) -> anyhow::Result<Device> {
        if let DeviceFlag::Cuda(number) = self.device {
            return Err(Failure::environment(
                format!("--device cuda:{number}: this sam3 was built without CUDA"),
                "leave --device away to run on the CPU",
            ));
        }
        if let Some(number) = self.gpu {
            output.note(format!(
                "--gpu {number}: this sam3 was built without CUDA; running on the CPU"
            ));
        }
        Ok(Device::Cpu)
    }
}

/// What `--compute` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ComputeFlag {
    /// bf16 where the CPU multiplies it faster, else f32
    Auto,
    /// Exact f32
    F32,
    /// bf16 inputs, f32 sums
    Bf16,
    /// int8 inputs, exact sums, in the image encoder's linear layers; the rest as with auto
    Int8,
}

impl ComputeFlag {
    /// What it means on this machine.
    pub fn compute(self) -> Compute {
        match self {
            Self::Auto => Compute::auto(),
            Self::F32 => Compute::F32,
            Self::Bf16 => Compute::Bf16,
            Self::Int8 => Compute::Int8,
        }
    }
}

/// As the flag spells it.
pub fn compute_name(compute: Compute) -> String {
    format!("{compute:?}").to_lowercase()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn flags_do_not_contradict_each_other() {
        super::Args::command().debug_assert();
    }
}
