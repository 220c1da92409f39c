//! What a drive can take, where the system tells: free space, and FAT's limit on a file's size.

use std::{fs::File, path::Path};

use crate::{Error, Result};

/// The largest file on FAT, in bytes.
pub(crate) const FAT_LIMIT: u64 = u32::MAX as u64;

/// Refuses before the first byte what would fail at the last.
pub(crate) fn check_room(folder: &Path, needed: u64) -> Result<()> {
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
pub(crate) fn is_fat(folder: &Path) -> bool {
    const MSDOS_SUPER_MAGIC: i64 = 0x4d44;
    rustix::fs::statfs(folder).is_ok_and(|stat| stat.f_type == MSDOS_SUPER_MAGIC)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_fat(_: &Path) -> bool {
    false
}

/// Lets go of what memory holds of a file, so that reading it again asks the drive.
#[cfg(target_os = "linux")]
pub(crate) fn forget_cached(file: &File) {
    // Where it is refused, the file is read from memory and only the copy in it is proved.
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn forget_cached(_: &File) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_drive_has_is_refused() {
        if cfg!(unix) {
            let error = check_room(&std::env::temp_dir(), 1 << 60).unwrap_err().to_string();
            assert!(error.contains("1152921504606846976 bytes are needed"), "{error}");
        }
    }
}
