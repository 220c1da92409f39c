//! A package: a checkpoint in the wanted precision with its metadata, inside it and beside it, and an archive of both.

mod compressed_tensors;
mod draft;
mod metadata;
mod pickle;
mod plan;
mod pth;
mod safetensors;
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

use crate::{
    Progress, Result, StateDict,
    archive::{Compression, Extra},
    precision::Precision,
};
pub use draft::{Draft, check_outputs, draft};
pub(crate) use metadata::MAX_BYTES as MAX_METADATA_BYTES;
pub use metadata::{
    Agreement, FORMAT, FORMAT_VERSION, Metadata, Quantization, RECORD, SizedRun, Tallies, Tally, TensorRecord, TestRun,
    WorstTensor, utc,
};
pub use plan::{BAKED_PROMPTS, BakedPrompts, Components, SCALE_SUFFIX, Stored};
pub use source::{Shard, Source};
pub(crate) use stream::{PackageHasher, Streamed};
pub use verify::{Verified, verify, verify_structure};
pub(crate) use verify::{conclude, verify_streamed};

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

/// `model.pth` → `model_metadata.json`.
pub fn metadata_path(package: &Path) -> PathBuf {
    package.with_file_name(format!("{}_metadata.json", stem(package)))
}

/// `model.pth` → `model.tar.gz`.
pub fn archive_path(package: &Path, compression: Compression) -> PathBuf {
    package.with_file_name(stem(package) + compression.suffix())
}

fn stem(package: &Path) -> String {
    package.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// True for the name of a package's metadata, in any case: FAT changes it on the way.
pub(crate) fn is_metadata_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.to_ascii_lowercase().ends_with("_metadata.json")
}

/// True for a name that [`write()`] knows how to write.
pub fn is_package_name(path: &Path) -> bool {
    format_of(path).is_some()
}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Pth,
    Safetensors,
}

/// What a package's name may end in.
const PACKAGE_ENDS: [&str; 3] = ["pth", "pt", "safetensors"];

fn format_of(path: &Path) -> Option<Format> {
    let end = path.extension()?.to_str()?.to_ascii_lowercase();
    PACKAGE_ENDS.contains(&&*end).then_some(match &*end {
        "safetensors" => Format::Safetensors,
        _ => Format::Pth,
    })
}

/// `X.pth` and `X.safetensors` share the name of their metadata: the other package whose metadata would be replaced.
pub(crate) fn sharing_metadata(metadata: &Path, package: &Path) -> Option<PathBuf> {
    let others = PACKAGE_ENDS.map(|end| package.with_extension(end));
    let is_another = |other: &PathBuf| other.exists() && !other.as_os_str().eq_ignore_ascii_case(package);
    others.into_iter().find(is_another).filter(|_| metadata.exists())
}

/// Packages a checkpoint: writes all the files that `options` asks for, or none.
///
/// # Errors
/// As [`draft`] and [`Draft::finish`].
pub fn write(source: &StateDict, options: &Options, progress: &dyn Progress) -> Result<Report> {
    draft(source, options, progress)?.finish(progress)
}
