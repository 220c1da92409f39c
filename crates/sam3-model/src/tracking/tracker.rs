//! What tracking by text asks of the networks that follow objects.

use super::{object::ObjectId, visit::Visit};
use crate::Result;

/// What follows objects through a video by memory: officially one `Sam3TrackerPredictor`.
///
/// All objects that were first found on one visit of a frame are one **group** and are tracked together: they share
/// their conditioning frames and the choice of their memories, as officially the objects of one inference state do. A
/// group is dropped with its last object, and with it all that is remembered of it.
///
/// [`TextTracking`](super::TextTracking) asks on each frame, in this order: [`propagate`](Self::propagate) for each
/// group; [`add_mask`](Self::add_mask) and [`commit`](Self::commit) for each object that is reconditioned;
/// [`encode_memory`](Self::encode_memory) for each group; `add_mask` for each new object and one `commit`;
/// [`remove`](Self::remove) for each object that goes.
///
/// Logits come and go in main memory. A tracker that keeps its own on a device finds there what it needs: a mask
/// prompt tells the query that it is from, and a mask to remember tells whether it is still what `propagate`
/// returned.
pub trait Tracker {
    /// What is remembered of a group of objects.
    type Group;

    /// A group without objects.
    fn new_group(&mut self) -> Self::Group;

    /// Tracks the objects of a group on a frame, in the order in which they were added, without remembering the frame
    /// yet. Where the frame is a conditioning frame of the group, what is stored there is returned.
    ///
    /// # Errors
    /// When the device fails, or a logit is no number.
    fn propagate(&mut self, group: &mut Self::Group, visit: Visit) -> Result<Vec<Tracked>>;

    /// Gives an object of a group a mask on a frame: one that is new in the group, or one to be reconditioned
    /// (officially `add_new_mask` for both).
    ///
    /// # Errors
    /// When the device fails.
    fn add_mask(&mut self, group: &mut Self::Group, frame: usize, prompt: &MaskPrompt<'_>) -> Result<()>;

    /// Makes a frame that masks were given on a conditioning frame of the whole group. Objects that were given none
    /// enter it as they are tracked there.
    ///
    /// # Errors
    /// When the device fails.
    fn commit(&mut self, group: &mut Self::Group, frame: usize) -> Result<()>;

    /// Remembers a frame: `masks` has one for each object of the group, in order. It replaces what a `commit` on this
    /// frame remembered of the masks' pixels, but not the objects' pointers.
    ///
    /// # Errors
    /// When the device fails.
    fn encode_memory(&mut self, group: &mut Self::Group, frame: usize, masks: &[MemoryMask<'_>]) -> Result<()>;

    /// Forgets one object of a group.
    ///
    /// # Errors
    /// When the device fails.
    fn remove(&mut self, group: &mut Self::Group, id: ObjectId) -> Result<()>;
}

/// An object as a tracker finds it on a frame.
#[derive(Clone, Debug)]
pub struct Tracked {
    /// Mask logits, `[side, side]`, all finite.
    pub logits: Vec<f32>,
    /// The logit of its being there.
    pub object_score: f32,
    /// The IoU that the mask decoder predicts for the mask, where it does.
    pub iou: Option<f32>,
}

/// A detection that an object is to have as its mask.
#[derive(Clone, Copy, Debug)]
pub struct MaskPrompt<'a> {
    /// The object.
    pub id: ObjectId,
    /// The detector's query that it is from.
    pub query: usize,
    /// The detection's logits, `[side, side]`. The mask is where they are above 0 after they were resized,
    /// bilinearly, to [`MASK_INPUT_SCALE`](super::thresholds::MASK_INPUT_SCALE) times that side; of a weak detection
    /// nothing may be left there: it starts as an object that is absent, as officially.
    pub logits: &'a [f32],
}

/// What is to be remembered of an object on a frame.
#[derive(Clone, Copy, Debug)]
pub struct MemoryMask<'a> {
    /// The object.
    pub id: ObjectId,
    /// Its mask, before it is resized, bilinearly, to [`MASK_INPUT_SCALE`](super::thresholds::MASK_INPUT_SCALE) times
    /// its side.
    pub logits: MemoryLogits<'a>,
    /// Whether then no logit may be above [`NO_MASK_LOGIT`](super::thresholds::NO_MASK_LOGIT).
    pub is_capped: bool,
    /// Whether a logit is above 0 after that. It stands for the object's score logit, which it makes 10 or -10: the
    /// score that [`Tracker::propagate`] returned is not used here.
    pub is_present: bool,
}

/// The logits of a mask to remember.
#[derive(Clone, Copy, Debug)]
pub enum MemoryLogits<'a> {
    /// What [`Tracker::propagate`] returned on this visit.
    AsTracked,
    /// The same without holes and sprinkles, `[side, side]`.
    Cleaned(&'a [f32]),
    /// [`NO_MASK_LOGIT`](super::thresholds::NO_MASK_LOGIT) everywhere: the object is occluded.
    Suppressed,
}
