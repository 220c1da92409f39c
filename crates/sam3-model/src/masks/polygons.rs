//! Outlines of a mask, as COCO writes them: `[[x1, y1, x2, y2, …], …]`.
//!
//! Outlines follow pixel edges, so (0, 0) is the corner of the picture and a lone pixel is the square 0,0 1,0 1,1 0,1. COCO has no
//! holes: a hole is joined to its outline by a line walked in and out again, which encloses nothing. Rasterised
//! exactly as drawn the polygons give back the mask; simplified, nearly.

use std::collections::HashMap;

use super::Mask;

type Point = (i32, i32);

/// The outline of each connected part of `mask` (pixels that share an edge), simplified: no dropped corner is further than
/// `tolerance` pixels from the outline that stays. 0 keeps every corner; 0.75 smooths the stairs of slanted edges.
pub fn polygons(mask: &Mask, tolerance: f64) -> Vec<Vec<f64>> {
    let mut outlines: Vec<Vec<Point>> = Vec::new();
    // The outline that each upright edge passed so far belongs to, by the edge's upper end.
    let mut owner: HashMap<Point, usize> = HashMap::new();
    let Some([left, top, right, bottom]) = mask.bounding_box() else {
        return Vec::new();
    };
    for y in top as i32..bottom as i32 {
        for x in left as i32..=right as i32 {
            let is_inside = inside(mask, x, y);
            if is_inside == inside(mask, x - 1, y) || owner.contains_key(&(x, y)) {
                continue;
            }
            // A first edge with its inside on the right starts an outline; one with it on the left, a hole.
            let part = if is_inside {
                outlines.len()
            } else {
                // Leftwards through the part the hole is in, there is an edge of that part, seen earlier.
                let edge = (left as i32..x).rev().find(|&x| owner.contains_key(&(x, y)));
                edge.map_or(outlines.len(), |x| owner[&(x, y)])
            };
            let corners = trace(mask, (x, y), is_inside, |edge| {
                owner.insert(edge, part);
            });
            let corners = simplify(&corners, tolerance);
            match outlines.get_mut(part) {
                Some(outline) => join(outline, &corners),
                None => outlines.push(corners),
            }
        }
    }
    let flat = |outline: Vec<Point>| {
        outline
            .into_iter()
            .flat_map(|(x, y)| [f64::from(x), f64::from(y)])
            .collect()
    };
    outlines.into_iter().map(flat).collect()
}

fn inside(mask: &Mask, x: i32, y: i32) -> bool {
    x >= 0 && y >= 0 && mask.get(x as u32, y as u32)
}

/// Walks the edges from the upper end of an upright edge, the inside on the right hand, back to where it began.
fn trace(mask: &Mask, start: Point, is_outline: bool, mut passed: impl FnMut(Point)) -> Vec<Point> {
    // An edge on the left of its pixel is walked upwards, so an outline starts at its lower end; a hole at its upper.
    let (mut x, mut y) = if is_outline { (start.0, start.1 + 1) } else { start };
    let (mut dx, mut dy) = if is_outline { (0, -1) } else { (0, 1) };
    let begin = (x, y, dx, dy);
    let mut corners = Vec::new();
    loop {
        if dx == 0 {
            passed((x, y.min(y + dy)));
        }
        (x, y) = (x + dx, y + dy);
        // The pixels ahead on the right and the left of the walker.
        let ahead = |side: i32| {
            let (px, py) = (dx - side * dy, dy + side * dx);
            inside(mask, x + (px - 1) / 2, y + (py - 1) / 2)
        };
        let (turn_x, turn_y) = match (ahead(1), ahead(-1)) {
            (false, _) => (-dy, dx), // right: parts that touch at a corner stay apart
            (true, false) => (dx, dy),
            (true, true) => (dy, -dx),
        };
        if (turn_x, turn_y) != (dx, dy) {
            corners.push((x, y));
        }
        (dx, dy) = (turn_x, turn_y);
        if (x, y, dx, dy) == begin {
            return corners;
        }
    }
}

/// Douglas and Peucker's simplification of a closed line; the line itself where too little of its area would stay.
fn simplify(corners: &[Point], tolerance: f64) -> Vec<Point> {
    let mut keep = vec![false; corners.len()];
    let far = (0..corners.len()).max_by_key(|&i| square_distance(corners[i], corners[0]));
    let Some(far) = far.filter(|_| tolerance > 0.0) else {
        return corners.to_vec();
    };
    let closed: Vec<Point> = corners.iter().chain(corners.first()).copied().collect();
    keep[0] = true;
    keep[far] = true;
    let mut spans = vec![(0, far), (far, corners.len())];
    while let Some((from, to)) = spans.pop() {
        let distance = |&i: &usize| distance_to_line(closed[i], closed[from], closed[to]);
        let worst = (from + 1..to).max_by(|a, b| distance(a).total_cmp(&distance(b)));
        if let Some(worst) = worst.filter(|worst| distance(worst) > tolerance) {
            keep[worst] = true;
            spans.extend([(from, worst), (worst, to)]);
        }
    }
    let kept: Vec<Point> = corners
        .iter()
        .zip(keep)
        .filter(|(_, keep)| *keep)
        .map(|(c, _)| *c)
        .collect();
    // A few pixels would shrink to a triangle or a line: those stay as they are.
    let (before, after) = (doubled_area(corners), doubled_area(&kept));
    if (before - after).abs() * 10 > before.abs() {
        corners.to_vec()
    } else {
        kept
    }
}

fn square_distance(a: Point, b: Point) -> i64 {
    let (dx, dy) = (i64::from(a.0 - b.0), i64::from(a.1 - b.1));
    dx * dx + dy * dy
}

/// From `point` to the segment between `a` and `b`.
fn distance_to_line(point: Point, a: Point, b: Point) -> f64 {
    let (dx, dy) = (f64::from(b.0 - a.0), f64::from(b.1 - a.1));
    let (px, py) = (f64::from(point.0 - a.0), f64::from(point.1 - a.1));
    let length = dx * dx + dy * dy;
    let along = if length == 0.0 {
        0.0
    } else {
        ((px * dx + py * dy) / length).clamp(0.0, 1.0)
    };
    (px - along * dx).hypot(py - along * dy)
}

/// Twice the signed area: positive for outlines, negative for holes.
fn doubled_area(corners: &[Point]) -> i64 {
    let next = corners.iter().cycle().skip(1);
    let cross = |(a, b): (&Point, &Point)| i64::from(a.0) * i64::from(b.1) - i64::from(b.0) * i64::from(a.1);
    corners.iter().zip(next).map(cross).sum()
}

/// Walks from the outline's corner nearest to the hole around the hole and back.
fn join(outline: &mut Vec<Point>, hole: &[Point]) {
    let pairs = (0..outline.len()).flat_map(|o| [(o, 0), (o, hole.len() / 2)]);
    let Some((at, from)) = pairs.min_by_key(|&(o, h)| square_distance(outline[o], hole[h])) else {
        return;
    };
    let corner = outline[at];
    let detour = hole[from..].iter().chain(&hole[..=from]).copied().chain([corner]);
    let detour: Vec<Point> = detour.collect();
    outline.splice(at + 1..at + 1, detour);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(rows: &[&str]) -> Mask {
        let inside = |x: u32, y: u32| rows[y as usize].as_bytes()[x as usize] == b'#';
        Mask::from_fn(rows[0].len() as u32, rows.len() as u32, inside)
    }

    #[test]
    fn a_pixel_is_a_square() {
        let found = polygons(&mask(&["...", ".#.", "..."]), 0.75);
        assert_eq!(found, [[1.0, 1.0, 2.0, 1.0, 2.0, 2.0, 1.0, 2.0]]);
    }

    #[test]
    fn parts_that_touch_at_a_corner_are_two() {
        assert_eq!(polygons(&mask(&["#.", ".#"]), 0.0).len(), 2);
        assert_eq!(polygons(&Mask::new(4, 4), 0.0).len(), 0);
    }

    #[test]
    fn a_hole_is_walked_into_and_out_of() {
        let found = polygons(&mask(&["###", "#.#", "###"]), 0.0);
        let square = 4;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].len(), 2 * (square + square + 2));
    }

    /// Exact outlines, read back with the even-odd rule at pixel centres, are the mask.
    #[test]
    fn outlines_enclose_the_mask() {
        let mut state = 7u32;
        for density in [3, 5, 8] {
            let mut noise = Mask::new(37, 29);
            for (x, y) in (0..29).flat_map(|y| (0..37).map(move |x| (x, y))) {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if (state >> 16) % 10 < density {
                    noise.insert(x, y);
                }
            }
            let outlines = polygons(&noise, 0.0);
            let back = Mask::from_fn(37, 29, |x, y| {
                let (x, y) = (f64::from(x) + 0.5, f64::from(y) + 0.5);
                outlines.iter().any(|outline| {
                    let ends = outline.chunks(2).zip(outline.chunks(2).cycle().skip(1));
                    let crossed = ends.filter(|(a, b)| {
                        (a[1] > y) != (b[1] > y) && x < a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0])
                    });
                    crossed.count() % 2 == 1
                })
            });
            assert_eq!(back, noise, "density {density}");
        }
    }
}
