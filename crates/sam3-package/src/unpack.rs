//! Checks a package; extracts or only checks an archive of one, in one pass: bytes are written and hashed as they are
//! decompressed.
//!
//! Files get their final names only after every digest was right. Entries that would leave the folder, links,
//! devices, duplicates and sizes beyond what the metadata promises are refused.

mod contents;
mod walk;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{
    Error, Progress, Result,
    archive::{
        Program,
        elf::Machine,
        extras::Extra,
        is_archive,
        layers::Form,
        names::{Role, is_metadata_of, role},
        no_archive, sums,
        tar::Kind,
        volumes::Volumes,
    },
    drive,
    naming::sharing_metadata,
    package::{Verified, conclude, verify_file, verify_streamed},
    regular,
    staged::{Staged, commit_all},
};
use contents::describe;
pub use contents::{Contents, contents};
use walk::{Content, Found, walk};

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
/// As [`verify`], and [`Error::Exists`] where a file is there and `force` is false.
pub fn unpack(path: &Path, folder: &Path, force: bool, progress: &dyn Progress) -> Result<Unpacked> {
    let volumes = Volumes::find(path)?;
    // Another kind of file is named before a folder is made for it.
    regular::open(volumes.first())?;
    if Form::of_file(volumes.first()).is_none() {
        return Err(no_archive(path, volumes.first()));
    }
    extract(path, &volumes, folder, force, progress).map_err(|error| explain(path, &volumes, error))
}

fn extract(path: &Path, volumes: &Volumes, folder: &Path, force: bool, progress: &dyn Progress) -> Result<Unpacked> {
    let mut folders = Folders::default();
    folders.make(folder)?;
    let (mut staged, mut warnings) = (Vec::new(), Vec::new());
    let found = walk(path, volumes, progress, |name, kind, size| {
        let target = inside(path, folder, name)?;
        if kind == Kind::Folder {
            folders.make(&target)?;
            return Ok(None);
        }
        if let Some(parent) = target.parent() {
            folders.make(parent)?;
        }
        drive::check_room(folder, size)?;
        let file = Staged::create(&target, force)?;
        let handle = file
            .file()
            .try_clone()
            .map_err(|source| Error::Output { path: target, source })?;
        if role(name) == Role::Extra(Extra::Program) {
            warnings.extend(make_executable(&file));
        }
        staged.push(file);
        Ok(Some(handle))
    })?;
    let files = staged
        .iter()
        .zip(&found.files)
        .map(|(staged, file)| (staged.target().to_owned(), file.size))
        .collect();
    let mut verified = found.judge(path)?;
    verified.warnings.append(&mut warnings);
    let is_of_package = |target: &&Path| !matches!(role(target), Role::Extra(_));
    let targets: Vec<&Path> = staged.iter().map(Staged::target).filter(is_of_package).collect();
    if let [a, b] = targets[..] {
        let (metadata, package) = if is_metadata_of(a, b) { (a, b) } else { (b, a) };
        if let Some(other) = sharing_metadata(metadata, package) {
            let path = metadata.to_owned();
            return Err(Error::MetadataOfAnother { path, package: other });
        }
    }
    commit_all(staged, true, || Ok(()))?;
    folders.0.clear();
    Ok(Unpacked { files, verified })
}

/// Checks every tensor of a package, `.pth`, `.safetensors` or in an archive, without writing anything.
///
/// # Errors
/// [`Error::NotAPackage`] for a checkpoint without digests; [`Error::Mismatch`] naming each tensor that differs.
pub fn verify(path: &Path, progress: &dyn Progress) -> Result<Verified> {
    if is_archive(path) {
        verify_archive(path, progress)
    } else {
        verify_file(path, progress)
    }
}

fn verify_archive(path: &Path, progress: &dyn Progress) -> Result<Verified> {
    let volumes = Volumes::find(path)?;
    walk(path, &volumes, progress, |_, _, _| Ok(None))
        .and_then(|found| found.judge(path))
        .map_err(|error| explain(path, &volumes, error))
}

/// Names a part that is damaged, and an archive that is whole and another one.
fn explain(path: &Path, volumes: &Volumes, error: Error) -> Error {
    match volumes.explain(error) {
        Error::Invalid { .. } if volumes.parts() < 2 && Program::from_archive(path).is_ok() => {
            Error::ProgramAlone { path: path.to_owned() }
        }
        error => error,
    }
}

/// Folders that were made for what is unpacked. Dropped, it removes those that are empty.
#[derive(Default)]
struct Folders(Vec<PathBuf>);

impl Folders {
    /// Makes a folder, and those around it, where they are not there.
    fn make(&mut self, folder: &Path) -> Result<()> {
        let missing = folder
            .ancestors()
            .take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        self.0.extend(missing.into_iter().rev());
        fs::create_dir_all(folder).map_err(|source| Error::Output {
            path: folder.to_owned(),
            source,
        })
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        // The innermost first. What is not empty is somebody's.
        for folder in self.0.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Makes a program executable for everybody who may read it. Returns a warning where the drive refuses.
fn make_executable(file: &Staged) -> Option<String> {
    let set = || {
        let mut permissions = file.file().metadata()?.permissions();
        let mode = permissions.mode();
        permissions.set_mode(mode | (mode & 0o444) >> 2);
        file.file().set_permissions(permissions)
    };
    // FAT has no such permissions: there all files may be run, or none.
    let error = set().err()?;
    Some(format!(
        "{}: cannot be made executable: {error}",
        file.target().display()
    ))
}

/// Where an entry goes, or why it may not go there.
fn inside(archive: &Path, folder: &Path, name: &Path) -> Result<PathBuf> {
    let mut target = folder.to_owned();
    for component in name.components() {
        target.push(component);
        let link = target.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
        if link {
            return Err(Error::LinkInTheWay {
                path: archive.to_owned(),
                entry: name.to_owned(),
                link: target,
            });
        }
    }
    Ok(target)
}

impl Found {
    /// Compares the package with its metadata, that with the metadata file beside it, and all with the list of digests.
    fn judge(self, path: &Path) -> Result<Verified> {
        let listed = self
            .compare_with_list()
            .map_err(|reason| Error::invalid(path, reason))?;
        let (mut package, mut outside, mut extras) = (None, None, Vec::new());
        for file in self.files {
            match file.content {
                Content::Package(streamed) => package = Some((file.name, streamed)),
                Content::Metadata(text) => outside = Some((file.name, text)),
                Content::Extra(extra, head) => {
                    if extra == Extra::Program {
                        let named = |what| Error::invalid(path, format!("{} {what}", file.name.display()));
                        Machine::of(&head).map_err(named)?;
                    }
                    extras.push(describe(&file.name, file.size, extra, &head));
                }
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
        mismatches.extend(listed);
        let verified = conclude(path, metadata, beside, mismatches)?;
        Ok(Verified {
            extras,
            warnings: self.warnings,
            ..verified
        })
    }

    /// Compares the files with the list of digests, and returns a line for each that differs. An archive of a package
    /// alone needs no list.
    fn compare_with_list(&self) -> Result<Vec<String>, String> {
        let extras = || {
            self.files
                .iter()
                .filter(|file| matches!(file.content, Content::Extra(..)))
        };
        let Some(first) = extras().next() else {
            return Ok(Vec::new());
        };
        let lists = extras().find_map(|file| match &file.content {
            Content::Extra(Extra::Sums, list) => Some((file, list)),
            _ => None,
        });
        let Some((list_file, list)) = lists else {
            let (name, list) = (first.name.display(), Extra::Sums.name());
            return Err(format!(
                "it holds {name} and no {list}: nothing tells whether that is right; not extracted"
            ));
        };
        let others = self.files.iter().filter(|file| file.name != list_file.name);
        let digests: Vec<(&str, &str)> = others
            .filter_map(|file| Some((file.name.file_name()?.to_str()?, file.sha256.as_deref()?)))
            .collect();
        sums::compare(list, &digests).map_err(|reason| format!("{} {reason}", list_file.name.display()))
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
