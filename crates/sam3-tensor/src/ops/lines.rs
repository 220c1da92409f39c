//! Buffers that begin on a cache line, so that no vector in them lies in two.

use std::ops::{Deref, DerefMut};

use crate::{Result, storage::filled};

/// Bytes of a line.
const LINE: usize = 64;

/// Values of four bytes, as many as were ever wanted at once. We allocate more and skip to the first cache line. For an
/// aligned allocation, the C library's allocator asks for its size and the alignment, which never fits the hole that
/// the last buffer of that size left: memory would grow.
#[derive(Default)]
pub struct Lines<T>(Vec<T>);

impl<T: Copy + Default> Lines<T> {
    /// The first `len` values. Where there were not so many they are all new, and zero.
    pub fn room(&mut self, len: usize) -> &mut [T] {
        if self.len() < len {
            // The old ones go first, so that the new ones may lie there.
            self.0 = Vec::new();
            self.0.resize(Self::whole(len), T::default());
        }
        &mut self[..len]
    }

    /// The same of many, for which there may be no room.
    pub fn large_room(&mut self, len: usize) -> Result<&mut [T]> {
        if self.len() < len {
            self.0 = Vec::new();
            self.0 = filled(Self::whole(len), T::default())?;
        }
        Ok(&mut self[..len])
    }

    /// Values of which `len` begin on a line, wherever the first is.
    fn whole(len: usize) -> usize {
        len + LINE / size_of::<T>() - 1
    }
}

impl<T> Lines<T> {
    fn start(&self) -> usize {
        self.0.as_ptr().align_offset(LINE).min(self.0.len())
    }
}

impl<T> Deref for Lines<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0[self.start()..]
    }
}

impl<T> DerefMut for Lines<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let start = self.start();
        &mut self.0[start..]
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn room_begins_on_a_line_and_stays_while_it_is_enough() {
        let mut lines = Lines::<u32>::default();
        assert!(lines.is_empty());
        for len in [1, 100, 5000] {
            let room = lines.room(len);
            assert_eq!((room.len(), room.as_ptr().align_offset(64)), (len, 0));
            assert!(room.iter().all(|value| *value == 0));
            room.fill(7);
        }
        assert_eq!(lines.room(16), [7; 16]);
        assert!((5000..5016).contains(&lines.len()));
    }
}
