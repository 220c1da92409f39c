//! Which of what the tiles and the whole picture show is one thing, decided by masks.
//!
//! Two masks are of one thing where they share half of the smaller one (intersection over smaller). Of such,
//!
//! - what tiles show whole comes before what the whole picture shows of it, whose pixels are coarser;
//! - what an inner border of a tile cuts is left out where anything shows the rest of it, too; where nothing does, what
//!   neighbours show of it is put together.

use super::Window;
use crate::{masks::Mask, segmenter::Instance};

/// The share of the smaller of two masks from which on they are of one thing.
const SAME: f64 = 0.5;

/// What a tile or the whole picture shows, in the whole picture's pixels.
#[derive(Clone, Debug)]
pub(crate) struct Seen<T> {
    pub instance: Instance,
    /// What else is known of it.
    pub note: T,
    /// The tile; none for the whole picture.
    pub window: Option<Window>,
}

impl<T> Seen<T> {
    /// What the whole picture shows.
    pub fn of_picture(instance: Instance, note: T) -> Self {
        Self {
            instance,
            note,
            window: None,
        }
    }

    /// Whether the tile ends where its box does, give or take a `margin` of pixels, or where a quarter of its mask's side
    /// does, and the picture goes on.
    fn is_cut(&self, margin: f32) -> bool {
        let (Some(Window { xyxy, inner }), Some(bounds)) = (self.window, self.instance.mask.bounding_box()) else {
            return false;
        };
        let strip = (margin.ceil() as u32).max(1);
        let touches = |side: usize| {
            if (xyxy[side] as f32 - self.instance.bbox[side]).abs() <= margin {
                return true;
            }
            let mut border = xyxy;
            match side < 2 {
                true => border[side + 2] = xyxy[side] + strip,
                false => border[side - 2] = xyxy[side].saturating_sub(strip),
            }
            // Across the side: rows of the left and the right one.
            let length = match side % 2 {
                0 => bounds[3] - bounds[1],
                _ => bounds[2] - bounds[0],
            };
            4 * self.mask().area_in(border) >= u64::from(strip) * u64::from(length)
        };
        (0..4).any(|side| inner[side] && touches(side))
    }

    fn mask(&self) -> &Mask {
        &self.instance.mask
    }
}

/// How far from the truth edges are, in pixels of the picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blur {
    /// Of what a tile shows: what ends so near to its border may go on behind it.
    pub tile: f32,
    /// Of what the whole picture shows.
    pub picture: u32,
}

/// One of each thing, the best first.
pub(crate) fn merge<T>(seen: Vec<Seen<T>>, blur: Blur) -> Vec<Seen<T>> {
    let (of_tiles, scene): (Vec<_>, Vec<_>) = seen.into_iter().partition(|seen| seen.window.is_some());
    let (pieces, whole): (Vec<_>, Vec<_>) = of_tiles.into_iter().partition(|seen| seen.is_cut(blur.tile));
    let mut found = best_of_each(whole);
    for large in scene {
        settle(&mut found, large);
    }
    let rest = pieces.into_iter().filter(|piece| {
        let area = piece.mask().area();
        let shows_rest = |other: &Seen<T>| {
            let reach = other.window.map_or(blur.picture, |_| 0);
            share(piece.mask().area_near(other.mask(), reach), area) >= SAME
        };
        area > 0 && !found.iter().any(shows_rest)
    });
    for assembled in put_together(rest.collect()) {
        settle(&mut found, assembled);
    }
    by_score(&mut found);
    found
}

fn by_score<T>(seen: &mut [Seen<T>]) {
    seen.sort_by(|a, b| b.instance.score.total_cmp(&a.instance.score));
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn is_same(a: &Mask, b: &Mask) -> bool {
    let shared = a.shared_area(b);
    shared > 0 && share(shared, a.area().min(b.area())) >= SAME
}

/// Of what several tiles show whole, the better one.
fn best_of_each<T>(mut seen: Vec<Seen<T>>) -> Vec<Seen<T>> {
    by_score(&mut seen);
    let mut kept: Vec<Seen<T>> = Vec::with_capacity(seen.len());
    for one in seen {
        if one.mask().area() > 0 && !kept.iter().any(|other| is_same(one.mask(), other.mask())) {
            kept.push(one);
        }
    }
    kept
}

/// Adds what tiles do not show whole, unless they do show it: half of it in one of them, or in several that are surer of
/// what they show, as where many small things look like one from afar. Otherwise it takes the place of its parts, which
/// tiles took for things with less confidence.
fn settle<T>(found: &mut Vec<Seen<T>>, large: Seen<T>) {
    let area = large.mask().area();
    let mut uncovered = large.mask().clone();
    let (mut most, mut best) = (0, 0f32);
    for other in found.iter().filter(|other| is_same(other.mask(), large.mask())) {
        most = most.max(other.mask().shared_area(large.mask()));
        best = best.max(other.instance.score);
        uncovered.subtract(other.mask());
    }
    let is_shown = share(most, area) >= SAME;
    let is_several = share(area - uncovered.area(), area) >= SAME && best >= large.instance.score;
    if area == 0 || is_shown || is_several {
        return;
    }
    found.retain(|other| !is_same(other.mask(), large.mask()) || other.instance.score >= large.instance.score);
    found.push(large);
}

/// Unites pieces that agree where their tiles overlap; each with the score of its best piece.
fn put_together<T>(pieces: Vec<Seen<T>>) -> Vec<Seen<T>> {
    let mut groups: Vec<Vec<Seen<T>>> = Vec::new();
    for piece in pieces {
        let (with, without): (Vec<_>, Vec<_>) = groups
            .into_iter()
            .partition(|group| group.iter().any(|other| do_agree(&piece, other)));
        groups = without;
        groups.push(with.into_iter().flatten().chain([piece]).collect());
    }
    groups.into_iter().map(united).collect()
}

fn united<T>(mut group: Vec<Seen<T>>) -> Seen<T> {
    by_score(&mut group);
    let mut group = group.into_iter();
    let mut best = group.next().expect("a group has a piece");
    for piece in group {
        let ([x1, y1, x2, y2], other) = (best.instance.bbox, piece.instance.bbox);
        best.instance.bbox = [x1.min(other[0]), y1.min(other[1]), x2.max(other[2]), y2.max(other[3])];
        best.instance.mask.unite(piece.mask());
    }
    best
}

/// Whether two pieces of different tiles share half of the smaller one's pixels that both tiles show.
fn do_agree<T>(a: &Seen<T>, b: &Seen<T>) -> bool {
    let (Some(of_a), Some(of_b)) = (a.window, b.window) else {
        return false;
    };
    let [left, top, right, bottom] = [0, 1, 2, 3].map(|side| match side < 2 {
        true => of_a.xyxy[side].max(of_b.xyxy[side]),
        false => of_a.xyxy[side].min(of_b.xyxy[side]),
    });
    if of_a == of_b || left >= right || top >= bottom {
        return false;
    }
    let both = |mask: &Mask| mask.area_in([left, top, right, bottom]);
    let smaller = both(a.mask()).min(both(b.mask()));
    smaller > 0 && share(a.mask().shared_area(b.mask()), smaller) >= SAME
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiling::{Tiles, Tiling};

    const EXTENTS: (u32, u32) = (300, 200);
    const BLUR: Blur = Blur { tile: 3.0, picture: 8 };

    /// Two tiles, `0..170` and `130..300`, side by side.
    fn windows() -> [Window; 2] {
        let tiling = Tiling::new(Tiles::Grid { columns: 2, rows: 1 }).overlap(0.235);
        let windows = tiling.windows(EXTENTS, 168).unwrap();
        assert_eq!([windows[0].xyxy[2], windows[1].xyxy[0]], [170, 130]);
        [windows[0], windows[1]]
    }

    /// What a tile, or the whole picture, sees of a box.
    fn seen(tile: Option<usize>, score: f32, [x1, y1, x2, y2]: [u32; 4]) -> Seen<()> {
        let window = tile.map(|tile| windows()[tile]);
        let (from, to) = window.map_or((0, EXTENTS.0), |window| (window.xyxy[0], window.xyxy[2]));
        let (x1, x2) = (x1.max(from), x2.min(to));
        let mask = Mask::from_fn(EXTENTS.0, EXTENTS.1, |x, y| {
            (x1..x2).contains(&x) && (y1..y2).contains(&y)
        });
        Seen {
            instance: Instance::new(score, [x1, y1, x2, y2].map(|side| side as f32), mask),
            note: (),
            window,
        }
    }

    /// Scores and boxes of what is left.
    fn merged(seen: Vec<Seen<()>>) -> Vec<(f32, [u32; 4])> {
        let found = merge(seen, BLUR);
        let tell = |seen: &Seen<()>| (seen.instance.score, seen.mask().bounding_box().unwrap());
        let boxes = found.iter().map(|seen| seen.instance.bbox.map(|side| side as u32));
        assert!(
            boxes.eq(found.iter().map(|seen| tell(seen).1)),
            "boxes are around masks"
        );
        found.iter().map(tell).collect()
    }

    #[test]
    fn what_two_tiles_and_the_picture_see_is_one_thing() {
        let of = |tile, score| seen(tile, score, [140, 50, 160, 70]);
        let found = merged(vec![of(Some(0), 0.7), of(Some(1), 0.9), of(None, 0.95)]);
        assert_eq!(found, [(0.9, [140, 50, 160, 70])]);
    }

    #[test]
    fn a_cut_piece_leaves_where_the_neighbour_sees_it_whole() {
        let of = |tile, score| seen(Some(tile), score, [135, 50, 180, 70]);
        assert_eq!(merged(vec![of(0, 0.99), of(1, 0.6)]), [(0.6, [135, 50, 180, 70])]);
        // It ends within a cell of the border.
        let near = seen(Some(0), 0.99, [140, 50, 168, 70]);
        assert_eq!(merged(vec![near, of(1, 0.6)]), [(0.6, [135, 50, 180, 70])]);
    }

    /// Its box ends before the border, and a stray patch of the mask at the border says nothing.
    #[test]
    fn a_mask_that_is_cut_is_a_piece_whatever_its_box_says() {
        let mut piece = seen(Some(0), 0.99, [135, 50, 180, 70]);
        piece.instance.bbox[2] = 160.0;
        let (whole, boxed) = ([135, 50, 180, 70], |seen: &Seen<()>| {
            seen.mask().bounding_box().unwrap()
        });
        let found = merge(vec![piece, seen(Some(1), 0.6, whole)], BLUR);
        assert_eq!((found.len(), boxed(&found[0])), (1, whole));
        let mut patch = seen(Some(0), 0.99, [100, 50, 150, 90]);
        patch
            .instance
            .mask
            .unite(seen(Some(0), 0.99, [168, 60, 170, 62]).mask());
        let found = merge(vec![patch, seen(Some(1), 0.6, [100, 50, 150, 90])], BLUR);
        assert_eq!(found[0].instance.score, 0.99, "it is whole");
    }

    #[test]
    fn what_is_larger_than_the_overlap_is_the_whole_pictures() {
        let of = |tile, score| seen(tile, score, [20, 50, 280, 70]);
        let found = merged(vec![of(Some(0), 0.99), of(Some(1), 0.9), of(None, 0.6)]);
        assert_eq!(found, [(0.6, [20, 50, 280, 70])]);
    }

    /// The whole picture's mask is too coarse for the corner of a large thing.
    #[test]
    fn a_piece_at_the_edge_of_a_large_thing_is_a_part_of_it() {
        let large = [20, 50, 280, 170];
        let corner = seen(Some(0), 0.99, [130, 42, 170, 52]);
        assert_eq!(merged(vec![corner, seen(None, 0.6, large)]), [(0.6, large)]);
        let beside = seen(Some(0), 0.99, [130, 20, 170, 30]);
        assert_eq!(merged(vec![beside, seen(None, 0.6, large)]).len(), 2);
    }

    #[test]
    fn pieces_that_nothing_shows_whole_are_put_together() {
        let of = |tile, score| seen(Some(tile), score, [20, 50, 280, 70]);
        assert_eq!(merged(vec![of(0, 0.8), of(1, 0.9)]), [(0.9, [20, 50, 280, 70])]);
        // Two that do not go on where the other one does.
        let found = merged(vec![
            seen(Some(0), 0.8, [20, 50, 200, 70]),
            seen(Some(1), 0.9, [100, 90, 280, 110]),
        ]);
        assert_eq!(found, [(0.9, [130, 90, 280, 110]), (0.8, [20, 50, 170, 70])]);
    }

    #[test]
    fn the_pictures_border_cuts_nothing() {
        let found = merged(vec![
            seen(Some(0), 0.8, [0, 0, 30, 30]),
            seen(None, 0.9, [0, 0, 30, 30]),
        ]);
        assert_eq!(found, [(0.8, [0, 0, 30, 30])], "the tile's, which is finer");
    }

    #[test]
    fn several_things_that_look_like_one_from_afar() {
        let small = [[10, 10, 30, 30], [32, 10, 52, 30], [10, 32, 30, 52]];
        let with = |from_afar| {
            let mut all: Vec<Seen<()>> = small.iter().map(|xyxy| seen(Some(0), 0.7, *xyxy)).collect();
            all.push(seen(None, from_afar, [10, 10, 52, 52]));
            merged(all)
        };
        assert_eq!(with(0.6).len(), 3);
        assert_eq!(with(0.9), [(0.9, [10, 10, 52, 52])], "parts of a large thing");
    }

    #[test]
    fn a_part_is_no_thing_unless_it_is_surer_than_the_whole() {
        let (part, whole) = ([20, 20, 40, 40], [10, 10, 120, 120]);
        let found = merged(vec![seen(Some(0), 0.6, part), seen(None, 0.9, whole)]);
        assert_eq!(found, [(0.9, whole)]);
        let found = merged(vec![seen(Some(0), 0.9, part), seen(None, 0.6, whole)]);
        assert_eq!(found, [(0.9, part), (0.6, whole)]);
    }

    #[test]
    fn what_has_no_pixel_is_nothing() {
        assert_eq!(
            merged(vec![seen(Some(0), 0.9, [5, 5, 5, 5]), seen(None, 0.9, [5, 5, 5, 5])]),
            []
        );
    }
}
