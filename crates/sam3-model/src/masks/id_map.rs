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
        let numbered = instances.iter().zip(1..).map(|(&(score, mask), id)| (id, score, mask));
        Some(Self::of_ids(width, height, &numbered.collect::<Vec<_>>()))
    }

    /// The instances have ids of their own, which come before score and mask; where two overlap, the higher score wins,
    /// and of equal ones the first.
    ///
    /// # Panics
    /// When a mask is not `width` by `height`.
    pub fn of_ids(width: u32, height: u32, instances: &[(u16, f32, &Mask)]) -> Self {
        let mut ids = vec![0; width as usize * height as usize];
        // What is painted last stays.
        let mut order: Vec<_> = instances.iter().rev().collect();
        order.sort_by(|a, b| a.1.total_cmp(&b.1));
        for (id, _, mask) in order {
            assert_eq!((mask.width, mask.height), (width, height), "masks of one picture");
            mask.paint(&mut ids, *id);
        }
        Self { width, height, ids }
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

    /// The map as a PNG file's bytes: 8 bits that are places in PASCAL VOC's palette, as DAVIS has annotations. None
    /// where an id does not fit.
    pub fn to_indexed_png(&self) -> Option<Vec<u8>> {
        let indices: Option<Vec<u8>> = self.ids.iter().map(|&id| u8::try_from(id).ok()).collect();
        let palette = std::array::from_fn(|index| voc_color(index as u8));
        Some(encode_png(
            self.width,
            self.height,
            &Samples::Indexed8(&indices?, &palette),
        ))
    }
}

/// PASCAL VOC's colour of an index: three bits at a time, the lowest are the highest of red, green and blue.
pub fn voc_color(index: u8) -> [u8; 3] {
    let bit = |place: u32| index.checked_shr(place).unwrap_or(0) & 1;
    [0, 1, 2].map(|channel| bit(channel) << 7 | bit(channel + 3) << 6 | bit(channel + 6) << 5)
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

    #[test]
    fn an_indexed_png_has_the_ids_as_places_in_the_palette() {
        let mask = Mask::from_fn(3, 1, |x, _| x > 0);
        let corner = Mask::from_fn(3, 1, |x, _| x == 2);
        let map = IdMap::of_ids(3, 1, &[(9, 0.5, &mask), (254, 0.6, &corner)]);
        let png = map.to_indexed_png().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        assert_eq!(
            reader.output_color_type(),
            (png::ColorType::Indexed, png::BitDepth::Eight)
        );
        let palette = reader.info().palette.clone().unwrap();
        let color = |index: usize| <[u8; 3]>::try_from(&palette[3 * index..][..3]).unwrap();
        // As the devkit of PASCAL VOC has them.
        assert_eq!(
            [0, 1, 2, 4, 8].map(color),
            [[0; 3], [128, 0, 0], [0, 128, 0], [0, 0, 128], [64, 0, 0]]
        );
        assert_eq!(
            [9, 16, 64, 255].map(color),
            [[192, 0, 0], [0, 64, 0], [32, 0, 0], [224, 224, 192]]
        );
        let mut indices = [0; 3];
        reader.next_frame(&mut indices).unwrap();
        assert_eq!(indices, [0, 9, 254]);
        assert_eq!(IdMap::of_ids(3, 1, &[(256, 0.5, &mask)]).to_indexed_png(), None);
    }
}
