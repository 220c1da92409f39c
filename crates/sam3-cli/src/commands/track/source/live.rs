//! A source that does not wait: of its frames the latest is taken, and one that goes away may come back.

use std::{
    thread,
    time::{Duration, Instant},
};

use sam3_video::{Caught, Decoded, Frames, Live, Uri, VideoError, Wanted};

use super::super::interrupt;

/// A source that sends nothing for so long has stalled.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts to open a source.
const PAUSE: Duration = Duration::from_millis(500);

/// The source.
pub struct LiveSource {
    opening: Opening,
    live: Live,
    /// Frames that came before the source was opened for the last time.
    before: usize,
    /// Frames that came until the last one that was taken.
    came: usize,
    /// When the first one came.
    first: Option<Instant>,
    /// For how long it may be away.
    reconnect: Option<Duration>,
}

/// How it is opened.
enum Opening {
    /// By a program that decodes it, as often as needed.
    Decoded(Uri, Wanted),
    /// It is open, and comes to its end.
    Pipe,
}

impl LiveSource {
    /// Opens what another program decodes.
    pub fn decoded(uri: &Uri, wanted: &Wanted, reconnect: Option<Duration>) -> Result<Self, VideoError> {
        let opening = Opening::Decoded(uri.clone(), *wanted);
        let live = opening.open().expect("it may be opened again")?;
        Ok(Self::new(opening, live, reconnect))
    }

    /// Takes frames out of a pipe as they come.
    pub fn pipe(frames: Box<dyn Frames>) -> Result<Self, VideoError> {
        let live = Live::start(move |_| Ok(frames), Duration::MAX)?;
        Ok(Self::new(Opening::Pipe, live, None))
    }

    fn new(opening: Opening, live: Live, reconnect: Option<Duration>) -> Self {
        Self {
            opening,
            live,
            before: 0,
            came: 0,
            first: None,
            reconnect,
        }
    }

    /// When the first frame came.
    pub fn first(&self) -> Option<Instant> {
        self.first
    }

    /// Frames that came until the last one that was taken.
    pub fn came(&self) -> usize {
        self.came
    }

    /// The latest frame, with its number of all; none at the end of a pipe or file, or where a signal ends the run.
    /// `lost` is told why the source is opened again.
    ///
    /// # Errors
    /// When the source is away, for longer than it may be.
    pub fn take(&mut self, lost: &mut dyn FnMut(&VideoError)) -> Result<Option<Caught>, VideoError> {
        let mut away: Option<Instant> = None;
        loop {
            let error = match self.live.latest() {
                Ok(Some(caught)) => return Ok(Some(self.counted(caught))),
                _ if interrupt::is_interrupted() => return Ok(None),
                Ok(None) if !self.opening.is_endless() => return Ok(None),
                Ok(None) => VideoError::Gone,
                Err(error) => error,
            };
            let Some(reconnect) = self.reconnect else {
                return Err(error);
            };
            let since = *away.get_or_insert_with(|| {
                lost(&error);
                Instant::now()
            });
            if since.elapsed() >= reconnect {
                return Err(error);
            }
            thread::sleep(PAUSE);
            let Some(live) = self.opening.open() else {
                return Err(error);
            };
            self.live = live?;
            self.before = self.came;
        }
    }

    fn counted(&mut self, mut caught: Caught) -> Caught {
        caught.number += self.before;
        self.came = caught.number + 1;
        self.first.get_or_insert(caught.at);
        caught
    }
}

impl Opening {
    /// None for what is open once.
    fn open(&self) -> Option<Result<Live, VideoError>> {
        let Self::Decoded(uri, wanted) = self else {
            return None;
        };
        let (uri, wanted) = (uri.clone(), *wanted);
        let live = Live::start(move |switch| Decoded::open(&uri, &wanted, switch), PATIENCE);
        if let Ok(live) = &live {
            interrupt::ends(live.switch());
        }
        Some(live)
    }

    /// Whether it sends as long as it is there.
    fn is_endless(&self) -> bool {
        matches!(self, Self::Decoded(uri, _) if uri.is_live())
    }
}
