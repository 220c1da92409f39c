//! The constants of the official `build_sam3_video_model`, under their names there.
//!
//! What that configuration switches off is not here: the bounding-box heuristic of reconstruction, the confirmation
//! of masklets, suppression at the border, Hungarian matching. Keep-alive counters are switched on there and have no
//! effect, as they only suppress when `suppress_unmatched_only_within_hotstart` is off.

/// Detections above this are looked at.
pub const SCORE_THRESHOLD_DETECTION: f32 = 0.5;
/// Of two detections whose masks have a higher IoU, the one with the lower score is dropped.
pub const DET_NMS_THRESH: f32 = 0.1;
/// A detection and a track match from this IoU on.
pub const ASSOC_IOU_THRESH: f32 = 0.1;
/// A track is unmatched where no detection has this IoU with it.
pub const TRK_ASSOC_IOU_THRESH: f32 = 0.5;
/// Detections from this score on become new objects, where there are tracks.
pub const NEW_DET_THRESH: f32 = 0.7;
/// A detection that a track is reconditioned by has at least this score, and a track more than this **logit**.
pub const HIGH_CONF_THRESH: f32 = 0.8;
/// A detection that a track is reconditioned by has at least this IoU with it.
pub const HIGH_IOU_THRESH: f32 = 0.8;
/// Frames that an object is on probation, and frames of the official buffer.
pub const HOTSTART_DELAY: usize = 15;
/// An object on probation that was unmatched so often is removed.
pub const HOTSTART_UNMATCH_THRESH: u32 = 8;
/// An object on probation that shared detections with an older one so often is removed.
pub const HOTSTART_DUP_THRESH: u32 = 8;
/// Tracks are reconditioned on frames whose number is a multiple of this.
pub const RECONDITION_EVERY_NTH_FRAME: usize = 16;
/// Two tracks occlude each other from this IoU on.
pub const SUPPRESS_OVERLAPPING_THRESH: f32 = 0.7;
/// A track that keeps less than this share of its mask against the others' is remembered as absent.
pub const SHRINK_THRESHOLD: f32 = 0.3;
/// Holes and sprinkles up to so many pixels of the low-resolution mask are cleaned away.
pub const FILL_HOLE_AREA: u32 = 16;
/// The score of an object that a user corrected.
pub const CORRECTED_SCORE: f32 = 1.0;
/// Objects of one text that are followed at once, unless it is said otherwise.
pub const MAX_NUM_OBJECTS: usize = 10_000;
/// What a mask that must not be remembered, or shown, holds.
pub const NO_MASK_LOGIT: f32 = -10.0;
/// How much larger than a low-resolution mask the memory encoder's mask and a mask prompt are, in each direction.
pub const MASK_INPUT_SCALE: usize = 4;
