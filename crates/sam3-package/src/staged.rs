//! Files that appear whole or not at all: written beside their target, locked, then renamed.
//!
//! A temporary file is `.NAME.sam3-tmp-PID-COUNT` and is locked for as long as its writer lives, so one without a
//! lock is what a killed run left behind, and the next run removes it. Whether data is forced to disk first is the
//! caller's choice (`docs/adr/0003-durability.md`).
//!
//! Unless forced, a file replaces nothing, not even what came while it was written. Files that belong together get
//! their names while their folder is locked, so that of two runs one is complete before the other begins.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io, mem,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{Error, FileId, Result, mapped, naming::is_metadata_name};

const MARK: &str = ".sam3-tmp-";
/// Bytes of the target's name that are in the temporary's: together they stay below what a name may have.
const SHOWN: usize = 64;

/// The temporary files of this process.
static LIVE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Removes every temporary file of this process.
///
/// Only for a process that is about to end: writers of these files go on writing to nothing, and a thread that creates
/// or drops a [`Staged`] from now on blocks for ever.
pub fn discard_staged() {
    const TRIES: u32 = 100;
    for _ in 0..TRIES {
        let live = match LIVE.try_lock() {
            Ok(live) => live,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Held while a file is created or removed. A drive that hangs must not keep the process from ending.
            Err(TryLockError::WouldBlock) => {
                thread::sleep(Duration::from_millis(10));
                continue;
            }
        };
        for path in live.iter() {
            let _ = fs::remove_file(path);
        }
        // Never unlocked: otherwise another thread could now create a file that nobody removes.
        mem::forget(live);
        return;
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
    force: bool,
    committed: bool,
}

impl Staged {
    /// Creates the temporary file beside `target`, after removing those of killed runs.
    ///
    /// # Errors
    /// [`Error::Exists`] where `target` exists and `force` is false; [`Error::NameTooLong`]; [`Error::Output`] where it
    /// cannot be written.
    pub fn create(target: &Path, force: bool) -> Result<Self> {
        let refused = |source| Error::Output {
            path: target.to_owned(),
            source,
        };
        check_name(target)?;
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
        let temporary = folder.join(temporary_name(name));
        // Locked from before the file is created until it is registered: a signal in between would leave it on the
        // disk.
        let mut live = live();
        let file = create_locked(&temporary).map_err(refused)?;
        live.insert(temporary.clone());
        drop(live);
        Ok(Self {
            file,
            temporary,
            target: target.to_owned(),
            force,
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
        self.file
            .write_all_at(bytes, offset)
            .map_err(|error| mapped::unreadable(bytes, &error).unwrap_or_else(|| self.refused(error)))
    }

    /// Makes the file end after so many bytes.
    pub(crate) fn set_len(&self, length: u64) -> Result<()> {
        self.file.set_len(length).map_err(|source| self.refused(source))
    }

    /// Forces the bytes to disk, so that a name given later stands for all of them after a power cut.
    pub fn sync(&self) -> Result<()> {
        #[cfg(test)]
        tests::SYNCED.with_borrow_mut(|synced| synced.push(self.target.clone()));
        self.file.sync_all().map_err(|source| self.refused(source))
    }

    /// Gives the file its final name.
    ///
    /// # Errors
    /// [`Error::Exists`] where another file took the name meanwhile, unless forced; [`Error::Output`].
    pub fn commit(mut self) -> Result<()> {
        self.take_name()
    }

    fn take_name(&mut self) -> Result<()> {
        let named = if self.force {
            fs::rename(&self.temporary, &self.target)
        } else {
            rename_new(&self.temporary, &self.target)
        };
        match named {
            Ok(()) => self.committed = true,
            Err(error) if !self.force && error.kind() == io::ErrorKind::AlreadyExists => return Err(self.in_the_way()),
            Err(error) => return Err(self.refused(error)),
        }
        Ok(())
    }

    /// Takes the name back, where it is still this file's.
    fn give_name_up(&mut self) {
        if is_at(&self.file, &self.target) && rename_new(&self.target, &self.temporary).is_ok() {
            self.committed = false;
        }
    }

    fn in_the_way(&self) -> Error {
        Error::Exists {
            path: self.target.clone(),
        }
    }

    fn refused(&self, source: io::Error) -> Error {
        Error::Output {
            path: self.target.clone(),
            source,
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let mut live = live();
        live.remove(&self.temporary);
        if !self.committed {
            // Nothing useful can be done about a failure here; the next run tries again.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Gives all the files their names or none, and none before all are on disk where `sync` asks for that.
///
/// A package's old metadata goes first and the new comes last, so that a run killed in between leaves no two files that
/// contradict each other. `clear` removes what else has to go before.
pub(crate) fn commit_all(files: Vec<Staged>, sync: bool, clear: impl FnOnce() -> Result<()>) -> Result<()> {
    if sync {
        files.iter().try_for_each(Staged::sync)?;
    }
    let folders: BTreeSet<PathBuf> = files.iter().map(|file| folder_of(&file.target).to_owned()).collect();
    let _locked = lock_folders(&folders);
    let is_taken = |file: &&Staged| !file.force && file.target.symlink_metadata().is_ok();
    if let Some(taken) = files.iter().find(is_taken) {
        return Err(taken.in_the_way());
    }
    clear()?;
    let (metadata, others): (Vec<Staged>, Vec<Staged>) =
        files.into_iter().partition(|file| is_metadata_name(&file.target));
    for file in metadata.iter().filter(|file| file.force) {
        remove_old(&file.target)?;
    }
    let mut named: Vec<Staged> = Vec::new();
    for mut file in others.into_iter().chain(metadata) {
        if let Err(error) = file.take_name() {
            // What was replaced cannot come back.
            named
                .iter_mut()
                .filter(|file| !file.force)
                .for_each(Staged::give_name_up);
            return Err(error);
        }
        named.push(file);
    }
    if sync {
        folders.iter().for_each(|folder| sync_folder(folder));
    }
    Ok(())
}

/// Keeps other runs from naming files in these folders until it is dropped.
fn lock_folders(folders: &BTreeSet<PathBuf>) -> Vec<File> {
    // Where a folder cannot be opened, two runs at once may mix their files. Verifying the package finds that.
    let open = folders.iter().filter_map(|folder| File::open(folder).ok());
    open.filter(lock_patiently).collect()
}

/// Gives a file a name that no other has, where the system can in one step.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::{
            fs::{CWD, RenameFlags, renameat_with},
            io::Errno,
        };
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => return Err(io::ErrorKind::AlreadyExists.into()),
            // Not every file system can; another error comes again below.
            Err(_) => {}
        }
    }
    link_new(from, to)
}

/// As [`rename_new`], with what older systems have.
fn link_new(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // FAT has no links: what comes between the question and the rename is replaced.
        Err(_) if to.symlink_metadata().is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(from, to),
    }
}

/// True where `path` names the open file.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(open), Ok(named)) => FileId::from(&open) == FileId::from(&named),
        _ => false,
    }
}

/// Says before the work that a name is longer than the file system takes.
pub(crate) fn check_name(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::InvalidFilename => {
            Err(Error::NameTooLong { path: path.to_owned() })
        }
        _ => Ok(()),
    }
}

/// `.NAME.sam3-tmp-PID-COUNT`, unlike any other of this process.
fn temporary_name(name: &OsStr) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = name.to_string_lossy();
    let shown = (0..=name.len().min(SHOWN))
        .rev()
        .find(|end| name.is_char_boundary(*end));
    let shown = &name[..shown.unwrap_or(0)];
    format!(".{shown}{MARK}{}-{count}", std::process::id())
}

/// Removes a file where there is one.
///
/// # Errors
/// [`Error::Output`] where the system refuses.
pub fn remove_old(path: &Path) -> Result<()> {
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
            Err(fs::TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(100)),
            // On a file system without locks, every run may write.
            Ok(()) | Err(fs::TryLockError::Error(_)) => return true,
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
            Err(fs::TryLockError::WouldBlock) => {
                while path.exists() {
                    thread::yield_now();
                }
            }
            // A file system without locks only loses the cleaning, not the file.
            Ok(()) | Err(fs::TryLockError::Error(_)) => return Ok(file),
        }
    }
}

/// Removes the temporaries in a folder whose writer is gone: nobody locks them.
///
/// Once a folder and process: a run over many pictures creates its files among ever more others.
fn remove_stale(folder: &Path) {
    static CLEANED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    if !CLEANED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(folder.to_owned())
    {
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some((hidden, writer)) = name.to_str().and_then(|name| name.rsplit_once(MARK)) else {
            continue;
        };
        let is_writer = writer.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        if !hidden.starts_with('.') || writer.is_empty() || !is_writer {
            continue;
        }
        let path = entry.path();
        let Ok(file) = File::open(&path) else {
            continue;
        };
        // Another run may have removed the file that was opened and a third have made its own of the same name. The
        // lock is held until it is removed: its writer may be about to take it.
        if file.try_lock().is_ok() && is_at(&file, &path) {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests;
