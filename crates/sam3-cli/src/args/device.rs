//! `--device`, `--gpu`, `--text-device`, `--compute` and `--image-size`: where the model runs, in which precision, at
//! what size.

use std::{fmt, str::FromStr};

use clap::ValueEnum;
use sam3_model::{Compute, Device, Options, auto_compute, gpu, gpu::GpuError, open_gpu};
use sam3_package::StateDict;

use crate::{failure::Failure, output::Output};

/// How a model runs.
#[derive(Clone, Debug, clap::Args)]
pub struct ModelFlags {
    /// Precision of the large matrix products
    #[arg(long, value_enum, value_name = "MODE", default_value_t = ComputeFlag::Auto)]
    pub compute: ComputeFlag,
    /// Pixels in a side of what the model sees: of SAM 3 a multiple of 14 from 336 to 2016 [default: the model's own,
    /// 1008]; 672 takes less than half the time and misses small things
    #[arg(long, value_name = "N", value_parser = parse_image_size, allow_hyphen_values = true)]
    pub image_size: Option<usize>,
    /// Where.
    #[command(flatten)]
    pub device: DeviceFlags,
}

/// How a model of texts runs.
#[derive(Clone, Debug, clap::Args)]
pub struct TextFlags {
    /// Where texts are encoded, each of them once: auto is the CPU where the GPU's memory is the machine's, as a
    /// Jetson's, and else where the model runs; the CPU keeps nearly half of the weights in the mapped file
    #[arg(long, value_enum, value_name = "DEVICE", default_value_t = TextDevice::Auto)]
    text_device: TextDevice,
}

impl TextFlags {
    /// Refuses texts on a GPU for a model that runs on the CPU.
    pub fn check(&self, device: &Device) -> anyhow::Result<()> {
        if self.text_device == TextDevice::Gpu && device.is_cpu() {
            return Err(Failure::usage(
                "--text-device gpu: the model runs on the CPU",
                "--device cuda:0 runs it on a GPU, or says why not",
            ));
        }
        Ok(())
    }

    /// The same options with what the flags mean for a model that runs on this device.
    pub fn of(&self, options: Options, device: &Device) -> Options {
        match self.text_device {
            TextDevice::Auto => options,
            TextDevice::Cpu => options.text_device(&Device::Cpu),
            TextDevice::Gpu => options.text_device(device),
        }
    }
}

/// What `--text-device` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TextDevice {
    /// As the library chooses.
    #[value(help = None)]
    Auto,
    #[value(help = None)]
    Cpu,
    /// Where the rest of the model runs.
    #[value(help = None)]
    Gpu,
}

impl ModelFlags {
    /// What they mean for this checkpoint on this device.
    pub fn options(&self, dict: &StateDict, device: &Device) -> Options {
        let options = Options::new(device).compute(self.compute.compute(dict, device));
        match self.image_size {
            Some(image_size) => options.image_size(image_size),
            None => options,
        }
    }
}

/// What a model takes is known when its checkpoint is open.
pub fn parse_image_size(text: &str) -> Result<usize, String> {
    let pixels = text.trim().parse().ok().filter(|&pixels| pixels > 0);
    pixels.ok_or_else(|| format!("expected a number of pixels, such as 672, found {text:?}"))
}

/// Where the model runs.
#[derive(Clone, Debug, clap::Args)]
pub struct DeviceFlags {
    /// Where the model runs: auto (the first GPU that works, else the CPU), cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceFlag,
    /// The same as --device cuda:N where there is such a GPU, else the CPU
    #[arg(long, value_name = "N", conflicts_with = "device")]
    gpu: Option<usize>,
}

/// What `--device` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceFlag {
    /// The first GPU, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of that number and nothing else.
    Cuda(usize),
}

impl FromStr for DeviceFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected auto, cpu, cuda or cuda:N, found {text:?}");
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            other => {
                let number = other.strip_prefix("cuda:").and_then(|number| number.parse().ok());
                number.map(Self::Cuda).ok_or_else(expected)
            }
        }
    }
}

impl DeviceFlags {
    /// The device that the flags mean on this machine.
    ///
    /// # Errors
    /// When a GPU is asked for by name and there is no such GPU, or no CUDA in this build.
    pub fn open(&self, output: &Output) -> anyhow::Result<Device> {
        match self.gpu {
            Some(number) => Ok(gpu_or_cpu(number, &format!("--gpu {number}"), output)),
            None => self.device.open("--device", output),
        }
    }
}

impl DeviceFlag {
    /// The device that it means on this machine; `flag` is the one that it was given by.
    ///
    /// # Errors
    /// As [`DeviceFlags::open`].
    pub fn open(self, flag: &str, output: &Output) -> anyhow::Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            // Nobody has asked for a GPU: there is nothing to say where the build has none.
            Self::Auto if !gpu::is_built() => Ok(Device::Cpu),
            Self::Auto => Ok(gpu_or_cpu(0, &format!("{flag} auto"), output)),
            Self::Cuda(number) => open_gpu(number)
                .map_err(|error| Failure::environment(format!("{flag} cuda:{number}: {error}"), next_step(&error))),
        }
    }
}

impl fmt::Display for DeviceFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

fn gpu_or_cpu(number: usize, flag: &str, output: &Output) -> Device {
    match open_gpu(number) {
        Ok(device) => {
            output.note(format!("{flag}: running on {device}"));
            device
        }
        Err(error) => {
            output.note(format!("{flag}: {error}; running on the CPU"));
            Device::Cpu
        }
    }
}

fn next_step(error: &GpuError) -> &'static str {
    match error {
        GpuError::NotBuilt => {
            "build it with `cargo build --release --features cuda`, which needs a CUDA toolkit (12.6 or 13.0); or leave the flag \
             away to run on the CPU"
        }
        GpuError::Driver(_) => {
            "`nvidia-smi` shows whether the NVIDIA driver answers (JetPack brings it); --device cpu runs on the CPU"
        }
        GpuError::NoLibrary { .. } => {
            "--device cpu runs on the CPU; `ldconfig -p` lists the libraries that the system finds"
        }
        GpuError::NoSuchGpu { .. } => "`nvidia-smi -L` lists the GPUs; --device cuda:0 is the first",
        _ => {
            "build for this GPU: CUDA_COMPUTE_CAP=87 for a Jetson Orin, with a toolkit that the driver is not older than; \
             --device cpu runs on the CPU"
        }
    }
}

/// What `--compute` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ComputeFlag {
    /// bf16 where the CPU multiplies it faster, else f32; on a GPU the half precision that the weights are in
    Auto,
    /// Exact f32
    F32,
    /// bf16 inputs, f32 sums
    Bf16,
    /// f16 inputs, f32 sums; on a GPU only
    F16,
    /// int8 inputs, exact sums, in the image encoder's linear layers; the rest as with auto; on the CPU only
    Int8,
}

impl ComputeFlag {
    /// What it means for this checkpoint on this device.
    pub fn compute(self, dict: &StateDict, device: &Device) -> Compute {
        match self {
            Self::Auto => auto_compute(dict, device),
            other => other.on_the_cpu(),
        }
    }

    /// What it means on the CPU, whatever the checkpoint.
    pub fn on_the_cpu(self) -> Compute {
        match self {
            Self::Auto => Compute::auto(),
            Self::F32 => Compute::F32,
            Self::Bf16 => Compute::Bf16,
            Self::F16 => Compute::F16,
            Self::Int8 => Compute::Int8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DeviceFlag;

    #[test]
    fn devices_are_spelt_as_they_are_read() {
        for text in ["auto", "cpu", "cuda:0", "cuda:12"] {
            assert_eq!(text.parse::<DeviceFlag>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(DeviceFlag::Cuda(0)));
        for bad in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU"] {
            assert!(bad.parse::<DeviceFlag>().is_err(), "{bad}");
        }
    }
}
