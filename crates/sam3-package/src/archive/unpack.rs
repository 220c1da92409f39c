//! Extracts or only checks `X.tar.gz`, in one pass: bytes are written and hashed as they are decompressed.
//!
//! Files get their final names only after every digest was right. Entries that would leave the folder, links,
//! devices, duplicates and sizes beyond what the metadata promises are refused.

mod walk;

use std::{
    collections::HashMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{
    decompress,
    tar::{self, Kind},
    volumes::Volumes,
};
use crate::{
    Error, Progress, Result, drive,
    package::{MAX_METADATA_BYTES, Metadata, Verified, conclude, metadata_path, verify_streamed},
    staged::{Staged, commit_all},
};
use walk::{Content, Found, MAX_ENTRIES, check_claim, most, stopped, unreadable, walk};

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
    let found = walk(path, volumes, progress, |name, kind, size| {
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
        drive::check_room(folder, size)?;
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
    walk(path, &volumes, progress, |_, _, _| Ok(None))
        .and_then(|found| found.judge(path))
        .map_err(|error| volumes.explain(error))?
        .into_iter()
        .next()
        .ok_or_else(|| Error::NotAPackage { path: path.to_owned() })
}

/// Reads the metadata of an archive, which stands first in those that this crate writes.
///
/// # Errors
/// [`Error::Invalid`] where no entry is metadata that can be read.
pub fn metadata(path: &Path) -> Result<Metadata> {
    let volumes = Volumes::find(path)?;
    let size = volumes.size()?;
    let mut reader = decompress(&volumes, &())?;
    for _ in 0..MAX_ENTRIES {
        let Some(entry) = tar::next_entry(&mut reader).map_err(|stop| stopped(path, stop))? else {
            break;
        };
        check_claim(path, &entry, most(size))?;
        let padded = entry.size.next_multiple_of(tar::BLOCK as u64);
        let is_metadata = entry.name.ends_with("_metadata.json");
        if is_metadata {
            check_claim(path, &entry, MAX_METADATA_BYTES)?;
        } else {
            io::copy(&mut (&mut reader).take(padded), &mut io::sink()).map_err(|error| unreadable(path, error))?;
            continue;
        }
        let mut text = vec![0; entry.size as usize];
        reader.read_exact(&mut text).map_err(|error| unreadable(path, error))?;
        return Metadata::from_json(&text).map_err(|reason| Error::invalid(path, reason));
    }
    let reason =
        "no X_metadata.json in it, which archives of sam3 package begin with: unpack it and inspect what it holds";
    Err(Error::invalid(path, reason))
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

impl Found {
    /// Compares every package with its metadata, and that with the metadata file beside it.
    fn judge(self, path: &Path) -> Result<Vec<Verified>> {
        let mut packages = Vec::new();
        let mut outside = HashMap::new();
        for file in self.files {
            match file.content {
                Content::Package(streamed) => packages.push((file.name, streamed)),
                Content::Metadata(text) => _ = outside.insert(file.name, text),
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
