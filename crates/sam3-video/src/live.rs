//! The latest frame of a source that does not wait.

use std::{
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use sam3_model::image::Image;

use crate::{Format, Frames, Switch, VideoError};

/// Until its first frame, a source may take so many times as long as between two.
const OPENING: u32 = 4;

/// Reads a source as fast as it sends, and keeps its latest frame alone.
#[derive(Debug)]
pub struct Live {
    shared: Arc<Shared>,
    /// The bytes of the frame that was taken, for the next to go into.
    bytes: Vec<u8>,
    patience: Duration,
    switch: Switch,
    reader: Option<JoinHandle<()>>,
}

/// A frame, and what was left out before it.
#[derive(Debug)]
pub struct Caught {
    /// The frame.
    pub image: Image,
    /// Its number, of all that the source sent, from 0.
    pub number: usize,
    /// Frames since the one before it that nobody looked at.
    pub dropped: usize,
    /// When its last byte came.
    pub at: Instant,
}

#[derive(Debug)]
struct Shared {
    latest: Mutex<Latest>,
    changed: Condvar,
}

#[derive(Debug)]
struct Latest {
    bytes: Vec<u8>,
    format: Format,
    at: Instant,
    /// Frames that were read.
    read: usize,
    /// Of those, how many had come when one was last taken.
    taken: usize,
    has_ended: bool,
    /// What it ended with, until that is told.
    end: Option<Result<(), VideoError>>,
    /// Whether nobody waits for more.
    is_over: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Latest> {
        // A reader that panicked leaves whole frames.
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    /// Begins to read, on a thread of its own, by which the frames are opened, too: a decoder ends with the thread that
    /// started it, and by the switch. A source that sends nothing for `patience` has stalled.
    ///
    /// # Errors
    /// When no thread can be started. A source that cannot be opened is told by [`Live::latest`].
    pub fn start<F: Frames>(
        open: impl FnOnce(&Switch) -> Result<F, VideoError> + Send + 'static,
        patience: Duration,
    ) -> Result<Self, VideoError> {
        let switch = Switch::default();
        let shared = Arc::new(Shared {
            latest: Mutex::new(Latest {
                bytes: Vec::new(),
                format: Format::Jpeg,
                at: Instant::now(),
                read: 0,
                taken: 0,
                has_ended: false,
                end: None,
                is_over: false,
            }),
            changed: Condvar::new(),
        });
        let (own, decoder) = (Arc::clone(&shared), switch.clone());
        let reader = thread::Builder::new().name("frames".to_owned()).spawn(move || {
            let end = open(&decoder).and_then(|mut frames| read_all(&mut frames, &own));
            let mut latest = own.lock();
            (latest.has_ended, latest.end) = (true, Some(end));
            drop(latest);
            own.changed.notify_all();
        })?;
        Ok(Self {
            shared,
            bytes: Vec::new(),
            patience,
            switch,
            reader: Some(reader),
        })
    }

    /// Frames that were read until now.
    pub fn came(&self) -> usize {
        self.shared.lock().read
    }

    /// Ends the program that decodes, so that nobody waits for it.
    pub fn switch(&self) -> Switch {
        self.switch.clone()
    }

    /// The latest frame that was not taken; waits for one. None at the end.
    ///
    /// # Errors
    /// When the source failed, or sent nothing for too long.
    pub fn latest(&mut self) -> Result<Option<Caught>, VideoError> {
        let latest = self.shared.lock();
        // To connect, and to find out what is sent, takes longer than a frame.
        let patience = match latest.read {
            0 => self.patience.saturating_mul(OPENING),
            _ => self.patience,
        };
        let (mut latest, wait) = self
            .shared
            .changed
            .wait_timeout_while(latest, patience, |latest| {
                latest.read == latest.taken && !latest.has_ended
            })
            .unwrap_or_else(PoisonError::into_inner);
        if latest.read == latest.taken {
            return match latest.end.take() {
                Some(end) => end.map(|()| None),
                None if wait.timed_out() => Err(VideoError::Stalled(patience)),
                // Its end was told before.
                None => Ok(None),
            };
        }
        mem::swap(&mut latest.bytes, &mut self.bytes);
        let (number, dropped) = (latest.read - 1, latest.read - latest.taken - 1);
        latest.taken = latest.read;
        let (format, at) = (latest.format, latest.at);
        drop(latest);
        Ok(Some(Caught {
            image: format.image(&self.bytes)?,
            number,
            dropped,
            at,
        }))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.switch.turn_off();
        // A pipe that sends nothing is not waited for: its thread ends with the next frame, or with the process.
        if let Some(reader) = self.reader.take().filter(JoinHandle::is_finished) {
            let _ = reader.join();
        }
    }
}

fn read_all(frames: &mut impl Frames, shared: &Shared) -> Result<(), VideoError> {
    let mut bytes = Vec::new();
    while frames.read(&mut bytes)? {
        let mut latest = shared.lock();
        if latest.is_over {
            break;
        }
        mem::swap(&mut latest.bytes, &mut bytes);
        latest.format = frames.format();
        latest.at = Instant::now();
        latest.read += 1;
        drop(latest);
        shared.changed.notify_all();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver};

    use super::*;
    use crate::{Rate, raw::Pixels};

    /// Frames of one pixel, each as grey as the number that is sent for it.
    struct Sent(Receiver<u8>);

    impl Frames for Sent {
        fn format(&self) -> Format {
            Format::Packed {
                width: 1,
                height: 1,
                pixels: Pixels::Gray,
            }
        }

        fn rate(&self) -> Option<Rate> {
            None
        }

        fn read(&mut self, bytes: &mut Vec<u8>) -> Result<bool, VideoError> {
            bytes.clear();
            bytes.extend(self.0.recv().ok());
            match bytes.as_slice() {
                [255] => Err(VideoError::NoFrame),
                bytes => Ok(!bytes.is_empty()),
            }
        }
    }

    fn live(patience: Duration) -> (mpsc::Sender<u8>, Live) {
        let (sender, receiver) = mpsc::channel();
        let live = Live::start(move |_| Ok(Sent(receiver)), patience).unwrap();
        (sender, live)
    }

    /// Waits until so many frames were read.
    fn wait_for(live: &Live, read: usize) {
        while live.shared.lock().read < read {
            thread::yield_now();
        }
    }

    #[test]
    fn the_latest_frame_wins_and_the_others_are_counted() {
        let (sender, mut live) = live(Duration::from_secs(60));
        let mut caught = |frames: &[u8], read| {
            frames.iter().for_each(|&gray| sender.send(gray).unwrap());
            wait_for(&live, read);
            let caught = live.latest().unwrap().unwrap();
            (caught.image.rgb()[0], caught.number, caught.dropped)
        };
        assert_eq!(caught(&[10], 1), (10, 0, 0));
        assert_eq!(caught(&[11, 12, 13], 4), (13, 3, 2));
        assert_eq!(caught(&[14], 5), (14, 4, 0));
        drop(sender);
        assert!(live.latest().unwrap().is_none());
        assert!(live.latest().unwrap().is_none());
    }

    #[test]
    fn a_failure_comes_behind_the_last_frame_and_silence_is_told() {
        let (sender, mut live) = live(Duration::from_millis(50));
        assert!(matches!(live.latest(), Err(VideoError::Stalled(_))));
        sender.send(7).unwrap();
        sender.send(255).unwrap();
        while !live.shared.lock().has_ended {
            thread::yield_now();
        }
        assert_eq!(live.latest().unwrap().unwrap().image.rgb(), [7, 7, 7]);
        assert!(matches!(live.latest(), Err(VideoError::NoFrame)));
        assert!(live.latest().unwrap().is_none());
    }
}
