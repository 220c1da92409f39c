//! Extracts or only checks `X.tar.gz`, in one pass: bytes are written and hashed as they are decompressed.
//!
//! Files get their final names only after every digest was right. Entries that would leave the folder, links,
//! devices, duplicates and sizes beyond what the metadata promises are refused.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{self, Read},
    path::{Component, Path, PathBuf},
    sync::mpsc,
    thread,
};

use super::{
    decompress,
    tar::{self, Kind, Stop},
    volumes::Volumes,
};
use crate::{
    Error, Progress, Result,
    package::{
        MAX_METADATA_BYTES, Metadata, PackageHasher, Streamed, Verified, conclude, is_package_name, metadata_path,
        verify_streamed,
    },
    staged::{Staged, commit_all},
};

/// Bytes handed from the decompressing to the hashing thread at a time, and how many such pieces may wait.
const PIECE: usize = 256 << 10;
const WAITING: usize = 8;
/// More files than this no package archive has.
const MAX_ENTRIES: usize = 1000;
/// What a package may hold beyond its tensors, and a file of unknown content beyond eight times the archive.
const SPARE: u64 = 64 << 20;

/// What [`unpack`] wrote.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// Each file with its size, in the archive's order.
    pub files: Vec<(PathBuf, u64)>,
    /// The check of each package among them.
    pub packages: Vec<Verified>,
}

/// Extracts an archive into `folder`, which is made if it is not there, and verifies it.
///
/// The files are forced to disk before they get their names: a device may lose power at any time.
///
/// # Errors
/// As [`crate::package::verify`], and [`Error::Exists`] where a file is there and `force` is false.
pub fn unpack(path: &Path, folder: &Path, force: bool, progress: &dyn Progress) -> Result<Unpacked> {
    let volumes = Volumes::find(path)?;
    if volumes.first().exists() && !super::is_archive(path) {
        let reason = "expected a .tar.gz or .tar.zst, found neither gzip nor Zstandard; `sam3 verify` checks a package that is unpacked already";
        return Err(Error::invalid(path, reason));
    }
    extract(path, &volumes, folder, force, progress).map_err(|error| volumes.explain(error))
}

fn extract(path: &Path, volumes: &Volumes, folder: &Path, force: bool, progress: &dyn Progress) -> Result<Unpacked> {
    fs::create_dir_all(folder).map_err(|source| Error::Output {
        path: folder.to_owned(),
        source,
    })?;
    let mut staged = Vec::new();
    let found = walk(path, volumes, progress, |name, kind| {
        let target = inside(path, folder, name)?;
        if kind == Kind::Folder {
            fs::create_dir_all(&target).map_err(|source| Error::Output { path: target, source })?;
            return Ok(None);
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(|source| Error::Output {
                path: parent.to_owned(),
                source,
            })?;
        }
        let file = Staged::create(&target, force)?;
        let handle = file
            .file()
            .try_clone()
            .map_err(|source| Error::Output { path: target, source })?;
        staged.push(file);
        Ok(Some(handle))
    })?;
    let files = staged
        .iter()
        .zip(&found.files)
        .map(|(staged, file)| (staged.target().to_owned(), file.size))
        .collect();
    let packages = found.judge(path)?;
    commit_all(staged, true)?;
    Ok(Unpacked { files, packages })
}

/// Checks an archive without writing anything.
///
/// # Errors
/// As [`crate::package::verify`].
pub fn verify(path: &Path, progress: &dyn Progress) -> Result<Verified> {
    let volumes = Volumes::find(path)?;
    walk(path, &volumes, progress, |_, _| Ok(None))
        .and_then(|found| found.judge(path))
        .map_err(|error| volumes.explain(error))?
        .into_iter()
        .next()
        .ok_or_else(|| Error::NotAPackage { path: path.to_owned() })
}

/// Reads the metadata of an archive, which stands first in those that this crate writes.
///
/// # Errors
/// [`Error::NotAPackage`] where no entry is metadata.
pub fn metadata(path: &Path) -> Result<Metadata> {
    let volumes = Volumes::find(path)?;
    let mut reader = decompress(&volumes, &())?;
    while let Some(entry) = tar::next_entry(&mut reader).map_err(|stop| stopped(path, stop))? {
        let padded = entry
            .size
            .checked_next_multiple_of(tar::BLOCK as u64)
            .unwrap_or(u64::MAX);
        if !entry.name.ends_with("_metadata.json") || entry.size > MAX_METADATA_BYTES {
            io::copy(&mut (&mut reader).take(padded), &mut io::sink()).map_err(|error| unreadable(path, error))?;
            continue;
        }
        let mut text = vec![0; entry.size as usize];
        reader.read_exact(&mut text).map_err(|error| unreadable(path, error))?;
        return Metadata::from_json(&text).map_err(|reason| Error::invalid(path, reason));
    }
    Err(Error::NotAPackage { path: path.to_owned() })
}

/// Where an entry goes, or why it may not go there.
fn inside(archive: &Path, folder: &Path, name: &Path) -> Result<PathBuf> {
    let mut target = folder.to_owned();
    for component in name.components() {
        target.push(component);
        let link = target.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
        if link {
            let reason = format!("entry {name:?} would be written through the link {}", target.display());
            return Err(Error::invalid(archive, reason));
        }
    }
    Ok(target)
}

/// What went by.
struct Found {
    files: Vec<FoundFile>,
}

struct FoundFile {
    name: PathBuf,
    size: u64,
    content: Content,
}

enum Content {
    Package(Streamed),
    Metadata(Vec<u8>),
    Other,
}

impl Found {
    /// Compares every package with its metadata, and that with the metadata file beside it.
    fn judge(self, path: &Path) -> Result<Vec<Verified>> {
        let mut packages = Vec::new();
        let mut outside = HashMap::new();
        for file in self.files {
            match file.content {
                Content::Package(streamed) => packages.push((file.name, streamed)),
                Content::Metadata(text) => _ = outside.insert(file.name, text),
                Content::Other => {}
            }
        }
        let mut verified = Vec::new();
        for (name, streamed) in packages {
            let (metadata, inside, mut mismatches) =
                verify_streamed(&name, streamed).map_err(|error| in_archive(path, error))?;
            let beside = metadata_path(&name);
            let outside = outside.get(&beside);
            if outside.is_some_and(|text| *text != inside) {
                mismatches.push(format!(
                    "  {}: differs from the metadata inside the package",
                    beside.display()
                ));
            }
            verified.push(conclude(path, metadata, outside.map(|_| beside), mismatches)?);
        }
        if verified.is_empty() {
            return Err(Error::invalid(
                path,
                "the archive holds no .pth, .pt or .safetensors package",
            ));
        }
        Ok(verified)
    }
}

/// Reads the whole archive, hands every entry's name to `open` and writes its bytes to the file that returns.
fn walk(
    path: &Path,
    volumes: &Volumes,
    progress: &dyn Progress,
    mut open: impl FnMut(&Path, Kind) -> Result<Option<File>>,
) -> Result<Found> {
    let size = volumes.size()?;
    progress.stage("unpacking", size);
    let mut reader = decompress(volumes, progress)?;
    let mut found = Found { files: Vec::new() };
    let mut names = HashSet::new();
    let mut promised = None;
    while let Some(entry) = tar::next_entry(&mut reader).map_err(|stop| stopped(path, stop))? {
        let name = safe_name(path, &entry.name)?;
        // Lower case, as FAT and macOS would take them for one file.
        if entry.kind == Kind::File && !names.insert(name.to_string_lossy().to_lowercase()) {
            return Err(Error::invalid(path, format!("entry {:?} is there twice", entry.name)));
        }
        if names.len() > MAX_ENTRIES {
            return Err(Error::invalid(
                path,
                format!("it has more than {MAX_ENTRIES} files: not a package"),
            ));
        }
        let is_metadata = entry.name.ends_with("_metadata.json");
        let limit = match (is_metadata, promised) {
            (true, _) => MAX_METADATA_BYTES,
            (false, Some(promised)) => promised,
            (false, None) => size.saturating_mul(8).saturating_add(SPARE),
        };
        if entry.size > limit {
            let reason = format!(
                "entry {:?} claims {} bytes, at most {limit} can be right",
                entry.name, entry.size
            );
            return Err(Error::invalid(path, reason));
        }
        if name.as_os_str().is_empty() {
            continue; // "./"
        }
        let mut output = open(&name, entry.kind)?.map(|file| (file, name.clone()));
        if entry.kind == Kind::Folder {
            continue;
        }
        let content = if is_metadata {
            let mut text = Vec::new();
            copy(&mut reader, entry.size, path, &mut output, |piece| text.extend(piece))?;
            // What it promises only bounds sizes; whether it is right is compared later.
            promised = Metadata::from_json(&text).ok().map(|metadata| {
                let overhead = metadata.total.tensors.saturating_mul(4096).saturating_add(SPARE);
                metadata.total.bytes.saturating_add(overhead)
            });
            Content::Metadata(text)
        } else if is_package_name(&name) {
            let streamed = copy_and_hash(&mut reader, entry.size, path, &mut output)?;
            Content::Package(streamed.map_err(|reason| Error::invalid(path, format!("{}: {reason}", entry.name)))?)
        } else {
            copy(&mut reader, entry.size, path, &mut output, |_| {})?;
            Content::Other
        };
        let padding = (entry.size.next_multiple_of(tar::BLOCK as u64) - entry.size) as usize;
        reader
            .read_exact(&mut [0; tar::BLOCK][..padding])
            .map_err(|error| unreadable(path, error))?;
        found.files.push(FoundFile {
            name,
            size: entry.size,
            content,
        });
    }
    // gzip's own checksum stands behind the last byte.
    let rest = io::copy(&mut (&mut reader).take(SPARE), &mut io::sink()).map_err(|error| unreadable(path, error))?;
    if rest == SPARE {
        return Err(Error::invalid(
            path,
            "it goes on after the end of its tar: not a package",
        ));
    }
    Ok(found)
}

/// A relative path of plain names.
fn safe_name(archive: &Path, name: &str) -> Result<PathBuf> {
    let mut safe = PathBuf::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => safe.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                let reason = format!("entry {name:?} would leave the folder: not extracted, do not trust this archive");
                return Err(Error::invalid(archive, reason));
            }
        }
    }
    Ok(safe)
}

/// Copies `size` bytes to the output and shows them to `see`.
fn copy(
    reader: &mut impl Read,
    size: u64,
    archive: &Path,
    output: &mut Option<(File, PathBuf)>,
    mut see: impl FnMut(&[u8]),
) -> Result<()> {
    let mut left = size;
    let mut buffer = vec![0; PIECE];
    while left > 0 {
        let take = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        reader
            .read_exact(&mut buffer[..take])
            .map_err(|error| unreadable(archive, error))?;
        write(output, &buffer[..take])?;
        see(&buffer[..take]);
        left -= take as u64;
    }
    Ok(())
}

/// Copies `size` bytes while another thread hashes them. The inner error is the hasher's.
fn copy_and_hash(
    reader: &mut impl Read,
    size: u64,
    archive: &Path,
    output: &mut Option<(File, PathBuf)>,
) -> Result<Result<Streamed, String>> {
    let (full, filled) = mpsc::sync_channel::<Vec<u8>>(WAITING);
    let (empty, emptied) = mpsc::channel::<Vec<u8>>();
    thread::scope(|scope| {
        let hashing = scope.spawn(move || {
            let mut hasher = PackageHasher::new(size)?;
            for piece in filled {
                hasher.update(&piece)?;
                // The other side is gone once it has read everything.
                let _ = empty.send(piece);
            }
            hasher.finish()
        });
        let mut left = size;
        while left > 0 {
            let mut piece = emptied.try_recv().unwrap_or_default();
            piece.resize(PIECE.min(usize::try_from(left).unwrap_or(usize::MAX)), 0);
            reader
                .read_exact(&mut piece)
                .map_err(|error| unreadable(archive, error))?;
            write(output, &piece)?;
            left -= piece.len() as u64;
            if full.send(piece).is_err() {
                break; // the hasher stopped, and its result says why
            }
        }
        drop(full);
        Ok(hashing.join().expect("the hasher does not panic"))
    })
}

fn write(output: &mut Option<(File, PathBuf)>, bytes: &[u8]) -> Result<()> {
    match output {
        Some((file, name)) => io::Write::write_all(file, bytes).map_err(|source| Error::Output {
            path: name.clone(),
            source,
        }),
        None => Ok(()),
    }
}

fn stopped(path: &Path, stop: Stop) -> Error {
    match stop {
        Stop::Refused(reason) => Error::invalid(path, reason),
        Stop::Io(error) => unreadable(path, error),
    }
}

/// What is wrong with a file of the archive is wrong with the archive.
fn in_archive(archive: &Path, error: Error) -> Error {
    match error {
        Error::Invalid { path, reason } => Error::invalid(archive, format!("{}: {reason}", path.display())),
        Error::NotAPackage { .. } => Error::NotAPackage {
            path: archive.to_owned(),
        },
        other => other,
    }
}

/// Says what a failing decompressor means.
fn unreadable(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::invalid(
            path,
            "the archive ends early: it was cut off; copy it again from where it was made",
        ),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Error::invalid(
            path,
            format!("the archive is damaged ({error}); copy it again from where it was made"),
        ),
        _ => Error::io("read", path, error),
    }
}
