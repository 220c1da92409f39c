//! What the tests of this crate share.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

use sam3_package::{Checkpoint, Dtype};
use sam3_tensor::{Device, Tensor};
use serde::Deserialize;
use serde_json::Value;

/// What the model must not make a number of.
pub const NO_NUMBERS: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

/// This crate's folder: where cargo or a script says it is, since tests may run on another machine than compiled them.
pub fn crate_folder() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// The tensors of a file under the names that they have there, all as f32.
pub fn read_tensors(path: &Path) -> HashMap<String, Tensor> {
    let file = Checkpoint::open(path).unwrap();
    let read = |index: usize| {
        let view = file.view(index);
        let bytes = view.parts.concat();
        let values: Vec<f32> = match view.dtype {
            Dtype::I64 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|x| i64::from_le_bytes(*x) as f32)
                .collect(),
            Dtype::U8 => bytes.iter().map(|x| f32::from(*x)).collect(),
            _ => view.to_f32().unwrap(),
        };
        let tensor = Tensor::from_vec(values, view.shape, &Device::Cpu).unwrap();
        (view.name.to_owned(), tensor)
    };
    (0..file.len()).map(read).collect()
}

/// Clicks in a picture, and what the official code makes of them.
#[derive(Deserialize)]
pub struct ClickCase {
    /// `x, y` in pixels, or in shares of the sides; of each object where there are several.
    points: Option<Value>,
    labels: Option<Value>,
    #[serde(rename = "box")]
    bounding_box: Option<Value>,
    pub normalize_coords: bool,
    pub multimask_output: bool,
    pub mask_input: Option<String>,
    pub sparse_tokens: usize,
    iou: Value,
    pub object_score_logit: Vec<f32>,
    /// Of the four masks of each object.
    pub all_iou: Vec<Vec<f32>>,
}

/// What one object of a case is shown by.
pub struct ClickedCase {
    pub points: Vec<([f32; 2], bool)>,
    pub bounding_box: Option<[f32; 4]>,
    /// Predicted IoUs of the masks that are returned.
    pub iou: Vec<f32>,
}

impl ClickCase {
    /// Where the official code's answers lie, and its miniature model.
    pub fn folder() -> PathBuf {
        crate_folder().join("tests/goldens/tracker")
    }

    /// All cases by their names.
    pub fn all() -> BTreeMap<String, Self> {
        let text = fs::read_to_string(Self::folder().join("clicks.json")).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        serde_json::from_value(document["cases"].clone()).unwrap()
    }

    /// Pixels of the picture in a share of its sides.
    fn scale(&self) -> [f32; 2] {
        if self.normalize_coords {
            [1.0; 2]
        } else {
            [301.0, 227.0]
        }
    }

    pub fn objects(&self) -> Vec<ClickedCase> {
        // A case of one object has no axis of objects.
        let is_batch = self.all_iou.len() > 1;
        let of_object = |value: &Value, object: usize| if is_batch { value[object].clone() } else { value.clone() };
        let object = |object| {
            let numbers = |value: &Option<Value>| value.as_ref().map(|value| of_object(value, object));
            let points: Vec<[f32; 2]> =
                numbers(&self.points).map_or(Vec::new(), |value| serde_json::from_value(value).unwrap());
            let labels: Vec<u8> =
                numbers(&self.labels).map_or(Vec::new(), |value| serde_json::from_value(value).unwrap());
            let [sx, sy] = self.scale();
            ClickedCase {
                points: points
                    .iter()
                    .zip(labels)
                    .map(|([x, y], label)| ([x * sx, y * sy], label == 1))
                    .collect(),
                bounding_box: numbers(&self.bounding_box).map(|value| serde_json::from_value(value).unwrap()),
                iou: serde_json::from_value(of_object(&self.iou, object)).unwrap(),
            }
        };
        (0..self.all_iou.len()).map(object).collect()
    }
}
