//! DAVIS's annotations: a PNG a frame, of 8 bits that are the ids, counted from 1, in a palette. Where masks overlap, the
//! higher score has the pixel.

use sam3_model::masks::{IdMap, Mask};

use super::{
    Video,
    lines::{Lines, Object},
};
use crate::failure::Failure;

/// Of 256 indices one is the background, and one means "void".
pub const MOST: u32 = 254;

/// That all ids have an index.
///
/// # Errors
/// When one has none.
pub fn check(lines: &Lines) -> anyhow::Result<()> {
    match lines.largest_id() {
        Some(id) if id >= MOST => Err(Failure::input(
            format!(
                "--format davis: it has indices for ids up to {}, and there is an object {id}",
                MOST - 1
            ),
            "take another format; or follow fewer objects, by narrower prompts or a part of the video at a time",
        )),
        _ => Ok(()),
    }
}

/// A frame's PNG, of ids that were checked.
pub fn png(objects: &[Object], video: &Video) -> anyhow::Result<Vec<u8>> {
    let masks = objects.iter().map(|object| Mask::from_rle(&object.segmentation));
    let masks: Vec<Mask> = masks.collect::<Result<_, _>>()?;
    let instance = |(object, mask)| {
        let object: &Object = object;
        (object.id as u16 + 1, object.score, mask)
    };
    let instances: Vec<_> = objects.iter().zip(&masks).map(instance).collect();
    let (width, height) = video.size;
    let map = IdMap::of_ids(width, height, &instances);
    Ok(map.to_indexed_png().expect("its ids were checked"))
}
