//! What a drive can take, where the system tells: free space, and FAT's limit on a file's size.

use std::{fs, fs::File, path::Path};

use super::Job;
use crate::{Error, Result};

/// The largest file on FAT, in bytes.
const FAT_LIMIT: u64 = u32::MAX as u64;

/// Refuses before the first byte what would fail at the last.
pub(super) fn check_room(folder: &Path, jobs: &[Job]) -> Result<()> {
    if is_fat(folder) {
        refuse_beyond_fat(jobs)?;
    }
    let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    // A file under its final name is replaced only once the new one is complete, so it frees nothing before.
    let missing = jobs.iter().filter(|job| length(&job.target) != job.bytes);
    let needed: u64 = missing.map(|job| job.bytes.saturating_sub(length(&job.partial))).sum();
    match free(folder) {
        Some(free) if free < needed => {
            let reason = format!("{needed} bytes are needed, {free} are free: free some space or use a larger drive");
            Err(Error::Drive {
                path: folder.to_owned(),
                reason,
            })
        }
        _ => Ok(()),
    }
}

fn refuse_beyond_fat(jobs: &[Job]) -> Result<()> {
    match jobs.iter().find(|job| job.bytes > FAT_LIMIT) {
        Some(job) => {
            let reason = format!(
                "{} bytes, and the drive is formatted as FAT, which holds files of at most {FAT_LIMIT}: package again \
                 with --split fat32, or format the drive as exFAT",
                job.bytes
            );
            Err(Error::Drive {
                path: job.source.clone(),
                reason,
            })
        }
        None => Ok(()),
    }
}

/// Bytes that may be written to the drive of a folder.
#[cfg(unix)]
fn free(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

#[cfg(not(unix))]
fn free(_: &Path) -> Option<u64> {
    None
}

#[cfg(target_os = "linux")]
fn is_fat(folder: &Path) -> bool {
    const MSDOS_SUPER_MAGIC: i64 = 0x4d44;
    rustix::fs::statfs(folder).is_ok_and(|stat| stat.f_type == MSDOS_SUPER_MAGIC)
}

#[cfg(not(target_os = "linux"))]
fn is_fat(_: &Path) -> bool {
    false
}

/// Lets go of what memory holds of a file, so that reading it again asks the drive.
#[cfg(target_os = "linux")]
pub(super) fn forget_cached(file: &File) {
    // Where it is refused, the file is read from memory and only the copy in it is proved.
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
pub(super) fn forget_cached(_: &File) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fat_cannot_hold_is_named_with_the_way_out() {
        let job = |bytes| Job {
            source: "big.tar.gz".into(),
            bytes,
            target: "drive/big.tar.gz".into(),
            partial: "drive/.big.tar.gz.sam3-copy".into(),
        };
        assert!(refuse_beyond_fat(&[job(FAT_LIMIT)]).is_ok());
        let error = refuse_beyond_fat(&[job(5), job(FAT_LIMIT + 1)])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("big.tar.gz") && error.contains("--split fat32"),
            "{error}"
        );
    }

    #[test]
    fn more_than_the_drive_has_is_refused() {
        let folder = std::env::temp_dir();
        let job = Job {
            source: "big.tar.gz".into(),
            bytes: 1 << 60,
            target: folder.join("sam3-no-such-file"),
            partial: folder.join(".sam3-no-such-file.sam3-copy"),
        };
        if cfg!(unix) {
            let error = check_room(&folder, &[job]).unwrap_err().to_string();
            assert!(error.contains("1152921504606846976 bytes are needed"), "{error}");
        }
    }
}
