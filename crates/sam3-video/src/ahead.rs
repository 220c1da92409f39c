//! Frames that are read while those before them are worked on.

use std::{
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
};

use crate::{Format, Frames, Rate, Switch, VideoError};

/// Frames that may wait.
const WAITING: usize = 2;

/// Reads a source on a thread of its own, at most two frames ahead.
#[derive(Debug)]
pub struct Ahead {
    format: Format,
    rate: Option<Rate>,
    frames: Receiver<Result<(Format, Vec<u8>), VideoError>>,
    /// Frames that were read, for the next ones to go into.
    used: SyncSender<Vec<u8>>,
    switch: Switch,
}

impl Ahead {
    /// Opens a source on a thread of its own, and reads from there.
    ///
    /// # Errors
    /// Those of `open`, or when no thread can be started.
    pub fn start<F: Frames>(
        open: impl FnOnce(&Switch) -> Result<F, VideoError> + Send + 'static,
    ) -> Result<Self, VideoError> {
        let switch = Switch::default();
        let (opened_sender, opened) = mpsc::sync_channel(1);
        let (sender, frames) = mpsc::sync_channel(WAITING);
        let (used, empty) = mpsc::sync_channel(WAITING + 2);
        let decoder = switch.clone();
        thread::Builder::new().name("frames".to_owned()).spawn(move || {
            let mut source = match open(&decoder) {
                Ok(source) => source,
                Err(error) => return drop(opened_sender.send(Err(error))),
            };
            let _ = opened_sender.send(Ok((source.format(), source.rate())));
            loop {
                let mut bytes = empty.try_recv().unwrap_or_default();
                let read = source.read(&mut bytes);
                let is_last = !matches!(read, Ok(true));
                let read = match read {
                    Ok(false) => break,
                    read => read.map(|_| (source.format(), bytes)),
                };
                // Nobody waits any more, or waits for more.
                if sender.send(read).is_err() || is_last {
                    break;
                }
            }
        })?;
        let (format, rate) = opened
            .recv()
            .map_err(|_| std::io::Error::other("the thread of frames ended"))??;
        Ok(Self {
            format,
            rate,
            frames,
            used,
            switch,
        })
    }
}

impl Ahead {
    /// Ends the program that decodes, so that nobody waits for it.
    pub fn switch(&self) -> Switch {
        self.switch.clone()
    }
}

impl Frames for Ahead {
    fn format(&self) -> Format {
        self.format
    }

    fn rate(&self) -> Option<Rate> {
        self.rate
    }

    fn read(&mut self, bytes: &mut Vec<u8>) -> Result<bool, VideoError> {
        let Ok(read) = self.frames.recv() else {
            return Ok(false);
        };
        let (format, next) = read?;
        let used = std::mem::replace(bytes, next);
        self.format = format;
        let _ = self.used.try_send(used);
        Ok(true)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.switch.turn_off();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pixels, Raw};

    #[test]
    fn frames_come_in_their_order_and_then_the_failure() {
        let stream: Vec<u8> = (0..100).flat_map(|gray| [gray, gray]).chain([7]).collect();
        let open = |_: &Switch| Raw::new(std::io::Cursor::new(stream), 2, 1, Pixels::Gray, Some((25, 1)));
        let mut frames = Ahead::start(open).unwrap();
        assert_eq!(frames.rate(), Some((25, 1)));
        let mut bytes = Vec::new();
        for gray in 0..100 {
            assert!(frames.read(&mut bytes).unwrap());
            assert_eq!(bytes, [gray, gray]);
        }
        assert!(matches!(frames.read(&mut bytes), Err(VideoError::Cut { .. })));
        assert!(!frames.read(&mut bytes).unwrap());
    }

    #[test]
    fn what_cannot_be_opened_is_told_at_once() {
        let open = |_: &Switch| Raw::new(std::io::empty(), 0, 1, Pixels::Gray, None);
        assert!(matches!(Ahead::start(open), Err(VideoError::Header(_))));
    }
}
