//! Copies files to a drive and proves that they arrived: free space first, resumed, synced, read back.
//!
//! A file under way is `.NAME.sam3-copy` on the drive. An interrupted copy leaves it there, and the next one goes on
//! where it ended; what was there already is not trusted but read back with the rest.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use crate::{
    Error, FileId, Progress, Result, archive,
    checkpoint::foreign,
    digest::{hash_of, hex},
    drive,
    naming::{is_package_name, metadata_path},
    regular,
    staged::{check_name, is_at, lock_patiently, rename_new, sync_folder},
};

/// Bytes read and written at a time.
const PIECE: u64 = 1 << 20;
/// Bytes written between two syncs, so that the progress shows what is on the drive and not what is in memory.
const SYNC_EVERY: u64 = 64 << 20;

/// A file that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Where it is now.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, read back from the drive.
    pub sha256: String,
    /// Bytes of it that were there before: of an interrupted copy, or all.
    pub found: u64,
    /// True where the system let go of what memory held of it before it was read back.
    pub is_from_drive: bool,
}

/// Copies files into a folder. Of an archive in parts all parts go along, with a package its metadata.
///
/// # Errors
/// [`Error::NoRoom`] and [`Error::Drive`] where the files do not fit or come back changed; [`Error::Exists`] where
/// another file of a name is there and `force` is false; [`Error::Output`] and [`Error::Io`] where writing or reading
/// fails.
pub fn copy(files: &[PathBuf], folder: &Path, force: bool, progress: &dyn Progress) -> Result<Vec<Copied>> {
    let jobs = jobs(files, folder)?;
    jobs.iter().try_for_each(|job| job.refuse_another(force))?;
    if drive::is_fat(folder) {
        refuse_beyond_fat(&jobs)?;
    }
    drive::check_room(folder, jobs.iter().map(Job::missing).sum())?;
    let mut copied = Vec::with_capacity(jobs.len());
    for job in &jobs {
        copied.push(job.run(force, progress)?);
    }
    sync_folder(folder);
    refuse_damaged(&jobs, &copied)?;
    Ok(copied)
}

/// The copies match their sources. If there is a list of the parts' digests, it also shows whether the sources are
/// still as they were written; this costs nothing, as the digests of the sources are known by now.
fn refuse_damaged(jobs: &[Job], copied: &[Copied]) -> Result<()> {
    for job in jobs {
        let Some(lines) = archive::damaged_parts(&job.source, |part| {
            let found = jobs.iter().position(|job| job.source == part)?;
            Some(copied[found].sha256.as_str())
        })?
        else {
            continue;
        };
        return Err(Error::Mismatch {
            path: job.source.clone(),
            mismatches: lines,
        });
    }
    Ok(())
}

/// One file to copy.
#[derive(Debug)]
struct Job {
    source: PathBuf,
    bytes: u64,
    target: PathBuf,
    partial: PathBuf,
}

/// Every file that is meant, once.
fn jobs(files: &[PathBuf], folder: &Path) -> Result<Vec<Job>> {
    if !folder.is_dir() {
        let reason = "expected a folder on a mounted drive, found none: check that the drive is mounted there";
        return Err(Error::Drive {
            path: folder.to_owned(),
            reason: reason.to_owned(),
        });
    }
    let mut jobs = Vec::new();
    let (mut sources, mut names) = (HashSet::new(), HashSet::new());
    for source in files
        .iter()
        .map(|file| belonging(file))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
    {
        let metadata = fs::metadata(&source).map_err(|error| Error::io("open", &source, error))?;
        regular::check(&source, &metadata)?;
        let name = source.file_name().unwrap_or_default();
        if !sources.insert(source.clone()) {
            continue;
        }
        // Lower case, as FAT would take them for one file.
        if !names.insert(name.to_string_lossy().to_lowercase()) {
            return Err(Error::SameName { path: source });
        }
        check_name(&folder.join(name))?;
        jobs.push(Job {
            target: folder.join(name),
            partial: folder.join(partial_name(name)),
            bytes: metadata.len(),
            source,
        });
    }
    Ok(jobs)
}

/// `.NAME.sam3-copy`; of a name that leaves no room for that its beginning and its digest.
fn partial_name(name: &OsStr) -> OsString {
    const ROOM: usize = 240;
    let mut partial = OsString::from(".");
    if name.len() <= ROOM {
        partial.push(name);
    } else {
        let beginning: String = name.to_string_lossy().chars().take(ROOM / 8).collect();
        let digest = hex(&Sha256::digest(name.as_encoded_bytes()));
        partial.push(format!("{beginning}-{digest}"));
    }
    partial.push(".sam3-copy");
    partial
}

fn refuse_beyond_fat(jobs: &[Job]) -> Result<()> {
    match jobs.iter().find(|job| job.bytes > drive::FAT_LIMIT) {
        Some(job) => Err(Error::TooLargeForFat {
            path: job.source.clone(),
            bytes: job.bytes,
            limit: drive::FAT_LIMIT,
        }),
        None => Ok(()),
    }
}

/// The file, and the files that belong to it: the other parts of an archive, the metadata of a package.
fn belonging(file: &Path) -> Result<Vec<PathBuf>> {
    let parts = archive::files(file)?;
    refuse_foreign(&parts[0])?;
    if parts.len() > 1 {
        return Ok(parts);
    }
    let metadata = regular::existing(&metadata_path(file));
    let beside = is_package_name(file) && metadata.exists();
    Ok([file.to_owned()]
        .into_iter()
        .chain(beside.then_some(metadata))
        .collect())
}

/// Refuses what is named like a package or an archive and is something else: a web page in its place, say.
fn refuse_foreign(file: &Path) -> Result<()> {
    const ENOUGH: usize = 512;
    if !is_package_name(file) && !archive::is_archive_name(file) {
        return Ok(());
    }
    match foreign(&regular::head(file, ENOUGH)) {
        Some(foreign) => Err(foreign.error(file)),
        None => Ok(()),
    }
}

impl Job {
    /// Refuses to copy a file onto itself or over another file. Called before the first copy, so it compares lengths
    /// only.
    fn refuse_another(&self, force: bool) -> Result<()> {
        if FileId::is_same(&self.source, &self.target) {
            return Err(Error::OutputIsInput {
                path: self.target.clone(),
                reason: "this is the file that is to be copied: name a folder on another drive",
            });
        }
        let another = |there: Metadata| !there.is_file() || there.len() != self.bytes;
        if !force && fs::metadata(&self.target).is_ok_and(another) {
            return Err(Error::Exists {
                path: self.target.clone(),
            });
        }
        Ok(())
    }

    /// Bytes that the drive still has to take. A file under its final name is replaced only once the new one is
    /// complete, so it frees nothing before.
    fn missing(&self) -> u64 {
        let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        if length(&self.target) == self.bytes {
            return 0;
        }
        self.bytes.saturating_sub(length(&self.partial))
    }

    fn run(&self, force: bool, progress: &dyn Progress) -> Result<Copied> {
        const TRIES: u32 = 10;
        for _ in 0..TRIES {
            if let Some(copied) = self.find(force, progress)? {
                return Ok(copied);
            }
            let file = self.open_partial()?;
            // The run that held it may have given it its final name: what is written now would go into a whole file.
            let is_taken = !force && self.target.symlink_metadata().is_ok();
            if !is_taken && is_at(&file, &self.partial) {
                return self.fill(file, force, progress);
            }
        }
        Err(self.busy())
    }

    /// What is there under the final name already: the same bytes, or else what only force replaces.
    fn find(&self, force: bool, progress: &dyn Progress) -> Result<Option<Copied>> {
        let Ok(there) = fs::metadata(&self.target) else {
            return Ok(None);
        };
        if there.is_file() && there.len() == self.bytes {
            progress.stage("comparing", 2 * self.bytes);
            let source = hash_of(regular::open(&self.source)?, &self.source, progress)?;
            let target = regular::open(&self.target)?;
            let is_from_drive = drive::forget_cached(&target);
            if hash_of(target, &self.target, progress)? == source {
                // Of a copy that was interrupted before the file came some other way.
                let _ = fs::remove_file(&self.partial);
                return Ok(Some(self.copied(source, self.bytes, is_from_drive)));
            }
        }
        if force {
            return Ok(None);
        }
        Err(Error::Exists {
            path: self.target.clone(),
        })
    }

    /// Writes what is missing, reads all of it back and gives it its name.
    fn fill(&self, mut file: File, force: bool, progress: &dyn Progress) -> Result<Copied> {
        let refused = |source| self.refused(source);
        let there = file.metadata().map_err(refused)?.len().min(self.bytes);
        // The last bytes before a power cut or an unplugged drive may be none: go back a little.
        let mut start = there.saturating_sub(SYNC_EVERY) / PIECE * PIECE;
        loop {
            let sha256 = self.write(&mut file, start, progress)?;
            let is_from_drive = drive::forget_cached(&file);
            progress.stage("reading back", self.bytes);
            file.rewind().map_err(refused)?;
            let found = hash_of(file.try_clone().map_err(refused)?, &self.partial, progress)?;
            if found == sha256 {
                self.keep_executable(&file);
                // Locked still, so that a run that waits sees that it has another name.
                self.name(force)?;
                return Ok(self.copied(sha256, start, is_from_drive));
            }
            if start == 0 {
                // Its bytes are wrong: going on from them cannot help.
                let _ = fs::remove_file(&self.partial);
                let reason = format!(
                    "read back sha256 {found}, expected {sha256}: the drive or its cable is damaged, use another one"
                );
                return Err(Error::Drive {
                    path: self.target.clone(),
                    reason,
                });
            }
            start = 0;
        }
    }

    /// A program can be run from the drive, where the drive knows such a thing: FAT does not.
    fn keep_executable(&self, file: &File) {
        let (Ok(source), Ok(copy)) = (fs::metadata(&self.source), file.metadata()) else {
            return;
        };
        if source.permissions().mode() & 0o111 != 0 {
            let mut permissions = copy.permissions();
            permissions.set_mode(permissions.mode() | (permissions.mode() & 0o444) >> 2);
            let _ = file.set_permissions(permissions);
        }
    }

    /// Gives the complete file its name; what took it meanwhile is replaced only by force.
    fn name(&self, force: bool) -> Result<()> {
        let named = if force {
            fs::rename(&self.partial, &self.target)
        } else {
            rename_new(&self.partial, &self.target)
        };
        named.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists if !force => Error::Exists {
                path: self.target.clone(),
            },
            _ => self.refused(error),
        })
    }

    fn copied(&self, sha256: String, found: u64, is_from_drive: bool) -> Copied {
        Copied {
            path: self.target.clone(),
            bytes: self.bytes,
            sha256,
            found,
            is_from_drive,
        }
    }

    fn refused(&self, source: io::Error) -> Error {
        Error::Output {
            path: self.target.clone(),
            source,
        }
    }

    /// The file under way, held by nobody else.
    fn open_partial(&self) -> Result<File> {
        // What a link leads to would be overwritten, and a pipe would wait for a reader.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(flags.bits().cast_signed())
            .open(&self.partial);
        let metadata = match &opened {
            Ok(file) => file.metadata(),
            Err(_) => self.partial.symlink_metadata(),
        };
        if metadata.is_ok_and(|metadata| !metadata.is_file()) {
            let reason = "expected a file, the beginning of an interrupted copy, found a link, a folder, a pipe or a \
                          device: remove it and copy again";
            return Err(Error::Drive {
                path: self.partial.clone(),
                reason: reason.to_owned(),
            });
        }
        let file = opened.map_err(|source| self.refused(source))?;
        if lock_patiently(&file) {
            Ok(file)
        } else {
            Err(self.busy())
        }
    }

    fn busy(&self) -> Error {
        Error::Drive {
            path: self.target.clone(),
            reason: "another sam3 copy is writing it now: wait until it has ended, then copy again".to_owned(),
        }
    }

    /// Reads and hashes the whole source, writes what lies behind `start`, and syncs.
    fn write(&self, file: &mut File, start: u64, progress: &dyn Progress) -> Result<String> {
        progress.stage("copying", self.bytes);
        let refused = |source| self.refused(source);
        let mut source = regular::open(&self.source)?;
        let before = state(&source, &self.source)?;
        let (mut sha, mut buffer, mut at, mut synced) = (Sha256::new(), vec![0; PIECE as usize], 0, start);
        file.seek(SeekFrom::Start(start)).map_err(refused)?;
        while at < self.bytes {
            let piece = &mut buffer[..PIECE.min(self.bytes - at) as usize];
            match source.read_exact(piece) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                read => read.map_err(|error| Error::io("read", &self.source, error))?,
            }
            sha.update(&piece);
            if at >= start {
                file.write_all(piece).map_err(refused)?;
            }
            at += piece.len() as u64;
            if at.saturating_sub(synced) >= SYNC_EVERY {
                file.sync_data().map_err(refused)?;
                synced = at;
            }
            progress.advance(piece.len() as u64);
        }
        let after = state(&source, &self.source)?;
        if at < self.bytes || after != before || after.0 != self.bytes {
            return Err(Error::Changed {
                path: self.source.clone(),
                before: self.bytes,
                after: after.0,
            });
        }
        file.set_len(self.bytes).map_err(refused)?;
        file.sync_all().map_err(refused)?;
        Ok(hex(&sha.finalize()))
    }
}

/// A file's length and when it was written last.
fn state(file: &File, path: &Path) -> Result<(u64, Option<SystemTime>)> {
    let metadata = file.metadata().map_err(|source| Error::io("read", path, source))?;
    Ok((metadata.len(), metadata.modified().ok()))
}

#[cfg(test)]
mod tests;
