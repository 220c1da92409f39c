//! Pictures: reading files into 8-bit RGB, and what the model is given and gives back in pixels.

mod resize;
mod upsample;

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError as DecodeError, ImageFormat, ImageReader};

pub(crate) use resize::Weights;
pub use resize::{preprocess, resize};
pub(crate) use upsample::between;
pub use upsample::upsample_threshold;

/// The most pixels an image may have: where Pillow, too, takes a file for a decompression bomb.
pub const MAX_PIXELS: u64 = 178_956_970;

/// An 8-bit RGB picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `[height, width, 3]`, row by row.
    pub rgb: Vec<u8>,
}

/// Why a picture could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The operating system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// "read" or "write".
        action: &'static str,
        /// The picture's file.
        path: PathBuf,
        /// The system's own reason.
        source: std::io::Error,
    },
    /// The bytes are no picture, or not a whole one.
    #[error("{name}: {reason}")]
    Invalid {
        /// The file, or what stands for it.
        name: String,
        /// What was expected and what was found.
        reason: String,
    },
}

impl Image {
    /// Reads a JPEG, PNG, WebP or BMP file, whatever its name says, turned upright as its EXIF orientation asks.
    ///
    /// # Errors
    /// The file cannot be read, is none of these, is damaged, or has more than [`MAX_PIXELS`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ImageError> {
        let path = path.as_ref();
        let invalid = |reason| ImageError::Invalid {
            name: path.display().to_string(),
            reason,
        };
        let failed = |source| ImageError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        };
        let kind = std::fs::metadata(path).map_err(failed)?.file_type();
        // A pipe would be waited for, and a device may have no end; a folder has an error of its own.
        if !kind.is_file() && !kind.is_dir() {
            return Err(invalid(
                "expected a picture in a regular file, found a pipe or a device".to_owned(),
            ));
        }
        decode(&std::fs::read(path).map_err(failed)?).map_err(invalid)
    }

    /// [`Image::open`] for bytes that are already here.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ImageError> {
        decode(bytes).map_err(|reason| ImageError::Invalid {
            name: "image".to_owned(),
            reason,
        })
    }

    /// The picture as a PNG file's bytes.
    pub fn to_png(&self) -> Vec<u8> {
        let mut png = Cursor::new(Vec::new());
        image::write_buffer_with_format(
            &mut png,
            &self.rgb,
            self.width,
            self.height,
            image::ExtendedColorType::Rgb8,
            ImageFormat::Png,
        )
        .expect("writing to memory, with as many bytes as the size needs");
        png.into_inner()
    }

    /// Writes [`Image::to_png`] to `path`.
    ///
    /// # Errors
    /// The system's, when it does not let the file be written.
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<(), ImageError> {
        let path = path.as_ref();
        std::fs::write(path, self.to_png()).map_err(|source| ImageError::Io {
            action: "write",
            path: path.to_owned(),
            source,
        })
    }
}

fn decode(bytes: &[u8]) -> Result<Image, String> {
    let format = match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP | ImageFormat::Bmp)) => format,
        Ok(other) => {
            return Err(format!(
                "not an image sam3 reads (JPEG, PNG, WebP, BMP): it is {other:?}; convert it"
            ));
        }
        Err(_) if bytes.is_empty() => {
            return Err("the file is empty; expected a JPEG, PNG, WebP or BMP, so copy it again".to_owned());
        }
        Err(_) => return Err("not an image sam3 reads (JPEG, PNG, WebP, BMP)".to_owned()),
    };
    let damaged = |error: DecodeError| format!("damaged {format:?}: {error}");
    if format == ImageFormat::Jpeg && is_cut_jpeg(bytes) {
        return Err("damaged Jpeg: the file ends before the picture does; copy it again".to_owned());
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.no_limits(); // ours, below, is about the picture and not about how it is stored
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(format!(
            "{width}x{height} is more than {MAX_PIXELS} pixels; make it smaller"
        ));
    }
    // A damaged EXIF block is no reason to refuse the picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    picture.apply_orientation(orientation);
    let (width, height) = (picture.width(), picture.height());
    if width == 0 || height == 0 {
        return Err(format!("the picture has no pixels: {width}x{height}"));
    }
    Ok(Image {
        width,
        height,
        rgb: to_rgb8(picture),
    })
}

/// As Pillow's `convert("RGB")`: alpha is dropped, not blended, and of 16 bits the upper 8 stay.
///
/// (Pillow keeps the upper 8 of 16-bit colour but clips 16-bit grey at 255, which makes it white; not so here.)
fn to_rgb8(picture: DynamicImage) -> Vec<u8> {
    let high = |value: &u16| (value >> 8) as u8;
    match picture {
        DynamicImage::ImageRgb16(p) => p.as_raw().iter().map(high).collect(),
        DynamicImage::ImageRgba16(p) => p.pixels().flat_map(|p| [0, 1, 2].map(|c| high(&p.0[c]))).collect(),
        DynamicImage::ImageLuma16(p) => p.pixels().flat_map(|p| [high(&p.0[0]); 3]).collect(),
        DynamicImage::ImageLumaA16(p) => p.pixels().flat_map(|p| [high(&p.0[0]); 3]).collect(),
        other => other.into_rgb8().into_raw(),
    }
}

/// True where no end-of-image marker follows the last scan: the decoder would fill the rest with grey and say nothing.
fn is_cut_jpeg(bytes: &[u8]) -> bool {
    let last = |marker| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    last(0xd9) < last(0xda)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_an_image_is_said_so() {
        for (bytes, expected) in [
            (
                &b""[..],
                "the file is empty; expected a JPEG, PNG, WebP or BMP, so copy it again",
            ),
            (
                b"hello, I am no image at all",
                "not an image sam3 reads (JPEG, PNG, WebP, BMP)",
            ),
            (b"GIF89a\x01\x00\x01\x00", "it is Gif"),
            (b"\x89PNG\r\n\x1a\n\x00\x00", "damaged Png"),
            (b"\xff\xd8\xff\xe0\x00\x10JFIF", "damaged Jpeg"),
            (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "damaged WebP"),
            (b"BM\x00\x00", "damaged Bmp"),
        ] {
            let error = Image::decode(bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let missing = Image::open("no/such.png").unwrap_err().to_string();
        assert!(missing.starts_with("read no/such.png: "), "{missing}");
    }

    #[test]
    fn of_sixteen_bits_the_upper_eight_stay() {
        let grey = image::ImageBuffer::<image::Luma<u16>, _>::from_raw(2, 1, vec![0x12ff, 0xfe00]);
        let mut png = Cursor::new(Vec::new());
        grey.unwrap().write_to(&mut png, ImageFormat::Png).unwrap();
        let image = Image::decode(png.get_ref()).unwrap();
        assert_eq!(image.rgb, [0x12, 0x12, 0x12, 0xfe, 0xfe, 0xfe]);
    }

    #[test]
    fn a_png_reads_back_and_a_cut_one_does_not() {
        let image = Image {
            width: 5,
            height: 3,
            rgb: (0..45).collect(),
        };
        let png = image.to_png();
        assert_eq!(Image::decode(&png).unwrap(), image);
        assert!(Image::decode(&png[..png.len() / 2]).is_err());
    }
}
