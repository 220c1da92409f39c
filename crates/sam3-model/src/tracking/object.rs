//! What is remembered of an object beside its masks.

use super::duplicates::Duplicates;

/// An object's number: unique in a session, whatever the number of its texts, from 0 on and never used again.
pub type ObjectId = u32;

/// Where the objects of a session get their numbers from.
#[derive(Debug, Default)]
pub struct ObjectIds {
    next: ObjectId,
}

impl ObjectIds {
    /// The next number.
    pub fn next_id(&mut self) -> ObjectId {
        self.next += 1;
        self.next - 1
    }
}

/// An object of one text.
#[derive(Debug)]
pub(super) struct Object {
    pub id: ObjectId,
    /// The score of the detection that it began as.
    pub score: f32,
    /// The frame where that was.
    pub first_frame: usize,
    /// Visits on which no detection was it.
    pub unmatched: u32,
    /// Older objects that it shared detections with.
    pub duplicates: Duplicates,
    /// The last frame where it was empty or suppressed.
    pub last_occluded: Option<usize>,
}

impl Object {
    pub fn new(id: ObjectId, score: f32, first_frame: usize) -> Self {
        Self {
            id,
            score,
            first_frame,
            unmatched: 0,
            duplicates: Duplicates::default(),
            last_occluded: None,
        }
    }
}
