//! Instance masks: one bit a pixel, and the forms in which they leave: RLE, polygons, a picture.

mod annotated;
pub(crate) mod components;
mod id_map;
#[cfg(feature = "draw")]
mod label;
mod overlap;
#[cfg(feature = "draw")]
mod overlay;
mod parts;
mod polygons;
mod regions;
mod resized;
mod rle;

use std::ops::Range;

pub use id_map::{IdMap, voc_color};
#[cfg(feature = "draw")]
pub use overlay::{OverlayInstance, overlay};
pub use polygons::{POLYGON_TOLERANCE, polygons};
pub(crate) use regions::remove_small_regions;
pub use rle::{Rle, RleError};

use sam3_tensor::ops;

use crate::image::{Samples, encode_png};

/// Which pixels of a picture are inside, one bit each.
///
/// Of a mask that the model made, the bits around what is inside are kept alone: a mask of 12 megapixels takes 1.5 MB,
/// and an object of a hundredth of it some 15 kB.
#[derive(Clone, Debug)]
pub struct Mask {
    width: u32,
    height: u32,
    /// The rows that are kept.
    rows: Range<u32>,
    /// The words of each row that are kept: pixel x is bit x % 64 of word x / 64. All pixels of others are outside.
    columns: Range<usize>,
    /// Row by row; bits past the width are 0.
    words: Vec<u64>,
}

impl Mask {
    /// A mask with nothing inside.
    pub fn new(width: u32, height: u32) -> Self {
        let columns = 0..words_per_row(width);
        let words = vec![0; columns.len() * height as usize];
        Self {
            width,
            height,
            rows: 0..height,
            columns,
            words,
        }
    }

    /// What it takes of memory.
    pub(crate) fn bytes(&self) -> u64 {
        size_of_val(&*self.words) as u64
    }

    /// The mask of the pixels (x, y) for which `is_inside` holds.
    pub fn from_fn(width: u32, height: u32, is_inside: impl Fn(u32, u32) -> bool) -> Self {
        let mut mask = Self::new(width, height);
        for y in 0..height {
            for x in (0..width).filter(|&x| is_inside(x, y)) {
                mask.insert(x, y);
            }
        }
        mask.trimmed()
    }

    /// The mask of rows of [`words_per_row`] words; bits past the width are 0.
    ///
    /// # Panics
    /// When there are not as many words.
    pub(crate) fn from_words(width: u32, height: u32, words: Vec<u64>) -> Self {
        let columns = 0..words_per_row(width);
        assert_eq!(words.len(), columns.len() * height as usize, "{width}x{height}");
        let mask = Self {
            width,
            height,
            rows: 0..height,
            columns,
            words,
        };
        mask.trimmed()
    }

    /// The mask of `logits`, `[h, w]`, at `height` × `width` pixels: resized as `torch.nn.functional.interpolate` does
    /// it (bilinear, pixel centres aligned), then those above 0.
    ///
    /// # Errors
    /// When there is no room for it.
    ///
    /// # Panics
    /// When there are not `h * w` logits.
    pub fn from_logits(logits: &[f32], (h, w): (usize, usize), (height, width): (u32, u32)) -> crate::Result<Self> {
        let words = ops::upsample_threshold(logits, (h, w), (height as usize, width as usize))?;
        Ok(Self::from_words(width, height, words))
    }

    /// The same mask, of which the bits around what is inside are kept alone.
    pub(crate) fn trimmed(self) -> Self {
        let [left, top, right, bottom] = self.bounding_box().unwrap_or_default();
        let (rows, columns) = (top..bottom, left as usize / 64..(right as usize).div_ceil(64));
        if (&rows, &columns) == (&self.rows, &self.columns) {
            return self;
        }
        let row = |y| &self.row(y)[columns.start - self.columns.start..][..columns.len()];
        Self {
            words: rows.clone().flat_map(row).copied().collect(),
            rows,
            columns,
            ..self
        }
    }

    /// The same mask with the bits of all pixels.
    fn whole(&self) -> Self {
        let mut whole = Self::new(self.width, self.height);
        let width = whole.columns.len();
        for y in self.rows.clone() {
            whole.words[y as usize * width..][self.columns.clone()].copy_from_slice(self.row(y));
        }
        whole
    }

    /// Pixels in a row of the picture.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows of the picture.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Whether pixel (x, y) is inside; false outside the picture.
    pub fn get(&self, x: u32, y: u32) -> bool {
        x < self.width && self.word(y, x as usize / 64) >> (x % 64) & 1 == 1
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
        self.insert_run(y, x..x + 1);
    }

    /// Puts some pixels of a row inside.
    fn insert_run(&mut self, y: u32, run: Range<u32>) {
        if run.is_empty() {
            return;
        }
        let (first, last) = (run.start as usize / 64, (run.end as usize - 1) / 64);
        if !self.rows.contains(&y) || !self.columns.contains(&first) || !self.columns.contains(&last) {
            *self = self.whole();
        }
        let start = (y - self.rows.start) as usize * self.columns.len();
        let columns = first - self.columns.start..=last - self.columns.start;
        let words = &mut self.words[start..][columns];
        let (from, to) = (u64::MAX << (run.start % 64), u64::MAX >> (63 - (run.end - 1) % 64));
        match words {
            [word] => *word |= from & to,
            [first, between @ .., last] => {
                *first |= from;
                between.fill(u64::MAX);
                *last |= to;
            }
            [] => unreachable!("a run has a pixel"),
        }
    }

    /// Number of pixels inside.
    pub fn area(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// The smallest box around the mask, `[x1, y1, x2, y2]` with x2 and y2 just past it; none when it is empty.
    pub fn bounding_box(&self) -> Option<[u32; 4]> {
        let (mut top, mut bottom) = (None, 0);
        let mut any = vec![0; self.columns.len()];
        for y in self.rows.clone() {
            let row = self.row(y);
            if row.iter().any(|&word| word != 0) {
                top.get_or_insert(y);
                bottom = y + 1;
                any.iter_mut().zip(row).for_each(|(any, word)| *any |= word);
            }
        }
        let first = any.iter().position(|&word| word != 0)?;
        let last = any.iter().rposition(|&word| word != 0)?;
        let left = 64 * (self.columns.start + first) as u32 + any[first].trailing_zeros();
        let right = 64 * (self.columns.start + last + 1) as u32 - any[last].leading_zeros();
        Some([left, top?, right, bottom])
    }

    /// The runs of pixels inside in row y, from left to right; none outside the picture.
    ///
    /// It looks at 64 pixels at a time.
    pub fn row_runs(&self, y: u32) -> impl Iterator<Item = Range<u32>> {
        let row = if self.rows.contains(&y) { self.row(y) } else { &[] };
        let offset = 64 * self.columns.start as u32;
        // Behind the last word that is kept, all is outside.
        let behind = (64 * self.columns.end as u32).min(self.width);
        let mut from = 0;
        std::iter::from_fn(move || {
            let start = first(row, from, |bits| bits)?;
            let end = first(row, start, |bits| !bits).map_or(behind, |end| offset + end);
            from = end - offset;
            Some(offset + start..end)
        })
    }

    /// Intersection over union with a mask of the same size, 1 for two empty ones; none for a mask of another size.
    pub fn iou(&self, other: &Self) -> Option<f64> {
        if (self.width, self.height) != (other.width, other.height) {
            return None;
        }
        let both = self.shared_area(other);
        let either = self.area() + other.area() - both;
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

    /// One word of a row; 0 where it is not kept.
    fn word(&self, y: u32, word: usize) -> u64 {
        if self.rows.contains(&y) && self.columns.contains(&word) {
            self.row(y)[word - self.columns.start]
        } else {
            0
        }
    }

    /// What is kept of a row, of which something is.
    fn row(&self, y: u32) -> &[u64] {
        &self.words[(y - self.rows.start) as usize * self.columns.len()..][..self.columns.len()]
    }
}

/// What is kept of a mask makes no difference.
impl PartialEq for Mask {
    fn eq(&self, other: &Self) -> bool {
        let same_size = (self.width, self.height) == (other.width, other.height);
        same_size && (0..self.height).all(|y| self.row_runs(y).eq(other.row_runs(y)))
    }
}

impl Eq for Mask {}

/// Words of 64 pixels for a row of so many.
pub(crate) fn words_per_row(width: u32) -> usize {
    (width as usize).div_ceil(64)
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

    /// Pixels here and there, of which the outermost are `left..right` and `top..bottom`.
    pub(super) fn spots([left, top, right, bottom]: [u32; 4]) -> impl Fn(u32, u32) -> bool {
        move |x, y| (left..right).contains(&x) && (top..bottom).contains(&y) && (x * 7 + y * 13) % 5 < 2
    }

    #[test]
    fn what_is_kept_makes_no_difference() {
        for around in [[0, 0, 200, 40], [70, 3, 100, 9], [199, 39, 200, 40], [5, 5, 5, 5]] {
            let inside = spots(around);
            let mask = Mask::from_fn(200, 40, &inside);
            let whole = mask.whole();
            assert!(mask.words.len() <= whole.words.len());
            assert_eq!(
                (&mask, mask.area(), mask.bounding_box()),
                (&whole, whole.area(), whole.bounding_box())
            );
            assert_eq!((mask.to_rle(), mask.iou(&whole)), (whole.to_rle(), Some(1.0)));
            for (x, y) in (0..40).flat_map(|y| (0..200).map(move |x| (x, y))) {
                assert_eq!(mask.get(x, y), inside(x, y), "{x},{y} of {around:?}");
            }
            let mut more = mask.clone();
            more.insert(0, 39);
            assert!(more.get(0, 39) && more.area() == mask.area() + u64::from(!mask.get(0, 39)));
        }
        let small = Mask::from_fn(4000, 3000, |x, y| (900..940).contains(&x) && (10..50).contains(&y));
        assert!(small.words.len() <= 2 * 40, "{} words", small.words.len());
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
