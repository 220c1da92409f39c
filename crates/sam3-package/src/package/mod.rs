//! A package: a checkpoint in the wanted precision with its metadata, inside it and beside it, and an archive of both.

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
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    Error, Progress, Result, StateDict,
    archive::{self, Entry},
    precision::Precision,
    staged::{Staged, commit_all},
};
pub(crate) use metadata::MAX_BYTES as MAX_METADATA_BYTES;
pub use metadata::{FORMAT, FORMAT_VERSION, Metadata, Quantization, RECORD, Tallies, Tally, TensorRecord, WorstTensor};
use plan::Plan;
pub use plan::{Components, SCALE_SUFFIX, Stored};
pub(crate) use source::hex;
pub use source::{Shard, Source};
pub(crate) use stream::{Digests, PackageHasher};
pub use verify::{Verified, verify, verify_structure};
pub(crate) use verify::{compare, conclude, structure};
use write::Written;

/// What to write and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The package, `X.pth`, `X.pt` or `X.safetensors`; the extension decides the format.
    pub output: PathBuf,
    /// How tensors are stored.
    pub precision: Precision,
    /// Which tensors go along.
    pub components: Components,
    /// Also write `X.tar.gz`.
    pub archive: bool,
    /// Cut the archive into parts of at most this many bytes: `X.tar.gz.000` and so on.
    pub split: Option<u64>,
    /// Replace outputs that exist.
    pub force: bool,
    /// Force the files to disk before they get their names (`docs/adr/0003-durability.md`).
    pub sync: bool,
    /// The time that goes into the metadata and the archive, seconds since 1970 UTC.
    pub created: u64,
    /// Model config for the metadata, in the schema of transformers' `config.json`.
    pub config: Option<Value>,
}

impl Options {
    /// A whole package and its archive, dated now; nothing is replaced.
    pub fn new(output: PathBuf, precision: Precision) -> Self {
        Self {
            output,
            precision,
            components: Components::All,
            archive: true,
            split: None,
            force: false,
            sync: false,
            created: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            config: None,
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
pub fn archive_path(package: &Path) -> PathBuf {
    package.with_file_name(format!("{}.tar.gz", stem(package)))
}

fn stem(package: &Path) -> String {
    package.file_stem().unwrap_or_default().to_string_lossy().into_owned()
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

fn format_of(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()? {
        "pth" | "pt" => Some(Format::Pth),
        "safetensors" => Some(Format::Safetensors),
        _ => None,
    }
}

/// Packages a checkpoint: writes all the files that `options` asks for, or none.
///
/// # Errors
/// [`Error::Exists`] and [`Error::Output`] for the outputs; [`Error::Unrepresentable`] where values do not fit the
/// precision; [`Error::Invalid`] where the source contradicts itself.
pub fn write(source: &StateDict, options: &Options, progress: &dyn Progress) -> Result<Report> {
    let output = &options.output;
    let Some(format) = format_of(output) else {
        return Err(Error::invalid(
            output,
            "a package's name ends in .pth, .pt or .safetensors",
        ));
    };
    refuse_source_as_output(source, output)?;
    let plan = Plan::new(source, options.precision, options.components)?;
    if format == Format::Pth {
        refuse_untyped(source, &plan)?;
    }
    let package = Staged::create(output, options.force)?;
    let metadata_file = Staged::create(&metadata_path(output), options.force)?;
    let archive_file = if options.archive {
        let path = archive_path(output);
        Some(archive::Output::create(&path, options.split, options.force)?)
    } else {
        None
    };

    let (metadata, warnings) = write_package(source, &plan, format, options, &package, progress)?;
    let json = metadata.to_json();
    metadata_file.write_at(&json, 0)?;
    let length = file_length(&package)?;
    let mut outputs = vec![(package, length), (metadata_file, json.len() as u64)];
    if let Some(archive_file) = archive_file {
        let name = |file: &Staged| {
            file.target()
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        // The metadata first, so that a reader knows early what to expect.
        let entries = [&outputs[1].0, &outputs[0].0].map(|file| Entry {
            name: name(file),
            path: file.temporary(),
        });
        archive::create(&archive_file, &entries, options.created, progress)?;
        outputs.extend(archive_file.finish(progress)?);
    }
    if options.split.is_some() {
        // All but the package, its metadata and the list.
        archive::remove_superseded(&archive_path(output), outputs.len() - 3)?;
    }
    let files = outputs
        .iter()
        .map(|(file, length)| (file.target().to_owned(), *length))
        .collect();
    commit_all(outputs.into_iter().map(|(file, _)| file).collect(), options.sync)?;
    Ok(Report {
        files,
        metadata,
        warnings,
    })
}

/// Writes the package itself and returns its metadata.
fn write_package(
    source: &StateDict,
    plan: &Plan,
    format: Format,
    options: &Options,
    file: &Staged,
    progress: &dyn Progress,
) -> Result<(Metadata, Vec<String>)> {
    let files = source.checkpoint().files();
    let origin = match source.metadata_json() {
        Some(text) => {
            let metadata = Metadata::from_json(text).map_err(|reason| Error::invalid(source.path(), reason))?;
            Some(metadata.source)
        }
        None => None,
    };
    let describe = |source_info: Source, written: &[Written]| {
        let records = plan.stored.iter().zip(written).map(|(stored, written)| TensorRecord {
            name: stored.name.clone(),
            dtype: stored.dtype.name().to_owned(),
            shape: stored.shape.clone(),
            sha256: hex(&written.sha256),
            error: written.cost.error(),
        });
        Metadata::new(
            options.created,
            source_info,
            options.precision,
            options.config.clone(),
            source.synthesised().map(str::to_owned).collect(),
            &plan.stored,
            records.collect(),
        )
    };
    let source_bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let stored_bytes: u64 = plan.stored.iter().map(Stored::bytes).sum();
    progress.stage("packaging", source_bytes + stored_bytes);

    let layout = match format {
        Format::Pth => Layout::Pth(pth::Layout::new(&stem(&options.output), &plan.stored)),
        Format::Safetensors => {
            let unknown = vec![Written::default(); plan.stored.len()];
            let draft = describe(Source::unread(source.path(), files, origin.clone()), &unknown);
            Layout::Safetensors(safetensors::Layout::new(&plan.stored, &draft.to_json()))
        }
    };
    let read_source = || Source::read(source.path(), files, origin, progress);
    let offset = |tensor| match &layout {
        Layout::Pth(layout) => layout.offset(tensor),
        Layout::Safetensors(layout) => layout.offset(tensor),
    };
    let (written, source_info) = write::tensors(source, plan, file, offset, progress, read_source)?;
    let warnings = judge_losses(source, plan, options.precision, &written)?;

    let metadata = describe(source_info, &written);
    let json = metadata.to_json();
    match layout {
        Layout::Pth(layout) => {
            let crcs: Vec<u32> = written.iter().map(|tensor| tensor.crc).collect();
            layout.finish(file, &crcs, identity(&written), &json)?;
        }
        Layout::Safetensors(layout) => layout.finish(file, &json)?,
    }
    Ok((metadata, warnings))
}

enum Layout {
    Pth(pth::Layout),
    Safetensors(safetensors::Layout),
}

/// The same for the same tensors, and for no others.
fn identity(written: &[Written]) -> [u8; 16] {
    let mut sha = Sha256::new();
    written.iter().for_each(|tensor| sha.update(tensor.sha256));
    let digest: [u8; 32] = sha.finalize().into();
    digest[..16].try_into().expect("16 of 32 bytes")
}

/// Values that are lost make an error; with `none` nothing is lost and what is not finite is only told.
fn judge_losses(source: &StateDict, plan: &Plan, precision: Precision, written: &[Written]) -> Result<Vec<String>> {
    let lines: Vec<String> = plan
        .stored
        .iter()
        .zip(written)
        .filter_map(|(stored, written)| {
            let lost = written.cost.lost?;
            let plural = if lost.count == 1 { "value" } else { "values" };
            let (name, dtype) = (&stored.name, stored.dtype);
            let why = if lost.value.is_finite() {
                format!("too large for {dtype}")
            } else {
                "not finite".to_owned()
            };
            Some(format!(
                "  {name}: {} {plural} {why}, the first is {} at index {}",
                lost.count, lost.value, lost.index
            ))
        })
        .collect();
    if lines.is_empty() || precision == Precision::None {
        return Ok(lines.iter().map(|line| line.trim_start().to_owned()).collect());
    }
    Err(Error::Unrepresentable {
        path: source.path().to_owned(),
        precision: precision.name(),
        tensors: lines,
    })
}

fn refuse_source_as_output(source: &StateDict, output: &Path) -> Result<()> {
    let same = |file: &Path| match (file.canonicalize(), output.canonicalize()) {
        (Ok(file), Ok(output)) => file == output,
        _ => false,
    };
    if source.checkpoint().files().iter().any(|file| same(&file.path)) {
        return Err(Error::invalid(
            output,
            "this is the checkpoint itself: write the package under another name",
        ));
    }
    Ok(())
}

/// `.pth` has typed storages only for the older element types.
fn refuse_untyped(source: &StateDict, plan: &Plan) -> Result<()> {
    match plan
        .stored
        .iter()
        .find(|stored| pickle::storage_class(stored.dtype).is_none())
    {
        Some(stored) => {
            let reason = format!(
                "{}: {} cannot be stored in a .pth; write .safetensors",
                stored.name, stored.dtype
            );
            Err(Error::invalid(source.path(), reason))
        }
        None => Ok(()),
    }
}

fn file_length(file: &Staged) -> Result<u64> {
    let length = file.file().metadata().map(|metadata| metadata.len());
    length.map_err(|source| Error::Output {
        path: file.target().to_owned(),
        source,
    })
}
