//! What prompts found in an image and in its tiles.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{
    Found, How, ImageRecord, ModelRecord, Refined, Timings,
    segmented::{find, kept, milliseconds},
};
use crate::{
    error::Result,
    image::Image,
    model::{Detections, Watch},
    segmenter::{Encoded, Prompt, Segmenter, Tour},
    tiling::{Seen, Tiling},
};

/// How the picture was cut into tiles, in the JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TilingRecord {
    /// As it was asked for: `auto`, `4x3` or `1008`.
    pub tiles: String,
    /// The least share of a tile's side that it has in common with the next.
    pub overlap: f32,
    /// Tiles side by side, and below each other; 0 where the whole picture was enough.
    pub grid: [u32; 2],
}

impl TilingRecord {
    /// Of one image and model. A tiling that cannot be has no tiles.
    pub fn of(tiling: &Tiling, image: &ImageRecord<'_>, model: &ModelRecord<'_>) -> Self {
        let grid = tiling.grid((image.width, image.height), model.image_size());
        Self {
            tiles: tiling.tiles.to_string(),
            overlap: tiling.overlap,
            grid: grid.unwrap_or_default(),
        }
    }
}

/// As [`find`], in the whole image, which is `encoded`, and in its tiles where `how` has a tiling.
///
/// # Errors
/// As there; and where the image cannot be cut into such tiles.
pub fn find_in_tiles<'a>(
    model: &Segmenter,
    image: &Image,
    encoded: Encoded,
    prompts: &'a [Prompt],
    how: How,
    timings: &mut Timings,
    watch: &mut Watch<'_>,
) -> Result<(Vec<Found<'a>>, Option<Detections>)> {
    let Some(tiling) = how.tiling else {
        return find(model, &encoded, prompts, how, timings, watch);
    };
    // Before the work, which may be long.
    tiling.grid((image.width(), image.height()), model.image_size())?;
    let (mut found, first) = find(model, &encoded, prompts, how, timings, watch)?;
    let start = Instant::now();
    let mut tour = Tour::plan(model, image, &encoded, prompts, &tiling, watch)?;
    timings.encode_ms += milliseconds(start);
    drop(encoded);
    if tour.tiles() == 0 {
        return Ok((found, first));
    }
    let mut seen: Vec<Vec<Seen<Option<Refined>>>> = Vec::with_capacity(found.len());
    for found in &mut found {
        let (instances, refined) = (found.instances.drain(..), found.refined.drain(..));
        let refined = refined.map(Some).chain(std::iter::repeat(None));
        let of_picture = instances
            .zip(refined)
            .map(|(instance, refined)| Seen::of_picture(instance, refined));
        seen.push(of_picture.collect());
    }
    for tile in 0..tour.tiles() {
        let start = Instant::now();
        let encoded = tour.encode(tile, watch)?;
        model.synchronize()?;
        timings.encode_ms += milliseconds(start);
        for (prompt, (found, seen)) in found.iter_mut().zip(&mut seen).enumerate() {
            let start = Instant::now();
            let detections = tour.detect(tile, &encoded, prompt, watch)?;
            model.synchronize()?;
            timings.detect_ms += milliseconds(start);
            found.presence = found.presence.max(detections.presence()?);
            let (instances, refined) = kept(model, &encoded, &detections, how, timings)?;
            let refined = refined.into_iter().map(Some).chain(std::iter::repeat(None));
            seen.extend(
                instances
                    .into_iter()
                    .zip(refined)
                    .map(|(one, refined)| tour.seen(tile, one, refined)),
            );
        }
    }
    let start = Instant::now();
    for (found, seen) in found.iter_mut().zip(seen) {
        for one in tour.merge(seen) {
            found.instances.push(one.instance);
            found.refined.extend(one.note);
        }
    }
    timings.masks_ms += milliseconds(start);
    Ok((found, first))
}
