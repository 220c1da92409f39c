//! Pictures: files read into 8-bit RGB, and written.

mod exif;
mod foreign;
mod jpeg;
mod orientation;
mod png;
mod read;
mod samples;
mod tiff;

use std::path::{Path, PathBuf};

pub use foreign::is_video;
pub(crate) use png::{Samples, encode as encode_png};
use sam3_tensor::ops;

/// The most pixels an image may have: where Pillow, too, takes a file for a decompression bomb.
///
/// Reading takes the file and at most 20 bytes a pixel, which is what a progressive JPEG in CMYK needs; most take 6.
pub const MAX_PIXELS: u64 = 178_956_970;

/// An 8-bit RGB picture of at least one pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    width: u32,
    height: u32,
    /// `[height, width, 3]`, row by row.
    rgb: Vec<u8>,
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

/// The bytes of a picture's file, for a caller that wants more of them than [`Image::open`] does.
///
/// # Errors
/// The file cannot be read, or is a pipe or a device.
pub fn read_file(path: &Path) -> Result<Vec<u8>, ImageError> {
    let failed = |source| ImageError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let kind = std::fs::metadata(path).map_err(failed)?.file_type();
    // A pipe would be waited for, and a device may have no end; a folder has an error of its own.
    if !kind.is_file() && !kind.is_dir() {
        return Err(ImageError::Invalid {
            name: path.display().to_string(),
            reason: "expected a picture in a regular file, found a pipe or a device".to_owned(),
        });
    }
    std::fs::read(path).map_err(failed)
}

impl Image {
    /// A picture of these pixels: red, green and blue of each, row by row.
    ///
    /// # Errors
    /// It has no pixels, more than [`MAX_PIXELS`], or `rgb` is not three bytes for each.
    pub fn new(width: u32, height: u32, rgb: Vec<u8>) -> Result<Self, ImageError> {
        let invalid = |reason| ImageError::Invalid {
            name: "image".to_owned(),
            reason,
        };
        let pixels = samples::pixels(width, height).map_err(invalid)?;
        if rgb.len() != 3 * pixels {
            let expected = 3 * pixels;
            return Err(invalid(format!(
                "expected {expected} bytes of RGB for {width}x{height} pixels, found {}",
                rgb.len()
            )));
        }
        Ok(Self { width, height, rgb })
    }

    /// Pixels in a row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// `[height, width, 3]`, row by row.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// [`Image::rgb`], to draw in.
    pub fn rgb_mut(&mut self) -> &mut [u8] {
        &mut self.rgb
    }

    /// Reads a JPEG, PNG, WebP, BMP, GIF or TIFF file, whatever its name says, turned upright as its EXIF or XMP
    /// orientation asks. Of several pictures in a file it is the first.
    ///
    /// # Errors
    /// The file cannot be read, is none of these, is damaged, or has more than [`MAX_PIXELS`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ImageError> {
        let path = path.as_ref();
        Self::decode_named(&read_file(path)?, &path.display().to_string())
    }

    /// [`Image::open`] for bytes that are already here; errors call them `image`.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ImageError> {
        Self::decode_named(bytes, "image")
    }

    /// [`Image::decode`] of bytes that errors call `name`, such as `stdin`.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn decode_named(bytes: &[u8], name: &str) -> Result<Self, ImageError> {
        read::read(bytes, &samples::pixels).map_err(|reason| ImageError::Invalid {
            name: name.to_owned(),
            reason,
        })
    }

    /// [`Image::decode`] for who takes no picture of every size: `admit` is asked about width and height, as the file
    /// has them, before memory is taken for the pixels. What it says against them is the error's reason.
    ///
    /// # Errors
    /// As [`Image::open`], and where the picture is not admitted.
    pub fn decode_if(bytes: &[u8], admit: impl Fn(u32, u32) -> Result<(), String>) -> Result<Self, ImageError> {
        let admit = |width, height| {
            admit(width, height)?;
            samples::pixels(width, height)
        };
        read::read(bytes, &admit).map_err(|reason| ImageError::Invalid {
            name: "image".to_owned(),
            reason,
        })
    }

    /// The part of the picture in the box `x1, y1, x2, y2`, the last two just past it.
    ///
    /// # Panics
    /// When the box has no pixel, or is not in the picture.
    pub fn crop(&self, [x1, y1, x2, y2]: [u32; 4]) -> Self {
        let (width, height) = (self.width, self.height);
        assert!(x1 < x2 && x2 <= width, "columns {x1} to {x2} of {width}");
        assert!(y1 < y2 && y2 <= height, "rows {y1} to {y2} of {height}");
        let mut rgb = Vec::with_capacity(3 * (x2 - x1) as usize * (y2 - y1) as usize);
        for row in self
            .rgb
            .chunks_exact(3 * width as usize)
            .take(y2 as usize)
            .skip(y1 as usize)
        {
            rgb.extend_from_slice(&row[3 * x1 as usize..3 * x2 as usize]);
        }
        Self {
            width: x2 - x1,
            height: y2 - y1,
            rgb,
        }
    }

    /// The picture at another size, its sides stretched independently: resized as torchvision does it, bit for bit.
    ///
    /// # Errors
    /// When there is no room for it.
    ///
    /// # Panics
    /// Where `width` or `height` is 0: no picture is that small.
    pub fn resize(&self, width: u32, height: u32) -> crate::Result<Self> {
        let extents = |width: u32, height: u32| (height as usize, width as usize);
        let rgb = ops::resize(&self.rgb, extents(self.width, self.height), extents(width, height))?;
        Ok(Self { width, height, rgb })
    }

    /// As [`resize`](Self::resize), but as Pillow does it with `BICUBIC`, bit for bit: how the official code resizes
    /// the frames of a video that is followed by clicks alone.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn resize_bicubic(&self, width: u32, height: u32) -> crate::Result<Self> {
        let extents = |width: u32, height: u32| (height as usize, width as usize);
        let rgb = ops::resize_bicubic(&self.rgb, extents(self.width, self.height), extents(width, height))?;
        Ok(Self { width, height, rgb })
    }

    /// The picture as a PNG file's bytes.
    pub fn to_png(&self) -> Vec<u8> {
        png::encode(self.width, self.height, &png::Samples::Rgb8(&self.rgb))
    }

    /// The picture as a JPEG file's bytes, of a quality from 1 to 100 as libjpeg counts it.
    ///
    /// # Panics
    /// When a side is 0, or above 65,535.
    pub fn to_jpeg(&self, quality: u8) -> Vec<u8> {
        jpeg::encode(self.width, self.height, &self.rgb, quality)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_pixels_and_three_bytes_for_each() {
        let image = Image::new(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(
            (image.width(), image.height(), image.rgb()),
            (2, 1, &[1, 2, 3, 4, 5, 6][..])
        );
        for (width, height, bytes, expected) in [
            (0, 1, 0, "no pixels: 0x1"),
            (1, 0, 0, "no pixels: 1x0"),
            (2, 1, 5, "expected 6 bytes of RGB for 2x1 pixels, found 5"),
            (2, 1, 7, "found 7"),
            (
                u32::MAX,
                u32::MAX,
                3,
                "4294967295x4294967295 is more than 178956970 pixels",
            ),
        ] {
            let error = Image::new(width, height, vec![0; bytes]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_png_reads_back_and_a_cut_one_does_not() {
        let image = Image::new(5, 3, (0..45).collect()).unwrap();
        let png = image.to_png();
        assert_eq!(Image::decode(&png).unwrap(), image);
        assert!(Image::decode(&png[..png.len() / 2]).is_err());
    }
}
