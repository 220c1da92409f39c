//! What was found in one image: as JSON for machines, as a table for people.

use std::path::{Path, PathBuf};

use sam3_model::{
    Instance,
    report::{Found, How, ImageRecord, Loaded, Segmented, Timings},
};
use serde::Serialize;

use super::refine;
use crate::output::table;

/// Everything about one image.
pub struct Report<'a> {
    /// The picture; `-` for stdin.
    pub path: &'a Path,
    /// SHA-256 of the picture's bytes.
    pub sha256: String,
    pub width: u32,
    pub height: u32,
    pub loaded: &'a Loaded,
    pub how: How,
    pub timings: Timings,
    pub found: Vec<Found<'a>>,
}

/// What a command found in an image: instances in groups, such as those of a prompt.
pub trait Results {
    /// Each group's label and instances, in the order of the JSON.
    fn groups(&self) -> impl Iterator<Item = (&str, &[Instance])>;

    /// The documented JSON, with outlines where `with_polygons`.
    fn to_json(&self, with_polygons: bool) -> impl Serialize;

    /// Every instance with its group's label, in the order of the JSON.
    fn instances(&self) -> impl Iterator<Item = (&str, &Instance)> {
        self.groups()
            .flat_map(|(label, instances)| instances.iter().map(move |instance| (label, instance)))
    }

    /// [`to_json`](Self::to_json) as a file's bytes.
    fn to_json_file(&self, with_polygons: bool) -> serde_json::Result<Vec<u8>> {
        let mut json = serde_json::to_vec_pretty(&self.to_json(with_polygons))?;
        json.push(b'\n');
        Ok(json)
    }
}

impl Results for Report<'_> {
    fn groups(&self) -> impl Iterator<Item = (&str, &[Instance])> {
        self.found.iter().map(|found| (found.text(), &found.instances[..]))
    }

    fn to_json(&self, with_polygons: bool) -> impl Serialize {
        let image = ImageRecord {
            file: self.path,
            sha256: &self.sha256,
            width: self.width,
            height: self.height,
        };
        let model = self.loaded.record();
        Segmented::new(image, model, self.how, &self.timings, &self.found, with_polygons)
    }
}

impl Report<'_> {
    /// Tiles side by side, and below each other.
    fn grid(&self) -> Option<[u32; 2]> {
        let image_size = self.loaded.segmenter.image_size();
        self.how.tiling?.grid((self.width, self.height), image_size).ok()
    }

    /// A line a prompt, a line an instance, and the files that were written.
    pub fn to_text(&self, files: &[PathBuf]) -> String {
        let mut text = format!("{}  {} × {}\n", self.path.display(), self.width, self.height);
        if let Some([columns, rows]) = self.grid().filter(|grid| grid[0] > 0) {
            text += &format!("{columns} × {rows} tiles\n");
        }
        for found in &self.found {
            let count = match found.instances.len() {
                1 => "1 instance".to_owned(),
                n => format!("{n} instances"),
            };
            text += &format!("\"{}\": {count}, presence {:.3}\n", found.text(), found.presence);
            if !found.instances.is_empty() {
                text += &table(&instance_rows(&found.instances, "score"));
            }
            if !found.refined.is_empty() {
                text += &refine::sentence(&found.refined);
            }
        }
        let Timings {
            load_ms,
            encode_ms,
            text_ms,
            detect_ms,
            masks_ms,
            refine_ms,
        } = self.timings;
        text += &format!(
            "load {load_ms:.0} ms, encode {encode_ms:.0} ms, text {text_ms:.0} ms, detect {detect_ms:.0} ms, \
             masks {masks_ms:.0} ms"
        );
        if let Some(refine_ms) = refine_ms {
            text += &format!(", refine {refine_ms:.0} ms");
        }
        text.push('\n');
        for file in files {
            text += &format!("wrote {}\n", file.display());
        }
        text
    }
}

/// The instances' rows, with their head, where their score is called `score`.
pub fn instance_rows(instances: &[Instance], score: &str) -> Vec<Vec<String>> {
    let mut rows = vec![["", score, "x1", "y1", "x2", "y2", "area"].map(str::to_owned).to_vec()];
    rows.extend(instances.iter().enumerate().map(|(index, instance)| {
        let mut row = vec![(index + 1).to_string(), format!("{:.3}", instance.score)];
        row.extend(instance.bbox.iter().map(|side| format!("{side:.0}")));
        row.push(instance.mask.area().to_string());
        row
    }));
    rows
}
