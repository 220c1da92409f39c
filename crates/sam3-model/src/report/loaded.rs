//! The model that segments, and what is known of where it came from.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use sam3_package::{
    StateDict,
    package::{self, Metadata, Tallies},
};
use serde::Serialize;

use super::plain;
use crate::{
    error::Result,
    segmenter::{Options, Segmenter},
};

/// An open checkpoint or package, ready to segment.
pub struct Loaded {
    /// The model.
    pub segmenter: Segmenter,
    path: PathBuf,
    /// What a package says about itself; `None` for any other checkpoint.
    metadata: Option<Metadata>,
    tallies: Tallies,
    id: String,
    warnings: Vec<String>,
    other_weights: Vec<String>,
}

/// The model's place in the JSON.
#[derive(Debug, Serialize)]
pub struct ModelRecord<'a> {
    /// Checkpoint or package.
    #[serde(serialize_with = "plain")]
    pub file: &'a Path,
    id: &'a str,
    package: bool,
    precision: String,
    /// As `--compute` spells it.
    compute: &'static str,
    /// Where it runs: `cpu`, or `cuda:0` and the GPU's name.
    device: String,
    tensors: u64,
    bytes: u64,
    /// Pixels in a side of what the model sees.
    image_size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a package::Source>,
}

impl ModelRecord<'_> {
    /// Pixels in a side of what the model sees.
    pub fn image_size(&self) -> usize {
        self.image_size
    }

    /// What it is and how it runs, for a line of a table.
    pub fn label(&self) -> String {
        let (file, size) = (self.file.display(), self.image_size);
        format!("{file}, {} at {size} x {size} on {}", self.compute, self.device)
    }
}

impl Loaded {
    /// Loads a checkpoint and, where it is a package, checks that metadata and content agree. Digests are for `sam3
    /// verify`: a device that segments has no time for them.
    ///
    /// # Errors
    /// As [`Segmenter::load`], and where they do not agree.
    pub fn load(dict: Arc<StateDict>, options: &Options) -> Result<Self> {
        let metadata = package::verify_structure(dict.checkpoint())?;
        let segmenter = Segmenter::load(dict.clone(), options)?;
        let mut warnings = dict.warnings().to_vec();
        if let keys @ [_, ..] = segmenter.unexpected_keys() {
            warnings.push(format!(
                "{} keys that the image model does not know: {}",
                keys.len(),
                first(keys)
            ));
        }
        let tallies = Tallies::of(dict.checkpoint().tensors());
        Ok(Self {
            id: id_of(&dict),
            segmenter,
            path: dict.path().to_owned(),
            metadata,
            tallies,
            warnings,
            other_weights: dict.other_weights().to_vec(),
        })
    }

    /// What tells this package from any other, wherever it lies.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the model computes in, as `--compute` spells it.
    pub fn compute(&self) -> &'static str {
        self.segmenter.compute().name()
    }

    /// The checkpoint or package.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a package says about itself; none of any other checkpoint.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    /// Tensors and bytes, by element type.
    pub fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// What the user should know though the model runs.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The names of the checkpoint's other sets of weights, where nobody asked for one.
    pub fn other_weights(&self) -> &[String] {
        &self.other_weights
    }

    /// For the JSON.
    pub fn record(&self) -> ModelRecord<'_> {
        self.record_at(self.segmenter.image_size())
    }

    /// [`record`](Self::record), of what this model answered at another image size.
    pub fn record_at(&self, image_size: usize) -> ModelRecord<'_> {
        ModelRecord {
            file: &self.path,
            id: &self.id,
            package: self.metadata.is_some(),
            precision: self.precision(),
            compute: self.segmenter.compute().name(),
            device: self.segmenter.device().to_string(),
            tensors: self.tallies.total.tensors,
            bytes: self.tallies.total.bytes,
            image_size,
            source: self.metadata.as_ref().map(|metadata| &metadata.source),
        }
    }

    /// The scheme of a package; else the element type that most bytes have.
    pub fn precision(&self) -> String {
        match &self.metadata {
            Some(metadata) => metadata.quantization.scheme.name().to_owned(),
            None => {
                let most = self.tallies.dtypes.iter().max_by_key(|(_, tally)| tally.bytes);
                most.map_or("empty".to_owned(), |(dtype, _)| dtype.to_lowercase())
            }
        }
    }
}

/// The SHA-256 of a package's metadata, which has that of every tensor; of any other checkpoint's tensor table and
/// config, and the sizes and times of its files.
fn id_of(dict: &StateDict) -> String {
    let checkpoint = dict.checkpoint();
    let described = match checkpoint.metadata_json() {
        Some(metadata) => metadata.to_vec(),
        None => {
            let tensors = checkpoint.tensors();
            let tensors = tensors.map(|tensor| format!("{} {} {:?}\n", tensor.name, tensor.dtype.name(), tensor.shape));
            let files = checkpoint.files().iter().map(|file| {
                let modified = fs::metadata(&file.path).and_then(|metadata| metadata.modified());
                format!("{} {:?}\n", file.bytes, modified.ok())
            });
            let config = dict.config().map(ToString::to_string);
            tensors.chain(files).chain(config).collect::<String>().into_bytes()
        }
    };
    sam3_package::sha256(&described[..]).expect("memory can be read")
}

/// A few of many names.
fn first(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        text += ", …";
    }
    text
}
