//! What a model found, a line a picture as it goes, so that a run that was ended goes on; at the end COCO's results.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use sam3_model::{Instance, masks::Rle, report::GENERATOR};
use sam3_package::{Error, Staged};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{commands::segment::stamp, failure::Failure};

/// One thing that was found.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Detection {
    pub category_id: i64,
    pub score: f64,
    /// `x, y, width, height`.
    pub bbox: [f64; 4],
    pub segmentation: Rle,
}

impl Detection {
    /// Coordinates keep the digits of f32: as read back, they are what is scored.
    pub fn of(category_id: i64, instance: &Instance) -> Self {
        let decimal = |value: f32| value.to_string().parse().unwrap_or_else(|_| f64::from(value));
        let [x1, y1, x2, y2] = instance.bbox;
        Self {
            category_id,
            score: decimal(instance.score),
            bbox: [x1, y1, (x2 - x1).max(0.0), (y2 - y1).max(0.0)].map(decimal),
            segmentation: instance.mask.to_rle(),
        }
    }
}

/// A picture's line.
#[derive(Deserialize, Serialize)]
struct Line {
    image_id: i64,
    detections: Vec<Detection>,
}

/// The lines of a run in a folder.
pub struct Lines {
    path: PathBuf,
    file: File,
    /// What is known so far, by the picture's id.
    pub found: HashMap<i64, Vec<Detection>>,
}

const LINES: &str = "detections.jsonl";
/// What pycocotools reads: boxes, and masks without boxes, since it takes an object's area from its box where it has one.
pub const RESULTS: [&str; 2] = ["bbox.json", "segm.json"];

impl Lines {
    /// Opens the lines of an earlier run of the same settings, or begins them.
    ///
    /// # Errors
    /// Where there are lines of other settings, or files that `sam3` did not write.
    pub fn open(folder: &Path, settings: &Value) -> anyhow::Result<Self> {
        let output = |path: &Path| {
            let path = path.to_owned();
            move |source| anyhow::Error::new(Error::Output { path, source })
        };
        fs::create_dir_all(folder).map_err(output(folder))?;
        let path = folder.join(LINES);
        let head = format!("{{\"generator\": \"{GENERATOR}\", \"settings\": {settings}}}\n");
        let is_there = fs::metadata(&path).is_ok_and(|metadata| metadata.len() > 0);
        let mut known = HashMap::new();
        let mut length = 0;
        if is_there {
            if !stamp::is_ours(&path) {
                return Err(foreign(&path));
            }
            let mut file = BufReader::new(File::open(&path).map_err(output(&path))?);
            let mut line = Vec::new();
            while file.read_until(b'\n', &mut line).map_err(output(&path))? > 0 {
                // A line that was cut is made again, and what is behind it.
                if length == 0 {
                    let head: Value = serde_json::from_slice(&line).unwrap_or_default();
                    if head["settings"] != *settings {
                        return Err(Failure::usage(
                            format!(
                                "{}: results of another model, other labels or other flags",
                                path.display()
                            ),
                            "choose another folder with --output, or remove this one",
                        ));
                    }
                } else {
                    match serde_json::from_slice::<Line>(&line) {
                        Ok(read) if line.ends_with(b"\n") => known.insert(read.image_id, read.detections),
                        _ => break,
                    };
                }
                length += line.len() as u64;
                line.clear();
            }
        } else if let Some(name) = RESULTS.iter().find(|name| folder.join(name).exists()) {
            return Err(foreign(&folder.join(name)));
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(output(&path))?;
        file.set_len(length).map_err(output(&path))?;
        if length == 0 {
            file.write_all(head.as_bytes()).map_err(output(&path))?;
        }
        Ok(Self {
            path,
            file,
            found: known,
        })
    }

    /// Adds a picture.
    pub fn add(&mut self, image_id: i64, detections: Vec<Detection>) -> anyhow::Result<()> {
        let line = Line { image_id, detections };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(|source| Error::Output {
            path: self.path.clone(),
            source,
        })?;
        self.found.insert(image_id, line.detections);
        Ok(())
    }

    /// Writes COCO's results of these pictures, boxes and masks in a file each.
    pub fn write_results(&self, pictures: &[i64]) -> anyhow::Result<()> {
        for name in RESULTS {
            let target = self.path.with_file_name(name);
            // Those of an earlier run lie beside its lines.
            let staged = Staged::create(&target, true)?;
            let mut file = BufWriter::new(staged.file());
            let write = |file: &mut BufWriter<&File>| -> std::io::Result<()> {
                let mut comma = "";
                write!(file, "[")?;
                for id in pictures {
                    for found in self.found.get(id).into_iter().flatten() {
                        let mut entry = json!({"image_id": id, "category_id": found.category_id, "score": found.score});
                        match name {
                            "bbox.json" => entry["bbox"] = json!(found.bbox),
                            _ => entry["segmentation"] = json!(found.segmentation),
                        }
                        write!(file, "{comma}\n{entry}")?;
                        comma = ",";
                    }
                }
                writeln!(file, "]")?;
                file.flush()
            };
            write(&mut file).map_err(|source| Error::Output {
                path: target.clone(),
                source,
            })?;
            drop(file);
            staged.commit()?;
        }
        Ok(())
    }
}

fn foreign(path: &Path) -> anyhow::Error {
    Failure::usage(
        format!("{} exists already, and sam3 did not write it", path.display()),
        "choose another folder with --output",
    )
}

/// Writes a file of this run, in place of one of an earlier run.
pub fn write(target: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if target.exists() && !stamp::is_ours(target) {
        return Err(foreign(target));
    }
    let staged = Staged::create(target, true)?;
    staged.write_at(bytes, 0)?;
    Ok(staged.commit()?)
}
