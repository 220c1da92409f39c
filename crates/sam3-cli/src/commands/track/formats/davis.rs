//! DAVIS's annotations: a PNG a frame, of 8 bits that are the ids, counted from 1, in a palette. Where masks overlap, the
//! higher score has the pixel.

use sam3_model::masks::{IdMap, Mask};

use super::{Video, lines::Object};
use crate::failure::Failure;

/// Of 256 indices one is the background, and one means "void".
pub const MOST: u32 = 254;

/// A frame's PNG.
pub fn png(objects: &[Object], video: &Video) -> anyhow::Result<Vec<u8>> {
    let instance = |object: &Object| {
        let index = object.id + 1;
        if index > MOST {
            return Err(Failure::input(
                format!(
                    "davis: it has indices for ids up to {}, and there is an object {}",
                    MOST - 1,
                    object.id
                ),
                "take another --format; or follow fewer objects, with narrower prompts or a part of the video at a time",
            ));
        }
        Ok((index as u16, object.score, Mask::from_rle(&object.segmentation)?))
    };
    let instances: Vec<_> = objects.iter().map(instance).collect::<anyhow::Result<_>>()?;
    let instances: Vec<_> = instances
        .iter()
        .map(|(index, score, mask)| (*index, *score, mask))
        .collect();
    let (width, height) = video.size;
    let map = IdMap::of_ids(width, height, &instances);
    Ok(map.to_indexed_png().expect("its ids were looked at"))
}
