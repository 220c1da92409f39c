//! YouTube-VIS's annotations: a JSON with a video, its frames' names, categories, and of each object a list of what it
//! is on each frame, null where it is not there.
//!
//! The lines are by frame, and this is by object: where an object is in the file is kept, 16 bytes a frame, and of one
//! object at a time its boxes and areas, 32 bytes a frame.

use std::io::Write;

use sam3_model::report::GENERATOR;
use serde_json::{json, to_string};

use super::{
    Video,
    lines::{Lines, Spot},
};

/// Writes all of it.
pub fn write(lines: &Lines, video: &Video, file: &mut impl Write) -> anyhow::Result<()> {
    let (width, height) = video.size;
    let length = lines.frames().len();
    write!(
        file,
        "{{\"generator\": \"{GENERATOR}\", \"info\": {{}}, \"licenses\": [],\n\"videos\": [{{\"id\": 1, \"width\": {width}, \
         \"height\": {height}, \"length\": {length}, \"file_names\": "
    )?;
    list(file, lines.frames().map(|frame| to_string(&(video.file_name)(frame))))?;
    write!(file, "}}],\n\"categories\": ")?;
    let categories = video.categories().into_iter().zip(1..);
    list(
        file,
        categories.map(|(name, id)| to_string(&json!({"id": id, "name": name, "supercategory": "object"}))),
    )?;
    write!(file, ",\n\"annotations\": [")?;
    for (place, (id, spots)) in lines.spots()?.into_iter().enumerate() {
        if place > 0 {
            write!(file, ",")?;
        }
        // What reads COCO's files, pycocotools too, looks for an image.
        write!(
            file,
            "\n{{\"id\": {}, \"video_id\": 1, \"image_id\": 1, \"iscrowd\": 0, \"width\": {width}, \"height\": {height}, \
             \"length\": 1, ",
            id + 1
        )?;
        object(lines, video, &spots, file)?;
    }
    writeln!(file, "]}}")?;
    Ok(())
}

/// What is of one object.
fn object(lines: &Lines, video: &Video, spots: &[Spot], file: &mut impl Write) -> anyhow::Result<()> {
    let length = lines.frames().len();
    let mut rest = spots.iter().peekable();
    let mut shapes = vec![None; length];
    let (mut scores, mut category) = (0.0, 1);
    write!(file, "\"segmentations\": ")?;
    let frames = (0..length).map(|frame| {
        let Some(&spot) = rest.next_if(|spot| spot.frame as usize == frame) else {
            return Ok("null".to_owned());
        };
        let object = lines.at(spot)?;
        scores += f64::from(object.score);
        category = video.category(&object.prompt);
        let (area, Some([left, top, right, bottom])) = object.segmentation.extent()? else {
            return Ok("null".to_owned());
        };
        shapes[frame] = Some(([left, top, right - left, bottom - top], area));
        Ok::<_, anyhow::Error>(to_string(&object.segmentation)?)
    });
    list(file, frames)?;
    let score = scores / spots.len().max(1) as f64;
    write!(file, ", \"category_id\": {category}, \"score\": {score}, \"bboxes\": ")?;
    list(file, shapes.iter().map(|shape| to_string(&shape.map(|(bbox, _)| bbox))))?;
    write!(file, ", \"areas\": ")?;
    list(file, shapes.iter().map(|shape| to_string(&shape.map(|(_, area)| area))))?;
    write!(file, "}}")?;
    Ok(())
}

/// A list of what is JSON already.
fn list<E>(file: &mut impl Write, values: impl Iterator<Item = Result<String, E>>) -> anyhow::Result<()>
where
    anyhow::Error: From<E>,
{
    write!(file, "[")?;
    for (place, value) in values.enumerate() {
        let comma = if place > 0 { ", " } else { "" };
        write!(file, "{comma}{}", value?)?;
    }
    write!(file, "]")?;
    Ok(())
}
