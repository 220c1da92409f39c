//! A source that does not wait, opened as often as it takes: one that goes away may come back.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{Caught, Decoded, Frames, Live, Switch, Uri, VideoError, Wanted, paced::Paced};

/// A source that sends nothing for so long has stalled.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts to open a source.
const PAUSE: Duration = Duration::from_millis(500);

/// Of a source's frames the latest, whoever decodes it at the time.
pub struct LiveSource {
    opening: Opening,
    owner: Box<dyn Owner>,
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

/// Who may end a source from another thread.
pub trait Owner: Send {
    /// A program decodes it from now on: it ends by this switch, at once where the source is over.
    fn opened(&self, switch: Switch);
    /// Whether nobody waits for frames any more.
    fn is_over(&self) -> bool;
}

/// How it is opened.
enum Opening {
    /// By a program that decodes it, as often as needed.
    Decoded(Uri, Wanted),
    /// From its beginning whenever it has come to its end, a frame when it is shown.
    Again(Arc<OpenFile>),
    /// It is open, and comes to its end.
    Pipe,
}

/// Opens a file from its beginning.
type OpenFile = dyn Fn(&Switch) -> Result<Box<dyn Frames>, VideoError> + Send + Sync;

impl LiveSource {
    /// Opens what another program decodes.
    ///
    /// # Errors
    /// When no thread can be started. A source that cannot be opened is told by [`LiveSource::take`].
    pub fn decoded(
        uri: &Uri,
        wanted: &Wanted,
        reconnect: Option<Duration>,
        owner: Box<dyn Owner>,
    ) -> Result<Self, VideoError> {
        let opening = Opening::Decoded(uri.clone(), *wanted);
        Self::open(opening, reconnect, owner)
    }

    /// Shows a file again and again, as fast as its frames are shown: `open` opens it from its beginning.
    ///
    /// # Errors
    /// As [`LiveSource::decoded`].
    pub fn repeated(
        open: impl Fn(&Switch) -> Result<Box<dyn Frames>, VideoError> + Send + Sync + 'static,
        reconnect: Option<Duration>,
        owner: Box<dyn Owner>,
    ) -> Result<Self, VideoError> {
        Self::open(Opening::Again(Arc::new(open)), reconnect, owner)
    }

    /// Takes frames out of a pipe as they come.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn pipe(frames: Box<dyn Frames>, owner: Box<dyn Owner>) -> Result<Self, VideoError> {
        let live = Live::start(move |_| Ok(frames), Duration::MAX)?;
        Ok(Self::new(Opening::Pipe, live, None, owner))
    }

    fn open(opening: Opening, reconnect: Option<Duration>, owner: Box<dyn Owner>) -> Result<Self, VideoError> {
        let live = opening.open(&*owner).expect("it may be opened again")?;
        Ok(Self::new(opening, live, reconnect, owner))
    }

    fn new(opening: Opening, live: Live, reconnect: Option<Duration>, owner: Box<dyn Owner>) -> Self {
        Self {
            opening,
            owner,
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

    /// The latest frame, with its number of all; none at the end of a pipe or file, or where its owner has it end.
    /// `lost` is told why the source is opened again.
    ///
    /// # Errors
    /// When the source is away, for longer than it may be.
    pub fn take(&mut self, lost: &mut dyn FnMut(&VideoError)) -> Result<Option<Caught>, VideoError> {
        let mut away: Option<Instant> = None;
        loop {
            let error = match self.live.latest() {
                Ok(Some(caught)) => return Ok(Some(self.counted(caught))),
                _ if self.owner.is_over() => return Ok(None),
                Ok(None) if self.opening.begins_again(&self.live) => {
                    self.reopen()?;
                    continue;
                }
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
            if since.elapsed() >= reconnect || matches!(self.opening, Opening::Pipe) {
                return Err(error);
            }
            thread::sleep(PAUSE);
            self.reopen()?;
        }
    }

    fn reopen(&mut self) -> Result<(), VideoError> {
        if let Some(live) = self.opening.open(&*self.owner) {
            self.live = live?;
            self.before = self.came;
        }
        Ok(())
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
    fn open(&self, owner: &dyn Owner) -> Option<Result<Live, VideoError>> {
        let live = match self {
            Self::Decoded(uri, wanted) => {
                let (uri, wanted) = (uri.clone(), *wanted);
                Live::start(move |switch| Decoded::open(&uri, &wanted, switch), PATIENCE)
            }
            Self::Again(open) => {
                let open = Arc::clone(open);
                Live::start(move |switch| Ok(Paced::new(open(switch)?)), PATIENCE)
            }
            Self::Pipe => return None,
        };
        if let Ok(live) = &live {
            owner.opened(live.switch());
        }
        Some(live)
    }

    /// Whether it sends as long as it is there.
    fn is_endless(&self) -> bool {
        matches!(self, Self::Decoded(uri, _) if uri.is_live())
    }

    /// Whether what came to its end is shown from its beginning: a file without a frame would be for ever.
    fn begins_again(&self, live: &Live) -> bool {
        matches!(self, Self::Again(_)) && live.came() > 0
    }
}
