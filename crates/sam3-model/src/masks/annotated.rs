//! Masks of COCO's annotations, where they are polygons or plain run lengths: pixel for pixel what pycocotools makes of
//! them.

use super::{Mask, RleError};
use crate::image::MAX_PIXELS;

/// pycocotools walks outlines on a grid this much finer than the pixels.
const SCALE: f64 = 5.0;
/// A corner further away than this many pixels is brought back to it: a picture has no such side.
const FARTHEST: f64 = 1e6;

impl Mask {
    /// The union of polygons `[x1, y1, x2, y2, …]`, each of at least three corners, in pixels of the picture.
    ///
    /// # Errors
    /// The picture would be larger than any that is read.
    pub fn from_polygons(polygons: &[Vec<f64>], width: u32, height: u32) -> Result<Self, RleError> {
        let mut mask = empty(width, height)?;
        for polygon in polygons {
            let crossings = crossings(polygon, width, height);
            for pair in crossings.chunks(2) {
                let end = pair.get(1).copied().unwrap_or(u64::from(width) * u64::from(height));
                mask.insert_down(pair[0], end - pair[0]);
            }
        }
        Ok(mask.trimmed())
    }

    /// The mask of lengths of runs down the columns, the first one outside.
    ///
    /// # Errors
    /// The runs do not add up to the size, or the picture would be larger than any that is read.
    pub fn from_runs(runs: &[u64], width: u32, height: u32) -> Result<Self, RleError> {
        let mut mask = empty(width, height)?;
        let pixels = u64::from(width) * u64::from(height);
        let wrong = RleError::Size(height, width);
        let mut at = 0;
        for (place, &run) in runs.iter().enumerate() {
            if run > pixels - at {
                return Err(wrong);
            }
            if place % 2 == 1 && run > 0 {
                mask.insert_down(at, run);
            }
            at += run;
        }
        if at == pixels { Ok(mask.trimmed()) } else { Err(wrong) }
    }
}

fn empty(width: u32, height: u32) -> Result<Mask, RleError> {
    if u64::from(width.div_ceil(64)) * 64 * u64::from(height) > MAX_PIXELS {
        return Err(RleError::TooLarge(height, width));
    }
    Ok(Mask::new(width, height))
}

/// Where, counted down the columns, inside and outside change places, in order; a place that stands twice is none.
///
/// The outline is walked on the finer grid, and where it passes from one column of pixels to the next, its upper end
/// there is a change.
fn crossings(polygon: &[f64], width: u32, height: u32) -> Vec<u64> {
    // As C casts to int: towards zero.
    let to_grid = |value: &f64| (SCALE * value.clamp(-FARTHEST, FARTHEST) + 0.5).trunc();
    let corners: Vec<[f64; 2]> = polygon
        .chunks_exact(2)
        .map(|at| [to_grid(&at[0]), to_grid(&at[1])])
        .collect();
    let mut changes = Vec::new();
    let mut last: Option<[f64; 2]> = None;
    for (from, to) in corners.iter().zip(corners.iter().cycle().skip(1)) {
        walk(*from, *to, |point| {
            if let Some([x, y]) = last.replace(point)
                && x != point[0]
            {
                let left = if point[0] < x { point[0] } else { point[0] - 1.0 };
                let column = (left + 0.5) / SCALE - 0.5;
                if column.floor() == column && column >= 0.0 && column <= f64::from(width) - 1.0 {
                    let row = ((point[1].min(y) + 0.5) / SCALE - 0.5)
                        .clamp(0.0, f64::from(height))
                        .ceil();
                    changes.push(column as u64 * u64::from(height) + row as u64);
                }
            }
        });
    }
    changes.sort_unstable();
    let mut alone: Vec<u64> = Vec::with_capacity(changes.len());
    for change in changes {
        if alone.last() == Some(&change) {
            alone.pop();
        } else {
            alone.push(change);
        }
    }
    alone
}

/// Every point of the finer grid on an edge, from one end to the other: one for each step along its longer side.
fn walk([x, y]: [f64; 2], [to_x, to_y]: [f64; 2], mut visit: impl FnMut([f64; 2])) {
    let (dx, dy) = ((to_x - x).abs(), (to_y - y).abs());
    let is_flat = dx >= dy;
    let is_backward = if is_flat { x > to_x } else { y > to_y };
    let ([x, y], [to_x, to_y]) = match is_backward {
        true => ([to_x, to_y], [x, y]),
        false => ([x, y], [to_x, to_y]),
    };
    let length = dx.max(dy);
    // An edge of no length has one point, whose slope does not matter.
    let slope = if is_flat { to_y - y } else { to_x - x } / length.max(1.0);
    for step in 0..=length as u64 {
        let along = if is_backward { length - step as f64 } else { step as f64 };
        visit(match is_flat {
            true => [x + along, (y + slope * along + 0.5).trunc()],
            false => [(x + slope * along + 0.5).trunc(), y + along],
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rectangle_is_its_pixels() {
        let mask = Mask::from_polygons(&[vec![2.0, 1.0, 6.0, 1.0, 6.0, 4.0, 2.0, 4.0]], 9, 5).unwrap();
        assert_eq!(
            mask,
            Mask::from_fn(9, 5, |x, y| (2..6).contains(&x) && (1..4).contains(&y))
        );
    }

    #[test]
    fn what_lies_outside_the_picture_is_cut_off() {
        let wide = vec![-1e300, -5.0, 1e300, -5.0, 1e300, 2.0, -1e300, 2.0];
        let mask = Mask::from_polygons(&[wide], 7, 4).unwrap();
        assert_eq!(mask, Mask::from_fn(7, 4, |_, y| y < 2));
        assert_eq!(Mask::from_polygons(&[vec![1.0; 6]], 7, 4).unwrap().area(), 0);
    }

    #[test]
    fn runs_add_up_to_the_size() {
        let mask = Mask::from_runs(&[2, 3, 1], 2, 3).unwrap();
        assert_eq!(mask, Mask::from_fn(2, 3, |x, y| (2..5).contains(&(3 * x + y))));
        for wrong in [&[2, 3][..], &[2, 3, 2], &[], &[u64::MAX, 1]] {
            assert_eq!(Mask::from_runs(wrong, 2, 3), Err(RleError::Size(3, 2)), "{wrong:?}");
        }
        let large = Mask::from_runs(&[], 1 << 31, 1 << 31);
        assert_eq!(large, Err(RleError::TooLarge(1 << 31, 1 << 31)));
    }
}
