//! Turning a picture upright, as the file asks.

use super::{Image, samples};

/// One of EXIF's eight orientations: 1 is upright.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orientation(u8);

impl Orientation {
    pub const UPRIGHT: Self = Self(1);

    /// What the metadata of a file ask for: EXIF, and where that says nothing the XMP packet, as in Pillow.
    pub fn of(exif: Option<u8>, xmp: Option<&[u8]>) -> Self {
        let found = exif.or_else(|| xmp.and_then(of_xmp));
        found
            .filter(|value| (1..=8).contains(value))
            .map_or(Self::UPRIGHT, Self)
    }

    /// The picture, upright.
    pub fn apply(self, image: Image) -> Result<Image, String> {
        if self == Self::UPRIGHT {
            return Ok(image);
        }
        let Image { width, height, rgb } = image;
        let (columns, rows) = (width as usize, height as usize);
        let (to_width, to_height) = if self.0 < 5 { (width, height) } else { (height, width) };
        let mut turned = samples::buffer(rgb.len())?;
        for (y, row) in turned.chunks_exact_mut(3 * to_width as usize).enumerate() {
            for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                let (from_x, from_y) = match self.0 {
                    2 => (columns - 1 - x, y),
                    3 => (columns - 1 - x, rows - 1 - y),
                    4 => (x, rows - 1 - y),
                    5 => (y, x),
                    6 => (y, rows - 1 - x),
                    7 => (columns - 1 - y, rows - 1 - x),
                    _ => (columns - 1 - y, x),
                };
                pixel.copy_from_slice(&rgb[3 * (from_y * columns + from_x)..][..3]);
            }
        }
        Ok(Image {
            width: to_width,
            height: to_height,
            rgb: turned,
        })
    }
}

/// `tiff:Orientation="6"` or `<tiff:Orientation>6<` of an XMP packet: the first, as in Pillow.
fn of_xmp(packet: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    let mut values = packet.windows(NAME.len() + 3).filter_map(|at| {
        let value = at.strip_prefix(NAME)?;
        match value {
            [b'=', b'"', digit @ b'0'..=b'9'] | [b'>', digit @ b'0'..=b'9', _] => Some(digit - b'0'),
            _ => None,
        }
    });
    values.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xmp_counts_where_exif_says_nothing() {
        let attribute = br#"<rdf:Description tiff:Make="x" tiff:Orientation="6"/>"#;
        let element = b"<tiff:Orientation>8</tiff:Orientation>";
        for (exif, xmp, expected) in [
            (None, Some(&attribute[..]), 6),
            (None, Some(&element[..]), 8),
            (Some(3), Some(&attribute[..]), 3),
            (Some(9), Some(&attribute[..]), 1),
            (None, Some(&b"tiff:Orientation=\"9\""[..]), 1),
            (None, Some(&b"tiff:Orientation=\"6"[..]), 6),
            (None, Some(&b"tiff:Orientation"[..]), 1),
            (None, None, 1),
        ] {
            assert_eq!(Orientation::of(exif, xmp), Orientation(expected), "{xmp:?}");
        }
    }

    #[test]
    fn each_orientation_puts_each_pixel_where_exif_says() {
        // Two columns, three rows; a pixel's red is its number.
        let upright = [1, 2, 3, 4, 5, 6];
        for (orientation, width, expected) in [
            (1, 2, [1, 2, 3, 4, 5, 6]),
            (2, 2, [2, 1, 4, 3, 6, 5]),
            (3, 2, [6, 5, 4, 3, 2, 1]),
            (4, 2, [5, 6, 3, 4, 1, 2]),
            (5, 3, [1, 3, 5, 2, 4, 6]),
            (6, 3, [5, 3, 1, 6, 4, 2]),
            (7, 3, [6, 4, 2, 5, 3, 1]),
            (8, 3, [2, 4, 6, 1, 3, 5]),
        ] {
            let image = Image::new(2, 3, upright.iter().flat_map(|&n| [n, 0, 9]).collect()).unwrap();
            let turned = Orientation(orientation).apply(image).unwrap();
            let reds: Vec<u8> = turned.rgb.chunks_exact(3).map(|pixel| pixel[0]).collect();
            assert_eq!((turned.width, reds), (width, expected.to_vec()), "{orientation}");
        }
    }
}
