//! A Y4M on disk: its frames are counted by its length, and gone to.

use std::{
    fs::File,
    io::{BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use sam3_model::image::Image;
use sam3_video::{Frames, Rate, VideoError, Y4m};

use super::skip_and_read;

/// The file.
pub struct Y4mFile {
    /// Where it lies.
    pub path: PathBuf,
    frames: Y4m<BufReader<File>>,
    /// The number of the frame that the reader is at.
    next: usize,
    bytes: Vec<u8>,
    /// Whole frames.
    pub count: usize,
    /// Whether a part of a frame is behind them.
    pub is_cut: bool,
}

impl Y4mFile {
    /// Opens a file of so many bytes.
    ///
    /// # Errors
    /// When its header or first frame is not right.
    pub fn open(path: &Path, reader: BufReader<File>, length: u64) -> Result<Self, VideoError> {
        let mut frames = Y4m::open(reader)?;
        let mut bytes = Vec::new();
        // The line before the first tells how long they are.
        let next = match frames.read(&mut bytes) {
            Ok(is_there) => usize::from(is_there),
            Err(VideoError::Cut { .. }) => 1,
            Err(error) => return Err(error),
        };
        let (count, is_cut) = frames.frames_in(length);
        Ok(Self {
            path: path.to_owned(),
            frames,
            next,
            bytes,
            count,
            is_cut,
        })
    }

    /// How fast it is to be shown.
    pub fn rate(&self) -> Option<Rate> {
        self.frames.rate()
    }

    /// Goes to a frame and reads it. An error comes with the number of whole frames.
    pub fn read(&mut self, frame: usize) -> Result<Option<Image>, (VideoError, usize)> {
        if self.next != frame {
            let whole = self.count.max(self.next);
            let offset = self.frames.offset(frame);
            let gone = self.frames.reader().seek(SeekFrom::Start(offset));
            gone.map_err(|error| (error.into(), whole))?;
        }
        self.next = frame;
        let read = skip_and_read(&mut self.frames, &mut self.next, &mut self.bytes, frame);
        read.map_err(|error| (error, self.next))
    }
}
