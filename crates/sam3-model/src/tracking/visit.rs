//! A frame as a video is walked through, and what its number means there.

/// Which way a video is walked through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Towards later frames.
    #[default]
    Forward,
    /// Towards earlier frames (officially `reverse`).
    Backward,
}

/// One visit of a frame. A frame may be visited more than once: the prompted one is, officially, when it is prompted
/// and when propagation starts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// The frame's number in the video, from 0.
    pub frame: usize,
    /// The way of the walk that it is on.
    pub direction: Direction,
}

impl Visit {
    /// How many frames ago on this walk `frame` was; negative where it is still ahead.
    pub(crate) fn since(self, frame: usize) -> i64 {
        let forward = self.frame as i64 - frame as i64;
        match self.direction {
            Direction::Forward => forward,
            Direction::Backward => -forward,
        }
    }
}
