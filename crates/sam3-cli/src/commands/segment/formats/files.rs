//! What is in the files of each format.

use std::{
    fmt::Write as _,
    io::{self, Write},
    path::{Path, PathBuf},
};

use sam3_model::{
    masks::{IdMap, voc_color},
    report::GENERATOR,
};
use serde_json::{Value, json};

use super::Picture;
use crate::{commands::segment::stamp, failure::Failure};

/// Indices that VOC has for objects: 0 is background, and 255 is neither.
pub const MOST: usize = 254;

/// A file of a picture, whose stem may have dots and folders.
pub fn path(folder: &Path, stem: &Path, extension: &str) -> PathBuf {
    let mut name = folder.join(stem).into_os_string();
    name.push(".");
    name.push(extension);
    name.into()
}

/// COCO's labels, written as the pictures come; what is kept until the end is a line a picture.
pub struct Coco<W> {
    file: W,
    images: Vec<Value>,
    annotations: usize,
}

impl<W: Write> Coco<W> {
    pub fn begin(mut file: W, classes: &[&str]) -> io::Result<Self> {
        let categories = classes.iter().zip(1..);
        let categories = categories.map(|(name, id)| json!({"id": id, "name": name, "supercategory": "object"}));
        let categories = Value::from(categories.collect::<Vec<_>>());
        write!(
            file,
            "{{\"generator\": \"{GENERATOR}\", \"info\": {{}}, \"licenses\": [],\n\"categories\": {categories},\n\
             \"annotations\": ["
        )?;
        Ok(Self {
            file,
            images: Vec::new(),
            annotations: 0,
        })
    }

    pub fn add(&mut self, picture: &Picture) -> io::Result<()> {
        let image = self.images.len() + 1;
        let (width, height) = picture.size;
        self.images
            .push(json!({"id": image, "file_name": picture.file_name, "width": width, "height": height}));
        for object in &picture.objects {
            let Some([x1, y1, x2, y2]) = object.mask.bounding_box() else {
                continue;
            };
            let comma = if self.annotations > 0 { "," } else { "" };
            self.annotations += 1;
            let annotation = json!({
                "id": self.annotations, "image_id": image, "category_id": object.class + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1], "area": object.mask.area(), "iscrowd": 0,
                "segmentation": object.outlines(), "score": object.score,
            });
            write!(self.file, "{comma}\n{annotation}")?;
        }
        Ok(())
    }

    pub fn end(mut self) -> io::Result<()> {
        writeln!(self.file, "],\n\"images\": {}}}", Value::from(self.images))?;
        self.file.flush()
    }
}

/// Polygons; those of one object share a group.
pub fn labelme(picture: &Picture, classes: &[&str]) -> Vec<u8> {
    let mut shapes = Vec::new();
    for (object, group) in picture.objects.iter().zip(1..) {
        let outlines = object.outlines();
        let group = (outlines.len() > 1).then_some(group);
        for outline in &outlines {
            let points: Vec<&[f64]> = outline.chunks_exact(2).collect();
            shapes.push(json!({
                "label": classes[object.class], "points": points, "group_id": group,
                "description": format!("score {:.3}", object.score), "shape_type": "polygon", "flags": {}, "mask": null,
            }));
        }
    }
    let (width, height) = picture.size;
    // In this order: a file that labelme saved begins otherwise.
    let text = format!(
        "{{\"generator\":\"{GENERATOR}\",\"version\":\"5.5.0\",\"flags\":{{}},\"shapes\":{},\"imagePath\":{},\
         \"imageData\":null,\"imageHeight\":{height},\"imageWidth\":{width}}}\n",
        Value::from(shapes),
        Value::from(picture.path.display().to_string())
    );
    text.into_bytes()
}

/// A line an object: its class, and one polygon in shares of the picture. Parts are joined by a line walked there and
/// back, which encloses nothing.
pub fn yolo(picture: &Picture) -> String {
    let (width, height) = picture.size;
    let mut text = String::new();
    for object in &picture.objects {
        let outlines = object.outlines();
        let Some((first, rest)) = outlines.split_first() else {
            continue;
        };
        let mut joined = first.clone();
        for part in rest {
            joined.extend_from_slice(&first[..2]);
            joined.extend_from_slice(part);
            joined.extend_from_slice(&part[..2]);
        }
        if !rest.is_empty() {
            joined.extend_from_slice(&first[..2]);
        }
        text += &object.class.to_string();
        for at in joined.chunks_exact(2) {
            let [x, y] = [share(at[0], width), share(at[1], height)];
            let _ = write!(text, " {x:.8} {y:.8}");
        }
        text.push('\n');
    }
    text
}

/// Readers multiply by the side again and cut the fraction off: a hair more, so that a whole pixel stays one.
fn share(at: f64, side: u32) -> f64 {
    ((at + 1e-4) / f64::from(side)).min(1.0)
}

/// Where YOLO's trainers find pictures and classes. JSON's strings are YAML's.
pub fn data_yaml(classes: &[&str]) -> String {
    let mut text = format!("# {GENERATOR}: put the pictures, or links to them, into images/\npath: .\ntrain: images\n");
    text += "val: images\nnames:\n";
    for (place, class) in classes.iter().enumerate() {
        let _ = writeln!(text, "  {place}: {}", Value::from(*class));
    }
    text
}

/// Classes and objects as indices in VOC's palette; where two objects overlap, the higher score wins.
pub fn voc(picture: &Picture) -> anyhow::Result<[Vec<u8>; 2]> {
    let (width, height) = picture.size;
    let too_many = || {
        Failure::input(
            format!(
                "--format voc-mask: {}: {} objects, and there are {MOST} indices",
                picture.path.display(),
                picture.objects.len()
            ),
            "ask for fewer at a time, raise --threshold, or choose --format coco",
        )
    };
    if picture.objects.len() > MOST {
        return Err(too_many());
    }
    let objects = || picture.objects.iter().zip(1..);
    let classes: Vec<_> = objects()
        .map(|(object, _)| (object.class as u16 + 1, object.score as f32, &object.mask))
        .collect();
    let numbered: Vec<_> = objects()
        .map(|(object, id)| (id, object.score as f32, &object.mask))
        .collect();
    let png = |instances: &[_]| IdMap::of_ids(width, height, instances).to_indexed_png();
    match (png(&classes), png(&numbered)) {
        (Some(classes), Some(objects)) => Ok([classes, objects].map(stamp::png)),
        _ => Err(too_many()),
    }
}

/// The classes by their colours, as CVAT and Datumaro have them beside VOC's masks.
pub fn labelmap(classes: &[&str]) -> String {
    let mut text = format!("# {GENERATOR}\n# label:color_rgb:parts:actions\nbackground:0,0,0::\n");
    for (class, index) in classes.iter().zip(1..=u8::MAX) {
        let [r, g, b] = voc_color(index);
        let _ = writeln!(text, "{}:{r},{g},{b}::", class.replace([':', '\n'], " "));
    }
    text
}
