//! What a model takes of a machine's memory: the process's own, a GPU's, and where the two are one, of both together.

use std::{fmt, fs};

use sam3_model::Device;
use serde::Serialize;

use crate::output::size;

/// The process's part of main memory, in bytes, where the system tells.
pub struct Main {
    /// The most that was ever resident, with mapped pages of the package, which the system takes back when it needs
    /// them.
    pub peak: Option<u64>,
    /// What is its own now, and cannot be taken back.
    pub anonymous: Option<u64>,
}

impl Main {
    pub fn now() -> Self {
        Self {
            peak: field("/proc/self/status", "VmHWM:"),
            anonymous: field("/proc/self/status", "RssAnon:"),
        }
    }
}

impl fmt::Display for Main {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peak = self.peak.map_or("unknown".to_owned(), size);
        match self.anonymous {
            Some(anonymous) => writeln!(f, "{:<18} {peak}; {} of its own now", "peak memory", size(anonymous)),
            None => writeln!(f, "{:<18} {peak}", "peak memory"),
        }
    }
}

/// A GPU's memory with one picture and one prompt, in bytes.
#[derive(Serialize)]
pub struct OnTheGpu {
    /// What the model's parameters take.
    weights: u64,
    /// The most that was asked for at once, the weights among it.
    peak: u64,
    /// What is in use there that this program did not ask for: the driver's context, kernels, other programs.
    beside: u64,
    in_use: u64,
    total: u64,
    /// Of a machine that has one memory for CPU and GPU: what was available before the GPU was opened and is not any
    /// more.
    taken_of_the_machine: Option<u64>,
}

impl OnTheGpu {
    /// `before` is what was [`available`] before the device was opened. None for the CPU.
    pub fn of(device: &Device, weights: u64, before: Option<u64>) -> Option<Self> {
        let usage = device.usage()?;
        let taken = || Some(before?.saturating_sub(available()?));
        Some(Self {
            weights,
            peak: usage.peak,
            beside: usage.in_use.saturating_sub(usage.reserved),
            in_use: usage.in_use,
            total: usage.total,
            taken_of_the_machine: device.is_integrated().then(taken).flatten(),
        })
    }
}

impl fmt::Display for OnTheGpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let work = self.peak.saturating_sub(self.weights);
        let [peak, weights, work, beside] = [self.peak, self.weights, work, self.beside].map(size);
        let [in_use, total] = [self.in_use, self.total].map(size);
        writeln!(
            f,
            "{:<18} {peak}: {weights} of weights, {work} of work",
            "peak on the GPU"
        )?;
        writeln!(
            f,
            "{:<18} {in_use} of {total}: {beside} of it the driver's and other programs'",
            "in use there"
        )?;
        match self.taken_of_the_machine {
            Some(taken) => writeln!(
                f,
                "{:<18} {} less available than before",
                "on this machine",
                size(taken)
            ),
            None => Ok(()),
        }
    }
}

/// What programs may have of the machine's memory, in bytes.
pub fn available() -> Option<u64> {
    field("/proc/meminfo", "MemAvailable:")
}

/// What of main memory is resident now, with mapped pages of the package, in bytes.
pub fn resident() -> Option<u64> {
    field("/proc/self/status", "VmRSS:")
}

/// A line of one of the kernel's tables, in kB there.
fn field(path: &str, name: &str) -> Option<u64> {
    let table = fs::read_to_string(path).ok()?;
    let value = table.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
