//! The formats of others, made at the end of the pictures' JSON: what labelling tools and trainers read.

mod files;

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{BufReader, BufWriter, Read},
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use sam3_model::{
    Prompt,
    masks::{Mask, POLYGON_TOLERANCE, Rle, polygons},
    report::text_of,
};
use sam3_package::{Error, Staged};
use serde::Deserialize;

use self::files::Coco;
use super::{Guard, Input, Named, Place, failures::Failures, files::make_folder, places::check_apart};
use crate::failure::Failure;

/// What `--format` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON of COCO's labels, with polygons: DIR/coco.json
    Coco,
    /// A JSON a picture for labelme: DIR/labelme/STEM.json
    Labelme,
    /// A text a picture for YOLO: DIR/yolo-seg/labels/STEM.txt
    YoloSeg,
    /// PNGs of classes and of objects, as PASCAL VOC has them: DIR/voc-mask/
    VocMask,
}

/// What is read again of a picture's JSON.
#[derive(Deserialize)]
struct Results {
    image: Size,
    prompts: Vec<Asked>,
}

#[derive(Deserialize)]
struct Size {
    width: u32,
    height: u32,
}

#[derive(Deserialize)]
struct Asked {
    prompt: String,
    instances: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    score: f64,
    segmentation: Rle,
}

/// A picture and its objects.
struct Picture {
    /// Its file, from the root.
    path: PathBuf,
    /// Its file below the folder that was named.
    file_name: String,
    size: (u32, u32),
    objects: Vec<Object>,
}

/// One object of a class.
struct Object {
    /// Its class's place.
    class: usize,
    score: f64,
    mask: Mask,
}

impl Object {
    /// Its outlines, of at least three corners each.
    fn outlines(&self) -> Vec<Vec<f64>> {
        let mut outlines = polygons(&self.mask, POLYGON_TOLERANCE);
        outlines.retain(|outline| outline.len() >= 6);
        outlines
    }
}

/// The formats of a run.
pub struct Formats<'a> {
    wanted: &'a [Format],
    output: &'a Path,
    /// The prompts' texts, each once.
    classes: Vec<&'a str>,
}

impl<'a> Formats<'a> {
    pub fn of(wanted: &'a [Format], output: &'a Path, prompts: &'a [Prompt]) -> Self {
        let mut classes: Vec<&str> = Vec::new();
        for prompt in prompts {
            if !classes.contains(&text_of(prompt)) {
                classes.push(text_of(prompt));
            }
        }
        Self {
            wanted,
            output,
            classes,
        }
    }

    fn has(&self, format: Format) -> bool {
        self.wanted.contains(&format)
    }

    fn coco(&self) -> PathBuf {
        self.output.join("coco.json")
    }

    /// The folders, each with a file in it that tells whether `sam3` made those that have no room for a stamp, and what
    /// is in that file.
    fn folders(&self) -> Vec<(PathBuf, Option<(PathBuf, String)>)> {
        let yolo = self.output.join("yolo-seg");
        let voc = self.output.join("voc-mask");
        let yaml = Some((yolo.join("data.yaml"), files::data_yaml(&self.classes)));
        let labelmap = Some((voc.join("labelmap.txt"), files::labelmap(&self.classes)));
        let all = [
            (Format::Labelme, self.output.join("labelme"), None),
            (Format::YoloSeg, yolo, yaml),
            (Format::VocMask, voc, labelmap),
        ];
        let wanted = all.into_iter().filter(|(format, ..)| self.has(*format));
        wanted.map(|(_, folder, told_by)| (folder, told_by)).collect()
    }

    /// Refuses what is in the way, before the work; `targets` are the pictures' results.
    ///
    /// # Errors
    /// Where one of these has such a name, or somebody else's file has, or a file that somebody changed since.
    pub fn check(&self, jobs: &[(Input, Place)], targets: &[PathBuf], guard: &Guard) -> anyhow::Result<()> {
        if self.has(Format::VocMask) && self.classes.len() > files::MOST {
            return Err(Failure::usage(
                format!(
                    "--format voc-mask: {} prompts, and there are {} classes",
                    self.classes.len(),
                    files::MOST
                ),
                "ask for fewer at a time, or choose --format coco",
            ));
        }
        if self.has(Format::Coco) {
            let file = &self.coco();
            Named { flag: "--format", file }.check(self.output, targets, guard)?;
        }
        for (folder, told_by) in self.folders() {
            check_apart("--format", &folder, targets)?;
            let foreign = match &told_by {
                Some((file, _)) => {
                    let is_empty = fs::read_dir(&folder).map_or(true, |mut entries| entries.next().is_none());
                    (!is_empty && !begins_as_ours(file)).then(|| folder.clone())
                }
                // What labelme saved has other first words: it is somebody's work.
                None => {
                    let files = jobs
                        .iter()
                        .map(|(_, place)| files::path(&folder, &self.stem(place), "json"));
                    files.filter(|file| file.exists()).find(|file| !begins_as_ours(file))
                }
            };
            if let Some(foreign) = foreign.filter(|_| !guard.is_forced()) {
                return Err(Failure::usage(
                    format!(
                        "{} exists already, and sam3 did not write it, or it was changed since",
                        foreign.display()
                    ),
                    "pass --force to replace it, or choose another folder with --output",
                ));
            }
        }
        Ok(())
    }

    /// What a picture's results begin with, below the folder of results.
    fn stem(&self, place: &Place) -> PathBuf {
        let json = place.json();
        json.strip_prefix(self.output).unwrap_or(&json).with_extension("")
    }

    /// Makes the files, of the JSON of these pictures; what is wrong with one picture is reported.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn write(
        &self,
        pictures: &[&(Input, Place)],
        guard: &Guard,
        failures: &mut Failures,
    ) -> anyhow::Result<Vec<PathBuf>> {
        let mut written = Vec::new();
        for (folder, told_by) in self.folders() {
            make_folder(&folder)?;
            if let Some((file, text)) = told_by {
                replace(&file, text.as_bytes(), guard)?;
            }
            written.push(folder);
        }
        let staged = match self.has(Format::Coco) {
            true => Some(Staged::create(&self.coco(), guard.may_replace(&self.coco()))?),
            false => None,
        };
        let coco = staged
            .as_ref()
            .map(|staged| Coco::begin(BufWriter::new(staged.file()), &self.classes));
        let unwritten = |source| Error::Output {
            path: self.coco(),
            source,
        };
        let mut coco = coco.transpose().map_err(unwritten)?;
        let mut taken = HashSet::new();
        for (input, place) in pictures {
            let below = input.folder.join(input.path.file_name().unwrap_or_default());
            // Of two pictures of one name in two folders, the later one keeps its path.
            let file_name = match taken.insert(below.clone()) {
                true => below,
                false => input.path.clone(),
            };
            let picture = self.read(&input.path, &file_name, &place.json());
            let Some(picture) = failures.take(picture)? else {
                continue;
            };
            if let Some(coco) = &mut coco {
                coco.add(&picture).map_err(unwritten)?;
            }
            let one = self.write_one(&picture, &self.stem(place), guard);
            failures.take_written(one)?;
        }
        coco.map(Coco::end).transpose().map_err(unwritten)?;
        if let Some(staged) = staged {
            staged.commit()?;
            written.push(self.coco());
        }
        Ok(written)
    }

    /// The files of one picture.
    fn write_one(&self, picture: &Picture, stem: &Path, guard: &Guard) -> anyhow::Result<()> {
        if self.has(Format::Labelme) {
            let target = files::path(&self.output.join("labelme"), stem, "json");
            replace(&target, &files::labelme(picture, &self.classes), guard)?;
        }
        if self.has(Format::YoloSeg) {
            let target = files::path(&self.output.join("yolo-seg/labels"), stem, "txt");
            replace(&target, files::yolo(picture).as_bytes(), guard)?;
        }
        if self.has(Format::VocMask) {
            let [classes, objects] = files::voc(picture)?;
            for (name, png) in [("SegmentationClass", classes), ("SegmentationObject", objects)] {
                replace(
                    &files::path(&self.output.join("voc-mask").join(name), stem, "png"),
                    &png,
                    guard,
                )?;
            }
        }
        Ok(())
    }

    /// A picture's objects, of its JSON.
    fn read(&self, path: &Path, file_name: &Path, json: &Path) -> anyhow::Result<Picture> {
        let file = File::open(json).map_err(|source| Error::Io {
            action: "read again",
            path: json.to_owned(),
            source,
        })?;
        let Results { image, prompts } = serde_json::from_reader(BufReader::new(file))?;
        let mut objects = Vec::new();
        for asked in prompts {
            let class = self
                .classes
                .iter()
                .position(|class| *class == asked.prompt)
                .unwrap_or(0);
            for found in asked.instances {
                objects.push(Object {
                    class,
                    score: found.score,
                    mask: Mask::from_rle(&found.segmentation)?,
                });
            }
        }
        Ok(Picture {
            path: std::path::absolute(path)?,
            file_name: file_name.display().to_string(),
            size: (image.width, image.height),
            objects,
        })
    }
}

/// Writes a file of a folder that was looked at before.
fn replace(target: &Path, bytes: &[u8], guard: &Guard) -> anyhow::Result<()> {
    make_folder(target.parent().unwrap_or(Path::new("")))?;
    let staged = Staged::create(target, !guard.is_input(target))?;
    staged.write_at(bytes, 0)?;
    Ok(staged.commit()?)
}

/// Whether a file begins as this program begins it; one that is not there does not.
fn begins_as_ours(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(32).read_to_end(&mut start));
    read.is_ok()
        && [&b"# sam3 "[..], b"{\"generator\":\"sam3 "]
            .iter()
            .any(|words| start.starts_with(words))
}
