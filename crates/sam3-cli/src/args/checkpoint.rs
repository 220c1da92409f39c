//! Which weights a model is made of, and how it runs.

use std::{path::PathBuf, sync::Arc};

use sam3_model::{Device, Options};
use sam3_package::StateDict;

use super::{ModelFlags, TextFlags};
use crate::output::Output;

/// A model of texts and where it runs.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckpointFlags {
    /// A checkpoint or a package of it
    #[arg(long, value_name = "FILE")]
    checkpoint_path: PathBuf,
    /// Which set of weights to take where the checkpoint has several, such as ema
    #[arg(long, value_name = "NAME")]
    weights: Option<String>,
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    texts: TextFlags,
}

impl CheckpointFlags {
    /// The device that the model is to run on.
    ///
    /// # Errors
    /// When there is none such, or texts are to be encoded on another.
    pub fn device(&self, output: &Output) -> anyhow::Result<Device> {
        let device = self.model.device.open(output)?;
        self.texts.check(&device)?;
        Ok(device)
    }

    /// The weights.
    ///
    /// # Errors
    /// When the file cannot be read, or has no such set of weights.
    pub fn open(&self) -> anyhow::Result<Arc<StateDict>> {
        Ok(Arc::new(StateDict::open_weights(
            &self.checkpoint_path,
            self.weights.as_deref(),
        )?))
    }

    /// How the model is loaded from these weights.
    pub fn options(&self, dict: &StateDict, device: &Device) -> Options {
        self.texts.of(self.model.options(dict, device), device)
    }
}
