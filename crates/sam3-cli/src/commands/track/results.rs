//! What a run writes, frame by frame: `track.jsonl`, overlays, raw outputs. Whatever ends the run, what is there is
//! whole.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use sam3_model::{
    LowResMask,
    image::Image,
    masks::{OverlayInstance, overlay},
    report::FrameTiming,
    tracking::{FrameObject, FrameResult, ObjectId},
};
use sam3_package::{Error, Staged, remove_old};

use super::{
    formats::{Format, Video},
    overlay::{Film, Overlay},
    report::Objects,
};
use crate::{
    commands::segment::{Folders, Guard, places, stamp},
    failure::Failure,
    output::Output,
    signals,
};

/// The lines' file.
const LINES: &str = "track.jsonl";

/// Where the results of a run go.
#[derive(Debug)]
pub struct Targets {
    pub output: PathBuf,
    pub overlay: Option<Overlay>,
    pub dump: Option<PathBuf>,
    /// What the lines are converted to at the end.
    pub formats: Vec<Format>,
}

impl Targets {
    pub fn lines(&self) -> PathBuf {
        self.output.join(LINES)
    }

    /// The folders of a file a frame, with their flags and what the files' names end in.
    fn folders(&self) -> impl Iterator<Item = (&'static str, &Path, &'static str)> {
        let drawn = self.overlay.iter().filter_map(|overlay| match overlay {
            Overlay::Folder(folder) => Some(("--overlay", folder.as_path(), "png")),
            Overlay::Video(..) => None,
        });
        let dump = self
            .dump
            .iter()
            .map(|folder| ("--dump-tensors", folder.as_path(), "safetensors"));
        drawn.chain(dump)
    }

    /// Where a format goes: its file, or all files of its folder that are there.
    fn of_format(&self, format: Format) -> Vec<PathBuf> {
        let path = format.path(&self.output);
        match format.is_folder() {
            true => of_frames(&path, "png"),
            false => vec![path],
        }
    }

    /// Looks at every place before the work.
    ///
    /// # Errors
    /// When one cannot be written, or holds what `sam3` did not write, or a file that the run reads; and for a folder
    /// that is the `source`, where the next run would take overlays for frames.
    pub fn check(&self, source: &Path, guard: &Guard) -> anyhow::Result<()> {
        let mut tried = Folders::default();
        tried.try_out(&self.output)?;
        let lines = self.lines();
        if lines.is_dir() {
            let source = std::io::ErrorKind::IsADirectory.into();
            return Err(Error::Output { path: lines, source }.into());
        }
        let mut targets = vec![lines];
        for format in &self.formats {
            let path = format.path(&self.output);
            check_kind("--format", &path, format.is_folder())?;
            if places::is_one_file(&path, source) {
                return Err(is_source("--format", &path));
            }
            targets.extend(self.of_format(*format));
            targets.push(path);
        }
        for (flag, folder, ending) in self.folders() {
            check_kind(flag, folder, true)?;
            if places::is_one_file(folder, source) {
                return Err(is_source(flag, folder));
            }
            places::check_apart(flag, folder, &targets)?;
            tried.try_out(folder)?;
            targets.extend(of_frames(folder, ending));
        }
        if let Some(Overlay::Video(file, _)) = &self.overlay {
            check_kind("--overlay", file, false)?;
            places::check_apart("--overlay", file, &targets)?;
            tried.try_out(folder_of(file))?;
            targets.push(file.clone());
        }
        guard.check(targets.iter().filter(|path| !path.is_dir()).map(PathBuf::as_path))
    }

    /// Removes what an earlier run left, which this one may have no successor for.
    fn remove_earlier(&self, guard: &Guard) -> Result<(), Error> {
        let files = self.folders().flat_map(|(_, folder, ending)| of_frames(folder, ending));
        for file in files.filter(|file| guard.may_replace(file)) {
            remove_old(&file)?;
        }
        // What was made of earlier lines contradicts these, whether it is asked for now or not.
        for format in Format::ALL {
            for file in self.of_format(format).iter().filter(|file| guard.is_ours(file)) {
                remove_old(file)?;
            }
            if format.is_folder() {
                // Others' files may be in it.
                let _ = fs::remove_dir(format.path(&self.output));
            }
        }
        Ok(())
    }
}

fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

/// Refuses a file in a folder's place, and a folder in a file's.
fn check_kind(flag: &str, path: &Path, is_folder: bool) -> anyhow::Result<()> {
    if !path.exists() || path.is_dir() == is_folder {
        return Ok(());
    }
    let (expected, found) = if is_folder {
        ("folder", "file")
    } else {
        ("file", "folder")
    };
    Err(Failure::usage(
        format!("{flag} {}: expected a {expected}, found a {found}", path.display()),
        format!("name a {expected}, which is made if it is not there"),
    ))
}

fn is_source(flag: &str, path: &Path) -> anyhow::Error {
    Failure::usage(
        format!("{flag} {}: it is the folder of --source", path.display()),
        "choose another folder for it",
    )
}

/// The files of a folder that are called like a frame.
fn of_frames(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_frame = |path: &PathBuf| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        path.extension().is_some_and(|own| own.eq_ignore_ascii_case(ending))
            && stem.len() >= 5
            && stem.bytes().all(|digit| digit.is_ascii_digit())
    };
    entries.map(|entry| entry.path()).filter(is_frame).collect()
}

/// The name of a frame's file.
pub fn frame_name(number: usize, ending: &str) -> String {
    format!("{number:05}.{ending}")
}

/// Writes the results as they come.
pub struct Results<'a> {
    pub targets: &'a Targets,
    pub guard: &'a Guard,
    pub output: &'a Output,
    /// By their places.
    pub texts: &'a [String],
    /// What clicked objects are called, by id.
    pub clicked: Vec<(ObjectId, String)>,
    pub objects: Objects,
    /// Frames that have not come out yet.
    pending: VecDeque<Pending>,
    /// The overlay, where it is one file.
    pub film: Option<Film>,
    /// Once there is a line.
    lines: Option<File>,
    finished: Vec<PathBuf>,
}

struct Pending {
    place: usize,
    timing: FrameTiming,
    /// For the overlay.
    image: Option<Image>,
}

impl<'a> Results<'a> {
    pub fn new(targets: &'a Targets, guard: &'a Guard, output: &'a Output, texts: &'a [String]) -> Self {
        Self {
            targets,
            guard,
            output,
            texts,
            clicked: Vec::new(),
            objects: Objects::default(),
            pending: VecDeque::new(),
            film: None,
            lines: None,
            finished: Vec::new(),
        }
    }

    /// Takes a frame that was pushed, with its raw outputs; its result comes later.
    pub fn pushed(
        &mut self,
        place: usize,
        timing: FrameTiming,
        image: Image,
        low_res: impl FnOnce() -> sam3_model::Result<Vec<(ObjectId, LowResMask)>>,
        side: usize,
    ) -> anyhow::Result<()> {
        if let Some(folder) = &self.targets.dump {
            self.begin()?;
            let masks = low_res()?;
            self.write(folder, &frame_name(timing.number, "safetensors"), |path| {
                Ok(LowResMask::save_all(&masks, side, path)?)
            })?;
        }
        self.pending.push_back(Pending {
            place,
            timing,
            image: self.targets.overlay.is_some().then_some(image),
        });
        Ok(())
    }

    /// Writes frames that came out.
    pub fn came_out(&mut self, results: Vec<FrameResult>) -> anyhow::Result<()> {
        for result in results {
            let pending = self.pending.pop_front();
            let Pending { place, timing, image } = pending.expect("frames come out as they went in");
            assert_eq!(place, result.frame, "in their order");
            let (texts, clicked) = (self.texts, &self.clicked);
            let label = |object: &FrameObject| match object.text {
                Some(text) => texts[text].clone(),
                None => clicked
                    .iter()
                    .find(|(id, _)| *id == object.id)
                    .map_or(String::new(), |(_, label)| label.clone()),
            };
            self.objects.count(&result, timing, label);
            let line = self.objects.line(&result, timing)?;
            self.begin()?;
            let _uninterrupted = signals::uninterrupted();
            if let Some(image) = image {
                self.show(self.draw(&image, &result), timing)?;
            }
            // Last, and at once: where the line is, the rest is.
            self.append(&line)?;
            self.output.json_line(&line)?;
        }
        Ok(())
    }

    fn show(&mut self, drawn: Image, timing: FrameTiming) -> anyhow::Result<()> {
        match &self.targets.overlay {
            Some(Overlay::Folder(folder)) => {
                let png = stamp::png(drawn.to_png());
                self.write(folder, &frame_name(timing.number, "png"), |path| {
                    Ok(fs::write(path, &png)?)
                })?;
            }
            Some(Overlay::Video(..)) => {
                let dropped = timing.live.map_or(0, |live| live.dropped);
                let film = self.film.as_mut().expect("there is one for a file");
                film.show(drawn, dropped, self.guard, self.output);
            }
            None => {}
        }
        Ok(())
    }

    /// Ends the overlay's video, and converts the lines to the formats that were asked for. Each is tried; the errors
    /// come back.
    pub fn finish(&mut self, video: &Video) -> Vec<anyhow::Error> {
        let mut errors = Vec::new();
        match self.film.as_mut().map(Film::close) {
            Some(Ok(file)) => self.finished.extend(file.map(Path::to_owned)),
            Some(Err(error)) => errors.push(error),
            None => {}
        }
        for format in &self.targets.formats {
            let target = format.path(&self.targets.output);
            match format.convert(&self.targets.lines(), &target, video, self.guard) {
                Ok(()) => self.finished.push(target),
                Err(error) => errors.push(error),
            }
        }
        errors
    }

    /// The files that were written, but for those of frames.
    pub fn written(&self) -> Vec<String> {
        if self.lines.is_none() {
            return Vec::new();
        }
        let folders = self.targets.folders().map(|(_, folder, _)| folder.to_owned());
        let all = [self.targets.lines()]
            .into_iter()
            .chain(self.finished.iter().cloned())
            .chain(folders);
        let name = |path: PathBuf| match path.is_dir() {
            true => format!("{}/", path.display()),
            false => path.display().to_string(),
        };
        all.map(name).collect()
    }

    fn draw(&self, image: &Image, result: &FrameResult) -> Image {
        let instance = |object: &'_ FrameObject| (object.id, self.objects.label(object.id).unwrap_or_default());
        let labels: Vec<_> = result.objects.iter().map(instance).collect();
        let instances = result
            .objects
            .iter()
            .zip(&labels)
            .map(|(object, (id, label))| OverlayInstance {
                mask: &object.mask,
                bounding_box: None,
                label,
                score: Some(object.score),
                color: *id as usize,
            });
        overlay(image, &instances.collect::<Vec<_>>())
    }

    /// With the first result, those of an earlier run go.
    fn begin(&mut self) -> anyhow::Result<()> {
        if self.lines.is_some() {
            return Ok(());
        }
        let _uninterrupted = signals::uninterrupted();
        let video = self.targets.overlay.iter().filter_map(|overlay| match overlay {
            Overlay::Folder(_) => None,
            Overlay::Video(file, _) => Some(folder_of(file)),
        });
        let folders = self.targets.folders().map(|(_, folder, _)| folder).chain(video);
        for folder in folders.chain([self.targets.output.as_path()]) {
            if folder != Path::new("") {
                fs::create_dir_all(folder).map_err(|source| Error::Output {
                    path: folder.to_owned(),
                    source,
                })?;
            }
        }
        self.targets.remove_earlier(self.guard)?;
        let target = self.targets.lines();
        let staged = Staged::create(&target, self.guard.may_replace(&target))?;
        let lines = staged
            .file()
            .try_clone()
            .map_err(|source| Error::Output { path: target, source })?;
        staged.commit()?;
        self.lines = Some(lines);
        Ok(())
    }

    /// A file that appears whole or not at all.
    fn write(&self, folder: &Path, name: &str, write: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let target = folder.join(name);
        let file = Staged::create(&target, self.guard.may_replace(&target))?;
        write(file.temporary()).map_err(|error| {
            Failure::environment(
                format!("{}: {error}", target.display()),
                "free some space, or name a folder on another drive",
            )
        })?;
        Ok(file.commit()?)
    }

    fn append(&mut self, line: &str) -> Result<(), Error> {
        let file = self.lines.as_mut().expect("it was begun");
        let append = |file: &mut File| -> io::Result<()> {
            let before = file.metadata()?.len();
            // On a full drive a part of it may be written, and goes again.
            file.write_all(line.as_bytes()).inspect_err(|_| {
                let _ = file.set_len(before).and_then(|()| file.seek(SeekFrom::Start(before)));
            })
        };
        append(file).map_err(|source| Error::Output {
            path: self.targets.lines(),
            source,
        })
    }
}
