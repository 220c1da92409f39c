//! What two masks of one picture have in common.

use std::ops::Range;

use super::Mask;

impl Mask {
    /// Number of pixels inside both.
    pub fn shared_area(&self, other: &Self) -> u64 {
        let mut area = 0;
        self.for_shared(other, |_, _, shared| area += u64::from(shared.count_ones()));
        area
    }

    /// Number of pixels inside that are inside `other`, too, or at most `reach` columns and rows away from such a pixel.
    pub(crate) fn area_near(&self, other: &Self, reach: u32) -> u64 {
        let mut area = 0;
        for y in self.rows.clone() {
            let rows = y.saturating_sub(reach).max(other.rows.start)..(y + reach + 1).min(other.rows.end);
            let runs = rows.flat_map(|row| other.row_runs(row));
            let mut near: Vec<Range<u32>> = runs
                .map(|run| run.start.saturating_sub(reach)..run.end + reach)
                .collect();
            near.sort_unstable_by_key(|run| run.start);
            let mut counted = 0;
            for run in near {
                let new = run.start.max(counted)..run.end;
                area += self.area_in([new.start, y, new.end, y + 1]);
                counted = counted.max(run.end);
            }
        }
        area
    }

    /// Number of pixels inside that are in the box `x1, y1, x2, y2`.
    pub(crate) fn area_in(&self, [x1, y1, x2, y2]: [u32; 4]) -> u64 {
        let rows = self.rows.start.max(y1)..self.rows.end.min(y2);
        let runs = rows.flat_map(|y| self.row_runs(y));
        runs.map(|run| u64::from(run.end.min(x2).saturating_sub(run.start.max(x1))))
            .sum()
    }

    /// Takes out the pixels that are inside `other`, too.
    pub fn subtract(&mut self, other: &Self) {
        self.subtract_where(other, |_, _| true);
    }

    /// Takes out the pixels (x, y) that are inside `other`, too, and for which `is_lost` holds.
    pub(crate) fn subtract_where(&mut self, other: &Self, is_lost: impl Fn(u32, u32) -> bool) {
        let mut lost = Vec::new();
        self.for_shared(other, |y, word, shared| {
            let mut bits = shared;
            let mut taken = 0;
            while bits != 0 {
                let bit = bits.trailing_zeros();
                bits &= bits - 1;
                if is_lost(64 * word as u32 + bit, y) {
                    taken |= 1 << bit;
                }
            }
            if taken != 0 {
                lost.push((y, word, taken));
            }
        });
        let width = self.columns.len();
        for (y, word, taken) in lost {
            self.words[(y - self.rows.start) as usize * width + word - self.columns.start] &= !taken;
        }
    }

    /// Calls `each` with row, word and bits where masks of one size have pixels in common.
    fn for_shared(&self, other: &Self, mut each: impl FnMut(u32, usize, u64)) {
        let rows = self.rows.start.max(other.rows.start)..self.rows.end.min(other.rows.end);
        let columns = self.columns.start.max(other.columns.start)..self.columns.end.min(other.columns.end);
        if columns.is_empty() {
            return;
        }
        for y in rows {
            let own = &self.row(y)[columns.start - self.columns.start..];
            let others = &other.row(y)[columns.start - other.columns.start..];
            for (word, (own, others)) in columns.clone().zip(own.iter().zip(others)) {
                if own & others != 0 {
                    each(y, word, own & others);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::spots;
    use super::*;

    #[test]
    fn what_is_shared_is_what_is_inside_both() {
        let areas = [
            [0, 0, 200, 40],
            [70, 3, 100, 9],
            [60, 5, 130, 40],
            [199, 39, 200, 40],
            [5, 5, 5, 5],
        ];
        for (a, b) in areas.iter().flat_map(|a| areas.iter().map(move |b| (*a, *b))) {
            let (in_a, in_b) = (spots(a), |x: u32, y: u32| spots(b)(x + 1, y));
            let (mask, other) = (Mask::from_fn(200, 40, &in_a), Mask::from_fn(200, 40, in_b));
            let shared = Mask::from_fn(200, 40, |x, y| in_a(x, y) && in_b(x, y));
            assert_eq!(mask.shared_area(&other), shared.area(), "{a:?} and {b:?}");
            assert_eq!(mask.area_in(b), mask.crop(b).area(), "{a:?} in {b:?}");
            for reach in [0, 1, 5, 300] {
                let is_near = |x: u32, y: u32| {
                    let (rows, columns) = (y.saturating_sub(reach)..=y + reach, x.saturating_sub(reach)..=x + reach);
                    rows.clone().any(|y| columns.clone().any(|x| other.get(x, y)))
                };
                let near = Mask::from_fn(200, 40, |x, y| in_a(x, y) && is_near(x, y));
                assert_eq!(
                    mask.area_near(&other, reach),
                    near.area(),
                    "{a:?} within {reach} of {b:?}"
                );
            }
            let mut rest = mask.clone();
            rest.subtract(&other);
            assert_eq!(rest, Mask::from_fn(200, 40, |x, y| in_a(x, y) && !in_b(x, y)));
            let mut rest = mask.clone();
            rest.subtract_where(&other, |x, y| (x + y) % 2 == 0);
            let is_left = |x, y| in_a(x, y) && !(in_b(x, y) && (x + y) % 2 == 0);
            assert_eq!(rest, Mask::from_fn(200, 40, is_left), "{a:?} and {b:?}");
        }
    }
}
