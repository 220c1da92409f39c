//! Files that appear whole or not at all: written beside their target, locked, then renamed.
//!
//! A temporary file is `.NAME.sam3-tmp-PID-COUNT` and is locked for as long as its writer lives, so one without a
//! lock is what a killed run left behind, and the next run removes it. Whether data is forced to disk first is the
//! caller's choice (`docs/adr/0003-durability.md`).
//!
//! Unless forced, a file replaces nothing, not even what came while it was written. Files that belong together get their
//! names while their folder is locked, so that of two runs one is complete before the other begins.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{Error, Result, package::is_metadata_name, positioned};

const MARK: &str = ".sam3-tmp-";
/// Bytes of the target's name that are in the temporary's: together they stay below what a name may have.
const SHOWN: usize = 64;

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
        if target.is_dir() {
            return Err(refused(io::Error::from(io::ErrorKind::IsADirectory)));
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
        positioned::write_all_at(&self.file, bytes, offset).map_err(|source| self.refused(source))
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
        live().remove(&self.temporary);
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
    // Windows opens no folders: two runs at once may then mix their files, which `sam3 verify` tells.
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
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    match (file.metadata(), path.symlink_metadata()) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
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
    // Windows opens no folders, and some file systems refuse: the files themselves are synced by then.
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
        let Some((hidden, writer)) = name.to_str().and_then(|name| name.rsplit_once(MARK)) else {
            continue;
        };
        let is_writer = writer.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        if !hidden.starts_with('.') || writer.is_empty() || !is_writer {
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
    use std::cell::RefCell;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("sam3-staged-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    thread_local! {
        /// Files that this thread forced to disk.
        pub static SYNCED: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
    }

    /// Staged files with their own names as content.
    fn staged(folder: &Path, names: &[&str], force: bool) -> Vec<Staged> {
        let create = |name: &&str| {
            let staged = Staged::create(&folder.join(name), force).unwrap();
            staged.write_at(name.as_bytes(), 0).unwrap();
            staged
        };
        names.iter().map(create).collect()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_came_meanwhile_is_not_replaced_unless_forced() {
        let folder = scratch("meanwhile");
        let target = folder.join("x.pth");
        for force in [false, true] {
            let mut files = staged(&folder, &["x.pth"], true);
            files[0].force = force;
            fs::write(&target, "another's").unwrap();
            let named = files.pop().unwrap().commit();
            assert_eq!(named.is_ok(), force);
            assert!(force || matches!(named, Err(Error::Exists { path }) if path == target));
            assert_eq!(
                fs::read(&target).unwrap(),
                if force { &b"x.pth"[..] } else { b"another's" }
            );
            assert_eq!(names(&folder), ["x.pth"]);
        }
        fs::remove_dir_all(folder).unwrap();
    }

    /// The ways that a file system without `renameat2` leaves.
    #[test]
    fn links_and_plain_renames_replace_nothing_either() {
        let folder = scratch("links");
        let (from, to) = (folder.join("from"), folder.join("to"));
        for rename in [rename_new, link_new] {
            fs::write(&from, "new").unwrap();
            fs::write(&to, "old").unwrap();
            assert_eq!(rename(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(
                (fs::read(&from).unwrap(), fs::read(&to).unwrap()),
                (b"new".into(), b"old".into())
            );
            fs::remove_file(&to).unwrap();
            rename(&from, &to).unwrap();
            assert_eq!(names(&folder), ["to"]);
            // No folder can be linked, as no file can on FAT.
            fs::create_dir(&from).unwrap();
            assert_eq!(rename(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            fs::remove_file(&to).unwrap();
            rename(&from, &to).unwrap();
            assert!(to.is_dir());
            fs::remove_dir(&to).unwrap();
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_set_gets_all_its_names_or_none() {
        let folder = scratch("set");
        let set = ["x.pth", "x_metadata.json", "x.tar.gz"];
        let files = staged(&folder, &set, false);
        fs::write(folder.join("x_metadata.json"), "another's").unwrap();
        assert!(matches!(commit_all(files, false, || Ok(())), Err(Error::Exists { path }) if path.ends_with(set[1])));
        assert_eq!(names(&folder), ["x_metadata.json"]);
        fs::remove_file(folder.join(set[1])).unwrap();

        // It comes later than anybody looks: what has its name already loses it again.
        let files = staged(&folder, &set, false);
        let late = || Ok(fs::write(folder.join("x_metadata.json"), "another's").unwrap());
        assert!(matches!(commit_all(files, false, late), Err(Error::Exists { path }) if path.ends_with(set[1])));
        assert_eq!(names(&folder), ["x_metadata.json"]);

        SYNCED.take();
        commit_all(staged(&folder, &set, true), false, || Ok(())).unwrap();
        assert!(SYNCED.take().is_empty());
        commit_all(staged(&folder, &set, true), true, || Ok(())).unwrap();
        assert_eq!(SYNCED.take(), set.map(|name| folder.join(name)));
        for name in set {
            assert_eq!(fs::read(folder.join(name)).unwrap(), name.as_bytes());
        }
        fs::remove_dir_all(folder).unwrap();
    }

    /// Every run writes its number into all its files: a mixture shows.
    #[test]
    fn runs_at_once_do_not_mix_their_files() {
        let folder = scratch("mix");
        let set = ["x.pth", "x_metadata.json", "x.tar.gz"];
        let run = |number: usize, force| {
            let create = |name: &&str| {
                let staged = Staged::create(&folder.join(name), force)?;
                staged.write_at(&number.to_le_bytes(), 0)?;
                Ok(staged)
            };
            let files = set.iter().map(create).collect::<Result<Vec<_>>>()?;
            commit_all(files, false, || Ok(()))
        };
        let written = || set.map(|name| fs::read(folder.join(name)).unwrap());
        for force in [false, true] {
            let won = thread::scope(|scope| {
                let runs: Vec<_> = (0..8).map(|number| scope.spawn(move || run(number, force))).collect();
                runs.into_iter()
                    .map(|run| run.join().unwrap())
                    .filter(Result::is_ok)
                    .count()
            });
            assert_eq!(won, if force { 8 } else { 1 });
            let [package, metadata, archive] = written();
            assert!(package == metadata && metadata == archive);
            assert_eq!(names(&folder).len(), 3);
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn names_that_are_too_long_are_told_at_once_and_the_longest_serve() {
        let folder = scratch("long");
        let longest = folder.join("ä".repeat(127) + "x");
        let staged = Staged::create(&longest, false).unwrap();
        staged.commit().unwrap();
        assert!(longest.exists());
        let error = Staged::create(&folder.join("x".repeat(256)), false).unwrap_err();
        assert!(matches!(error, Error::NameTooLong { .. }), "{error}");
        fs::remove_dir_all(folder).unwrap();
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
    fn what_a_killed_run_left_is_removed_and_what_a_live_one_holds_is_not() {
        let folder = scratch("stale");
        let stale = folder.join(".other.pth.sam3-tmp-1-7");
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
