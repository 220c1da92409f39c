//! What a frame's bytes are, before they are a picture.

use sam3_model::image::Image;

use crate::{
    VideoError,
    raw::Pixels,
    yuv::{self, Layout, Range},
};

/// Frames in so many seconds: 30000 in 1001.
pub type Rate = (u64, u64);

/// How the bytes of a frame make a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A plane of brightness and two of colour, 8 bits a sample.
    Yuv {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// How the samples of colour lie.
        layout: Layout,
        /// What the numbers mean.
        range: Range,
    },
    /// Bytes of each pixel, row by row.
    Packed {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// What they are.
        pixels: Pixels,
    },
    /// A JPEG.
    Jpeg,
}

impl Format {
    /// Bytes of a frame; none where each has its own length.
    pub fn bytes(&self) -> Option<usize> {
        match *self {
            Self::Yuv {
                width, height, layout, ..
            } => Some(layout.samples(width, height)),
            Self::Packed { width, height, pixels } => Some(pixels.bytes() * width as usize * height as usize),
            Self::Jpeg => None,
        }
    }

    /// The picture that these bytes are.
    ///
    /// # Errors
    /// When they are none, or there is no room for it.
    ///
    /// # Panics
    /// When there are not as many as [`Format::bytes`] says.
    pub fn image(&self, bytes: &[u8]) -> Result<Image, VideoError> {
        match *self {
            Self::Yuv {
                width,
                height,
                layout,
                range,
            } => {
                let rgb = yuv::to_rgb(bytes, (width, height), layout, range)?;
                Ok(Image::new(width, height, rgb)?)
            }
            Self::Packed { width, height, pixels } => Ok(Image::new(width, height, pixels.to_rgb(bytes)?)?),
            Self::Jpeg => Ok(Image::decode_named(bytes, "a frame")?),
        }
    }
}

/// Frames, one after the other.
pub trait Frames: Send {
    /// What the bytes of a frame are.
    fn format(&self) -> Format;

    /// How many frames there are in a second, where that is known.
    fn rate(&self) -> Option<Rate>;

    /// Reads the next frame's bytes into `bytes`, whatever it held; false at the end.
    ///
    /// # Errors
    /// When it ends within a frame, or the source fails; what was read before stays right.
    fn read(&mut self, bytes: &mut Vec<u8>) -> Result<bool, VideoError>;
}

impl<F: Frames + ?Sized> Frames for Box<F> {
    fn format(&self) -> Format {
        (**self).format()
    }

    fn rate(&self) -> Option<Rate> {
        (**self).rate()
    }

    fn read(&mut self, bytes: &mut Vec<u8>) -> Result<bool, VideoError> {
        (**self).read(bytes)
    }
}
