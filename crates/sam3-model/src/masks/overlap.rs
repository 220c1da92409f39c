//! What two masks of one picture have in common.

use super::Mask;

impl Mask {
    /// Number of pixels inside both.
    pub fn shared_area(&self, other: &Self) -> u64 {
        let mut area = 0;
        self.for_shared(other, |_, _, shared| area += u64::from(shared.count_ones()));
        area
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
