//! Files that appear whole or not at all: written beside their target, locked, then renamed.
//!
//! A temporary file is `.NAME.sam3-tmp-PID` and is locked for as long as its writer lives, so one without a
//! lock is what a killed run left behind, and the next run removes it. Whether data is forced to disk first is the
//! caller's choice (`docs/adr/0003-durability.md`).

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use crate::{Error, Result};

const MARK: &str = ".sam3-tmp-";

/// The temporary files of this process.
static LIVE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Removes every temporary file of this process, which must be about to end: their writers would write into nothing.
pub fn discard_staged() {
    for path in live().iter() {
        let _ = fs::remove_file(path);
    }
}

fn live() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file under construction. Dropped without [`Staged::commit`], it is removed.
#[derive(Debug)]
pub struct Staged {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl Staged {
    /// Creates the temporary file beside `target`, after removing those of killed runs.
    ///
    /// # Errors
    /// [`Error::Exists`] where `target` exists and `force` is false; [`Error::Output`] where it cannot be written.
    pub fn create(target: &Path, force: bool) -> Result<Self> {
        let refused = |source| Error::Output {
            path: target.to_owned(),
            source,
        };
        match target.metadata() {
            Ok(there) if there.is_dir() => return Err(refused(io::ErrorKind::IsADirectory.into())),
            // Renaming would replace `/dev/null` itself.
            Ok(there) if !there.is_file() => {
                let reason = "a pipe or a device is there, not a file";
                return Err(refused(io::Error::new(io::ErrorKind::AlreadyExists, reason)));
            }
            _ => {}
        }
        if !force && target.symlink_metadata().is_ok() {
            return Err(Error::Exists {
                path: target.to_owned(),
            });
        }
        let Some(name) = target.file_name() else {
            return Err(refused(io::Error::from(io::ErrorKind::InvalidInput)));
        };
        let folder = folder_of(target);
        remove_stale(folder);
        let temporary = folder.join(format!(".{}{MARK}{}", name.to_string_lossy(), std::process::id()));
        // Entered first: a signal in between finds nothing to remove, not a file that nobody knows.
        live().insert(temporary.clone());
        let file = create_locked(&temporary).map_err(|error| {
            live().remove(&temporary);
            refused(error)
        })?;
        Ok(Self {
            file,
            temporary,
            target: target.to_owned(),
            committed: false,
        })
    }

    /// The open file, readable and writable.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where the bytes are until [`Staged::commit`].
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Where the bytes will be.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Writes at a position, from any thread.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|source| Error::Output {
            path: self.target.clone(),
            source,
        })
    }

    /// Forces the bytes to disk, so that a name given later stands for all of them after a power cut.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|source| Error::Output {
            path: self.target.clone(),
            source,
        })
    }

    /// Gives the file its final name.
    pub fn commit(mut self) -> Result<()> {
        fs::rename(&self.temporary, &self.target).map_err(|source| Error::Output {
            path: self.target.clone(),
            source,
        })?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        live().remove(&self.temporary);
        if !self.committed {
            // Nothing useful can be done about a failure here; the next run tries again.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Gives all the files their names, none before all are on disk where `sync` asks for that.
///
/// A package's old metadata goes first and the new comes last, so that a run killed in between leaves no two files that
/// contradict each other.
pub(crate) fn commit_all(files: Vec<Staged>, sync: bool) -> Result<()> {
    if sync {
        files.iter().try_for_each(Staged::sync)?;
    }
    let folders: BTreeSet<PathBuf> = files.iter().map(|file| folder_of(&file.target).to_owned()).collect();
    let is_metadata = |file: &Staged| file.target.to_string_lossy().ends_with("_metadata.json");
    let (metadata, others): (Vec<Staged>, Vec<Staged>) = files.into_iter().partition(is_metadata);
    metadata.iter().try_for_each(|file| remove_old(&file.target))?;
    others.into_iter().chain(metadata).try_for_each(Staged::commit)?;
    if sync {
        folders.iter().for_each(|folder| sync_folder(folder));
    }
    Ok(())
}

/// Removes a file where there is one.
pub(crate) fn remove_old(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::Output {
            path: path.to_owned(),
            source: error,
        }),
        _ => Ok(()),
    }
}

/// Forces a folder's names to disk, where the system can; a rename outlives a power cut only then.
pub(crate) fn sync_folder(folder: &Path) {
    // Some file systems refuse: the files themselves are synced by then.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

/// The folder a path lies in; `.` for a bare name.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Locks a file that one run alone may write; false where another one holds it.
///
/// A killed run holds its files until the writes that it began are over, which takes a slow drive seconds.
pub(crate) fn lock_patiently(file: &File) -> bool {
    const TRIES: u32 = 100;
    for _ in 0..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(100)),
            // A file system without locks keeps nobody out.
            Ok(()) | Err(TryLockError::Error(_)) => return true,
        }
    }
    false
}

/// Creates a file and locks it, so that no other run takes it for one left behind.
fn create_locked(path: &Path) -> io::Result<File> {
    loop {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        match file.try_lock() {
            // Another run may have seen the file between its creation and its lock, and removed it.
            Ok(()) if !path.exists() => {}
            Err(TryLockError::WouldBlock) => {
                while path.exists() {
                    thread::yield_now();
                }
            }
            // A file system without locks only loses the cleaning, not the file.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(file),
        }
    }
}

/// Removes the temporaries in a folder whose writer is gone: nobody locks them.
fn remove_stale(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some((hidden, pid)) = name.to_str().and_then(|name| name.rsplit_once(MARK)) else {
            continue;
        };
        if !hidden.starts_with('.') || pid.is_empty() || !pid.bytes().all(|digit| digit.is_ascii_digit()) {
            continue;
        }
        if File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            // Someone else may have been faster.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("sam3-staged-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_dropped_file_leaves_nothing_and_a_committed_one_leaves_itself() {
        let folder = scratch("drop");
        let target = folder.join("x.pth");
        let staged = Staged::create(&target, false).unwrap();
        staged.write_at(b"abc", 2).unwrap();
        assert!(!target.exists());
        drop(staged);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);

        let staged = Staged::create(&target, false).unwrap();
        staged.write_at(b"abc", 2).unwrap();
        staged.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"\0\0abc");
        assert!(matches!(Staged::create(&target, false), Err(Error::Exists { .. })));
        assert!(Staged::create(&target, true).is_ok());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_device_is_not_replaced() {
        let folder = scratch("device");
        let link = folder.join("x.pth");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        for target in [Path::new("/dev/null"), &link] {
            let error = Staged::create(target, true).unwrap_err().to_string();
            assert!(error.contains("a device is there"), "{error}");
        }
        let error = Staged::create(&folder, true).unwrap_err();
        assert!(matches!(error, Error::Output { source, .. } if source.kind() == io::ErrorKind::IsADirectory));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_what_a_live_one_holds_is_not() {
        let folder = scratch("stale");
        let stale = folder.join(".other.pth.sam3-tmp-1");
        let live = folder.join(".x.pth.sam3-tmp-2");
        fs::write(&stale, "half").unwrap();
        fs::write(&live, "half").unwrap();
        let held = File::open(&live).unwrap();
        held.lock().unwrap();
        drop(Staged::create(&folder.join("x.pth"), false).unwrap());
        assert!(!stale.exists());
        assert!(live.exists());
        fs::remove_dir_all(folder).unwrap();
    }
}
