//! Official key names, whatever the file's own: prefixes, wrappers and transformers' renames undone by rules.

mod component;
mod config;
mod family;
mod freqs;
mod known;
mod prefix;
mod rules;
mod settle;
mod stated;
mod transformers;
mod widen;

use std::{borrow::Cow, collections::HashMap, path::Path};

use serde_json::Value;

use crate::{
    Error, Result,
    checkpoint::{Checkpoint, Dtype, Stored, TensorInfo, TensorView, byte_len, clip, gather, sets::Choice},
    error::list_of,
};
pub use component::{Component, Tasks, is_unused_for_clicks, is_unused_for_images};
pub(crate) use config::MAX_BYTES as MAX_CONFIG;
pub(crate) use known::is_part;
pub use stated::{Backbone, Stated};

/// Whose names a checkpoint uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `facebookresearch/sam3`'s, perhaps under a training prefix.
    Official,
    /// Hugging Face transformers', with or without `detector_model.`.
    Transformers,
}

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
    /// What was chosen by the prefixes of the names.
    choice: Option<Choice>,
    config: Option<Value>,
}

/// One official tensor.
#[derive(Debug)]
struct Entry {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    source: Recipe,
    /// The element type of the bytes that `source` gives; they are widened where it is not `dtype`.
    stored: Dtype,
}

impl Entry {
    fn new(name: String, dtype: Dtype, shape: Vec<usize>, source: Recipe) -> Self {
        Self {
            name,
            dtype,
            shape,
            source,
            stored: dtype,
        }
    }

    fn stored(name: String, index: usize, stored: &Stored) -> Self {
        Self::new(name, stored.dtype, stored.shape.clone(), Recipe::Stored(index))
    }
}

/// Where its values come from; numbers are positions in the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Recipe {
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
    /// Real parts and imaginary parts.
    Complex(usize, usize),
}

impl Recipe {
    /// True where no tensor of the file gives the values.
    fn is_made(self) -> bool {
        self.tensors().is_empty()
    }

    /// The tensors of the file that give the values.
    fn tensors(self) -> Vec<usize> {
        match self {
            Self::Stored(i) | Self::ClassRow(i) | Self::Transposed(i) | Self::Row(i, _) => vec![i],
            Self::Rows(qkv) => qkv.into(),
            Self::Complex(re, im) => vec![re, im],
            Self::Zeros | Self::FreqsCis { .. } => Vec::new(),
        }
    }
}

impl StateDict {
    /// Opens a checkpoint and maps its names.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_weights(path, None)
    }

    /// As [`open`](Self::open); of several sets of weights in the file, as `model` and `ema`, those called `wanted`.
    ///
    /// # Errors
    /// As [`new`](Self::new), and where the file has none of that name.
    pub fn open_weights(path: &Path, wanted: Option<&str>) -> Result<Self> {
        Self::new(Checkpoint::open_weights(path, wanted)?)
    }

    /// Maps the names of an open checkpoint.
    ///
    /// # Errors
    /// Two tensors of one official name; q, k and v of different shapes; a `config.json` or embedded metadata that
    /// cannot be read; a checkpoint of another model that is known by name, or a LoRA adapter.
    pub fn new(checkpoint: Checkpoint) -> Result<Self> {
        let invalid = |reason: String| Error::invalid(checkpoint.path(), reason);
        let raw: Vec<&str> = checkpoint.tensors().map(|t| t.name).collect();
        let unwrapped: Vec<String> = raw.iter().map(|name| prefix::unwrapped(name)).collect();
        if let Some(whose) = family::refuse(&unwrapped) {
            return Err(Error::AnotherModel {
                path: checkpoint.path().to_owned(),
                reason: whose,
            });
        }
        let prefix::Stripped {
            names,
            warnings: left_out,
            choice,
        } = prefix::strip(&unwrapped, &raw, checkpoint.wanted())
            .map_err(|prefixes| no_such_weights(&checkpoint, &prefixes))?;
        let mut warnings = checkpoint.warnings().to_vec();
        warnings.extend(list_unread(&checkpoint));
        warnings.extend(left_out);
        let config = config::read(&checkpoint, &mut warnings)?;
        let is_theirs = |name: &str| transformers::is_name(name);
        let count = |test: &dyn Fn(&str) -> bool| names.iter().flatten().filter(|name| test(name)).count();
        let (layout, mut entries) = if count(&is_theirs) > count(&is_official) {
            let names: Vec<_> = names
                .iter()
                .map(|name| name.as_deref().map(transformers::full_name))
                .collect();
            settle::reject_duplicates(&names, &raw).map_err(invalid)?;
            let (entries, more) =
                transformers::official(&names, |i| checkpoint.stored(i), config.as_ref()).map_err(invalid)?;
            warnings.extend(more);
            (Layout::Transformers, entries)
        } else {
            let named = names.iter().map(|name| name.as_deref().map(official_name)).enumerate();
            let entries = named.filter_map(|(i, name)| Some(Entry::stored(name?, i, checkpoint.stored(i))));
            (Layout::Official, entries.collect())
        };
        warnings.extend(freqs::adapt(&mut entries));
        settle::entries(&mut entries, &raw).map_err(invalid)?;
        warnings.extend(widen::doubles(&mut entries));
        let by_name = entries.iter().enumerate().map(|(i, e)| (e.name.clone(), i)).collect();
        Ok(Self {
            layout,
            entries,
            by_name,
            warnings,
            choice,
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

    /// Of several sets of weights in the file, the names of those that were not taken, where nobody asked for one:
    /// [`open_weights`](Self::open_weights) takes them.
    pub fn other_weights(&self) -> &[String] {
        match &self.choice {
            Some(choice) => &choice.others,
            None => self.checkpoint.other_weights(),
        }
    }

    /// Why some tensors of the file are not read, a sentence each.
    pub fn unread(&self) -> &[String] {
        self.checkpoint.unread()
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
        let made = self.entries.iter().filter(|entry| entry.source.is_made());
        made.map(|entry| entry.name.as_str())
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
            stored,
        } = &self.entries[index];
        let size = stored.size();
        let bytes = |i: usize| self.checkpoint.bytes(i);
        let parts = match *source {
            Recipe::Stored(i) => vec![bytes(i)],
            Recipe::Rows(qkv) => qkv.map(bytes).into(),
            Recipe::ClassRow(i) => vec![Cow::Owned(vec![0; shape[2] * size]), bytes(i)],
            Recipe::Transposed(i) => vec![Cow::Owned(gather(&bytes(i), shape, &[1, shape[0]], size))],
            Recipe::Row(i, n) => {
                let row = n * shape[1] * size..(n + 1) * shape[1] * size;
                vec![match bytes(i) {
                    Cow::Borrowed(all) => Cow::Borrowed(&all[row]),
                    Cow::Owned(all) => Cow::Owned(all[row].to_vec()),
                }]
            }
            Recipe::Zeros => vec![Cow::Owned(vec![0; byte_len(shape, *stored).unwrap_or(0)])],
            Recipe::FreqsCis { side, scale } => {
                vec![Cow::Owned(freqs::freqs_cis(side, shape[1], scale))]
            }
            Recipe::Complex(re, im) => {
                let parts = [re, im].map(|i| widen::to_f32(bytes(i), self.checkpoint.stored(i).dtype));
                vec![Cow::Owned(widen::interleave(&parts[0], &parts[1]))]
            }
        };
        let parts = if stored == dtype {
            parts
        } else {
            parts.into_iter().map(|part| widen::to_f32(part, *stored)).collect()
        };
        TensorView {
            name,
            dtype: *dtype,
            shape,
            parts,
        }
    }

    /// Lets go of the mapped pages behind [`view(index)`](Self::view): they count as this process's memory until then,
    /// and come back from the file when a view is read again.
    pub fn release(&self, index: usize) {
        match self.entries[index].source {
            Recipe::Stored(i) | Recipe::ClassRow(i) | Recipe::Transposed(i) => self.checkpoint.release(i),
            Recipe::Rows(qkv) => qkv.into_iter().for_each(|i| self.checkpoint.release(i)),
            Recipe::Complex(re, im) => [re, im].into_iter().for_each(|i| self.checkpoint.release(i)),
            Recipe::Row(..) | Recipe::Zeros | Recipe::FreqsCis { .. } => {}
        }
    }

    /// The metadata inside one of our packages, as JSON text.
    pub fn metadata_json(&self) -> Option<&[u8]> {
        self.checkpoint.metadata_json()
    }

    /// `config.json` beside the checkpoint, or the `config` of a package's metadata: transformers' schema.
    ///
    /// Of a video model's config this is the detector's part: `vision_config`, `text_config` and so on at the top.
    /// `None` for the config of another model.
    pub fn config(&self) -> Option<&Value> {
        self.config.as_ref()
    }
}

/// True for a name that only the official layout has, perhaps as training code spells it.
fn is_official(name: &str) -> bool {
    let name = official_name(name);
    (name.starts_with("detector.") && !name.starts_with("detector.geometry_encoder.")) || name.starts_with("tracker.")
}

/// One warning for all tensors that are not read.
fn list_unread(checkpoint: &Checkpoint) -> Option<String> {
    let unread = checkpoint.unread();
    (!unread.is_empty()).then(|| format!("not read: {}", list_of(unread)))
}

fn no_such_weights(checkpoint: &Checkpoint, prefixes: &[String]) -> Error {
    Error::NoSuchWeights {
        path: checkpoint.path().to_owned(),
        wanted: clip(checkpoint.wanted().unwrap_or_default()).to_owned(),
        sets: [checkpoint.sets(), prefixes].concat(),
    }
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

#[cfg(test)]
mod tests;
