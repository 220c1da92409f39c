//! Frames without anything around them, as a pipe from another program has them.

use std::{
    collections::TryReserveError,
    io::{self, Read},
};

use sam3_model::image::MAX_PIXELS;

use crate::{Format, Frames, Rate, VideoError};

/// The bytes of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pixels {
    /// Red, green and blue: ffmpeg's `rgb24`, GStreamer's `RGB`.
    Rgb,
    /// Blue, green and red, as OpenCV has them.
    Bgr,
    /// Brightness alone.
    Gray,
}

impl Pixels {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr => 3,
            Self::Gray => 1,
        }
    }

    pub(crate) fn to_rgb(self, bytes: &[u8]) -> Result<Vec<u8>, TryReserveError> {
        let mut rgb = Vec::new();
        rgb.try_reserve_exact(bytes.len() / self.bytes() * 3)?;
        match self {
            Self::Rgb => rgb.extend_from_slice(bytes),
            Self::Bgr => rgb.extend(bytes.as_chunks().0.iter().flat_map(|&[b, g, r]| [r, g, b])),
            Self::Gray => rgb.extend(bytes.iter().flat_map(|&gray| [gray; 3])),
        }
        Ok(rgb)
    }
}

/// Frames of one size and format from a reader.
#[derive(Debug)]
pub struct Raw<R> {
    reader: R,
    format: Format,
    rate: Option<Rate>,
}

impl<R: Read + Send> Raw<R> {
    /// Frames of `width` x `height` pixels.
    ///
    /// # Errors
    /// When they have no pixels, or more than a picture may.
    pub fn new(reader: R, width: u32, height: u32, pixels: Pixels, rate: Option<Rate>) -> Result<Self, VideoError> {
        check_size(width, height)?;
        let format = Format::Packed { width, height, pixels };
        Ok(Self { reader, format, rate })
    }
}

/// That a picture may have such a size.
pub(crate) fn check_size(width: u32, height: u32) -> Result<(), VideoError> {
    match u64::from(width) * u64::from(height) {
        1..=MAX_PIXELS => Ok(()),
        _ => Err(VideoError::Header(format!(
            "expected a size of 1 to {MAX_PIXELS} pixels, found {width} x {height}"
        ))),
    }
}

impl<R: Read + Send> Frames for Raw<R> {
    fn format(&self) -> Format {
        self.format
    }

    fn rate(&self) -> Option<Rate> {
        self.rate
    }

    fn read(&mut self, bytes: &mut Vec<u8>) -> Result<bool, VideoError> {
        let length = self.format.bytes().expect("pixels have a size");
        read_whole(&mut self.reader, bytes, length)
    }
}

/// Reads `length` bytes into `bytes`; false where there are none at all.
pub(crate) fn read_whole(reader: &mut impl Read, bytes: &mut Vec<u8>, length: usize) -> Result<bool, VideoError> {
    bytes.try_reserve_exact(length.saturating_sub(bytes.len()))?;
    bytes.resize(length, 0);
    match fill(reader, bytes)? {
        found if found == length => Ok(true),
        0 => Ok(false),
        found => Err(VideoError::Cut {
            expected: length as u64,
            found: found as u64,
        }),
    }
}

/// As many bytes as there are, and how many that were.
pub(crate) fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut found = 0;
    while found < buffer.len() {
        match reader.read(&mut buffer[found..]) {
            Ok(0) => break,
            Ok(count) => found += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_come_one_frame_after_the_other() {
        for (pixels, frame, expected) in [
            (Pixels::Rgb, &[1, 2, 3, 4, 5, 6][..], [1, 2, 3, 4, 5, 6]),
            (Pixels::Bgr, &[1, 2, 3, 4, 5, 6], [3, 2, 1, 6, 5, 4]),
            (Pixels::Gray, &[7, 9], [7, 7, 7, 9, 9, 9]),
        ] {
            let stream = [frame, frame, &frame[..1]].concat();
            let mut raw = Raw::new(stream.as_slice(), 2, 1, pixels, None).unwrap();
            let mut bytes = Vec::new();
            for _ in 0..2 {
                assert!(raw.read(&mut bytes).unwrap());
                assert_eq!(raw.format().image(&bytes).unwrap().rgb(), expected);
            }
            let error = raw.read(&mut bytes).unwrap_err().to_string();
            assert!(
                error.contains(&format!("expected {} bytes, found 1", frame.len())),
                "{error}"
            );
        }
        for (width, height) in [(0, 4), (4, 0), (u32::MAX, u32::MAX)] {
            assert!(Raw::new(&[][..], width, height, Pixels::Rgb, None).is_err());
        }
    }
}
