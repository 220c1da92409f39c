//! Masks cut out of pictures, put into others, and taken together.

use super::Mask;

impl Mask {
    /// The part of the mask in the box `x1, y1, x2, y2` of the picture, as a mask of a picture of the box's size.
    ///
    /// # Panics
    /// When the box is not in the picture.
    pub fn crop(&self, [x1, y1, x2, y2]: [u32; 4]) -> Self {
        let (width, height) = (self.width, self.height);
        assert!(x1 <= x2 && x2 <= width, "columns {x1} to {x2} of {width}");
        assert!(y1 <= y2 && y2 <= height, "rows {y1} to {y2} of {height}");
        let mut part = Self::new(x2 - x1, y2 - y1);
        for y in y1..y2 {
            for run in self.row_runs(y) {
                part.insert_run(y - y1, run.start.clamp(x1, x2) - x1..run.end.clamp(x1, x2) - x1);
            }
        }
        part.trimmed()
    }

    /// The mask in a picture of `width` × `height` pixels, of which its own picture's first pixel is (x, y). What lies
    /// beyond the picture is left out.
    pub fn paste(&self, (width, height): (u32, u32), (x, y): (u32, u32)) -> Self {
        let row = |row: u32| row.saturating_add(y).min(height);
        let column = |column: usize| ((64 * column as u32).min(self.width)).saturating_add(x).min(width);
        let rows = row(self.rows.start)..row(self.rows.end);
        let columns = column(self.columns.start) as usize / 64..column(self.columns.end).div_ceil(64) as usize;
        let mut pasted = Self {
            width,
            height,
            words: vec![0; columns.len() * rows.len()],
            rows: rows.clone(),
            columns,
        };
        for to in rows {
            for run in self.row_runs(to - y) {
                let [start, end] = [run.start, run.end].map(|at| at.saturating_add(x).min(width));
                pasted.insert_run(to, start..end);
            }
        }
        pasted.trimmed()
    }

    /// Puts the pixels of another mask of the same picture inside as well.
    ///
    /// # Panics
    /// When the other is of a picture of another size.
    pub fn unite(&mut self, other: &Self) {
        assert_eq!(
            (self.width, self.height),
            (other.width, other.height),
            "masks of one picture"
        );
        for y in other.rows.clone() {
            for run in other.row_runs(y) {
                self.insert_run(y, run);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::spots, Mask};

    #[test]
    fn masks_are_cropped_pasted_and_united() {
        let inside = spots([3, 2, 190, 33]);
        let mask = Mask::from_fn(200, 40, &inside);
        for [x1, y1, x2, y2] in [
            [0, 0, 200, 40],
            [64, 5, 128, 6],
            [1, 0, 131, 40],
            [7, 7, 7, 9],
            [199, 39, 200, 40],
        ] {
            let part = mask.crop([x1, y1, x2, y2]);
            assert_eq!(part, Mask::from_fn(x2 - x1, y2 - y1, |x, y| inside(x + x1, y + y1)));
            let pasted = part.paste((200, 40), (x1, y1));
            let is_in_box = |x: u32, y: u32| (x1..x2).contains(&x) && (y1..y2).contains(&y);
            assert_eq!(pasted, Mask::from_fn(200, 40, |x, y| is_in_box(x, y) && inside(x, y)));
            let mut united = Mask::from_fn(200, 40, |x, y| !is_in_box(x, y) && inside(x, y));
            united.unite(&pasted);
            assert_eq!(united, mask);
        }
        // What lies beyond the picture is left out.
        let beyond = mask.paste((100, 20), (90, 10));
        assert_eq!(
            beyond,
            Mask::from_fn(100, 20, |x, y| x >= 90 && y >= 10 && inside(x - 90, y - 10))
        );
        assert_eq!(mask.paste((100, 20), (u32::MAX, u32::MAX)).area(), 0);
    }
}
