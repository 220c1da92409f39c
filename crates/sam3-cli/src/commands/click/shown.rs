//! From flags to clicks: what lies outside the picture is refused, and masks are read.

use std::{fs::File, io::Read, path::Path};

use sam3_model::{Clicks, LowResMask, SavedLogits, image::Image, masks::Mask};

use crate::{commands::objects::ObjectFlags, failure::Failure};

/// A picture's grey values from this on are inside.
const INSIDE: u32 = 128;

/// Refuses what lies outside a picture of `width` × `height` pixels.
pub fn check_inside(objects: &[ObjectFlags], width: u32, height: u32) -> anyhow::Result<()> {
    let extents = [width, height].map(|extent| extent as f32);
    for object in objects {
        for ([x, y], _) in &object.points {
            let is_inside = (0.0..extents[0]).contains(x) && (0.0..extents[1]).contains(y);
            if !is_inside {
                return Err(Failure::usage(
                    format!("--point {x},{y} is not inside the image, which has {width} x {height} pixels"),
                    format!("expected x,y with 0 <= x < {width} and 0 <= y < {height}, in pixels of the upright image"),
                ));
            }
        }
        if let Some([x1, y1, x2, y2]) = object.bounding_box {
            let inside = |low: f32, high: f32, size: f32| 0.0 <= low && low < high && high <= size;
            if !(inside(x1, x2, extents[0]) && inside(y1, y2, extents[1])) {
                return Err(Failure::usage(
                    format!("--box {x1},{y1},{x2},{y2} is not inside the image, which has {width} x {height} pixels"),
                    format!("expected x1,y1,x2,y2 with 0 <= x1 < x2 <= {width} and 0 <= y1 < y2 <= {height}"),
                ));
            }
        }
    }
    Ok(())
}

/// The clicks of the object `index`, with its mask at the model's `side`, of a picture of these extents.
pub fn clicks(
    object: &ObjectFlags,
    index: usize,
    extents: (u32, u32),
    side: usize,
    multimask: bool,
) -> anyhow::Result<Clicks> {
    let mut clicks = points_and_box(object);
    if let Some(file) = &object.mask {
        clicks = clicks.mask(match read_mask(file, index, extents, side)? {
            GivenMask::Picture(mask) => LowResMask::from_mask(&mask, side),
            GivenMask::Logits(logits) => logits,
        });
    }
    if multimask {
        clicks = clicks.multimask(true);
    }
    Ok(clicks)
}

/// The clicks of an object without its mask.
pub fn points_and_box(object: &ObjectFlags) -> Clicks {
    let add = |clicks: Clicks, &(xy, positive): &([f32; 2], bool)| match positive {
        true => clicks.point(xy),
        false => clicks.negative_point(xy),
    };
    let clicks = object.points.iter().fold(Clicks::new(), add);
    match object.bounding_box {
        Some(xyxy) => clicks.bounding_box(xyxy),
        None => clicks,
    }
}

/// What `--mask` names.
pub enum GivenMask {
    /// Of the picture's size.
    Picture(Mask),
    /// Of the model's resolution.
    Logits(LowResMask),
}

/// The mask of the object `index`, of a picture of these extents, or logits of the model's `side`.
pub fn read_mask(file: &Path, index: usize, extents: (u32, u32), side: usize) -> anyhow::Result<GivenMask> {
    if !is_safetensors(file) {
        return Ok(GivenMask::Picture(read_picture(file, extents)?));
    }
    let SavedLogits {
        mut masks, image_size, ..
    } = SavedLogits::read(file).map_err(|error| {
        Failure::input(
            format!("--mask {error}"),
            "save the logits of the step before again, by --save-logits, or give the mask as a picture",
        )
    })?;
    if let Some((width, height)) = image_size.filter(|size| *size != extents) {
        return Err(Failure::input(
            format!(
                "--mask {}: expected logits of an image of {} x {} pixels as this one, found those of one of {width} x \
                 {height}",
                file.display(),
                extents.0,
                extents.1
            ),
            "saved logits are of the image that they were clicked in: name that one, or click here without --mask",
        ));
    }
    // The step before had the same objects, or one.
    let place = if masks.len() == 1 { 0 } else { index };
    if place >= masks.len() {
        return Err(Failure::input(
            format!(
                "--mask {}: expected logits of object {}, found those of {} objects",
                file.display(),
                index + 1,
                masks.len()
            ),
            "give the objects in the order of the step before, or save the logits of one object",
        ));
    }
    let mask = masks.swap_remove(place);
    if mask.side() != side {
        let found = mask.side();
        return Err(Failure::input(
            format!(
                "--mask {}: expected logits of {side} x {side} (this model and --image-size), found {found} x {found}",
                file.display()
            ),
            "take the model and --image-size of the step that wrote them, or give the mask as a PNG",
        ));
    }
    Ok(GivenMask::Logits(mask))
}

fn read_picture(file: &Path, (width, height): (u32, u32)) -> anyhow::Result<Mask> {
    let image = Image::open(file)?;
    if (image.width(), image.height()) != (width, height) {
        return Err(Failure::input(
            format!(
                "--mask {}: expected a mask of the image's {width} x {height} pixels, found {} x {}",
                file.display(),
                image.width(),
                image.height()
            ),
            "a mask has a pixel for each of the upright image",
        ));
    }
    // Grey as Pillow's `convert("L")` makes it.
    let grey = |pixel: &[u8]| {
        let parts = pixel.iter().zip([19_595, 38_470, 7_471]);
        (parts.map(|(value, share)| u32::from(*value) * share).sum::<u32>() + 0x8000) >> 16
    };
    let greys: Vec<u32> = image.rgb().chunks_exact(3).map(grey).collect();
    let largest = greys.iter().copied().max().unwrap_or(0);
    if largest < INSIDE {
        return Err(Failure::input(
            format!(
                "--mask {}: expected grey values of {INSIDE} and above where the object is, found none above {largest}",
                file.display()
            ),
            "make it white inside and black outside; ids, palettes' indices and transparency are not looked at",
        ));
    }
    let is_inside = |x: u32, y: u32| greys[y as usize * width as usize + x as usize] >= INSIDE;
    Ok(Mask::from_fn(width, height, is_inside))
}

/// A length of 8 bytes, and JSON behind it.
fn is_safetensors(file: &Path) -> bool {
    let mut start = [0; 9];
    let is_read = File::open(file).and_then(|mut file| file.read_exact(&mut start));
    is_read.is_ok() && start[8] == b'{' && start[..8] != *b"\x89PNG\r\n\x1a\n"
}
