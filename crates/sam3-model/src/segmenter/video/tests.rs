//! Sessions on the miniature, whose answers by the official code are known.

mod clicks;
mod refused;
mod texts;

use std::{path::PathBuf, sync::OnceLock};

use sam3_tensor::Device;

use super::{Session, VideoOptions};
use crate::{
    MemoryDtype, Options, Segmenter,
    image::Image,
    testing::crate_folder,
    tracking::{FrameResult, ObjectId},
};

/// Frames of the golden video.
const FRAMES: usize = 24;

fn folder() -> PathBuf {
    crate_folder().join("tests/goldens/tracker")
}

fn open() -> Segmenter {
    Segmenter::load(
        std::sync::Arc::new(sam3_package::StateDict::open(&folder().join("mini.pt")).unwrap()),
        &Options::new(&Device::Cpu),
    )
    .unwrap()
}

/// One model for all tests.
fn model() -> &'static Segmenter {
    static MODEL: OnceLock<Segmenter> = OnceLock::new();
    MODEL.get_or_init(open)
}

/// As the goldens were made: with memories in f32.
fn options() -> VideoOptions {
    VideoOptions::new().frames(FRAMES).memory(MemoryDtype::F32)
}

fn session(options: VideoOptions) -> Session {
    model().video(options).unwrap()
}

/// 160 x 120.
fn picture(frame: usize) -> Image {
    Image::open(folder().join(format!("video/{frame:02}.png"))).unwrap()
}

/// Pushes a frame that nothing holds back.
fn push(session: &mut Session, frame: usize) -> FrameResult {
    let mut results = session.push(&picture(frame)).unwrap();
    assert_eq!(results.len(), 1);
    results.remove(0)
}

/// The logits of an object on the frame that was pushed last.
fn logits(session: &Session, id: ObjectId) -> Vec<f32> {
    let masks = session.low_res_masks().unwrap();
    let (_, mask) = masks.into_iter().find(|(own, _)| *own == id).expect("it is followed");
    mask.values().to_vec()
}

#[test]
fn a_session_may_go_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Session>();
}
