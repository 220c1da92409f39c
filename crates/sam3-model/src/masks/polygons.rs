//! Outlines of a mask, as COCO writes them: `[[x1, y1, x2, y2, …], …]`.
//!
//! Outlines follow pixel edges, so (0, 0) is the corner of the picture and a lone pixel is the square 0,0 1,0 1,1 0,1.
//! COCO has no holes: a hole is joined to its outline by a line walked in and out again, which encloses nothing.
//! Rasterised exactly as drawn the polygons give back the mask; simplified, nearly.

use std::collections::HashMap;

use super::Mask;

type Point = (i32, i32);

/// How far a simplified outline may be from the mask's, in pixels, wherever outlines are written.
pub const POLYGON_TOLERANCE: f64 = 0.75;

/// The outline of each connected part of `mask` (pixels that share an edge), simplified: no dropped corner is further
/// than `tolerance` pixels from the outline that stays. 0 keeps every corner; 0.75 smooths the stairs of slanted edges.
///
/// Whatever the mask, the time grows with the pixels of its box and the corners of its outlines, not with pairs of
/// these.
pub fn polygons(mask: &Mask, tolerance: f64) -> Vec<Vec<f64>> {
    let mut rings: Vec<Ring> = Vec::new();
    // Where each upright edge passed so far, by its upper end, is in its ring.
    let mut owner: HashMap<Point, Place> = HashMap::new();
    let Some([left, top, right, bottom]) = mask.bounding_box() else {
        return Vec::new();
    };
    for y in top as i32..bottom as i32 {
        // The edge on the left of the pixel.
        let mut before: Option<Place> = None;
        for x in left as i32..=right as i32 {
            let is_inside = inside(mask, x, y);
            if is_inside == inside(mask, x - 1, y) {
                continue;
            }
            if let Some(&place) = owner.get(&(x, y)) {
                before = Some(place);
                continue;
            }
            // A first edge with its inside on the right starts an outline. One with its inside on the left starts a
            // hole; the edge before it belongs to the part that the hole is in.
            let (ring, mut edges) = (rings.len(), Vec::new());
            let corners = trace(mask, (x, y), is_inside, |edge, corners| edges.push((edge, corners)));
            owner.extend(edges.into_iter().map(|(edge, corners)| (edge, Place { ring, corners })));
            let keep = simplified(&corners, tolerance);
            let mut new = Ring::new(&corners, &keep, !is_inside);
            if let Some(around) = before.filter(|_| !is_inside) {
                let corner = rings[around.ring].join(around.corners, &mut new);
                rings[around.ring].holes.push((corner, ring));
            }
            rings.push(new);
            before = owner.get(&(x, y)).copied();
        }
    }
    for ring in &mut rings {
        ring.holes.sort_unstable();
    }
    let outlines = (0..rings.len()).filter(|&ring| !rings[ring].is_hole);
    outlines.map(|ring| walk(&rings, ring)).collect()
}

/// An edge's place: its ring, and how many of that ring's corners were traced before it.
#[derive(Clone, Copy)]
struct Place {
    ring: usize,
    corners: usize,
}

/// An outline or the edge of a hole, simplified.
struct Ring {
    corners: Vec<Point>,
    /// Which of the corners in `corners` is the last one at or before each corner that was traced.
    kept: Vec<usize>,
    /// The corner that a hole is walked from.
    start: usize,
    is_hole: bool,
    /// The holes that are walked from a corner of this ring: the corner, counted from `start`, and the hole's ring.
    holes: Vec<(usize, usize)>,
}

impl Ring {
    fn new(corners: &[Point], keep: &[bool], is_hole: bool) -> Self {
        let mut number = 0;
        let kept = keep.iter().map(|&keep| {
            number += usize::from(keep);
            // The first corner is kept always.
            number - 1
        });
        Self {
            kept: kept.collect(),
            corners: corners
                .iter()
                .zip(keep)
                .filter(|(_, keep)| **keep)
                .map(|(&corner, _)| corner)
                .collect(),
            start: 0,
            is_hole,
            holes: Vec::new(),
        }
    }

    /// Chooses where the way to the hole `hole` begins and ends, and gives its corner here.
    ///
    /// In its row, the hole's first edge comes after an edge of this ring, one that was traced after `before` corners.
    /// The way starts at a corner of that edge: comparing all corners would take minutes for a mask of many holes.
    fn join(&self, before: usize, hole: &mut Self) -> usize {
        let traced = self.kept.len();
        let corner = self.kept[(before + traced - 1) % traced];
        let here = [corner, (corner + 1) % self.corners.len()];
        let pairs = here
            .into_iter()
            .flat_map(|here| [(here, 0), (here, hole.corners.len() / 2)]);
        let nearest = pairs.min_by_key(|&(here, there)| square_distance(self.corners[here], hole.corners[there]));
        let (here, there) = nearest.unwrap_or_default();
        hole.start = there;
        (here + self.corners.len() - self.start) % self.corners.len()
    }

    /// The corner a number of corners behind the start.
    fn corner(&self, number: usize) -> Point {
        self.corners[(self.start + number) % self.corners.len()]
    }
}

/// Walks around the outline `ring`, and at each corner into the holes that hang on it, around them, and back.
fn walk(rings: &[Ring], ring: usize) -> Vec<f64> {
    let mut path = Vec::new();
    let mut pass = |(x, y): Point| path.extend([f64::from(x), f64::from(y)]);
    // The rings that are being walked around, each with the number of corners and holes that are done. It is a stack of
    // our own, as holes hang on holes, thousands deep.
    let mut stack = vec![(ring, 0, 0)];
    while let Some((ring, corners, holes)) = stack.last_mut() {
        let ring = &rings[*ring];
        match ring.holes.get(*holes) {
            Some(&(corner, hole)) if corner < *corners => {
                *holes += 1;
                stack.push((hole, 0, 0));
                continue;
            }
            _ => {}
        }
        // A hole's first corner is its last, too.
        if *corners < ring.corners.len() + usize::from(ring.is_hole) {
            pass(ring.corner(*corners));
            *corners += 1;
        } else {
            stack.pop();
            if let Some(&(around, corners, _)) = stack.last() {
                pass(rings[around].corner(corners - 1));
            }
        }
    }
    path
}

fn inside(mask: &Mask, x: i32, y: i32) -> bool {
    x >= 0 && y >= 0 && mask.get(x as u32, y as u32)
}

/// Walks the edges from the upper end of an upright edge, the inside on the right hand, back to where it began.
///
/// `passed` is told each upright edge, by its upper end, and how many corners were before it.
fn trace(mask: &Mask, start: Point, is_outline: bool, mut passed: impl FnMut(Point, usize)) -> Vec<Point> {
    // An edge on the left of its pixel is walked upwards, so an outline starts at its lower end; a hole at its upper.
    let (mut x, mut y) = if is_outline { (start.0, start.1 + 1) } else { start };
    let (mut dx, mut dy) = if is_outline { (0, -1) } else { (0, 1) };
    let begin = (x, y, dx, dy);
    let mut corners = Vec::new();
    loop {
        if dx == 0 {
            passed((x, y.min(y + dy)), corners.len());
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

/// Which corners of a closed line Douglas and Peucker's simplification keeps; all where too little area would stay.
fn simplified(corners: &[Point], tolerance: f64) -> Vec<bool> {
    let all = vec![true; corners.len()];
    let far = (0..corners.len()).max_by_key(|&i| square_distance(corners[i], corners[0]));
    let Some(far) = far.filter(|_| tolerance > 0.0) else {
        return all;
    };
    let mut keep = vec![false; corners.len()];
    let closed: Vec<Point> = corners.iter().chain(corners.first()).copied().collect();
    keep[0] = true;
    keep[far] = true;
    let mut spans = vec![(0, far, 0), (far, corners.len(), 0)];
    while let Some((from, to, depth)) = spans.pop() {
        let distance = |&i: &usize| distance_to_line(closed[i], closed[from], closed[to]);
        let worst = (from + 1..to).max_by(|a, b| distance(a).total_cmp(&distance(b)));
        if let Some(worst) = worst.filter(|worst| distance(worst) > tolerance) {
            // Some lines are split off a corner at a time, which takes quadratic time: those are halved instead, and
            // keep a few corners more.
            let at = if depth < DEEPEST {
                worst
            } else {
                usize::midpoint(from, to)
            };
            keep[at] = true;
            spans.extend([(from, at, depth + 1), (at, to, depth + 1)]);
        }
    }
    let kept: Vec<Point> = corners
        .iter()
        .zip(&keep)
        .filter(|(_, keep)| **keep)
        .map(|(c, _)| *c)
        .collect();
    // A few pixels would shrink to a triangle or a line: those stay as they are.
    let (before, after) = (doubled_area(corners), doubled_area(&kept));
    if (before - after).abs() * 10 > before.abs() {
        all
    } else {
        keep
    }
}

/// How often a line is split at its furthest corner. Balanced splits of a line of 2⁴⁰ corners are as deep.
const DEEPEST: u32 = 40;

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

    /// Twice the area of an outline, less its holes.
    fn area(outline: &[f64]) -> f64 {
        let points = || outline.chunks(2);
        points()
            .zip(points().cycle().skip(1))
            .map(|(a, b)| a[0] * b[1] - b[0] * a[1])
            .sum()
    }

    /// These have up to a million corners: comparing all pairs of them would take an hour.
    #[test]
    fn no_mask_takes_long() {
        // A hole in every fourth pixel.
        let sieve = Mask::from_fn(1001, 1001, |x, y| x % 2 == 0 || y % 2 == 0);
        for tolerance in [0.0, 0.75] {
            let found = polygons(&sieve, tolerance);
            assert_eq!(found.len(), 1);
            assert_eq!(area(&found[0]), 2.0 * sieve.area() as f64);
        }
        // All of a line's corners equally far away.
        let comb = Mask::from_fn(99_999, 3, |x, y| x % 2 == 0 || y == 2);
        let found = polygons(&comb, 0.75);
        assert_eq!((found.len(), area(&found[0])), (1, 2.0 * comb.area() as f64));
        // Parts without end.
        let dots = Mask::from_fn(1000, 1000, |x, y| x % 2 == 0 && y % 2 == 0);
        assert_eq!(polygons(&dots, 0.75).len(), 250_000);
    }

    #[test]
    fn a_line_that_is_halved_stays_as_near() {
        let comb: Vec<Point> = (0..400)
            .flat_map(|x| [(2 * x, 0), (2 * x, 3 + x % 2), (2 * x + 1, 3), (2 * x + 1, 0)])
            .collect();
        let corners: Vec<Point> = comb.iter().copied().chain([(800, 0), (800, 9), (0, 9)]).collect();
        let tolerance = 0.75;
        let keep = simplified(&corners, tolerance);
        let kept: Vec<usize> = (0..corners.len()).filter(|&corner| keep[corner]).collect();
        for span in kept.windows(2) {
            for corner in span[0]..span[1] {
                let distance = distance_to_line(corners[corner], corners[span[0]], corners[span[1]]);
                assert!(distance <= tolerance, "corner {corner} is {distance} away");
            }
        }
    }
}
