//! JPEG: which files `jpeg-decoder` reads rightly, and what it needs to be told (docs/adr/0006-picture-decoders.md).

mod header;

use std::borrow::Cow;

use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};
use jpeg_decoder::{ColorTransform, Decoder, PixelFormat};

use self::header::Header;
use super::{
    Image, exif,
    orientation::Orientation,
    samples::{self, Admit},
};

/// What decoding takes, a pixel, but for the progressive files of four inks, which take more.
const MOST_BYTES: usize = 15;

/// The first picture of a JPEG file; whatever lies behind its end is not looked at.
pub fn decode(bytes: &[u8], admit: Admit<'_>) -> Result<(Image, Orientation), String> {
    let header = Header::read(bytes)?;
    let pixels = admit(header.width.into(), header.height.into())?;
    header.check()?;
    samples::room(MOST_BYTES * pixels)?;
    let picture = with_tables(bytes, &header);
    let mut decoder = Decoder::new(&*picture);
    decoder.set_color_transform(header.color_transform());
    let decoded = decoder
        .decode()
        .map_err(|error| format!("damaged JPEG: {error}; copy it again"))?;
    // Adobe stores inks inverted, 255 for none, and the decoder leaves them so. Pillow takes all such files to be
    // Adobe's.
    let rgb = match decoder.info().map(|info| info.pixel_format) {
        Some(PixelFormat::L8) => samples::to_rgb(decoded, 1, [0; 3])?,
        Some(PixelFormat::RGB24) => decoded,
        Some(PixelFormat::CMYK32) => samples::cmyk_to_rgb(&decoded)?,
        other => return Err(format!("a JPEG of {other:?} is not read; {}", header::CONVERT)),
    };
    if rgb.len() != 3 * pixels {
        return Err("damaged JPEG: it holds fewer pixels than it says; copy it again".to_owned());
    }
    let image = Image {
        width: header.width.into(),
        height: header.height.into(),
        rgb,
    };
    let exif = header.exif.as_deref().and_then(exif::orientation);
    Ok((image, Orientation::of(exif, header.xmp)))
}

/// The first picture's bytes. Where no Huffman tables come before its first scan, as in frames of webcams, they are
/// marked as a frame of an AVI file, for which the decoder takes the standard's tables.
fn with_tables<'a>(bytes: &'a [u8], header: &Header) -> Cow<'a, [u8]> {
    let picture = &bytes[..header.end];
    if header.has_tables {
        return Cow::Borrowed(picture);
    }
    let (start, rest) = picture.split_at(2);
    Cow::Owned([start, b"\xff\xe0\0\x07AVI1\0", rest].concat())
}

impl Header<'_> {
    /// The colours that the components are, by the rules of libjpeg.
    fn color_transform(&self) -> ColorTransform {
        let names: Vec<u8> = self.components.iter().map(|component| component.name).collect();
        match (names.len(), self.adobe) {
            (1, _) => ColorTransform::Grayscale,
            (3, _) if self.jfif => ColorTransform::YCbCr,
            (3, Some(0)) => ColorTransform::RGB,
            (3, None) if names == *b"RGB" => ColorTransform::RGB,
            (3, _) => ColorTransform::YCbCr,
            (_, None | Some(0)) => ColorTransform::CMYK,
            (_, Some(_)) => ColorTransform::YCCK,
        }
    }
}
/// A JPEG file's bytes, of a quality from 1 to 100 as libjpeg counts it.
///
/// # Panics
/// When a side is 0 or above 65,535, or there are not as many samples.
pub fn encode(width: u32, height: u32, rgb: &[u8], quality: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode(rgb, width, height, ExtendedColorType::Rgb8)
        .expect("its sides are those of a JPEG, and memory takes it");
    bytes
}

#[cfg(test)]
mod tests {
    use crate::image::Image;

    /// A drawing with slopes and edges.
    fn picture(width: u32, height: u32) -> Image {
        let pixel = |x: u32, y: u32| {
            let inside = (x / 20 + y / 15).is_multiple_of(2);
            [
                (x * 255 / width) as u8,
                (y * 255 / height) as u8,
                if inside { 200 } else { 60 },
            ]
        };
        let rgb = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y)));
        Image::new(width, height, rgb.collect()).unwrap()
    }

    /// How far libjpeg's own are off, as Pillow writes them.
    #[test]
    fn what_is_written_is_read_as_near_as_libjpegs() {
        for (width, height, errors) in [
            (1, 1, [0.577, 0.577, 0.577]),
            (7, 9, [7.744, 6.121, 5.157]),
            (160, 120, [15.898, 12.110, 10.171]),
            (131, 77, [16.521, 12.669, 10.728]),
        ] {
            let image = picture(width, height);
            for (quality, expected) in [40, 75, 95].into_iter().zip(errors) {
                let read = Image::decode(&image.to_jpeg(quality)).unwrap();
                assert_eq!((read.width(), read.height()), (width, height));
                let pairs = image.rgb().iter().zip(read.rgb());
                let squares: f64 = pairs.map(|(&a, &b)| f64::from(a.abs_diff(b)).powi(2)).sum();
                let error = (squares / image.rgb().len() as f64).sqrt();
                assert!(
                    error < 1.03 * expected + 0.25,
                    "{width}x{height} at {quality}: {error}, not {expected}"
                );
            }
        }
    }
}
