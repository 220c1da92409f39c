//! MJPEG: JPEGs one after the other, as cameras and `ffmpeg -f mjpeg` write them.

use std::io::{BufRead, Read};

use crate::{Format, Frames, Rate, VideoError};

/// No frame is longer.
const LONGEST: usize = 1 << 28;
/// Bytes that may stand between two frames, as the lines of `multipart/x-mixed-replace` do.
const BETWEEN: usize = 1 << 16;

const START: u8 = 0xd8;
const END: u8 = 0xd9;
const SCAN: u8 = 0xda;

/// JPEGs from a reader.
#[derive(Debug)]
pub struct Mjpeg<R> {
    reader: R,
    rate: Option<Rate>,
    /// Bytes that were read.
    position: u64,
}

impl<R: BufRead + Send> Mjpeg<R> {
    /// Reads from where the first frame begins, or from the lines before it.
    pub fn new(reader: R, rate: Option<Rate>) -> Self {
        Self {
            reader,
            rate,
            position: 0,
        }
    }

    /// The reader, to go to where a frame begins.
    pub fn reader(&mut self) -> &mut R {
        &mut self.reader
    }

    /// Bytes up to the end of the frame that was read last, from where the reading began.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Goes to the next frame's second byte; false at the end.
    fn find_start(&mut self) -> Result<bool, VideoError> {
        let mut before = 0;
        for _ in 0..BETWEEN {
            match self.byte()? {
                None => return Ok(false),
                Some(START) if before == 0xff => return Ok(true),
                Some(byte) => before = byte,
            }
        }
        Err(VideoError::NoJpeg)
    }

    fn byte(&mut self) -> Result<Option<u8>, VideoError> {
        let mut byte = [0];
        let found = crate::raw::fill(&mut self.reader, &mut byte)?;
        self.position += found as u64;
        Ok((found == 1).then_some(byte[0]))
    }

    fn next(&mut self, bytes: &mut Vec<u8>) -> Result<u8, VideoError> {
        if bytes.len() >= LONGEST {
            return Err(VideoError::NoJpeg);
        }
        let byte = self.byte()?.ok_or(VideoError::Cut {
            expected: bytes.len() as u64 + 1,
            found: bytes.len() as u64,
        })?;
        bytes.push(byte);
        Ok(byte)
    }

    /// A marker's segment, whose first two bytes are its length.
    fn segment(&mut self, bytes: &mut Vec<u8>) -> Result<(), VideoError> {
        let length = u16::from_be_bytes([self.next(bytes)?, self.next(bytes)?]);
        let rest = length.checked_sub(2).ok_or(VideoError::NoJpeg)?;
        let start = bytes.len();
        let read = self.reader.by_ref().take(rest.into()).read_to_end(bytes)?;
        self.position += read as u64;
        match read == usize::from(rest) {
            true => Ok(()),
            false => Err(VideoError::Cut {
                expected: start as u64 + u64::from(rest),
                found: bytes.len() as u64,
            }),
        }
    }

    /// What a scan's segment is followed by, up to and with the next marker, which it returns.
    fn scan(&mut self, bytes: &mut Vec<u8>) -> Result<u8, VideoError> {
        loop {
            let read = self
                .reader
                .by_ref()
                .take((LONGEST - bytes.len()) as u64)
                .read_until(0xff, bytes)?;
            self.position += read as u64;
            match self.next(bytes)? {
                // A byte of the data, or where a decoder may begin again.
                0 | 0xd0..=0xd7 => {}
                // Filling: the marker is behind it.
                0xff => loop {
                    match self.next(bytes)? {
                        0xff => {}
                        0 | 0xd0..=0xd7 => break,
                        marker => return Ok(marker),
                    }
                },
                marker => return Ok(marker),
            }
        }
    }
}

impl<R: BufRead + Send> Frames for Mjpeg<R> {
    fn format(&self) -> Format {
        Format::Jpeg
    }

    fn rate(&self) -> Option<Rate> {
        self.rate
    }

    fn read(&mut self, bytes: &mut Vec<u8>) -> Result<bool, VideoError> {
        bytes.clear();
        if !self.find_start()? {
            return Ok(false);
        }
        bytes.extend([0xff, START]);
        let mut marker = None;
        loop {
            let kind = match marker.take() {
                Some(kind) => kind,
                None if self.next(bytes)? != 0xff => return Err(VideoError::NoJpeg),
                None => loop {
                    match self.next(bytes)? {
                        0xff => {}
                        kind => break kind,
                    }
                },
            };
            match kind {
                END => return Ok(true),
                SCAN => {
                    self.segment(bytes)?;
                    marker = Some(self.scan(bytes)?);
                }
                // Markers that stand alone.
                0x01 | 0xd0..=0xd7 => {}
                0 | START => return Err(VideoError::NoJpeg),
                _ => self.segment(bytes)?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A JPEG in its outlines: a thumbnail that has an end of its own, two scans, a restart, and filling.
    const ONE: &[u8] =
        b"\xff\xd8\xff\xe1\0\x08\xff\xd8xy\xff\xd9\xff\xda\0\x04ab12\xff\0\xff\xd3456\xff\xff\xc4\0\x03z\
        \xff\xda\0\x04ab7\xff\xd9";

    fn frames(bytes: &[u8]) -> (Vec<Vec<u8>>, Result<bool, String>) {
        let mut stream = Mjpeg::new(bytes, None);
        let (mut all, mut frame) = (Vec::new(), Vec::new());
        loop {
            match stream.read(&mut frame) {
                Ok(true) => all.push(frame.clone()),
                end => return (all, end.map_err(|error| error.to_string())),
            }
        }
    }

    #[test]
    fn frames_end_where_jpegs_do() {
        let between = [ONE, ONE].join(&b"\r\n--part\r\nContent-Type: image/jpeg\r\nContent-Length: 49\r\n\r\n"[..]);
        for stream in [
            [ONE, ONE].concat(),
            between,
            [&b"--part\r\n\r\n"[..], ONE, ONE, b"\r\n"].concat(),
        ] {
            assert_eq!(frames(&stream), (vec![ONE.to_vec(); 2], Ok(false)));
        }
        assert_eq!(frames(b""), (vec![], Ok(false)));
    }

    #[test]
    fn what_is_cut_or_damaged_is_told_behind_what_is_whole() {
        for cut in 2..ONE.len() {
            let (whole, end) = frames(&[ONE, &ONE[..cut]].concat());
            assert_eq!(whole.len(), 1, "{cut}");
            assert!(end.as_ref().unwrap_err().contains("cut off"), "{cut}: {end:?}");
        }
        for damaged in [
            &b"\xff\xd8\0\0"[..],
            b"\xff\xd8\xff\0",
            b"\xff\xd8\xff\xe1\0\x01",
            &[7; BETWEEN + 1],
        ] {
            let (whole, end) = frames(&[ONE, damaged].concat());
            assert_eq!(whole.len(), 1);
            assert!(end.unwrap_err().contains("expected a JPEG"));
        }
    }

    #[test]
    fn a_frame_is_where_its_position_says() {
        let stream = [ONE, b"junk", ONE].concat();
        let mut frames = Mjpeg::new(stream.as_slice(), None);
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        while frames.read(&mut bytes).unwrap() {
            ends.push(frames.position() as usize);
        }
        assert_eq!(ends, [ONE.len(), stream.len()]);
    }
}
