//! Sessions that the official code went through with a seeded miniature (`tests/goldens/tracker`): what every frame is
//! found by is the same, and what is found within f32's error.

mod clicks;
mod script;
mod stages;
mod texts;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use sam3_package::StateDict;
use sam3_tensor::{Device, Tensor};

use super::{Frame, MemoryDtype, Predictor, PredictorOptions, Retention};
use crate::{
    Options, Segmenter,
    image::Image,
    masks::Mask,
    model::{TrackerFeatures, VideoTracker},
    testing::{crate_folder, read_tensors},
};

/// Frames of the video.
const FRAMES: usize = 24;
/// Tokens in a side of the miniature's map.
const GRID: usize = 16;

fn folder() -> PathBuf {
    crate_folder().join("tests/goldens/tracker")
}

/// The miniature, and its video as it sees it.
struct Video {
    model: Segmenter,
    tracker: Arc<VideoTracker>,
    features: Vec<Arc<TrackerFeatures>>,
}

impl Video {
    /// Its first `frames`, where models run on `device`.
    fn open(device: &Device, frames: usize) -> Self {
        let dict = Arc::new(StateDict::open(&folder().join("mini.pt")).unwrap());
        let model = Segmenter::load(dict, &Options::new(device)).unwrap();
        let tracker = model.video_tracker().unwrap();
        let features = |frame: usize| {
            let encoded = model.encode(&picture(frame)).unwrap();
            encoded.tracker_features(tracker.tracker()).unwrap()
        };
        Self {
            features: (0..frames).map(features).collect(),
            model,
            tracker,
        }
    }

    /// All of it in main memory, encoded once for all tests.
    fn get() -> &'static Self {
        static VIDEO: OnceLock<Video> = OnceLock::new();
        VIDEO.get_or_init(|| Self::open(&Device::Cpu, FRAMES))
    }

    fn predictor(&self, video_size: (u32, u32), frames: usize, retention: Retention) -> Predictor {
        let options = PredictorOptions {
            grid: GRID,
            video_size,
            frames: Some(frames),
            memory: MemoryDtype::F32,
            retention,
        };
        Predictor::new(self.tracker.clone(), options).unwrap()
    }

    fn frame(&self, index: usize) -> Frame {
        Frame::new(index, self.features[index].clone())
    }
}

fn picture(frame: usize) -> Image {
    Image::open(folder().join(format!("video_224/{frame:02}.png"))).unwrap()
}

/// What the official code found, by name.
struct Expected(HashMap<String, Tensor>);

impl Expected {
    fn open(name: &str) -> Self {
        Self(read_tensors(&folder().join(name)))
    }

    /// The values of a tensor, where there is one of that name.
    fn get(&self, name: &str) -> Option<Vec<f32>> {
        self.0.get(name).map(|x| x.to_vec().unwrap())
    }

    /// Masks of which a row is whole bytes, their highest bit first.
    fn masks(&self, name: &str, (width, height): (u32, u32)) -> Option<Vec<Mask>> {
        let bytes: Vec<u8> = self.get(name)?.into_iter().map(|byte| byte as u8).collect();
        let row = (width as usize).div_ceil(8);
        let mask = |bytes: &[u8]| {
            let bit = |x: u32, y: u32| bytes[y as usize * row + x as usize / 8] >> (7 - x % 8) & 1 == 1;
            Mask::from_fn(width, height, bit)
        };
        Some(bytes.chunks_exact(row * height as usize).map(mask).collect())
    }
}

/// The largest difference of two lists.
#[track_caller]
fn apart(found: &[f32], expected: &[f32], what: &str) -> f32 {
    assert_eq!(found.len(), expected.len(), "{what}");
    assert!(found.iter().all(|value| value.is_finite()), "{what}");
    let pairs = found.iter().zip(expected);
    pairs
        .map(|(found, expected)| (found - expected).abs())
        .fold(0.0, f32::max)
}

/// Pixels that two masks do not share.
fn differing(a: &Mask, b: &Mask) -> u64 {
    a.area() + b.area() - 2 * a.shared_area(b)
}
