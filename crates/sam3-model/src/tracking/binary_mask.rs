//! A low-resolution mask as decisions see it: one bit a logit, set where that is above 0.

use crate::masks::{Mask, words_per_row};

/// Where the logits of a square mask are above 0.
#[derive(Clone, Debug)]
pub struct BinaryMask {
    mask: Mask,
    area: u64,
}

impl BinaryMask {
    /// Of `logits`, `[side, side]`.
    pub fn of(logits: &[f32], side: usize) -> Self {
        let row = |row: &[f32]| row.chunks(64).map(positive).collect::<Vec<u64>>();
        let words: Vec<u64> = logits.chunks_exact(side).flat_map(row).collect();
        debug_assert_eq!(words.len(), side * words_per_row(side as u32));
        let mask = Mask::from_words(side as u32, side as u32, words);
        Self {
            area: mask.area(),
            mask,
        }
    }

    /// The pixels.
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// Number of logits above 0.
    pub fn area(&self) -> u64 {
        self.area
    }

    /// Whether no logit is above 0.
    pub fn is_empty(&self) -> bool {
        self.area == 0
    }

    /// Intersection over union, as officially in f32, and 0 for two empty masks.
    pub fn iou(&self, other: &Self) -> f32 {
        let both = self.mask.shared_area(&other.mask);
        let either = self.area + other.area - both;
        both as f32 / either.max(1) as f32
    }
}

/// The bits of at most 64 logits.
fn positive(logits: &[f32]) -> u64 {
    let bytes = logits.chunks(8).map(|eight| {
        let bits = eight
            .iter()
            .enumerate()
            .map(|(bit, &logit)| u8::from(logit > 0.0) << bit);
        bits.fold(0, |byte, bit| byte | bit)
    });
    bytes
        .enumerate()
        .fold(0, |word, (at, byte)| word | u64::from(byte) << (8 * at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_the_logits_above_0() {
        for side in [1, 7, 63, 64, 65, 130] {
            let logits: Vec<f32> = (0..side * side).map(|i| (i * 37 % 23) as f32 - 11.0).collect();
            let found = BinaryMask::of(&logits, side);
            let is_inside = |x: u32, y: u32| logits[y as usize * side + x as usize] > 0.0;
            assert_eq!(*found.mask(), Mask::from_fn(side as u32, side as u32, is_inside));
            assert_eq!(found.area(), found.mask().area());
        }
        assert!(BinaryMask::of(&[0.0, -0.0, -1.0, f32::NEG_INFINITY], 2).is_empty());
    }

    #[test]
    fn two_empty_masks_have_nothing_in_common() {
        let [none, one, row] = [[-1.0; 4], [1.0, -1.0, -1.0, -1.0], [1.0, 1.0, -1.0, -1.0]];
        let [none, one, row] = [none, one, row].map(|logits| BinaryMask::of(&logits, 2));
        assert_eq!((none.iou(&none), none.iou(&one), one.iou(&one)), (0.0, 0.0, 1.0));
        assert_eq!((one.iou(&row), row.iou(&one)), (0.5, 0.5));
    }
}
