//! Cleaning of low-resolution masks: small holes are filled, then small sprinkles are taken out.

use super::{binary_mask::BinaryMask, thresholds::FILL_HOLE_AREA};
use crate::masks::components::{self, Run};

/// What a pixel of a hole becomes.
const FILLED: f32 = 0.1;
/// What a pixel of a sprinkle becomes.
const TAKEN_OUT: f32 = -0.1;

/// Cleans `logits`, `[side, side]`; returns the bits of what stays, and whether anything was changed.
///
/// Holes are components of logits of at most 0, and sprinkles of logits above 0, of up to [`FILL_HOLE_AREA`] pixels;
/// a sprinkle is no more than half of what is inside, so that a small object is not one.
pub(crate) fn clean(logits: &mut [f32], side: usize) -> (BinaryMask, bool) {
    let mut mask = BinaryMask::of(logits, side);
    let holes = fill_small(logits, side, &components::outside(mask.mask()), FILL_HOLE_AREA, FILLED);
    if holes {
        mask = BinaryMask::of(logits, side);
    }
    let largest = u64::from(FILL_HOLE_AREA).min(mask.area() / 2) as u32;
    let sprinkles = fill_small(logits, side, &components::inside(mask.mask()), largest, TAKEN_OUT);
    if sprinkles {
        mask = BinaryMask::of(logits, side);
    }
    (mask, holes || sprinkles)
}

/// Fills the components of up to `largest` pixels with `value`; returns whether there are any.
fn fill_small(logits: &mut [f32], side: usize, runs: &[Run], largest: u32, value: f32) -> bool {
    let mut any = false;
    let areas = components::component_areas(runs);
    for (run, _) in runs.iter().zip(areas).filter(|(_, area)| *area <= largest) {
        logits[run.y as usize * side..][run.x.start as usize..run.x.end as usize].fill(value);
        any = true;
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits 3 inside and -2 outside of a square of 20 pixels a side.
    fn logits(is_inside: impl Fn(usize, usize) -> bool) -> Vec<f32> {
        let logit = |i: usize| if is_inside(i % 20, i / 20) { 3.0 } else { -2.0 };
        (0..400).map(logit).collect()
    }

    #[test]
    fn holes_and_sprinkles_of_sixteen_pixels_go_and_of_seventeen_stay() {
        for (x, y, is_cleaned) in [(4, 4, true), (17, 1, false)] {
            let block = |px: usize, py: usize| (1..=x).contains(&px) && (1..=y).contains(&py);
            let mut hole = logits(|px, py| !block(px, py));
            let (mask, is_changed) = clean(&mut hole, 20);
            assert_eq!(
                (is_changed, mask.area()),
                (is_cleaned, if is_cleaned { 400 } else { 383 })
            );
            assert_eq!(hole[21], if is_cleaned { 0.1 } else { -2.0 });
            let mut sprinkle = logits(|px, py| block(px, py) || py >= 10);
            let (mask, is_changed) = clean(&mut sprinkle, 20);
            assert_eq!(
                (is_changed, mask.area()),
                (is_cleaned, if is_cleaned { 200 } else { 217 })
            );
            assert_eq!(sprinkle[21], if is_cleaned { -0.1 } else { 3.0 });
        }
    }

    #[test]
    fn a_small_object_is_no_sprinkle() {
        // 3 pixels of 7: at most half; 4 are more.
        let mut own = logits(|x, y| (y == 2 && x < 3) || (y == 8 && x < 4));
        assert_eq!(clean(&mut own, 20).0.area(), 4);
        let mut alone = logits(|x, y| y == 2 && x < 3);
        let before = alone.clone();
        assert_eq!((clean(&mut alone, 20).1, alone), (false, before));
        let mut pair = logits(|x, y| (y == 2 || y == 8) && x < 3);
        assert!(
            clean(&mut pair, 20).0.is_empty(),
            "each of two equal halves is at most half"
        );
    }

    #[test]
    fn the_half_is_of_what_is_inside_once_holes_are_filled() {
        // A ring of 10 pixels around a hole of 2, and 11 pixels apart: at most half of 23, and more than half of 21.
        let ring = |x: usize, y: usize| x < 4 && y < 3 && !(y == 1 && (1..=2).contains(&x));
        let mut own = logits(|x, y| ring(x, y) || (y == 9 && x < 11));
        let (mask, _) = clean(&mut own, 20);
        assert_eq!((mask.area(), own[21]), (12, 0.1));
    }
}
