//! MOTChallenge's boxes: a row an object and frame, `frame,id,left,top,width,height,confidence,-1,-1,-1`. Frames, ids and
//! pixels are counted from 1.

use std::io::Write;

use super::lines::{Lines, Object};

/// Writes all rows, by their frames.
pub fn write(lines: &Lines, file: &mut impl Write) -> anyhow::Result<()> {
    for frame in lines.objects() {
        let (frame, objects) = frame?;
        for object in objects {
            writeln!(file, "{}", row(frame, &object))?;
        }
    }
    Ok(())
}

/// An object's row.
pub fn row(frame: usize, object: &Object) -> String {
    let [left, top, right, bottom] = object.xyxy;
    format!(
        "{},{},{},{},{},{},{},-1,-1,-1",
        frame + 1,
        object.id + 1,
        left + 1,
        top + 1,
        // The last ones are inside.
        right.saturating_sub(left) + 1,
        bottom.saturating_sub(top) + 1,
        object.score
    )
}
