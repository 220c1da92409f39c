//! Extracts or only checks `X.tar.gz`, in one pass: bytes are written and hashed as they are decompressed.
//!
//! Files get their final names only after every digest was right. Entries that would leave the folder, links,
//! devices, duplicates and sizes beyond what the metadata promises are refused.

mod names;
mod walk;

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    layers::{Form, tar_in},
    tar::{self, Kind},
    volumes::Volumes,
    what_it_is,
};
use crate::{
    Error, Progress, Result, drive,
    package::{MAX_METADATA_BYTES, Metadata, Verified, conclude, sharing_metadata, verify_streamed},
    regular,
    staged::{Staged, commit_all},
};
use names::{Role, is_metadata_of, role};
use walk::{Content, Found, MAX_ENTRIES, check_claim, most, pass_over, stopped, unreadable, walk};

/// What [`unpack`] wrote.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// Each file with its size, in the archive's order.
    pub files: Vec<(PathBuf, u64)>,
    /// The check of the package among them.
    pub verified: Verified,
}

/// Extracts an archive into `folder`, which is made if it is not there, and verifies it.
///
/// The files are forced to disk before they get their names: a device may lose power at any time.
///
/// # Errors
/// As [`crate::package::verify`], and [`Error::Exists`] where a file is there and `force` is false.
pub fn unpack(path: &Path, folder: &Path, force: bool, progress: &dyn Progress) -> Result<Unpacked> {
    let volumes = Volumes::find(path)?;
    // Another kind of file is named before a folder is made for it.
    regular::open(volumes.first())?;
    if Form::of_file(volumes.first()).is_none() {
        return Err(Error::invalid(path, what_it_is(volumes.first())));
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
    let verified = found.judge(path)?;
    let targets: Vec<&Path> = staged.iter().map(Staged::target).collect();
    if let [a, b] = targets[..] {
        let (metadata, package) = if is_metadata_of(a, b) { (a, b) } else { (b, a) };
        if let Some(other) = sharing_metadata(metadata, package) {
            let path = metadata.to_owned();
            return Err(Error::MetadataOfAnother { path, package: other });
        }
    }
    commit_all(staged, true, || Ok(()))?;
    Ok(Unpacked { files, verified })
}

/// Checks an archive without writing anything.
///
/// # Errors
/// As [`crate::package::verify`].
pub fn verify(path: &Path, progress: &dyn Progress) -> Result<Verified> {
    let volumes = Volumes::find(path)?;
    walk(path, &volumes, progress, |_, _, _| Ok(None))
        .and_then(|found| found.judge(path))
        .map_err(|error| volumes.explain(error))
}

/// Reads the metadata of an archive, which stands first in those that this crate writes.
///
/// # Errors
/// [`Error::Invalid`] where no entry is metadata that can be read.
pub fn metadata(path: &Path) -> Result<Metadata> {
    let volumes = Volumes::find(path)?;
    let size = volumes.size()?;
    let mut reader = tar_in(volumes.open(&())?).map_err(|error| unreadable(path, error))?;
    for _ in 0..MAX_ENTRIES {
        let Some(entry) = tar::next_entry(&mut reader).map_err(|stop| stopped(path, stop))? else {
            break;
        };
        check_claim(path, &entry, most(size))?;
        if role(Path::new(&entry.name)) != Role::Metadata {
            pass_over(&mut reader, path, &entry)?;
            continue;
        }
        check_claim(path, &entry, MAX_METADATA_BYTES)?;
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
    /// Compares the package with its metadata, and that with the metadata file beside it.
    fn judge(self, path: &Path) -> Result<Verified> {
        let (mut package, mut outside) = (None, None);
        for file in self.files {
            match file.content {
                Content::Package(streamed) => package = Some((file.name, streamed)),
                Content::Metadata(text) => outside = Some((file.name, text)),
            }
        }
        let Some((name, streamed)) = package else {
            let reason = "the archive holds no .pth, .pt or .safetensors package";
            return Err(Error::invalid(path, reason));
        };
        let (metadata, inside, mut mismatches) =
            verify_streamed(&name, streamed).map_err(|error| in_archive(path, error))?;
        let beside = outside.as_ref().map(|(name, _)| name.clone());
        if let Some((name, _)) = outside.filter(|(_, text)| *text != inside) {
            mismatches.push(format!(
                "  {}: differs from the metadata inside the package",
                name.display()
            ));
        }
        let verified = conclude(path, metadata, beside, mismatches)?;
        Ok(Verified {
            warnings: self.warnings,
            ..verified
        })
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
