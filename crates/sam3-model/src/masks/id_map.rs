//! All masks of a picture as one: an id a pixel.

use super::Mask;

/// Which instance each pixel belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMap {
    width: u32,
    height: u32,
    ids: Vec<u16>,
}

impl IdMap {
    /// The most instances that 16 bits tell apart, beside 0 for the background.
    pub const MOST: usize = u16::MAX as usize;

    /// Instance i of `instances`, each a score and a mask, gets id i + 1; where two overlap, the higher score wins, and of
    /// equal ones the first. None where there are more than [`IdMap::MOST`].
    ///
    /// # Panics
    /// When a mask is not `width` by `height`.
    pub fn new(width: u32, height: u32, instances: &[(f32, &Mask)]) -> Option<Self> {
        if instances.len() > Self::MOST {
            return None;
        }
        let mut ids = vec![0; width as usize * height as usize];
        // What is painted last stays.
        let mut order: Vec<usize> = (0..instances.len()).rev().collect();
        order.sort_by(|&a, &b| instances[a].0.total_cmp(&instances[b].0));
        for index in order {
            let (_, mask) = instances[index];
            assert_eq!((mask.width, mask.height), (width, height), "masks of one picture");
            let rows = ids.chunks_exact_mut((width as usize).max(1));
            for (row, words) in rows.zip(mask.words.chunks_exact(mask.words_per_row().max(1))) {
                paint(row, words, index as u16 + 1);
            }
        }
        Some(Self { width, height, ids })
    }

    /// The id at pixel (x, y), 0 for the background.
    ///
    /// # Panics
    /// When the pixel is outside the picture.
    pub fn get(&self, x: u32, y: u32) -> u16 {
        assert!(
            x < self.width && y < self.height,
            "{x},{y} in {}x{}",
            self.width,
            self.height
        );
        self.ids[y as usize * self.width as usize + x as usize]
    }

    /// The map as a PNG file's bytes: 16-bit grey.
    pub fn to_png(&self) -> Vec<u8> {
        // The encoder takes them as the CPU has them, and writes the file's order.
        let bytes: Vec<u8> = self.ids.iter().flat_map(|id| id.to_ne_bytes()).collect();
        let mut png = std::io::Cursor::new(Vec::new());
        image::write_buffer_with_format(
            &mut png,
            &bytes,
            self.width,
            self.height,
            image::ExtendedColorType::L16,
            image::ImageFormat::Png,
        )
        .expect("writing to memory, with as many values as the size needs");
        png.into_inner()
    }
}

/// Gives the pixels whose bit is set the id.
fn paint(row: &mut [u16], words: &[u64], id: u16) {
    for (pixels, &word) in row.chunks_mut(64).zip(words) {
        let mut left = word;
        while left != 0 {
            pixels[left.trailing_zeros() as usize] = id;
            left &= left - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_order_and_overlaps_the_score() {
        let bar = |left: u32, right: u32| Mask::from_fn(130, 2, |x, _| (left..right).contains(&x));
        let (a, b, c) = (bar(0, 70), bar(60, 100), bar(65, 129));
        let map = IdMap::new(130, 2, &[(0.6, &a), (0.9, &b), (0.6, &c)]).unwrap();
        let at = [0, 59, 60, 69, 99, 100, 128, 129].map(|x| map.get(x, 1));
        assert_eq!(at, [1, 1, 2, 2, 2, 3, 3, 0]);
        let equal = IdMap::new(130, 2, &[(0.6, &a), (0.6, &c)]).unwrap();
        assert_eq!([64, 65, 69, 70].map(|x| equal.get(x, 0)), [1, 1, 1, 2]);
    }

    #[test]
    fn the_png_has_sixteen_bits() {
        let mask = Mask::from_fn(3, 2, |x, y| (x, y) == (2, 1));
        let instances = vec![(0.5, &mask); 300];
        let png = IdMap::new(3, 2, &instances).unwrap().to_png();
        let read = image::load_from_memory(&png).unwrap();
        assert_eq!(read.color(), image::ColorType::L16);
        assert_eq!(read.into_luma16().into_raw(), [0, 0, 0, 0, 0, 1]);
        let last = IdMap::new(3, 2, &[(0.1, &mask), (0.2, &mask)]).unwrap();
        assert_eq!(last.get(2, 1), 2);
        assert_eq!(IdMap::new(3, 2, &vec![(0.5, &mask); IdMap::MOST + 1]), None);
    }
}
