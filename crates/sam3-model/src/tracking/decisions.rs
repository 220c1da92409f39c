//! What was decided on a frame, for whoever wants to know why an object is there or not.

use super::{
    association::Association,
    object::{Object, ObjectId},
};

/// The decisions about one text on one frame. Detections are told by their places in `kept`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decisions {
    /// Queries of the detections that were looked at.
    pub kept: Vec<usize>,
    /// Objects that were followed up to here, in the order of their groups.
    pub tracks: Vec<ObjectId>,
    /// Those whose masks had holes or sprinkles.
    pub cleaned: Vec<ObjectId>,
    /// Those that had no mask.
    pub empty: Vec<ObjectId>,
    /// For each detection, the tracks that match it; nothing where there are no tracks.
    pub matched: Vec<Vec<ObjectId>>,
    /// Tracks with a mask that no detection is, and how often that was so by now.
    pub unmatched: Vec<(ObjectId, u32)>,
    /// Pairs of tracks that shared a detection, the one that keeps it first, and how often they did by now.
    pub duplicates: Vec<(ObjectId, ObjectId, u32)>,
    /// Tracks and the confident detections that they nearly equal.
    pub high: Vec<(ObjectId, usize)>,
    /// Those of them that were reconditioned.
    pub reconditioned: Vec<ObjectId>,
    /// Tracks that other tracks hide.
    pub suppressed: Vec<ObjectId>,
    /// Detections that became objects.
    pub new: Vec<usize>,
    /// These objects.
    pub new_ids: Vec<ObjectId>,
    /// Number of detections that would have been new objects, had there been room.
    pub dropped: usize,
    /// Tracks that did not pass their hot start.
    pub removed: Vec<ObjectId>,
}

impl Decisions {
    /// Of the tracks, which are `objects` in their order, once the hot start has counted.
    pub(super) fn of(objects: &[Object], association: Association) -> Self {
        let id = |track: usize| objects[track].id;
        let ids = |tracks: Vec<usize>| tracks.into_iter().map(id).collect();
        Self {
            tracks: objects.iter().map(|object| object.id).collect(),
            empty: ids(association.empty),
            matched: association.matched.into_iter().map(ids).collect(),
            unmatched: association
                .unmatched
                .into_iter()
                .map(|track| (id(track), objects[track].unmatched))
                .collect(),
            high: association
                .high
                .into_iter()
                .map(|(track, detection)| (id(track), detection))
                .collect(),
            new: association.new,
            ..Self::default()
        }
    }
}
