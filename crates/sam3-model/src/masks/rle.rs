//! COCO's compressed run lengths: what `pycocotools.mask` calls an RLE.
//!
//! A mask is read down its columns, left to right, as runs of outside, inside, outside, … pixels. From the fourth run
//! on the difference to the run before last is kept instead of the run. Each number is written in groups of 5 bits,
//! lowest first, as the characters from '0' on; bit 5 says that more follow, and the last group's bit 4 is the sign.

use super::Mask;
use crate::image::MAX_PIXELS;

/// A mask as it stands in JSON: `{"size": [height, width], "counts": "…"}`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rle {
    /// Height, width.
    pub size: [u32; 2],
    /// The compressed run lengths.
    pub counts: String,
}

/// Why an [`Rle`] describes no mask.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RleError {
    /// A character outside the alphabet, or the end in the midst of a number.
    #[error("RLE counts: byte {0} is not part of a number")]
    Counts(usize),
    /// The runs do not add up to the size.
    #[error("RLE counts: the runs do not add up to {0}x{1} pixels")]
    Size(u32, u32),
    /// The mask would be larger than any picture that is read.
    #[error("RLE size: {0}x{1} is more than {MAX_PIXELS} pixels")]
    TooLarge(u32, u32),
}

impl Mask {
    /// The mask as pycocotools' `encode` gives it, byte for byte.
    pub fn to_rle(&self) -> Rle {
        let runs = self.column_runs();
        let mut counts = String::new();
        for (i, &run) in runs.iter().enumerate() {
            push(
                &mut counts,
                if i > 2 {
                    run as i64 - runs[i - 2] as i64
                } else {
                    run as i64
                },
            );
        }
        Rle {
            size: [self.height, self.width],
            counts,
        }
    }

    /// Lengths of the runs down the columns, the first one outside (and 0 where the first pixel is inside).
    fn column_runs(&self) -> Vec<u64> {
        let height = u64::from(self.height);
        let mut runs = Vec::new();
        let (mut is_inside, mut start) = (false, 0);
        let mut columns = vec![[0; 64]; (self.height as usize).div_ceil(64)];
        let [left, _, right, _] = self.bounding_box().unwrap_or_default();
        for word in left as usize / 64..(right as usize).div_ceil(64) {
            self.columns(word, &mut columns);
            for x in 64 * word..(64 * (word + 1)).min(self.width as usize) {
                for (block, bits) in columns.iter().enumerate() {
                    // Bits that differ from the run so far, lowest first.
                    let mut y = 0;
                    let bits = bits[x % 64];
                    let size = (height - 64 * block as u64).min(64) as u32;
                    while y < size {
                        let other = if is_inside { !bits } else { bits } >> y;
                        y += other.trailing_zeros();
                        if y < size {
                            let at = x as u64 * height + 64 * block as u64 + u64::from(y);
                            runs.push(at - start);
                            (is_inside, start) = (!is_inside, at);
                        }
                    }
                }
            }
        }
        let end = u64::from(self.width) * height;
        if end > start || runs.is_empty() {
            runs.push(end - start);
        }
        runs
    }

    /// 64 columns as bits down the rows: `columns[y / 64][x % 64]`, bit y % 64.
    fn columns(&self, word: usize, columns: &mut [[u64; 64]]) {
        let words: Vec<u64> = (0..self.height).map(|y| self.word(y, word)).collect();
        for (columns, rows) in columns.iter_mut().zip(words.chunks(64)) {
            columns.fill(0);
            columns[..rows.len()].copy_from_slice(rows);
            transpose(columns);
        }
    }

    /// The mask of an RLE, of at most [`MAX_PIXELS`], where each row counts as a whole number of 64 pixels.
    ///
    /// # Errors
    /// The size is larger, or the counts are not numbers, or do not add up to the size.
    pub fn from_rle(rle: &Rle) -> Result<Self, RleError> {
        let [height, width] = rle.size;
        if u64::from(width.div_ceil(64)) * 64 * u64::from(height) > MAX_PIXELS {
            return Err(RleError::TooLarge(height, width));
        }
        let mut mask = Self::new(width, height);
        for (start, run) in rle.inside()? {
            mask.insert_down(start, run);
        }
        Ok(mask.trimmed())
    }

    /// Puts `run` pixels inside, from number `start` on down the columns.
    pub(super) fn insert_down(&mut self, start: u64, run: u64) {
        let height = u64::from(self.height);
        let (mut at, end) = (start, start + run);
        while at < end {
            let (x, top) = (at / height, at % height);
            let bottom = (top + end - at).min(height);
            for y in top..bottom {
                self.insert(x as u32, y as u32);
            }
            at += bottom - top;
        }
    }
}

impl Rle {
    /// How many pixels are inside, and what [`Mask::bounding_box`] gives, without the mask.
    ///
    /// # Errors
    /// The counts are not numbers, or do not add up to the size.
    pub fn extent(&self) -> Result<(u64, Option<[u32; 4]>), RleError> {
        let height = u64::from(self.size[0]);
        let mut area = 0;
        let mut bounds: Option<[u32; 4]> = None;
        for (start, run) in self.inside()? {
            area += run;
            let last = start + run - 1;
            let (left, right) = ((start / height) as u32, (last / height) as u32 + 1);
            let (top, bottom) = match right - left {
                1 => ((start % height) as u32, (last % height) as u32 + 1),
                _ => (0, self.size[0]),
            };
            let [x1, y1, x2, y2] = bounds.unwrap_or([left, top, right, bottom]);
            bounds = Some([x1.min(left), y1.min(top), x2.max(right), y2.max(bottom)]);
        }
        Ok((area, bounds))
    }

    /// Where runs of pixels inside begin, down the columns, and how long they are.
    fn inside(&self) -> Result<Vec<(u64, u64)>, RleError> {
        let [height, width] = self.size;
        // With 60 bits a number, and a run no longer than the mask, nothing overflows.
        let pixels = i64::from(height) * i64::from(width);
        let mut inside = Vec::new();
        let mut last = [0; 2];
        let mut start = 0;
        for (i, number) in numbers(self.counts.as_bytes()).enumerate() {
            let run = number? + if i > 2 { last[i % 2] } else { 0 };
            if run < 0 || run > pixels - start {
                return Err(RleError::Size(height, width));
            }
            if i % 2 == 1 && run > 0 {
                inside.push((start as u64, run as u64));
            }
            last[i % 2] = run;
            start += run;
        }
        match start == pixels {
            true => Ok(inside),
            false => Err(RleError::Size(height, width)),
        }
    }
}

fn push(counts: &mut String, mut number: i64) {
    loop {
        let group = (number & 0x1f) as u8;
        number >>= 5;
        let is_last = number == if group & 0x10 != 0 { -1 } else { 0 };
        counts.push(char::from(b'0' + group + if is_last { 0 } else { 0x20 }));
        if is_last {
            return;
        }
    }
}

fn numbers(counts: &[u8]) -> impl Iterator<Item = Result<i64, RleError>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at == counts.len() {
            return None;
        }
        let mut number = 0;
        for shift in (0..60).step_by(5) {
            let group = match counts.get(at) {
                Some(&byte @ b'0'..=b'o') => i64::from(byte - b'0'),
                _ => break,
            };
            at += 1;
            number |= (group & 0x1f) << shift;
            if group & 0x20 == 0 {
                let sign = if group & 0x10 != 0 { -1 << (shift + 5) } else { 0 };
                return Some(Ok(number | sign));
            }
        }
        let error = RleError::Counts(at);
        at = counts.len();
        Some(Err(error))
    })
}

/// Turns 64 rows of 64 bits into columns: halves are swapped across the diagonal, then halves of halves.
fn transpose(rows: &mut [u64; 64]) {
    let mut mask = 0x0000_0000_ffff_ffff_u64;
    let mut half = 32;
    while half > 0 {
        for i in (0..64).filter(|i| i & half == 0) {
            let swapped = (rows[i] >> half ^ rows[i + half]) & mask;
            rows[i] ^= swapped << half;
            rows[i + half] ^= swapped;
        }
        half /= 2;
        mask ^= mask << half;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_swaps_the_axes() {
        let mut rows = std::array::from_fn(|i| (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let before = rows;
        transpose(&mut rows);
        for (y, row) in before.iter().enumerate() {
            for (x, column) in rows.iter().enumerate() {
                assert_eq!(column >> y & 1, row >> x & 1);
            }
        }
    }

    #[test]
    fn what_is_no_mask_is_refused() {
        let rle = |counts: &str| {
            Mask::from_rle(&Rle {
                size: [2, 3],
                counts: counts.to_owned(),
            })
        };
        assert_eq!(rle("6"), Ok(Mask::new(3, 2)));
        assert_eq!(
            rle("15"),
            Mask::from_rle(&Rle {
                size: [2, 3],
                counts: "15".to_owned()
            })
        );
        for counts in ["", "5", "7", "33O", "1O", "oooooooooooo1"] {
            assert!(rle(counts).is_err(), "{counts}");
        }
        // 2⁵⁹ - 1 as a run, and as the difference to one.
        assert_eq!(rle("ooooooooooo?"), Err(RleError::Size(2, 3)));
        assert_eq!(rle("033ooooooooooo?"), Err(RleError::Size(2, 3)));
        assert_eq!(rle("3 3"), Err(RleError::Counts(1)));
        assert_eq!(rle("3P"), Err(RleError::Counts(2)));
    }

    #[test]
    fn a_size_beyond_any_picture_is_refused() {
        let empty = |height: u32, width: u32| {
            let mut counts = String::new();
            push(&mut counts, i64::from(height).saturating_mul(i64::from(width)));
            Mask::from_rle(&Rle {
                size: [height, width],
                counts,
            })
        };
        for (height, width) in [
            (u32::MAX, u32::MAX),
            (1, u32::MAX),
            (u32::MAX, 1),
            (14_000, 14_000),
            (2_796_203, 1),
        ] {
            assert_eq!(empty(height, width), Err(RleError::TooLarge(height, width)));
        }
        // 178 956 970 pixels are 2 796 202 rows of 64.
        assert_eq!(empty(2_796_202, 1), Ok(Mask::new(1, 2_796_202)));
        assert_eq!(empty(0, 9), Ok(Mask::new(9, 0)));
        assert_eq!(empty(9, 0), Ok(Mask::new(0, 9)));
    }

    #[test]
    fn runs_go_on_in_the_next_column() {
        let mask = Mask::from_fn(70, 5, |x, y| (12..340).contains(&(5 * x + y)) && (x, y) != (40, 2));
        assert_eq!(Mask::from_rle(&mask.to_rle()), Ok(mask));
    }

    #[test]
    fn an_extent_is_that_of_the_mask() {
        for spots in [
            [0, 0, 200, 40],
            [70, 3, 100, 9],
            [199, 39, 200, 40],
            [5, 0, 6, 40],
            [5, 5, 5, 5],
        ] {
            let inside = super::super::tests::spots(spots);
            let mask = Mask::from_fn(200, 40, inside);
            let (area, bounds) = mask.to_rle().extent().unwrap();
            assert_eq!((area, bounds), (mask.area(), mask.bounding_box()), "{spots:?}");
        }
        let whole = Mask::from_fn(3, 2, |_, _| true);
        assert_eq!(whole.to_rle().extent(), Ok((6, Some([0, 0, 3, 2]))));
        let wrong = Rle {
            size: [2, 3],
            counts: "5".to_owned(),
        };
        assert_eq!(wrong.extent(), Err(RleError::Size(2, 3)));
    }
}
