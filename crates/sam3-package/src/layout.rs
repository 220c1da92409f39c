//! Official key names, whatever the file's own: prefixes, wrappers and transformers' renames undone by rules.

use std::path::Path;

use crate::{
    Result,
    checkpoint::{Checkpoint, TensorView},
};

/// A checkpoint seen as the official state dict (`detector.…`, `tracker.…`), in the official order.
pub struct StateDict {}

impl StateDict {
    /// Opens a checkpoint and maps its names.
    pub fn open(path: &Path) -> Result<Self> {
        Self::new(Checkpoint::open(path)?)
    }

    /// Maps the names of an open checkpoint.
    pub fn new(checkpoint: Checkpoint) -> Result<Self> {
        let _ = checkpoint;
        todo!()
    }

    /// The file this came from.
    pub fn path(&self) -> &Path {
        todo!()
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// True when the file holds no tensor.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Position of an official name, for [`StateDict::view`].
    pub fn position(&self, name: &str) -> Option<usize> {
        let _ = name;
        todo!()
    }

    /// The tensor at a position; cheap, borrows the mapped bytes.
    pub fn view(&self, index: usize) -> TensorView<'_> {
        let _ = index;
        todo!()
    }

    /// `config.json` beside the checkpoint, or the `config` of a package's metadata: transformers' schema.
    pub fn config(&self) -> Option<&serde_json::Value> {
        todo!()
    }
}
