//! What a session is told of its video.

use crate::{
    predictor::{MemoryDtype, Retention},
    tracking::Emission,
};

/// How a video is followed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VideoOptions {
    pub(super) size: Option<(u32, u32)>,
    pub(super) frames: Option<usize>,
    pub(super) memory: MemoryDtype,
    pub(super) emission: Emission,
    pub(super) retention: Retention,
}

impl Default for VideoOptions {
    fn default() -> Self {
        Self {
            size: None,
            frames: None,
            memory: MemoryDtype::default(),
            emission: Emission::default(),
            retention: Retention::ThisWalk,
        }
    }
}

impl VideoOptions {
    /// A video of unknown length that is walked through once, whose memories are stored in bf16, and whose frames come
    /// out when it is certain which objects are on them: all as the official code does it, but that it keeps every
    /// frame.
    pub fn new() -> Self {
        Self::default()
    }

    /// Clicks, masks and boxes are in a video of `width × height` pixels, also where its pictures come in another
    /// size. Without this, the video is as large as its first picture.
    pub fn size(mut self, width: u32, height: u32) -> Self {
        self.size = Some((width, height));
        self
    }

    /// With so many frames. Fewer than 16 place what is remembered otherwise in time; where the number is not known, it
    /// counts as 16 or more. A walk backward begins otherwise on the last frame.
    pub fn frames(mut self, frames: usize) -> Self {
        self.frames = Some(frames);
        self
    }

    /// With memories stored in this precision: 0.65 MB a frame in bf16, at SAM 3's size, and twice that in f32.
    pub fn memory(mut self, memory: MemoryDtype) -> Self {
        self.memory = memory;
        self
    }

    /// With frames that come out at once, or when they are final. Without texts they are final at once.
    pub fn emission(mut self, emission: Emission) -> Self {
        self.emission = emission;
        self
    }

    /// With what is kept of frames behind: what the walk under way needs, which does not grow, or more where others
    /// follow it, or where prompts are given anywhere.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }
}
