//! How much memory may still be had, where the system tells.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Bytes that this process may still take: the least of what the machine has, what its control groups leave, and what
/// its own limits leave. None where nothing of it is known.
pub fn available() -> Option<u64> {
    let machine = line(Path::new("/proc/meminfo"), "MemAvailable:").map(|kib| kib * 1024);
    [machine, left_by_groups(), left_by_limits()]
        .into_iter()
        .flatten()
        .min()
}

/// The number behind a name in one of the kernel's tables.
fn line(path: &Path, name: &str) -> Option<u64> {
    let table = fs::read_to_string(path).ok()?;
    let value = table.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

/// Of the process's control group and those above it.
fn left_by_groups() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let folder: PathBuf = root.join(own);
    let groups = folder.ancestors().take_while(|group| group.starts_with(root));
    groups.filter_map(left_by_group).min()
}

fn left_by_group(group: &Path) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    let (most, current) = (number("memory.max")?, number("memory.current")?);
    // Pages of files, as of the mapped package, are given back when they are needed.
    let stat = group.join("memory.stat");
    let files = ["active_file ", "inactive_file "].map(|name| line(&stat, name).unwrap_or(0));
    Some(most.saturating_sub(current.saturating_sub(files.iter().sum())))
}

/// Of `ulimit -v` and `ulimit -d`.
fn left_by_limits() -> Option<u64> {
    let status = Path::new("/proc/self/status");
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let limit = |name: &str| {
        let rest = limits.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    };
    let left = |limit_name, used_name| {
        let used = line(status, used_name)? * 1024;
        Some(limit(limit_name)?.saturating_sub(used))
    };
    let limits = [left("Max address space", "VmSize:"), left("Max data size", "VmData:")];
    limits.into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn a_machine_that_runs_tests_has_some() {
        let available = super::available().expect("Linux tells");
        assert!((1 << 20..1 << 50).contains(&available), "{available}");
    }
}
