//! What whoever starts the server decides.

use std::{sync::Arc, time::Duration};

use crate::{access::Access, streams::StreamSource};

/// How the server runs.
#[derive(Clone)]
#[non_exhaustive]
pub struct Settings {
    /// Who may ask.
    pub access: Access,
    /// Requests that wait for the model while it works on one.
    pub queue: usize,
    /// Bytes of encoded images, and of what is remembered of videos; the image that was not asked about for longest
    /// leaves first.
    pub cache: u64,
    /// Videos that are followed at a time.
    pub videos: usize,
    /// How long nobody sends anything before a video is dropped.
    pub video_idle: Duration,
    /// What the server looks at by itself. Clients cannot name others.
    pub streams: Vec<StreamSource>,
    /// What a request may hold.
    pub limits: Limits,
    /// Gives freed memory back to the system: called when nobody has asked for a while, and before a request is refused
    /// for want of it.
    pub release: Arc<dyn Fn() + Send + Sync>,
}

impl Settings {
    /// For these clients, with a queue of 32, a cache of 1 GB, and 8 videos of which none is idle for more than 5
    /// minutes.
    pub fn new(access: Access) -> Self {
        Self {
            access,
            queue: 32,
            cache: 1 << 30,
            videos: 8,
            video_idle: Duration::from_secs(300),
            streams: Vec::new(),
            limits: Limits::default(),
            release: Arc::new(|| ()),
        }
    }
}

/// What a request, and a connection, may take.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a request's body.
    pub body: u64,
    /// Bytes of all bodies that are being received or wait for the model.
    pub bodies: u64,
    /// Pixels of a picture.
    pub pixels: u64,
    /// Prompts of a request.
    pub prompts: usize,
    /// Characters of a prompt.
    pub characters: usize,
    /// Example boxes of a request.
    pub boxes: usize,
    /// Tiles of a picture.
    pub tiles: usize,
    /// Objects of a request, whose clicks are points and a box each.
    pub objects: usize,
    /// Points of an object.
    pub points: usize,
    /// Clients that watch a stream at a time.
    pub watchers: usize,
    /// Connections at a time; more wait until one ends.
    pub connections: usize,
    /// For a request's head, and for the next request on an open connection.
    pub head: Duration,
    /// Between two parts of a body.
    pub idle: Duration,
    /// For a whole body.
    pub upload: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 64 << 20,
            bodies: 256 << 20,
            pixels: 50_000_000,
            prompts: 64,
            characters: 1000,
            boxes: 256,
            tiles: 64,
            objects: 16,
            points: 256,
            watchers: 32,
            connections: 256,
            head: Duration::from_secs(10),
            idle: Duration::from_secs(10),
            upload: Duration::from_secs(120),
        }
    }
}
