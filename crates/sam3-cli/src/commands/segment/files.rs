//! The files that segmenting an image leaves: an overlay, the JSON, the masks.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use sam3_model::{
    Detections,
    image::Image,
    masks::{OverlayInstance, overlay},
};
use sam3_package::{Error, Staged};

use super::Report;
use crate::failure::Failure;

/// Where each image's files go.
pub struct Files {
    folder: PathBuf,
    /// One a picture: its name without the extension, numbered where two share it.
    stems: Vec<String>,
    masks: bool,
}

impl Files {
    /// Makes the folder, so that one that cannot be written is known before the work.
    pub fn new(folder: &Path, images: &[PathBuf], masks: bool) -> anyhow::Result<Self> {
        make_folder(folder)?;
        drop(Staged::create(&folder.join("sam3"), true)?);
        let mut seen = HashMap::new();
        let stem = |path: &PathBuf| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let count = seen.entry(stem.clone()).and_modify(|count| *count += 1).or_insert(1);
            if *count == 1 { stem } else { format!("{stem}_{count}") }
        };
        Ok(Self {
            folder: folder.to_owned(),
            stems: images.iter().map(stem).collect(),
            masks,
        })
    }

    /// Writes the files of one image; those of an earlier run are replaced.
    pub fn write(&self, index: usize, image: &Image, report: &Report, polygons: bool) -> anyhow::Result<Vec<PathBuf>> {
        let stem = &self.stems[index];
        let mut written = Vec::new();
        let mut write = |path: PathBuf, bytes: &[u8]| -> anyhow::Result<()> {
            let file = Staged::create(&path, true)?;
            file.write_at(bytes, 0)?;
            file.commit()?;
            written.push(path);
            Ok(())
        };
        write(
            self.folder.join(format!("{stem}_overlay.png")),
            &draw(image, report).to_png(),
        )?;
        if self.masks {
            let folder = self.folder.join(format!("{stem}_masks"));
            make_folder(&folder)?;
            for (prompt, found) in report.found.iter().enumerate() {
                let prefix = match report.found.len() {
                    1 => file_name(found.text()),
                    _ => format!("{}_{}", prompt + 1, file_name(found.text())),
                };
                for (number, instance) in found.instances.iter().enumerate() {
                    write(
                        folder.join(format!("{prefix}_{:03}.png", number + 1)),
                        &instance.mask.to_png(),
                    )?;
                }
            }
        }
        let mut json = serde_json::to_vec_pretty(&report.to_json(polygons))?;
        json.push(b'\n');
        write(self.folder.join(format!("{stem}.json")), &json)?;
        Ok(written)
    }
}

/// The image with every instance tinted, outlined and labelled.
pub fn draw(image: &Image, report: &Report) -> Image {
    let instances: Vec<OverlayInstance> = report
        .found
        .iter()
        .flat_map(|found| found.instances.iter().map(move |instance| (found.text(), instance)))
        .enumerate()
        .map(|(color, (label, instance))| OverlayInstance {
            mask: &instance.mask,
            bounding_box: None,
            label,
            score: Some(instance.score),
            color,
        })
        .collect();
    overlay(image, &instances)
}

/// Writes raw outputs as safetensors.
pub fn dump(target: &Path, detections: &Detections) -> anyhow::Result<()> {
    let file = Staged::create(target, true)?;
    detections.save(file.temporary()).map_err(|error| {
        Failure::environment(
            format!("{}: {error}", target.display()),
            "raw outputs take 70 MB at SAM 3's size: free some space, or name a file on another drive",
        )
    })?;
    Ok(file.commit()?)
}

/// A prompt as a part of a file's name.
fn file_name(prompt: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || c == '-' { c } else { '_' };
    prompt.chars().take(40).map(plain).collect()
}

fn make_folder(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|source| Error::Output {
        path: folder.to_owned(),
        source,
    })
}
