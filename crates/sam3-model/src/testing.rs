//! What the tests of this crate share.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use sam3_package::{Checkpoint, Dtype};
use sam3_tensor::{Device, Tensor};

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
