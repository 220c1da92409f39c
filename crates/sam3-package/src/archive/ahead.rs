//! A buffered reader that can look ahead: at what a stream is before it is read, and at what follows its end.

use std::{
    fmt,
    io::{self, BufRead, Read},
};

/// Bytes read at a time.
const CAPACITY: usize = 256 << 10;

/// A reader with a buffer of its own.
pub(super) struct Ahead<R> {
    source: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes taken from it so far.
    position: u64,
    /// What the source failed with while the buffer still held bytes.
    failed: Option<io::Error>,
}

impl<R: Read> Ahead<R> {
    pub fn new(source: R) -> Self {
        Self {
            source,
            buffer: vec![0; CAPACITY].into(),
            start: 0,
            end: 0,
            position: 0,
            failed: None,
        }
    }

    /// The next `count` bytes, or as many as there are before the end.
    pub fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.end - self.start < count {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        while self.end - self.start < count && self.failed.is_none() {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if self.start == self.end => return Err(error),
                // Its turn comes once the bytes before it are read.
                Err(error) => self.failed = Some(error),
            }
        }
        Ok(&self.buffer[self.start..self.end.min(self.start + count)])
    }

    /// True where the stream goes on with one of `magics`. False at its end, and where only zeros and line ends follow:
    /// tapes and editors leave those, and gzip ignores the zeros too.
    ///
    /// # Errors
    /// [`Trailing`] where anything else follows.
    pub fn goes_on(&mut self, magics: &[&[u8]]) -> io::Result<bool> {
        let longest = magics.iter().map(|magic| magic.len()).max().unwrap_or(0);
        let head = self.peek(longest)?;
        if magics.iter().any(|magic| head.starts_with(magic)) {
            return Ok(true);
        }
        if !head.is_empty() && magics.iter().any(|magic| magic.starts_with(head)) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let at = self.position;
        loop {
            let bytes = self.fill_buf()?;
            if bytes.is_empty() {
                return Ok(false);
            }
            if !bytes.iter().all(|byte| matches!(byte, 0 | b'\n' | b'\r')) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, Trailing { at }));
            }
            let length = bytes.len();
            self.consume(length);
        }
    }
}

impl<R: Read> BufRead for Ahead<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            // Retried here: a decoder that gets the error would lose its place in the stream.
            let read = loop {
                match self.source.read(&mut self.buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    read => break read?,
                }
            };
            (self.start, self.end) = (0, read);
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, amount: usize) {
        self.start += amount;
        self.position += amount as u64;
    }
}

impl<R: Read> Read for Ahead<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let take = bytes.len().min(out.len());
        out[..take].copy_from_slice(&bytes[..take]);
        self.consume(take);
        Ok(take)
    }
}

/// Compressed data has ended, and something else stands behind it.
#[derive(Debug)]
pub(super) struct Trailing {
    /// Where, in bytes of the compressed stream.
    pub at: u64,
}

impl Trailing {
    /// This error, where `error` is one.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for Trailing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "its compressed data ends at byte {}, and other data follows",
            self.at
        )
    }
}

impl std::error::Error for Trailing {}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::{super::gzip::Members, *};

    /// Gives one byte a call, then fails.
    struct Drops<'a>(&'a [u8]);

    impl Read for Drops<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else {
                return Err(io::Error::other("gone"));
            };
            (out[0], self.0) = (*first, rest);
            Ok(1)
        }
    }

    #[test]
    fn peeking_takes_nothing_and_an_error_comes_after_the_bytes_before_it() {
        let mut ahead = Ahead::new(Drops(b"abc"));
        assert_eq!(ahead.peek(2).unwrap(), b"ab");
        assert_eq!(ahead.peek(9).unwrap(), b"abc");
        let mut three = [0; 3];
        ahead.read_exact(&mut three).unwrap();
        assert_eq!(&three, b"abc");
        assert_eq!(ahead.read(&mut three).unwrap_err().to_string(), "gone");
    }

    /// Gives one byte at every other call, as a signal interrupts those between.
    struct Interrupted<'a>(&'a [u8], bool);

    impl Read for Interrupted<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            self.0.read(&mut out[..1])
        }
    }

    #[test]
    fn an_interruption_is_no_failure() {
        let mut ahead = Ahead::new(Interrupted(b"abc", false));
        assert_eq!(ahead.fill_buf().unwrap(), b"a");
        assert_eq!(ahead.peek(2).unwrap(), b"ab");
        let mut two = [0; 2];
        ahead.read_exact(&mut two).unwrap();
        assert_eq!(ahead.read(&mut two).unwrap(), 1);
        assert_eq!(ahead.read(&mut two).unwrap(), 0);
    }

    /// A decoder that is interrupted would be taken for one that has ended.
    #[test]
    fn a_decoder_of_an_interrupted_stream_goes_on() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(b"boat and buoy").unwrap();
        let gzip = gzip.finish().unwrap();
        let mut members = Members::new(Ahead::new(Interrupted(&gzip, false)));
        let mut text = String::new();
        members.read_to_string(&mut text).unwrap();
        assert_eq!(text, "boat and buoy");
    }

    #[test]
    fn what_follows_the_end_is_told_apart() {
        let goes_on = |rest: &[u8]| Ahead::new(rest).goes_on(&[b"PK\x01\x02"]);
        assert!(goes_on(b"PK\x01\x02...").unwrap());
        for rest in [&b""[..], b"\n", b"\r\n", &[0; 1 << 20], b"\0\0\n\0"] {
            assert!(!goes_on(rest).unwrap(), "{rest:?}");
        }
        assert_eq!(goes_on(b"PK").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        for rest in [&b"x"[..], b"PX", b"\0\0\0x", b"\nPK\x01\x02"] {
            let error = goes_on(rest).unwrap_err();
            assert_eq!(Trailing::of(&error).map(|trailing| trailing.at), Some(0), "{error}");
        }
    }
}
