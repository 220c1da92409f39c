//! MOTSChallenge's masks: a row an object and frame, `frame id class height width rle`. Frames, ids and classes are
//! counted from 1; where masks overlap, the higher score has the pixel, and of equal ones the lower id.

use std::{cell::OnceCell, io::Write};

use sam3_model::masks::{Mask, Rle};

use super::{
    Video,
    lines::{Lines, Object},
};

/// Writes all rows, by their frames.
pub fn write(lines: &Lines, video: &Video, file: &mut impl Write) -> anyhow::Result<()> {
    for frame in lines.objects() {
        let (frame, objects) = frame?;
        for (object, rle) in apart(&objects)? {
            writeln!(file, "{}", row(frame, object, video.category(&object.prompt), &rle))?;
        }
    }
    Ok(())
}

/// An object's row.
pub fn row(frame: usize, object: &Object, class: usize, rle: &Rle) -> String {
    let [height, width] = rle.size;
    format!(
        "{} {} {class} {height} {width} {}",
        frame + 1,
        object.id + 1,
        rle.counts
    )
}

/// The objects of a frame of which something is to be seen, with what no other one has.
pub fn apart(objects: &[Object]) -> anyhow::Result<Vec<(&Object, Rle)>> {
    let extents = objects.iter().map(|object| Ok(object.segmentation.extent()?.1));
    let extents: Vec<Option<[u32; 4]>> = extents.collect::<anyhow::Result<_>>()?;
    let mut order: Vec<usize> = (0..objects.len()).collect();
    order.sort_by(|&a, &b| {
        let by_score = objects[b].score.total_cmp(&objects[a].score);
        by_score.then(objects[a].id.cmp(&objects[b].id))
    });
    // Of those alone that have others above or below them.
    let masks: Vec<OnceCell<Mask>> = objects.iter().map(|_| OnceCell::new()).collect();
    let decoded = |place: usize| -> anyhow::Result<&Mask> {
        match masks[place].get() {
            Some(mask) => Ok(mask),
            None => {
                let mask = Mask::from_rle(&objects[place].segmentation)?;
                Ok(masks[place].get_or_init(|| mask))
            }
        }
    };
    let mut seen = Vec::new();
    for (place, &own) in order.iter().enumerate() {
        let Some(extent) = extents[own] else { continue };
        let object = &objects[own];
        let above = order[..place]
            .iter()
            .filter(|&&other| extents[other].is_some_and(|other| touch(extent, other)));
        let above: Vec<usize> = above.copied().collect();
        if above.is_empty() {
            seen.push((own, object, object.segmentation.clone()));
            continue;
        }
        let mut mask = decoded(own)?.clone();
        for other in above {
            mask.subtract(decoded(other)?);
        }
        if mask.area() > 0 {
            seen.push((own, object, mask.to_rle()));
        }
    }
    seen.sort_by_key(|(own, ..)| *own);
    Ok(seen.into_iter().map(|(_, object, rle)| (object, rle)).collect())
}

/// Whether two boxes have a pixel in common.
fn touch(one: [u32; 4], other: [u32; 4]) -> bool {
    (0..2).all(|axis| one[axis].max(other[axis]) < one[axis + 2].min(other[axis + 2]))
}
