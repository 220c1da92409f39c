//! Where the results of each picture go, and whether they may: all of it is known before the work.
//!
//! The results of a picture are one set: `STEM.json`, `STEM_overlay.png`, and where they are asked for `STEM_ids.png`
//! and `STEM_masks/`. A run replaces the set that an earlier one left. What `sam3` did not write is replaced with
//! `--force` only, and an input of the same run never.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
};

use sam3_package::{Checkpoint, Error, FileId, Staged, package};

use super::{inputs::Input, stamp};
use crate::failure::Failure;

/// Which results are asked for besides the JSON and the overlay, the same for all pictures of a run.
#[derive(Debug)]
pub struct Wanted {
    /// A picture a mask.
    pub masks: bool,
    /// What masks' names begin with, by prompt.
    pub prefixes: Vec<String>,
    /// One picture with an id a pixel.
    pub ids: bool,
    /// Outlines in the JSON.
    pub polygons: bool,
}

/// The names of one picture's results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    folder: PathBuf,
    stem: String,
}

impl Place {
    /// The names for a single picture.
    pub fn of(output: &Path, input: &Input) -> Self {
        Self {
            folder: output.join(&input.folder),
            stem: input.stem(),
        }
    }

    /// The folder that all of them are in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The picture with what was found drawn on it.
    pub fn overlay(&self) -> PathBuf {
        self.named("_overlay.png")
    }

    /// The record.
    pub fn json(&self) -> PathBuf {
        self.named(".json")
    }

    /// The picture of ids.
    pub fn ids(&self) -> PathBuf {
        self.named("_ids.png")
    }

    /// The folder of masks.
    pub fn masks(&self) -> PathBuf {
        self.named("_masks")
    }

    /// The masks that `sam3` wrote there earlier, of whatever prompts.
    pub fn earlier_masks(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.masks()).into_iter().flatten().flatten();
        // The results of a sub-folder of that name may be there too.
        let masks = entries.filter(|entry| prefix_of(&entry.file_name().to_string_lossy()).is_some());
        masks
            .map(|entry| entry.path())
            .filter(|path| stamp::is_ours(path))
            .collect()
    }

    fn named(&self, suffix: &str) -> PathBuf {
        self.folder.join(format!("{}{suffix}", self.stem))
    }
}

/// A place for each picture.
///
/// No two share a name, not even on a drive that takes `A` and `a` for one, such as a FAT stick. The first picture of a
/// name keeps it; each other one gets the first number that makes a name which no picture has.
pub fn assign(output: &Path, inputs: &[Input]) -> Vec<Place> {
    let key = |folder: &Path, stem: &str| (fold(&folder.to_string_lossy()), fold(stem));
    let mut taken: HashSet<_> = inputs.iter().map(|input| key(&input.folder, &input.stem())).collect();
    let mut seen = HashMap::new();
    let place = |input: &Input| {
        let mut stem = input.stem();
        let number = seen.entry(key(&input.folder, &stem)).or_insert(0u32);
        *number += 1;
        if *number > 1 {
            let first = stem.clone();
            while !taken.insert(key(&input.folder, &stem)) {
                stem = format!("{first}_{number}");
                *number += 1;
            }
            *number -= 1;
        }
        Place {
            folder: output.join(&input.folder),
            stem,
        }
    };
    inputs.iter().map(place).collect()
}

/// What may be replaced.
pub struct Guard {
    force: bool,
    /// Files that this run reads.
    inputs: HashSet<FileId>,
    /// Earlier results that have no stamp.
    known: HashSet<PathBuf>,
}

impl Guard {
    /// `read` are the files that this run reads.
    pub fn new<'a>(force: bool, read: impl Iterator<Item = &'a Path>) -> Self {
        Self {
            force,
            inputs: read.filter_map(FileId::of).collect(),
            known: HashSet::new(),
        }
    }

    /// Takes these for earlier results, though they have no stamp.
    pub fn know(mut self, files: impl IntoIterator<Item = PathBuf>) -> Self {
        self.known.extend(files);
        self
    }

    /// Of a run of a checkpoint, which reads `others` too.
    pub fn of_run<'a>(force: bool, checkpoint: &Checkpoint, others: impl Iterator<Item = &'a Path>) -> Self {
        let beside = [
            checkpoint.path().to_owned(),
            checkpoint.path().with_file_name("config.json"),
            package::metadata_path(checkpoint.path()),
        ];
        let files = checkpoint.files().iter().map(|file| file.path.clone());
        let read: Vec<PathBuf> = others.map(Path::to_owned).chain(files).chain(beside).collect();
        Self::new(force, read.iter().map(PathBuf::as_path))
    }

    /// Whether others' files may be replaced.
    pub fn is_forced(&self) -> bool {
        self.force
    }

    /// Whether this run reads the file.
    pub fn is_input(&self, path: &Path) -> bool {
        FileId::of(path).is_some_and(|id| self.inputs.contains(&id))
    }

    /// Whether the file may be replaced, where there is one.
    pub fn may_replace(&self, path: &Path) -> bool {
        self.is_ours(path) || self.force && !self.is_input(path)
    }

    /// Whether the file is an earlier result, and none that this run reads.
    pub fn is_ours(&self, path: &Path) -> bool {
        !self.is_input(path) && (self.known.contains(path) || stamp::is_ours(path))
    }

    /// What is in the way of this run's results, as one error.
    ///
    /// # Errors
    /// Where a file that this run reads would be replaced, or one that `sam3` did not write and there is no `--force`.
    pub fn check<'a>(&self, targets: impl Iterator<Item = &'a Path>) -> anyhow::Result<()> {
        let (mut read, mut foreign) = (Vec::new(), Vec::new());
        for target in targets.filter(|target| target.symlink_metadata().is_ok()) {
            if self.is_input(target) {
                read.push(target);
            } else if !self.may_replace(target) {
                foreign.push(target);
            }
        }
        if let [first, ..] = read[..] {
            return Err(Failure::usage(
                format!(
                    "{}: this run reads it and would replace it{}",
                    first.display(),
                    and_others(read.len())
                ),
                "choose another folder with --output",
            ));
        }
        if let [first, ..] = foreign[..] {
            return Err(Failure::usage(
                format!(
                    "{} exists already, and sam3 did not write it{}",
                    first.display(),
                    and_others(foreign.len())
                ),
                "pass --force to replace it, or choose another folder with --output",
            ));
        }
        Ok(())
    }
}

fn and_others(count: usize) -> String {
    match count {
        1 => String::new(),
        2 => "; another file is like it".to_owned(),
        _ => format!("; {} other files are like it", count - 1),
    }
}

/// Folders that files can be made in, each tried once.
#[derive(Default)]
pub struct Folders(HashSet<PathBuf>);

impl Folders {
    /// Makes sure that files can be made in `folder`, or in the one above where it is still to be made.
    ///
    /// # Errors
    /// The system's, where it refuses.
    pub fn try_out(&mut self, folder: &Path) -> Result<(), Error> {
        let there = folder
            .ancestors()
            .find(|folder| folder.as_os_str().is_empty() || folder.exists());
        let there = there.unwrap_or(folder);
        if !self.0.contains(there) {
            let made = Staged::create(&there.join("sam3"), true);
            drop(made.map_err(|error| match error {
                Error::Output { source, .. } => Error::Output {
                    path: folder.to_owned(),
                    source,
                },
                other => other,
            })?);
            self.0.insert(there.to_owned());
        }
        Ok(())
    }
}

/// The files that a picture's results would replace.
///
/// # Errors
/// When a name cannot be: it is too long for the file system, a folder is in its place, or its folder takes no files.
pub fn targets(place: &Place, wanted: &Wanted, folders: &mut Folders) -> Result<Vec<PathBuf>, Error> {
    let mut targets = vec![place.json(), place.overlay()];
    if wanted.ids {
        targets.push(place.ids());
    }
    for target in &targets {
        look_at(target, false)?;
    }
    folders.try_out(place.folder())?;
    if wanted.masks {
        look_at(&place.masks(), true)?;
        folders.try_out(&place.masks())?;
        for prefix in &wanted.prefixes {
            look_at(&place.masks().join(mask_name(prefix, 999)), false)?;
        }
        let entries = fs::read_dir(place.masks()).into_iter().flatten().flatten();
        let in_the_way = entries.filter(|entry| is_mask_name(&wanted.prefixes, &entry.file_name().to_string_lossy()));
        targets.extend(in_the_way.map(|entry| entry.path()));
    }
    Ok(targets)
}

/// A file of a flag of its own, beside the results of pictures.
#[derive(Clone, Copy)]
pub struct Named<'a> {
    /// As `--dump-tensors`.
    pub flag: &'static str,
    /// Where it is to be.
    pub file: &'a Path,
}

impl Named<'_> {
    /// Refuses the file where it is the folder `output`; where it is one of `taken`, which are results of this run,
    /// folders of masks and files of other flags, or lies in one of them; where this run reads it; and where it is
    /// there and not sam3's. Nothing of `taken` need be there yet.
    ///
    /// # Errors
    /// As described.
    pub fn check(self, output: &Path, taken: &[PathBuf], guard: &Guard) -> anyhow::Result<()> {
        let Self { flag, file } = self;
        let refuse = |why: &str, step: &str| Err(Failure::usage(format!("{flag} {}: {why}", file.display()), step));
        if is_one_file(output, file) {
            return refuse("it is the folder of --output", "choose another name for it");
        }
        check_apart(flag, file, taken)?;
        if guard.is_input(file) {
            return refuse("this run reads it and would replace it", "choose another name for it");
        }
        if file.symlink_metadata().is_ok() && !guard.may_replace(file) {
            return refuse(
                "it exists already, and sam3 did not write it",
                "pass --force to replace it, or choose another name",
            );
        }
        Ok(())
    }
}

/// Refuses a file or folder of `flag` that is one of `taken`, or lies in one of them. Nothing of `taken` need be there
/// yet.
///
/// # Errors
/// As described.
pub fn check_apart(flag: &str, path: &Path, taken: &[PathBuf]) -> anyhow::Result<()> {
    let is_taken = |path: &Path| taken.iter().any(|taken| is_one_file(taken, path));
    if !(is_taken(path) || path.parent().is_some_and(is_taken)) {
        return Ok(());
    }
    Err(Failure::usage(
        format!("{flag} {}: a result of this run has that name", path.display()),
        "choose another name for it",
    ))
}

/// Whether two paths lead to one place, which may be empty yet.
pub fn is_one_file(one: &Path, other: &Path) -> bool {
    location(one) == location(other)
}

/// A path's folder, by whatever way it was named, and its name, on a drive that takes upper and lower case for the
/// same.
fn location(path: &Path) -> (PathBuf, String) {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = parent.unwrap_or(Path::new("."));
    let resolved = folder.canonicalize().or_else(|_| std::path::absolute(folder));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    (resolved.unwrap_or_else(|_| folder.to_owned()), fold(&name))
}

/// The name of a prompt's mask; `number` counts from 1.
pub fn mask_name(prefix: &str, number: usize) -> String {
    format!("{prefix}_{number:03}.png")
}

/// Whether [`mask_name`] could make this name, on a drive that takes upper and lower case for the same.
fn is_mask_name(prefixes: &[String], name: &str) -> bool {
    prefix_of(name).is_some_and(|prefix| prefixes.iter().any(|own| fold(own) == prefix))
}

/// The prefix, [`fold`]ed, of a name as [`mask_name`] makes them.
fn prefix_of(name: &str) -> Option<String> {
    let name = fold(name);
    let (prefix, number) = name.strip_suffix(".PNG")?.rsplit_once('_')?;
    let is_number = number.len() >= 3 && number.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| prefix.to_owned())
}

/// Equal for names that a drive may take for one: exFAT compares in upper case.
fn fold(name: &str) -> String {
    name.to_uppercase()
}

/// Refuses a name that cannot be written.
fn look_at(path: &Path, folder: bool) -> Result<(), Error> {
    let refused = |source| Error::Output {
        path: path.to_owned(),
        source,
    };
    match path.symlink_metadata() {
        Ok(_) if path.is_dir() == folder => Ok(()),
        Ok(_) if folder => Err(refused(io::ErrorKind::AlreadyExists.into())),
        Ok(_) if path.is_dir() => Err(refused(io::ErrorKind::IsADirectory.into())),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(refused(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stems(paths: &[&str]) -> Vec<String> {
        let inputs: Vec<Input> = paths
            .iter()
            .map(|path| Input {
                path: path.into(),
                folder: PathBuf::new(),
            })
            .collect();
        assign(Path::new("out"), &inputs)
            .into_iter()
            .map(|place| place.stem)
            .collect()
    }

    #[test]
    fn no_two_pictures_share_a_name() {
        assert_eq!(stems(&["x/a.png", "y/a.jpg", "z/a_2.png"]), ["a", "a_3", "a_2"]);
        assert_eq!(
            stems(&["a_2.png", "x/a.png", "y/a.png", "z/a.png"]),
            ["a_2", "a", "a_3", "a_4"]
        );
        assert_eq!(
            stems(&["A.png", "a.jpg", "x/a_2.png", "y/A_2.png"]),
            ["A", "a_3", "a_2", "A_2_2"]
        );
        assert_eq!(
            stems(&["É.png", "é.png", "ΑΣ.png", "ας.png"]),
            ["É", "é_2", "ΑΣ", "ας_2"]
        );
        assert_eq!(stems(&["-", "stdin.png"]), ["stdin", "stdin_2"]);
    }

    #[test]
    fn sub_folders_are_kept_and_keep_names_apart() {
        let input = |folder: &str| Input {
            path: Path::new("in").join(folder).join("a.png"),
            folder: folder.into(),
        };
        let places = assign(Path::new("out"), &[input("x"), input("y"), input("")]);
        let jsons: Vec<PathBuf> = places.iter().map(Place::json).collect();
        assert_eq!(jsons, ["out/x/a.json", "out/y/a.json", "out/a.json"].map(PathBuf::from));
    }

    #[test]
    fn names_of_masks_are_told_from_others() {
        let prefixes = ["boat".to_owned(), "2_Red_car".to_owned()];
        for name in ["boat_001.png", "BOAT_1000.PNG", "2_red_car_017.png"] {
            assert!(is_mask_name(&prefixes, name), "{name}");
        }
        for name in [
            "boat.png",
            "boat_01.png",
            "boat_0a1.png",
            "boat_001.jpg",
            "car_001.png",
            ".boat_001.png",
        ] {
            assert!(!is_mask_name(&prefixes, name), "{name}");
        }
    }
}
