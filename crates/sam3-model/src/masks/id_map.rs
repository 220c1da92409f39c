//! All masks of a picture as one: an id a pixel.

use super::Mask;
use crate::image::{Samples, encode_png};

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

    /// Instance i of `instances`, each a score and a mask, gets id i + 1; where two overlap, the higher score wins, and
    /// of equal ones the first. None where there are more than [`IdMap::MOST`].
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
            mask.paint(&mut ids, index as u16 + 1);
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
        encode_png(self.width, self.height, &Samples::Grey16(&self.ids))
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
        let instances: Vec<_> = (0..300u16).map(|score| (f32::from(score), &mask)).collect();
        let png = IdMap::new(3, 2, &instances).unwrap().to_png();
        let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        assert_eq!(
            reader.output_color_type(),
            (png::ColorType::Grayscale, png::BitDepth::Sixteen)
        );
        let mut samples = [0; 12];
        reader.next_frame(&mut samples).unwrap();
        assert_eq!(
            samples,
            [[0; 10].as_slice(), &[0x01, 0x2c]].concat()[..],
            "300 in the last pixel"
        );
        let last = IdMap::new(3, 2, &[(0.1, &mask), (0.2, &mask)]).unwrap();
        assert_eq!(last.get(2, 1), 2);
        assert_eq!(IdMap::new(3, 2, &vec![(0.5, &mask); IdMap::MOST + 1]), None);
    }
}
