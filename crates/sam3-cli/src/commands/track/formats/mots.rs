//! MOTSChallenge's masks: a row an object and frame, `frame id class height width rle`. Frames, ids and classes are
//! counted from 1; where masks overlap, the higher score has the pixel, and of equal ones the lower id.

use std::io::Write;

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
    let masks: Vec<Mask> = objects
        .iter()
        .map(|object| Mask::from_rle(&object.segmentation))
        .collect::<Result<_, _>>()?;
    let mut order: Vec<usize> = (0..objects.len()).collect();
    order.sort_by(|&a, &b| {
        let by_score = objects[b].score.total_cmp(&objects[a].score);
        by_score.then(objects[a].id.cmp(&objects[b].id))
    });
    let mut left = masks.clone();
    for (place, &own) in order.iter().enumerate() {
        for &above in &order[..place] {
            left[own].subtract(&masks[above]);
        }
    }
    let seen = objects.iter().zip(left).filter(|(_, mask)| mask.area() > 0);
    Ok(seen.map(|(object, mask)| (object, mask.to_rle())).collect())
}
