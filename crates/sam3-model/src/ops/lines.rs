//! Buffers that begin on a cache line, so that no vector in them lies in two.

use std::ops::{Deref, DerefMut};

/// Values of four bytes in a line.
const LEN: usize = 16;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line<T>([T; LEN]);

/// Values of four bytes, as many as were ever wanted at once.
pub struct Lines<T>(Vec<Line<T>>);

impl<T: Copy + Default> Lines<T> {
    /// None, in no memory.
    pub const fn new() -> Self {
        const { assert!(size_of::<Line<T>>() == LEN * size_of::<T>()) };
        Self(Vec::new())
    }

    /// The first `len` values; those that were never wanted before are zero.
    pub fn room(&mut self, len: usize) -> &mut [T] {
        let lines = len.div_ceil(LEN);
        if self.0.len() < lines {
            self.0.resize(lines, Line([T::default(); LEN]));
        }
        &mut self[..len]
    }
}

impl<T: Copy + Default> Default for Lines<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deref for Lines<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: a line is its values, one behind the other, and nothing else: `new` asserts it.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * LEN) }
    }
}

impl<T> DerefMut for Lines<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * LEN) }
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn room_begins_on_a_line_and_is_kept() {
        let mut lines = Lines::<u32>::new();
        assert!(lines.is_empty());
        for len in [1, 16, 17, 5000] {
            let room = lines.room(len);
            assert_eq!((room.len(), room.as_ptr().align_offset(64)), (len, 0));
            room[len - 1] = 7;
        }
        assert_eq!((lines[4998], lines[4999]), (0, 7));
        assert_eq!(lines.room(16)[15], 7);
        assert_eq!(lines.len(), 5008);
    }
}
