//! Cameras and other sources that the server itself looks at: one frame after the other, the latest each time.

mod reader;
mod seen;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use sam3_model::Segmenter;
use sam3_video::{LiveSource, Owner, Switch, VideoError};
use serde::Serialize;
use tokio::sync::watch;

pub use reader::read;
pub use seen::{Look, Seen};

use crate::{
    failure::Failure,
    model::Gone,
    request::{self, live_video},
    videos::{Followed, PromptsAnswer},
};

/// A source that the server looks at, named by whoever starts it.
#[derive(Clone)]
pub struct StreamSource {
    name: String,
    shown: String,
    open: Arc<Open>,
}

type Open = dyn Fn(Box<dyn Owner>) -> Result<LiveSource, VideoError> + Send + Sync;

/// Why a text is no stream's name.
#[derive(Debug, thiserror::Error)]
#[error(
    "expected 1 to {} of the characters a-z, A-Z, 0-9, - and _",
    StreamSource::LONGEST_NAME
)]
pub struct NoName;

impl StreamSource {
    /// Characters of the longest name.
    pub const LONGEST_NAME: usize = 64;

    /// `name` is what clients call it, `shown` what they are told of where it comes from. `open` opens it, and its owner
    /// ends it.
    ///
    /// # Errors
    /// When the name could not stand in an address.
    pub fn new(
        name: impl Into<String>,
        shown: impl Into<String>,
        open: impl Fn(Box<dyn Owner>) -> Result<LiveSource, VideoError> + Send + Sync + 'static,
    ) -> Result<Self, NoName> {
        let name = name.into();
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
        match (1..=Self::LONGEST_NAME).contains(&name.len()) && name.chars().all(is_plain) {
            true => Ok(Self {
                name,
                shown: shown.into(),
                open: Arc::new(open),
            }),
            false => Err(NoName),
        }
    }

    /// What clients call it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for StreamSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSource")
            .field("name", &self.name)
            .field("shown", &self.shown)
            .finish_non_exhaustive()
    }
}

/// A source under way.
pub struct Stream {
    source: StreamSource,
    end: End,
    /// None until the first frame, and where following failed: the next frame begins anew.
    followed: Mutex<Option<Followed>>,
    state: Mutex<State>,
    /// What following takes of memory.
    bytes: AtomicU64,
    latest: watch::Sender<Option<Arc<Seen>>>,
}

/// Whether frames come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Flow {
    /// The first one is waited for.
    Opening,
    /// They come.
    Open,
    /// The source sends none, and is opened again and again.
    Away,
    /// They come, and the model cannot follow anything to them.
    Failing,
    /// There will be no more.
    Ended,
}

#[derive(Clone, Debug)]
struct State {
    flow: Flow,
    reason: Option<String>,
    prompts: Vec<String>,
    /// Frames that nobody looked at, since the beginning.
    dropped: usize,
}

/// What is told of a stream.
#[derive(Serialize)]
pub struct StreamRecord<'a> {
    name: &'a str,
    source: &'a str,
    state: Flow,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    prompts: Vec<String>,
    /// The latest frame that was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    latest: Option<Look>,
    /// Frames that came and were not looked at, since the beginning.
    dropped: usize,
}

impl Stream {
    pub fn new(source: StreamSource) -> Arc<Self> {
        Arc::new(Self {
            source,
            end: End::default(),
            followed: Mutex::new(None),
            state: Mutex::new(State {
                flow: Flow::Opening,
                reason: None,
                prompts: Vec::new(),
                dropped: 0,
            }),
            bytes: AtomicU64::new(0),
            latest: watch::Sender::new(None),
        })
    }

    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// What following takes of memory.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Each frame as it is looked at.
    ///
    /// # Errors
    /// When `most` others do so.
    pub fn watch(self: Arc<Self>, most: usize) -> Result<Watcher, Failure> {
        if self.latest.receiver_count() >= most {
            return Err(Failure::too_many_watchers(most));
        }
        let mut latest = self.latest.subscribe();
        // The frame that is there is the first.
        latest.mark_changed();
        Ok(Watcher { stream: self, latest })
    }

    /// Ends it, and who watches it.
    pub fn end(&self) {
        self.end.end();
    }

    pub fn record(&self) -> StreamRecord<'_> {
        let state = self.state().clone();
        StreamRecord {
            name: &self.source.name,
            source: &self.source.shown,
            state: state.flow,
            reason: state.reason,
            prompts: state.prompts,
            latest: self.latest.borrow().as_ref().map(|seen| seen.look),
            dropped: state.dropped,
        }
    }

    /// Follows what other texts mean, from the next frame on: what those before them found is forgotten.
    ///
    /// # Errors
    /// When one cannot be looked for; those before them stay.
    pub fn replace_prompts(&self, model: &Segmenter, prompts: Vec<String>, gone: &Gone) -> Result<(), Failure> {
        self.check_goes_on()?;
        let mut followed = begin(model, Vec::new(), gone)?;
        if let Some(seen) = &*self.latest.borrow() {
            // Clicks are on the latest frame, also before the next one comes; without texts it is not even encoded.
            followed.live_frame(seen.image(), seen.timing(), gone)?;
        }
        check_texts(model, &prompts)?;
        followed.look_for(prompts.clone(), gone)?;
        let mut kept = self.followed();
        self.bytes.store(followed.bytes(), Ordering::Relaxed);
        *kept = Some(followed);
        self.state().prompts = prompts;
        Ok(())
    }

    /// Shows objects on the latest frame.
    ///
    /// # Errors
    /// When there is none, or they do not lie in it.
    pub fn show<T>(
        &self,
        shown: &[request::Shown],
        gone: &Gone,
        told: impl FnOnce(&PromptsAnswer<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.work(|followed| told(&followed.prompt(Vec::new(), shown, gone)?))
    }

    /// Stops following an object; whether it was followed.
    pub fn remove(&self, object: u32) -> Result<bool, Failure> {
        self.work(|followed| followed.remove(object))
    }

    /// Works on what is followed; what fails in the middle begins anew.
    fn work<T>(&self, work: impl FnOnce(&mut Followed) -> Result<T, Failure>) -> Result<T, Failure> {
        self.check_goes_on()?;
        let mut kept = self.followed();
        // While it is being worked on, it may panic.
        let mut followed = kept.take().ok_or_else(|| {
            Failure::unavailable("no_frame", "no frame of the stream was looked at yet; ask again later")
        })?;
        let worked = work(&mut followed);
        self.bytes.store(followed.bytes(), Ordering::Relaxed);
        if followed.is_whole() {
            *kept = Some(followed);
        }
        worked
    }

    fn check_goes_on(&self) -> Result<(), Failure> {
        match self.state().flow {
            Flow::Ended => Err(Failure::unavailable("stream_ended", "the stream has ended")),
            _ => Ok(()),
        }
    }

    fn followed(&self) -> MutexGuard<'_, Option<Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flows(&self, flow: Flow, reason: Option<String>) {
        let mut state = self.state();
        (state.flow, state.reason) = (flow, reason);
    }
}

/// Somebody who watches a stream.
pub struct Watcher {
    stream: Arc<Stream>,
    latest: watch::Receiver<Option<Arc<Seen>>>,
}

impl Watcher {
    /// The latest frame that it has not seen; who is slow misses some. None at the stream's end.
    pub async fn next(&mut self) -> Option<Arc<Seen>> {
        loop {
            self.latest.changed().await.ok()?;
            let seen = self.latest.borrow_and_update().clone();
            if seen.is_some() || self.stream.state().flow == Flow::Ended {
                return seen;
            }
        }
    }
}

/// Begins to follow what texts mean.
fn begin(model: &Segmenter, prompts: Vec<String>, gone: &Gone) -> Result<Followed, Failure> {
    check_texts(model, &prompts)?;
    let mut followed = Followed::new(model.clone(), live_video())?;
    followed.look_for(prompts, gone)?;
    Ok(followed)
}

fn check_texts(model: &Segmenter, prompts: &[String]) -> Result<(), Failure> {
    match prompts.is_empty() {
        true => Ok(()),
        false => Ok(model.check_texts()?),
    }
}

/// Ends a stream's source from any thread.
#[derive(Clone, Default)]
struct End(Arc<(AtomicBool, Mutex<Option<Switch>>)>);

impl End {
    fn end(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        if let Some(switch) = &*self.switch() {
            switch.turn_off();
        }
    }

    fn switch(&self) -> MutexGuard<'_, Option<Switch>> {
        self.0.1.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owner for End {
    fn opened(&self, switch: Switch) {
        let mut kept = self.switch();
        if self.is_over() {
            switch.turn_off();
        }
        *kept = Some(switch);
    }

    fn is_over(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
    }
}
