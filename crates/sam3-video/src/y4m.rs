//! Y4M: uncompressed video, as `ffmpeg -f yuv4mpegpipe` and `mjpegtools` write it, one frame in memory at a time.

use std::io::{BufRead, Read};

use sam3_model::image::MAX_PIXELS;

use crate::{
    Format, Frames, Rate, VideoError,
    raw::read_whole,
    yuv::{Layout, Range},
};

/// What every file begins with.
pub const MAGIC: &[u8] = b"YUV4MPEG2";
const FRAME: &[u8] = b"FRAME";
/// No line of a header is longer.
const LONGEST_LINE: u64 = 4096;

/// What the first line of a file says.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Header {
    width: u32,
    height: u32,
    rate: Option<Rate>,
    layout: Layout,
    range: Range,
}

/// Frames of a Y4M, one after the other.
#[derive(Debug)]
pub struct Y4m<R> {
    reader: R,
    header: Header,
    /// Bytes of the header's line, and of the line before each frame.
    lines: [u64; 2],
}

impl Header {
    /// # Errors
    /// What in it cannot be read, and what to do.
    fn parse(line: &[u8]) -> Result<Self, VideoError> {
        let line = String::from_utf8_lossy(line);
        let mut words = line.split_ascii_whitespace();
        if words.next().map(str::as_bytes) != Some(MAGIC) {
            return Err(VideoError::Header(
                "expected a Y4M, which begins with YUV4MPEG2".to_owned(),
            ));
        }
        let mut sides = [None; 2];
        let (mut rate, mut layout, mut range) = (None, Layout::default(), Range::default());
        for word in words {
            // Only ASCII matters; of other words, none is known.
            let (key, value) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
            match key {
                "W" => sides[0] = Some(value),
                "H" => sides[1] = Some(value),
                "F" => rate = parse_rate(value),
                "C" => layout = Layout::parse(value).map_err(VideoError::Header)?,
                "X" if value == "COLORRANGE=FULL" => range = Range::Full,
                // Interlacing, the shape of pixels, comments.
                _ => {}
            }
        }
        let [width, height] = sides.map(|side| side.and_then(|side| side.parse().ok()).unwrap_or(0));
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 || pixels > MAX_PIXELS {
            let shown = sides.map(|side| side.unwrap_or("nothing"));
            return Err(VideoError::Header(format!(
                "the header of a Y4M: expected W and H of 1 to {MAX_PIXELS} pixels, found {} and {}",
                shown[0], shown[1]
            )));
        }
        Ok(Self {
            width,
            height,
            rate,
            layout,
            range,
        })
    }
}

/// Frames in seconds; 0 of either means that it is not known.
fn parse_rate(text: &str) -> Option<(u64, u64)> {
    let (frames, seconds) = text.split_once(':')?;
    let rate = (frames.parse().ok()?, seconds.parse().ok()?);
    (rate.0 > 0 && rate.1 > 0).then_some(rate)
}

impl<R: BufRead + Send> Y4m<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When it is not that of a Y4M, or of a kind that is not read; or the system refuses.
    pub fn open(mut reader: R) -> Result<Self, VideoError> {
        let line = match read_line(&mut reader)? {
            Line::Whole(line) => line,
            Line::Cut(_) => return Err(VideoError::Header("the header of a Y4M: it has no end".to_owned())),
        };
        Ok(Self {
            reader,
            header: Header::parse(&line)?,
            lines: [line.len() as u64 + 1, FRAME.len() as u64 + 1],
        })
    }

    /// Where a frame begins, if the lines before all of them are as long as the last one that was read.
    pub fn offset(&self, frame: usize) -> u64 {
        self.lines[0] + frame as u64 * (self.lines[1] + self.samples() as u64)
    }

    /// The number of whole frames in a file of so many bytes, on the same terms, and whether a part of one is behind
    /// them.
    pub fn frames_in(&self, bytes: u64) -> (usize, bool) {
        let stride = self.offset(1) - self.offset(0);
        let bytes = bytes.saturating_sub(self.offset(0));
        ((bytes / stride) as usize, !bytes.is_multiple_of(stride))
    }

    /// The reader, to go to an [`offset`](Self::offset).
    pub fn reader(&mut self) -> &mut R {
        &mut self.reader
    }

    fn samples(&self) -> usize {
        self.header.layout.samples(self.header.width, self.header.height)
    }
}

impl<R: BufRead + Send> Frames for Y4m<R> {
    fn format(&self) -> Format {
        let Header {
            width,
            height,
            layout,
            range,
            ..
        } = self.header;
        Format::Yuv {
            width,
            height,
            layout,
            range,
        }
    }

    fn rate(&self) -> Option<Rate> {
        self.header.rate
    }

    fn read(&mut self, bytes: &mut Vec<u8>) -> Result<bool, VideoError> {
        let expected = self.samples();
        let frame = match read_line(&mut self.reader)? {
            Line::Whole(line) => line,
            Line::Cut(0) => return Ok(false),
            Line::Cut(found) => {
                let expected = expected as u64 + self.lines[1];
                return Err(VideoError::Cut { expected, found });
            }
        };
        if !frame.starts_with(FRAME) || frame.get(FRAME.len()).is_some_and(|next| *next != b' ') {
            return Err(VideoError::NoFrame);
        }
        self.lines[1] = frame.len() as u64 + 1;
        match read_whole(&mut self.reader, bytes, expected)? {
            true => Ok(true),
            false => Err(VideoError::Cut {
                expected: expected as u64,
                found: 0,
            }),
        }
    }
}

/// A line, without its end.
enum Line {
    Whole(Vec<u8>),
    /// The file ends before the line does, behind so many bytes.
    Cut(u64),
}

fn read_line(reader: &mut impl BufRead) -> Result<Line, VideoError> {
    let mut line = Vec::new();
    let read = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? as u64;
    match line.pop() {
        Some(b'\n') => Ok(Line::Whole(line)),
        _ if read == LONGEST_LINE => Err(VideoError::NoFrame),
        _ => Ok(Line::Cut(read)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(bytes: &[u8]) -> Result<Y4m<&[u8]>, String> {
        Y4m::open(bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn a_header_says_what_frames_are() {
        let file = open(b"YUV4MPEG2 W6 H4 F30000:1001 Ip A1:1 C420jpeg XYSCSS=420JPEG XCOLORRANGE=FULL\n").unwrap();
        let format = |width, height, range| Format::Yuv {
            width,
            height,
            layout: Layout::C420,
            range,
        };
        assert_eq!(file.format(), format(6, 4, Range::Full));
        assert_eq!(file.rate(), Some((30_000, 1001)));
        let file = open(b"YUV4MPEG2 H1 W1 F0:0 XCOLORRANGE=LIMITED\n").unwrap();
        assert_eq!((file.rate(), file.format()), (None, format(1, 1, Range::Limited)));
    }

    #[test]
    fn what_is_not_read_is_named() {
        for (header, expected) in [
            ("YUV4MPEG2 W6 H4 C420p10\n", "10 bits"),
            ("YUV4MPEG2 W6 H4 C444p16 XYSCSS=444P16\n", "16 bits"),
            ("YUV4MPEG2 W6 H4 Cmono12\n", "12 bits"),
            ("YUV4MPEG2 W6 H4 C444alpha\n", "found C444alpha"),
            (
                "YUV4MPEG2 W6\n",
                "expected W and H of 1 to 178956970 pixels, found 6 and nothing",
            ),
            ("YUV4MPEG2 W0 H5\n", "found 0 and 5"),
            ("YUV4MPEG2 W4294967295 H4294967295\n", "found 4294967295 and"),
            (
                "YUV4MPEG2 W99999999999999999999 H1\n",
                "found 99999999999999999999 and 1",
            ),
            ("YUV4MPEG2 W-6 H4\n", "found -6 and 4"),
            ("YUV4MPEG2 W6 H4", "it has no end"),
            ("YUV4MPEG W6 H4\n", "begins with YUV4MPEG2"),
        ] {
            let error = open(header.as_bytes()).err().unwrap();
            assert!(error.contains(expected), "{header}: {error}");
        }
        let long = [b"YUV4MPEG2 W6 H4 X".to_vec(), vec![b'x'; 5000], b"\n".to_vec()].concat();
        assert!(open(&long).is_err());
    }

    #[test]
    fn frames_come_one_after_the_other() {
        // One has words on its line.
        let bytes = b"YUV4MPEG2 W2 H1 Cmono\nFRAME\n\x10\xebFRAME Ip\n\xeb\x10";
        let mut file = open(bytes).unwrap();
        let mut samples = Vec::new();
        assert_eq!((file.offset(0), file.offset(2)), (22, 22 + 2 * 8));
        assert_eq!(
            (file.frames_in(22 + 16), file.frames_in(22 + 17), file.frames_in(3)),
            ((2, false), (2, true), (0, false))
        );
        for expected in [[0, 0, 0, 255, 255, 255], [255, 255, 255, 0, 0, 0]] {
            assert!(file.read(&mut samples).unwrap());
            assert_eq!(file.format().image(&samples).unwrap().rgb(), expected);
        }
        assert!(!file.read(&mut samples).unwrap());
        for (more, expected) in [
            (&b"FRAME\n\x10"[..], "expected 2 bytes, found 1"),
            (b"FRAME\n", "expected 2 bytes, found 0"),
            // With a line as long as that of the frame before.
            (b"FRA", "expected 11 bytes, found 3"),
            (b"FRAMES\n\x10\x10", "the word FRAME"),
            (b"JUNK\n\x10\x10", "the word FRAME"),
        ] {
            let bytes = [&bytes[..], more].concat();
            let mut file = open(&bytes).unwrap();
            assert!(file.read(&mut samples).unwrap() && file.read(&mut samples).unwrap());
            let error = file.read(&mut samples).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
