//! Official key names, whatever the file's own: prefixes, wrappers and transformers' renames undone by rules.

mod component;
mod freqs;
mod rules;
mod transformers;

use std::{
    borrow::Cow,
    collections::HashMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    Error, Result,
    checkpoint::{Checkpoint, Dtype, Stored, TensorInfo, TensorView, byte_len, gather},
};
pub use component::{Component, is_unused_for_images};

/// Whose names a checkpoint uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `facebookresearch/sam3`'s, perhaps under a training prefix.
    Official,
    /// Hugging Face transformers', with or without `detector_model.`.
    Transformers,
}

/// A config beside a checkpoint or in a package; the published one has 7 kB.
pub(crate) const MAX_CONFIG: u64 = 256 << 10;

/// The parts of the official detector, at the top of an image-only checkpoint.
const DETECTOR_PARTS: [&str; 5] = [
    "backbone.",
    "transformer.",
    "geometry_encoder.",
    "dot_prod_scoring.",
    "segmentation_head.",
];

/// A checkpoint seen as the official state dict (`detector.…`, `tracker.…`), in the official order.
///
/// The order is the file's for an official checkpoint. For a transformers checkpoint it is that of the official
/// modules, which the rules list; tensors that no rule knows follow under their own names.
#[derive(Debug)]
pub struct StateDict {
    checkpoint: Checkpoint,
    layout: Layout,
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
    warnings: Vec<String>,
    config: Option<Value>,
}

/// One official tensor.
#[derive(Debug)]
struct Entry {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    source: Source,
}

impl Entry {
    fn stored(name: String, index: usize, stored: &Stored) -> Self {
        Self {
            name,
            dtype: stored.dtype,
            shape: stored.shape.clone(),
            source: Source::Stored(index),
        }
    }
}

/// Where its values come from; numbers are positions in the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    Stored(usize),
    /// q, k and v, one after another.
    Rows([usize; 3]),
    /// A zero row, then the tensor.
    ClassRow(usize),
    Transposed(usize),
    /// One row of a matrix.
    Row(usize, usize),
    Zeros,
    FreqsCis {
        side: usize,
        scale: f32,
    },
}

impl StateDict {
    /// Opens a checkpoint and maps its names.
    pub fn open(path: &Path) -> Result<Self> {
        Self::new(Checkpoint::open(path)?)
    }

    /// Maps the names of an open checkpoint.
    ///
    /// # Errors
    /// Two tensors of one official name; q, k and v of different shapes; a `config.json` or embedded metadata that
    /// cannot be read.
    pub fn new(checkpoint: Checkpoint) -> Result<Self> {
        let invalid = |reason: String| Error::invalid(checkpoint.path(), reason);
        let config = read_config(&checkpoint)?;
        let raw: Vec<&str> = checkpoint.tensors().map(|t| t.name).collect();
        let names = strip_common(&raw);
        let mut warnings = checkpoint.warnings().to_vec();
        let (layout, entries) = if names.iter().any(|n| transformers::is_name(n)) {
            let names: Vec<String> = names.into_iter().map(transformers::full_name).collect();
            reject_duplicates(&names, &raw).map_err(invalid)?;
            let (entries, more) =
                transformers::official(&names, |i| checkpoint.stored(i), config.as_ref()).map_err(invalid)?;
            warnings.extend(more);
            (Layout::Transformers, entries)
        } else {
            let names: Vec<String> = names.into_iter().map(official_name).collect();
            reject_duplicates(&names, &raw).map_err(invalid)?;
            let entries = names
                .into_iter()
                .enumerate()
                .map(|(i, name)| Entry::stored(name, i, checkpoint.stored(i)))
                .collect();
            (Layout::Official, entries)
        };
        let by_name = entries.iter().enumerate().map(|(i, e)| (e.name.clone(), i)).collect();
        Ok(Self {
            layout,
            entries,
            by_name,
            warnings,
            config,
            checkpoint,
        })
    }

    /// The file this came from.
    pub fn path(&self) -> &Path {
        self.checkpoint.path()
    }

    /// The checkpoint under its own names.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Whose names the file uses.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// What was ignored or is incomplete, in sentences.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when the file holds no tensor.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Name, dtype and shape of every tensor, in the official order; costs no data.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = TensorInfo<'_>> {
        self.entries.iter().map(|e| TensorInfo {
            name: &e.name,
            dtype: e.dtype,
            shape: &e.shape,
        })
    }

    /// Name, dtype and shape at a position.
    pub fn info(&self, index: usize) -> TensorInfo<'_> {
        let Entry { name, dtype, shape, .. } = &self.entries[index];
        TensorInfo {
            name,
            dtype: *dtype,
            shape,
        }
    }

    /// Position of an official name, for [`StateDict::view`].
    pub fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Tensors the official model has and the file has not: computed (`freqs_cis`) or zero (`points_*` of the geometry
    /// encoder, which no text or box prompt reads). Empty for an official checkpoint.
    pub fn synthesised(&self) -> impl Iterator<Item = &str> {
        let made = |e: &&Entry| matches!(e.source, Source::Zeros | Source::FreqsCis { .. });
        self.entries.iter().filter(made).map(|e| e.name.as_str())
    }

    /// The tensor at a position; cheap, borrows the mapped bytes.
    ///
    /// Owned bytes are made for what the file does not hold as such: a synthesised tensor, a transposed or strided
    /// one, the class token's row.
    pub fn view(&self, index: usize) -> TensorView<'_> {
        let Entry {
            name,
            dtype,
            shape,
            source,
        } = &self.entries[index];
        let bytes = |i: usize| self.checkpoint.bytes(i);
        let parts = match *source {
            Source::Stored(i) => vec![bytes(i)],
            Source::Rows(qkv) => qkv.map(bytes).into(),
            Source::ClassRow(i) => vec![Cow::Owned(vec![0; shape[2] * dtype.size()]), bytes(i)],
            Source::Transposed(i) => vec![Cow::Owned(gather(&bytes(i), shape, &[1, shape[0]], dtype.size()))],
            Source::Row(i, n) => {
                let row = n * shape[1] * dtype.size()..(n + 1) * shape[1] * dtype.size();
                vec![match bytes(i) {
                    Cow::Borrowed(all) => Cow::Borrowed(&all[row]),
                    Cow::Owned(all) => Cow::Owned(all[row].to_vec()),
                }]
            }
            Source::Zeros => vec![Cow::Owned(vec![0; byte_len(shape, *dtype).unwrap_or(0)])],
            Source::FreqsCis { side, scale } => {
                vec![Cow::Owned(freqs::freqs_cis(side, shape[1], scale))]
            }
        };
        TensorView {
            name,
            dtype: *dtype,
            shape,
            parts,
        }
    }

    /// Lets go of the mapped pages behind [`view(index)`](Self::view): they count as this process's memory until then, and come back from
    /// the file when a view is read again.
    pub fn release(&self, index: usize) {
        match self.entries[index].source {
            Source::Stored(i) | Source::ClassRow(i) | Source::Transposed(i) => self.checkpoint.release(i),
            Source::Rows(qkv) => qkv.into_iter().for_each(|i| self.checkpoint.release(i)),
            Source::Row(..) | Source::Zeros | Source::FreqsCis { .. } => {}
        }
    }

    /// The metadata inside one of our packages, as JSON text.
    pub fn metadata_json(&self) -> Option<&[u8]> {
        self.checkpoint.metadata_json()
    }

    /// `config.json` beside the checkpoint, or the `config` of a package's metadata: transformers' schema.
    ///
    /// Of a video model's config this is the detector's part: `vision_config`, `text_config` and so on at the top.
    pub fn config(&self) -> Option<&Value> {
        self.config.as_ref()
    }
}

/// Without the prefixes that wrappers put before every name.
fn strip_common<'a>(raw: &[&'a str]) -> Vec<&'a str> {
    let mut names = raw.to_vec();
    while let Some(prefix) = ["module.", "_orig_mod.", "model."]
        .into_iter()
        .find(|p| !names.is_empty() && names.iter().all(|n| n.starts_with(p)))
    {
        for name in &mut names {
            *name = &name[prefix.len()..];
        }
    }
    names
}

/// `sam3_model.` and `sam2_predictor.` are what training calls the two halves.
fn official_name(name: &str) -> String {
    if let Some(rest) = name.strip_prefix("sam3_model.") {
        format!("detector.{rest}")
    } else if let Some(rest) = name.strip_prefix("sam2_predictor.") {
        format!("tracker.{rest}")
    } else if DETECTOR_PARTS.iter().any(|part| name.starts_with(part)) {
        format!("detector.{name}")
    } else {
        name.to_owned()
    }
}

fn reject_duplicates(names: &[String], raw: &[&str]) -> Result<(), String> {
    let mut first = HashMap::new();
    for (i, name) in names.iter().enumerate() {
        if let Some(j) = first.insert(name.as_str(), i) {
            return Err(format!("tensors \"{}\" and \"{}\" are both \"{name}\"", raw[j], raw[i]));
        }
    }
    Ok(())
}

/// The `config` of embedded metadata; without metadata, `config.json` beside the file.
fn read_config(checkpoint: &Checkpoint) -> Result<Option<Value>> {
    #[derive(Deserialize)]
    struct Embedded<'a> {
        #[serde(borrow)]
        config: Option<&'a RawValue>,
    }
    let path = checkpoint.path();
    if let Some(metadata) = checkpoint.metadata_json() {
        let broken = |e: serde_json::Error| Error::invalid(path, format!("the metadata inside it is malformed: {e}"));
        let embedded: Embedded<'_> = serde_json::from_slice(metadata).map_err(broken)?;
        if let Some(config) = embedded.config {
            let text = config.get();
            if text.len() as u64 > MAX_CONFIG {
                return Err(Error::invalid(
                    path,
                    format!(
                        "the config inside it has {} bytes; at most {MAX_CONFIG} are read",
                        text.len()
                    ),
                ));
            }
            return serde_json::from_str(text)
                .map_err(broken)
                .map(|config| Some(detector(config)));
        }
    }
    let beside: PathBuf = path.with_file_name("config.json");
    let meta = match std::fs::metadata(&beside) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", &beside, e)),
    };
    if !meta.is_file() || meta.len() > MAX_CONFIG {
        return Err(Error::invalid(
            &beside,
            format!("it should be a JSON file of at most {MAX_CONFIG} bytes"),
        ));
    }
    let text = std::fs::read(&beside).map_err(|e| Error::io("read", &beside, e))?;
    let config: Value = serde_json::from_slice(&text).map_err(|e| {
        Error::invalid(
            &beside,
            format!("it is not valid JSON ({e}): repair it or move it away from the checkpoint"),
        )
    })?;
    if !config.is_object() {
        return Err(Error::invalid(
            &beside,
            "it should be a JSON object: repair it or move it away from the checkpoint",
        ));
    }
    Ok(Some(detector(config)))
}

/// A video model's config holds the image model's as `detector_config`.
fn detector(mut config: Value) -> Value {
    match config.get_mut("detector_config") {
        Some(inner) if inner.is_object() => inner.take(),
        _ => config,
    }
}

#[cfg(test)]
mod tests;
