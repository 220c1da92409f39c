//! What a drive can take, as far as the system says it: free space, and FAT's limit on a file's size. And how to read a
//! file from the drive itself although the system has it in memory.
//!
//! Free space is known on Unix. The rest is Linux's: elsewhere a file too large for FAT fails while it is written, and
//! [`forget_cached`] says that it did nothing.

use std::{fs::File, path::Path};

use crate::{Error, Result};

/// The largest file on FAT, in bytes.
pub(crate) const FAT_LIMIT: u64 = u32::MAX as u64;

/// Refuses before the first byte what would fail at the last.
pub(crate) fn check_room(folder: &Path, needed: u64) -> Result<()> {
    match free(folder) {
        Some(free) if free < needed => Err(Error::NoRoom {
            path: folder.to_owned(),
            needed,
            free,
        }),
        _ => Ok(()),
    }
}

/// Bytes that may be written to the drive of a folder.
#[cfg(unix)]
fn free(folder: &Path) -> Option<u64> {
    available(&rustix::fs::statvfs(folder).ok()?)
}

/// What is free for everybody: some file systems keep a part for root.
#[cfg(unix)]
fn available(stat: &rustix::fs::StatVfs) -> Option<u64> {
    stat.f_bavail.checked_mul(stat.f_frsize)
}

#[cfg(not(unix))]
fn free(_: &Path) -> Option<u64> {
    None
}

/// True where the drive of a folder is known to be formatted as FAT.
#[cfg(target_os = "linux")]
pub(crate) fn is_fat(folder: &Path) -> bool {
    const MSDOS_SUPER_MAGIC: i64 = 0x4d44;
    rustix::fs::statfs(folder).is_ok_and(|stat| stat.f_type == MSDOS_SUPER_MAGIC)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_fat(_: &Path) -> bool {
    false
}

/// Drops the cached pages of a file that is on disk, so that the next read comes from the drive. False where the system
/// cannot do this: then the next read may come from memory.
pub(crate) fn forget_cached(file: &File) -> bool {
    #[cfg(test)]
    tests::FORGOTTEN.set(tests::FORGOTTEN.get() + 1);
    #[cfg(target_os = "linux")]
    return rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).is_ok();
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        false
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// Files that this thread let go of.
        pub static FORGOTTEN: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn more_than_the_drive_has_is_refused() {
        if cfg!(unix) {
            let error = check_room(&std::env::temp_dir(), 1 << 60).unwrap_err().to_string();
            assert!(error.contains("1152921504606846976 bytes are needed"), "{error}");
        }
    }

    /// ext4 keeps one block in twenty for root.
    #[cfg(unix)]
    #[test]
    fn the_folder_of_temporary_files_is_no_fat_drive() {
        assert!(!is_fat(&std::env::temp_dir()));
    }

    #[test]
    fn what_is_kept_for_root_is_not_free() {
        let mut stat = rustix::fs::statvfs(std::env::temp_dir()).unwrap();
        (stat.f_frsize, stat.f_blocks, stat.f_bfree, stat.f_bavail) = (4096, 100, 50, 45);
        assert_eq!(available(&stat), Some(45 * 4096));
        stat.f_bavail = u64::MAX;
        assert_eq!(available(&stat), None);
    }
}
