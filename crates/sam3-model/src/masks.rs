//! Instance masks: one bit a pixel, and the forms in which they leave: RLE, polygons, a picture.

mod id_map;
mod label;
mod overlay;
mod polygons;
mod rle;

use std::ops::Range;

pub use id_map::IdMap;
pub use overlay::{OverlayInstance, overlay};
pub use polygons::polygons;
pub use rle::{Rle, RleError};

use crate::image::{Samples, encode_png};

/// Which pixels of a picture are inside, one bit each: a mask of 12 megapixels takes 1.5 MB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Rows of [`Mask::words_per_row`] words; pixel x is bit x % 64 of word x / 64; bits past the width are 0.
    pub(crate) words: Vec<u64>,
}

impl Mask {
    /// A mask with nothing inside.
    pub fn new(width: u32, height: u32) -> Self {
        let words = vec![0; (width as usize).div_ceil(64) * height as usize];
        Self { width, height, words }
    }

    /// The mask of the pixels (x, y) for which `is_inside` holds.
    pub fn from_fn(width: u32, height: u32, is_inside: impl Fn(u32, u32) -> bool) -> Self {
        let mut mask = Self::new(width, height);
        for y in 0..height {
            for x in (0..width).filter(|&x| is_inside(x, y)) {
                mask.insert(x, y);
            }
        }
        mask
    }

    /// The mask of rows of 32-bit words, two for each of its own: pixel x is bit x % 32 of word x / 32, bits past the width are 0.
    ///
    /// # Panics
    /// When there are not as many words.
    pub(crate) fn from_words(width: u32, height: u32, words: &[i32]) -> Self {
        let (pairs, rest) = words.as_chunks::<2>();
        let word = |&[low, high]: &[i32; 2]| u64::from(low.cast_unsigned()) | u64::from(high.cast_unsigned()) << 32;
        let mask = Self {
            width,
            height,
            words: pairs.iter().map(word).collect(),
        };
        let expected = mask.words_per_row() * height as usize;
        assert!(
            rest.is_empty() && mask.words.len() == expected,
            "{width}x{height} in {} words",
            words.len()
        );
        mask
    }

    /// Whether pixel (x, y) is inside; false outside the picture.
    pub fn get(&self, x: u32, y: u32) -> bool {
        x < self.width && y < self.height && self.row(y)[x as usize / 64] >> (x % 64) & 1 == 1
    }

    /// Puts pixel (x, y) inside.
    ///
    /// # Panics
    /// When the pixel is outside the picture.
    pub fn insert(&mut self, x: u32, y: u32) {
        assert!(
            x < self.width && y < self.height,
            "{x},{y} in {}x{}",
            self.width,
            self.height
        );
        let word = y as usize * self.words_per_row() + x as usize / 64;
        self.words[word] |= 1 << (x % 64);
    }

    /// Number of pixels inside.
    pub fn area(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// The smallest box around the mask, `[x1, y1, x2, y2]` with x2 and y2 just past it; none when it is empty.
    pub fn bounding_box(&self) -> Option<[u32; 4]> {
        let (mut top, mut bottom) = (None, 0);
        let mut any = vec![0; self.words_per_row()];
        for y in 0..self.height {
            let row = self.row(y);
            if row.iter().any(|&word| word != 0) {
                top.get_or_insert(y);
                bottom = y + 1;
                any.iter_mut().zip(row).for_each(|(any, word)| *any |= word);
            }
        }
        let first = any.iter().position(|&word| word != 0)?;
        let last = any.iter().rposition(|&word| word != 0)?;
        let left = 64 * first as u32 + any[first].trailing_zeros();
        let right = 64 * (last as u32 + 1) - any[last].leading_zeros();
        Some([left, top?, right, bottom])
    }

    /// The runs of pixels inside in row y, from left to right; none outside the picture.
    ///
    /// It looks at 64 pixels at a time.
    pub fn row_runs(&self, y: u32) -> impl Iterator<Item = Range<u32>> {
        let row = if y < self.height { self.row(y) } else { &[] };
        let mut from = 0;
        std::iter::from_fn(move || {
            let start = first(row, from, |bits| bits)?;
            // Bits past the width are 0, so only a row that ends with a word has no such bit.
            let end = first(row, start, |bits| !bits).unwrap_or(self.width);
            from = end;
            Some(start..end)
        })
    }

    /// Intersection over union with a mask of the same size, 1 for two empty ones; none for a mask of another size.
    pub fn iou(&self, other: &Self) -> Option<f64> {
        if (self.width, self.height) != (other.width, other.height) {
            return None;
        }
        let pairs = || self.words.iter().zip(&other.words);
        let both: u64 = pairs().map(|(a, b)| u64::from((a & b).count_ones())).sum();
        let either: u64 = pairs().map(|(a, b)| u64::from((a | b).count_ones())).sum();
        Some(if either == 0 { 1.0 } else { both as f64 / either as f64 })
    }

    /// The mask as a PNG file's bytes: 8-bit grey, 255 inside, 0 outside.
    pub fn to_png(&self) -> Vec<u8> {
        let mut grey = vec![0; self.width as usize * self.height as usize];
        self.paint(&mut grey, 255);
        encode_png(self.width, self.height, &Samples::Grey8(&grey))
    }

    /// Writes `value` to the pixels inside, of a picture whose rows are side by side.
    fn paint<T: Copy>(&self, pixels: &mut [T], value: T) {
        let rows = pixels.chunks_exact_mut((self.width as usize).max(1));
        for (y, row) in (0..self.height).zip(rows) {
            for run in self.row_runs(y) {
                row[run.start as usize..run.end as usize].fill(value);
            }
        }
    }

    pub(crate) fn words_per_row(&self) -> usize {
        (self.width as usize).div_ceil(64)
    }

    fn row(&self, y: u32) -> &[u64] {
        &self.words[y as usize * self.words_per_row()..][..self.words_per_row()]
    }
}

/// The first bit from `from` on that is set, in what `of` makes of the words.
fn first(words: &[u64], from: u32, of: impl Fn(u64) -> u64) -> Option<u32> {
    let word = from as usize / 64;
    let begun = (of(*words.get(word)?) >> (from % 64)) << (from % 64);
    let bits = std::iter::once(begun).chain(words[word + 1..].iter().map(|&bits| of(bits)));
    let (word, bits) = (word..).zip(bits).find(|&(_, bits)| bits != 0)?;
    Some(64 * word as u32 + bits.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn area_and_box() {
        let mut mask = Mask::new(130, 9);
        assert_eq!((mask.area(), mask.bounding_box()), (0, None));
        mask.insert(63, 2);
        assert_eq!((mask.area(), mask.bounding_box()), (1, Some([63, 2, 64, 3])));
        mask.insert(129, 8);
        assert_eq!((mask.area(), mask.bounding_box()), (2, Some([63, 2, 130, 9])));
        assert!(mask.get(129, 8) && !mask.get(128, 8) && !mask.get(130, 8));
    }

    #[test]
    fn iou_of_halves() {
        let left = Mask::from_fn(100, 10, |x, _| x < 50);
        let most = Mask::from_fn(100, 10, |x, _| x < 75);
        assert_eq!(left.iou(&most), Some(50.0 / 75.0));
        assert_eq!(Mask::new(3, 3).iou(&Mask::new(3, 3)), Some(1.0));
        assert_eq!(Mask::new(3, 4).iou(&Mask::new(4, 3)), None);
    }

    #[test]
    fn runs_are_the_pixels_of_a_row() {
        let runs = |width: u32, inside: &dyn Fn(u32) -> bool| {
            let mask = Mask::from_fn(width, 3, |x, y| y == 1 && inside(x));
            assert_eq!([0, 2, 3, u32::MAX].map(|y| mask.row_runs(y).count()), [0; 4]);
            mask.row_runs(1).map(|run| (run.start, run.end)).collect::<Vec<_>>()
        };
        for width in [1, 63, 64, 65, 128, 200] {
            assert_eq!(runs(width, &|_| true), [(0, width)]);
            assert!(runs(width, &|_| false).is_empty());
            assert_eq!(runs(width, &|x| x + 1 == width), [(width - 1, width)]);
            let odd = (1..width).step_by(2).map(|x| (x, x + 1)).collect::<Vec<_>>();
            assert_eq!(runs(width, &|x| x % 2 == 1), odd);
        }
        assert_eq!(
            runs(200, &|x| (60..70).contains(&x) || x >= 128),
            [(60, 70), (128, 200)]
        );
        assert_eq!(runs(192, &|x| !(64..128).contains(&x)), [(0, 64), (128, 192)]);
        assert_eq!(Mask::new(0, 5).row_runs(0).count(), 0);
    }

    #[test]
    fn a_png_is_white_inside() {
        let mask = Mask::from_fn(70, 3, |x, y| x > 64 && y > 0);
        let png = crate::image::Image::decode(&mask.to_png()).unwrap();
        assert_eq!((png.width(), png.height()), (70, 3));
        for (at, pixel) in png.rgb().chunks_exact(3).enumerate() {
            let white = mask.get(at as u32 % 70, at as u32 / 70);
            assert_eq!(pixel, [if white { 255 } else { 0 }; 3]);
        }
    }
}
