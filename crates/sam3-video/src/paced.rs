//! A file's frames, each when it is shown.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{Format, Frames, Rate, VideoError};

/// Where a file does not say.
const USUAL: Rate = (25, 1);

/// Hands frames over as fast as they are shown, as a camera does.
pub struct Paced<F> {
    frames: F,
    first: Option<Instant>,
    read: u64,
}

impl<F: Frames> Paced<F> {
    pub fn new(frames: F) -> Self {
        Self {
            frames,
            first: None,
            read: 0,
        }
    }
}

impl<F: Frames> Frames for Paced<F> {
    fn format(&self) -> Format {
        self.frames.format()
    }

    fn rate(&self) -> Option<Rate> {
        self.frames.rate()
    }

    fn read(&mut self, bytes: &mut Vec<u8>) -> Result<bool, VideoError> {
        let is_read = self.frames.read(bytes)?;
        let (frames, seconds) = self.frames.rate().filter(|rate| rate.0 > 0).unwrap_or(USUAL);
        let after = Duration::from_secs_f64(self.read as f64 * seconds as f64 / frames as f64);
        let at = *self.first.get_or_insert_with(Instant::now) + after;
        thread::sleep(at.saturating_duration_since(Instant::now()));
        self.read += 1;
        Ok(is_read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pixels, Raw};

    #[test]
    fn a_frame_comes_when_it_is_shown() {
        let raw = Raw::new(std::io::Cursor::new(vec![7; 6]), 1, 1, Pixels::Gray, Some((50, 1))).unwrap();
        let mut paced = Paced::new(raw);
        let (mut bytes, start) = (Vec::new(), Instant::now());
        let mut read = 0;
        while paced.read(&mut bytes).unwrap() {
            read += 1;
        }
        assert_eq!((read, bytes), (6, vec![7]));
        // Its end comes when the last frame has been shown.
        assert!(start.elapsed() >= Duration::from_millis(120));
    }
}
