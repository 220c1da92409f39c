//! A package: a checkpoint in the wanted precision with its metadata, inside it and beside it, and an archive of both.

mod compressed_tensors;
mod description;
mod draft;
mod metadata;
mod pickle_writer;
mod plan;
mod pth_writer;
mod safetensors_writer;
mod source;
mod stream;
mod verify;
mod write;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

pub use crate::naming::{FORMAT, RECORD, is_package_name, metadata_path};
use crate::{
    Progress, Result, StateDict,
    archive::{Compression, Extra},
    naming::stem,
    precision::Precision,
};
pub use draft::{Draft, check_outputs, draft};
pub use metadata::{
    Agreement, FORMAT_VERSION, Metadata, Quantization, SizedRun, Tallies, Tally, TensorRecord, TestRun, WorstTensor,
    utc,
};
pub use plan::{BAKED_PROMPTS, BakedPrompts, Components, Planned, SCALE_SUFFIX};
pub use source::{Shard, Source};
pub(crate) use stream::{PackageHasher, Streamed};
pub use verify::{Verified, verify_structure};
pub(crate) use verify::{conclude, verify_file, verify_streamed};

/// What to write and where.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The package, `X.pth`, `X.pt` or `X.safetensors`; the extension decides the format.
    pub output: PathBuf,
    /// How tensors are stored.
    pub precision: Precision,
    /// Which tensors go along.
    pub components: Components,
    /// Prompts that go along in place of the text encoder.
    pub baked: Option<BakedPrompts>,
    /// Also write `X.tar.gz` or `X.tar.zst`.
    pub archive: Option<Compression>,
    /// Cut the archive into parts of at most this many bytes: `X.tar.gz.000` and so on.
    pub split: Option<u64>,
    /// What the archive holds beside the package, with the bytes of each; a list of all digests is added to them.
    pub extras: Vec<(Extra, Arc<[u8]>)>,
    /// Replace outputs that exist.
    pub force: bool,
    /// Force the files to disk before they get their names (`docs/adr/0003-durability.md`).
    pub sync: bool,
    /// The time that goes into the metadata and the archive, seconds since 1970 UTC.
    pub created: u64,
    /// Model config for the metadata, in the schema of transformers' `config.json`.
    pub config: Option<Value>,
    /// The test that [`Draft::set_test`] will record, as far as it is known: a `.safetensors` keeps room for it.
    pub test: Option<TestRun>,
}

impl Options {
    /// A whole package and its archive, dated now; nothing is replaced.
    pub fn new(output: PathBuf, precision: Precision) -> Self {
        Self {
            output,
            precision,
            components: Components::All,
            baked: None,
            archive: Some(Compression::Gzip),
            split: None,
            extras: Vec::new(),
            force: false,
            sync: false,
            created: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            config: None,
            test: None,
        }
    }
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Report {
    /// Each file with its size: the package, its metadata, its archive.
    pub files: Vec<(PathBuf, u64)>,
    /// What the package says about itself.
    pub metadata: Metadata,
    /// Sentences the user should read.
    pub warnings: Vec<String>,
}

/// `model.pth` → `model.tar.gz`.
pub fn archive_path(package: &Path, compression: Compression) -> PathBuf {
    package.with_file_name(stem(package) + compression.suffix())
}

/// Packages a checkpoint: writes all the files that `options` asks for, or none.
///
/// # Errors
/// As [`draft`] and [`Draft::finish`].
pub fn write(source: &StateDict, options: &Options, progress: &dyn Progress) -> Result<Report> {
    draft(source, options, progress)?.finish(progress)
}
