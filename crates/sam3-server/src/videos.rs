//! Videos that clients send frame by frame: kept by a name of ours, and dropped when nobody sends anything any more.

mod followed;

use std::{
    sync::{
        Arc, Mutex, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

pub use followed::{Followed, PromptsAnswer};

use crate::failure::Failure;

/// A video that is kept.
pub struct Video {
    /// None once it failed in the middle of a frame.
    followed: Mutex<Option<Followed>>,
    /// What it takes of memory.
    bytes: AtomicU64,
    asked: Mutex<Instant>,
}

impl Video {
    pub fn new(followed: Followed) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicU64::new(followed.bytes()),
            followed: Mutex::new(Some(followed)),
            asked: Mutex::new(Instant::now()),
        })
    }

    /// Works on it. What fails in the middle, or panics, ends it.
    pub fn work<T>(&self, work: impl FnOnce(&mut Followed) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut kept = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut followed = kept.take().ok_or_else(unknown)?;
        self.bytes.store(0, Ordering::Relaxed);
        let worked = work(&mut followed);
        if followed.is_whole() {
            self.bytes.store(followed.bytes(), Ordering::Relaxed);
            *kept = Some(followed);
        }
        self.touch();
        worked
    }

    fn touch(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn is_over(&self) -> bool {
        match self.followed.try_lock() {
            Ok(kept) => kept.is_none(),
            Err(TryLockError::Poisoned(kept)) => kept.into_inner().is_none(),
            Err(TryLockError::WouldBlock) => false,
        }
    }

    fn is_older_than(&self, idle: Duration) -> bool {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > idle
    }
}

/// All videos, by name.
pub struct Videos {
    kept: Vec<(String, Arc<Video>)>,
    most: usize,
    idle: Duration,
}

impl Videos {
    /// At most so many, each of which goes when nobody has asked about it for so long.
    pub fn new(most: usize, idle: Duration) -> Self {
        Self {
            kept: Vec::new(),
            most,
            idle,
        }
    }

    /// # Errors
    /// When there is no room for one more.
    pub fn check_room(&mut self) -> Result<(), Failure> {
        self.drop_idle();
        if self.kept.len() >= self.most {
            return Err(Failure::too_many_videos(self.most));
        }
        Ok(())
    }

    /// # Errors
    /// As [`check_room`](Self::check_room).
    pub fn insert(&mut self, name: String, video: Arc<Video>) -> Result<(), Failure> {
        self.check_room()?;
        self.kept.push((name, video));
        Ok(())
    }

    /// The video of that name, which has its whole time again.
    pub fn get(&mut self, name: &str) -> Result<Arc<Video>, Failure> {
        self.drop_idle();
        let (_, video) = self.kept.iter().find(|(own, _)| own == name).ok_or_else(unknown)?;
        video.touch();
        Ok(video.clone())
    }

    pub fn remove(&mut self, name: &str) -> Result<(), Failure> {
        self.drop_idle();
        let place = self.kept.iter().position(|(own, _)| own == name);
        self.kept.swap_remove(place.ok_or_else(unknown)?);
        Ok(())
    }

    /// Lets go of those that nobody asks about, and of those that failed; whether there were some.
    pub fn drop_idle(&mut self) -> bool {
        let (idle, before) = (self.idle, self.kept.len());
        // Who is waited for or worked on is held by a request.
        let is_held = |video: &Arc<Video>| Arc::strong_count(video) > 1;
        self.kept
            .retain(|(_, video)| is_held(video) || !(video.is_over() || video.is_older_than(idle)));
        self.kept.len() < before
    }

    pub fn bytes(&self) -> u64 {
        self.kept
            .iter()
            .map(|(_, video)| video.bytes.load(Ordering::Relaxed))
            .sum()
    }

    pub fn len(&self) -> usize {
        self.kept.len()
    }
}

fn unknown() -> Failure {
    Failure::not_found("there is no such video, or no longer: POST to /v1/videos begins one")
}
