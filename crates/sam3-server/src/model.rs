//! The thread that owns the model, and how requests reach it.

use std::{
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use sam3_model::{
    Encoded, Segmenter,
    image::Image,
    report::{Loaded, ModelRecord},
};
use tokio::sync::{Notify, oneshot};

use crate::{
    cache::{Cache, Cached},
    failure::Failure,
    memory,
    metrics::Metrics,
    queue::{Next, Place, Queue, Refused},
    settings::Settings,
    streams::{self, Stream},
    videos::Videos,
};

/// A handle to the model's thread.
#[derive(Clone)]
pub struct Model(Arc<Shared>);

struct Shared {
    settings: Settings,
    queue: Queue<Job>,
    opened: OnceLock<Opened>,
    images: Mutex<Cache<Cached>>,
    videos: Mutex<Videos>,
    streams: Vec<Arc<Stream>>,
    metrics: Metrics,
    /// Told when the thread ends.
    ended: Notify,
}

type Job = Box<dyn FnOnce(&Opened) + Send>;

/// A model that was loaded.
pub struct Opened {
    /// The model.
    pub loaded: Loaded,
    /// What loading it took, in milliseconds.
    pub load_ms: f64,
}

impl Opened {
    /// The model as answers name it: where its file lies concerns this machine alone.
    pub(crate) fn record(&self, image_size: usize) -> ModelRecord<'_> {
        let mut record = self.loaded.record_at(image_size);
        record.file = record.file.file_name().map_or(record.file, Path::new);
        record
    }
}

/// Set when the client of a request is gone.
#[derive(Clone, Default)]
pub struct Gone(Arc<AtomicBool>);

impl Gone {
    /// For a watch of the model's: whether the work goes on.
    pub fn go_on(&self) -> ControlFlow<()> {
        match self.0.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// How a thread of ours fares that asks the model.
pub enum Asked<T> {
    Done(Result<T, Failure>),
    /// As many wait as may.
    Full,
    /// The server is being stopped.
    Closed,
}

/// Pixels in a side of a picture: as many as a JPEG, a GIF or a BMP has at most. A few bytes of PNG could say 50 million
/// rows of one, which take gigabytes and a minute to resize.
const LONGEST_SIDE: u32 = 65_535;
/// How long nobody asks before freed memory goes back to the system.
const IDLE: Duration = Duration::from_secs(2);

impl Model {
    /// Starts the thread, which loads the model first. It ends, with what went wrong, where that fails.
    pub fn start<E: Send + 'static>(
        settings: Settings,
        load: impl FnOnce() -> Result<Loaded, E> + Send + 'static,
    ) -> (Self, JoinHandle<Result<(), E>>) {
        let shared = Arc::new(Shared {
            queue: Queue::new(settings.queue),
            opened: OnceLock::new(),
            images: Mutex::new(Cache::new(settings.cache, Cached::bytes)),
            videos: Mutex::new(Videos::new(settings.videos, settings.video_idle)),
            streams: settings.streams.iter().cloned().map(Stream::new).collect(),
            metrics: Metrics::default(),
            ended: Notify::new(),
            settings,
        });
        let model = Self(shared.clone());
        let own = model.clone();
        let thread = thread::spawn(move || {
            let start = Instant::now();
            let worked = load().map(|loaded| {
                let load_ms = start.elapsed().as_secs_f64() * 1e3;
                let opened = shared.opened.get_or_init(|| Opened { loaded, load_ms });
                let readers = own.look_at_streams();
                work(&shared, opened);
                own.end_streams(readers);
            });
            shared.queue.close();
            shared.ended.notify_one();
            worked
        });
        (model, thread)
    }

    /// Refuses what waits and what comes; what runs is finished, then the thread ends.
    pub fn stop(&self) {
        self.0.queue.close();
        self.streams().iter().for_each(|stream| stream.end());
    }

    /// Begins to look at the streams, each on a thread of its own.
    fn look_at_streams(&self) -> Vec<JoinHandle<()>> {
        let read = |stream: &Arc<Stream>| {
            let (stream, model) = (stream.clone(), self.clone());
            thread::spawn(move || streams::read(&stream, &model))
        };
        self.streams().iter().map(read).collect()
    }

    fn end_streams(&self, readers: Vec<JoinHandle<()>>) {
        self.stop();
        for reader in readers {
            // One that panicked has ended, too.
            let _ = reader.join();
        }
    }

    /// Waits until the thread has ended.
    pub(crate) async fn ended(&self) {
        self.0.ended.notified().await;
    }

    /// The model, once it is loaded.
    pub fn opened(&self) -> Option<&Opened> {
        self.0.opened.get()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.0.queue.is_closed()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn images(&self) -> MutexGuard<'_, Cache<Cached>> {
        self.0.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn videos(&self) -> MutexGuard<'_, Videos> {
        self.0.videos()
    }

    pub(crate) fn streams(&self) -> &[Arc<Stream>] {
        &self.0.streams
    }

    /// What is remembered of videos and streams.
    fn followed_bytes(&self) -> u64 {
        let streams = self.streams().iter().map(|stream| stream.bytes());
        self.videos().bytes() + streams.sum::<u64>()
    }

    /// Keeps an image beside the videos; false where it has no room.
    pub(crate) fn keep_image(&self, name: String, image: Arc<Cached>) -> bool {
        self.shrink();
        self.images().insert(name, image)
    }

    /// Images and videos may have grown: lets go of images that have no room any more.
    pub(crate) fn shrink(&self) {
        let videos = self.followed_bytes();
        self.images().shrink_to(self.settings().cache.saturating_sub(videos));
    }

    /// That the videos have room to grow: images leave for them, and they for nobody.
    pub(crate) fn check_videos(&self) -> Result<(), Failure> {
        self.shrink();
        let (bytes, limit) = (self.followed_bytes(), self.settings().cache);
        if bytes > limit {
            return Err(Failure::unavailable(
                "cache_too_small",
                format!(
                    "the videos and streams take {bytes} bytes, which is more than the server may keep (--cache-mb): end one, or stop \
                     following some of its objects"
                ),
            ));
        }
        Ok(())
    }

    /// How many requests wait, and how many may.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.0.queue.len(), self.0.queue.capacity())
    }

    /// Does `work` on the model's thread when its turn comes. Where the future is dropped, as when a client goes away,
    /// the work leaves the queue, or is told.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Opened, &Gone) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        if self.opened().is_none() {
            return Err(if self.is_stopping() {
                Failure::stopping()
            } else {
                Failure::loading()
            });
        }
        let gone = Gone::default();
        let (place, told) = self.push(work, gone.clone()).map_err(|refused| match refused {
            Refused::Full => Failure::queue_full(),
            Refused::Closed => Failure::stopping(),
        })?;
        let _ticket = Ticket {
            queue: &self.0.queue,
            place,
            gone,
        };
        // A job that is dropped unheard was in the queue when that was closed.
        told.await.unwrap_or_else(|_| Err(Failure::stopping()))
    }

    /// The same for a thread of ours, which waits. Requests and streams take turns: each has one place in the queue.
    pub(crate) fn ask_and_wait<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Opened, &Gone) -> Result<T, Failure> + Send + 'static,
    ) -> Asked<T> {
        match self.push(work, Gone::default()) {
            Ok((_, told)) => told.blocking_recv().map_or(Asked::Closed, Asked::Done),
            Err(Refused::Full) => Asked::Full,
            Err(Refused::Closed) => Asked::Closed,
        }
    }

    fn push<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Opened, &Gone) -> Result<T, Failure> + Send + 'static,
        gone: Gone,
    ) -> Result<(Place, oneshot::Receiver<Result<T, Failure>>), Refused> {
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move |opened| {
            let worked = catch_unwind(AssertUnwindSafe(|| work(opened, &gone)));
            let worked = worked.unwrap_or_else(|_| Err(Failure::internal("the model's thread panicked")));
            // Nobody is told where the client has gone.
            let _ = tell.send(worked);
        });
        Ok((self.0.queue.push(job)?, told))
    }

    /// That a stream's frame may be had beside what encoding it takes.
    pub(crate) fn check_frame(&self, model: &Segmenter, (width, height): (u32, u32)) -> Result<(), Failure> {
        let (width, rows) = (u64::from(width), u64::from(height));
        self.make_room(bytes_for(model, width * rows, rows))
    }

    /// Encodes a picture at an image size, where there is memory for that.
    pub(crate) fn encode(&self, model: &Segmenter, picture: &[u8], gone: &Gone) -> Result<(Image, Encoded), Failure> {
        let image = self.decode(model, picture)?;
        let encoded = model.encode_watched(&image, &mut |_| gone.go_on())?;
        self.metrics().encoded.fetch_add(1, Ordering::Relaxed);
        Ok((image, encoded))
    }

    /// Reads a picture, where there is memory to encode it too.
    pub(crate) fn decode(&self, model: &Segmenter, picture: &[u8]) -> Result<Image, Failure> {
        let limit = self.settings().limits.pixels;
        let mut refused = None;
        let refused_by = std::cell::RefCell::new(&mut refused);
        let image = Image::decode_if(picture, |width, height| {
            let pixels = u64::from(width) * u64::from(height);
            let admitted = if pixels > limit {
                Err(Failure::too_large(format!(
                    "a picture of {width}x{height} has more than {limit} pixels; make it smaller"
                )))
            } else if width.max(height) > LONGEST_SIDE {
                Err(Failure::too_large(format!(
                    "a picture of {width}x{height} has more than {LONGEST_SIDE} pixels in a side; cut it into parts"
                )))
            } else {
                self.make_room(bytes_for(model, pixels, u64::from(height)))
            };
            admitted.map_err(|failure| {
                **refused_by.borrow_mut() = Some(failure);
                String::new()
            })
        });
        image.map_err(|error| refused.take().unwrap_or_else(|| error.into()))
    }

    /// Gives memory back, and lets go of images, until so many bytes may be had.
    fn make_room(&self, wanted: u64) -> Result<(), Failure> {
        let is_room = || memory::available().is_none_or(|available| available >= wanted);
        if is_room() {
            return Ok(());
        }
        (self.settings().release)();
        while !is_room() {
            if !self.images().remove_oldest() {
                let available = memory::available().unwrap_or(0);
                return Err(Failure::out_of_memory(format!(
                    "{wanted} bytes are wanted, {available} may be had"
                )));
            }
            (self.settings().release)();
        }
        Ok(())
    }
}

/// What a picture takes at most: its pixels as they are read, then as they are encoded beside the model's own maps,
/// then its masks. Its rows are resized before its columns: between the two are `rows` as wide as the model's picture.
fn bytes_for(model: &Segmenter, pixels: u64, rows: u64) -> u64 {
    let resized = 3 * rows * model.image_size() as u64;
    (20 * pixels).max(7 * pixels + resized.max(model.bytes_to_encode()))
}

/// Leaves the queue, or tells who works, when it is dropped.
struct Ticket<'a> {
    queue: &'a Queue<Job>,
    place: Place,
    gone: Gone,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.gone.0.store(true, Ordering::Relaxed);
        drop(self.queue.leave(self.place));
    }
}

impl Shared {
    fn videos(&self) -> MutexGuard<'_, Videos> {
        self.videos.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn work(shared: &Shared, opened: &Opened) {
    let mut is_idle = false;
    loop {
        let next = shared.queue.next(IDLE);
        is_idle &= !shared.videos().drop_idle();
        match next {
            Next::Job(job) => {
                is_idle = false;
                job(opened);
            }
            Next::Idle if is_idle => {}
            Next::Idle => {
                is_idle = true;
                (shared.settings.release)();
            }
            Next::Closed => return,
        }
    }
}

#[cfg(test)]
mod tests;
