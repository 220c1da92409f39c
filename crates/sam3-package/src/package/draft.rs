//! A package on its way: every tensor is written, under a temporary name, and can be tried before it gets its own.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    Format, Metadata, Options, Report, Source, TensorRecord, TestRun, archive_path,
    compressed_tensors::quantization_config,
    format_of, is_package_name,
    metadata::check_size,
    metadata_path,
    plan::{Plan, Stored},
    pth, safetensors, sharing_metadata, stem,
    write::{self, Written},
};
use crate::{
    Error, FileId, Progress, Result, StateDict,
    archive::{self, Compression, Entry, Extra},
    checkpoint::list_of,
    digest::hex,
    precision::Precision,
    regular::existing,
    staged::{Staged, commit_all},
};

/// A whole package that has no name yet. Dropped without [`Draft::finish`], it is removed.
#[derive(Debug)]
pub struct Draft {
    options: Options,
    package: Staged,
    metadata_file: Staged,
    archive_file: Option<archive::Output>,
    layout: Layout,
    written: Vec<Written>,
    metadata: Metadata,
    warnings: Vec<String>,
}

#[derive(Debug)]
enum Layout {
    Pth(pth::Layout),
    Safetensors(safetensors::Layout),
}

/// Writes the tensors of a package and its metadata, under temporary names.
///
/// # Errors
/// [`Error::Exists`] and [`Error::Output`] for the outputs, [`Error::OutputIsInput`] and [`Error::MetadataOfAnother`] where
/// they would replace what belongs to the source; [`Error::Unrepresentable`] where values do not fit the
/// precision; [`Error::Invalid`] where the source contradicts itself.
pub fn draft(source: &StateDict, options: &Options, progress: &dyn Progress) -> Result<Draft> {
    let output = &options.output;
    let Some(format) = format_of(output) else {
        return Err(Error::invalid(
            output,
            "a package's name ends in .pth, .pt or .safetensors",
        ));
    };
    refuse_to_spoil_source(source, output)?;
    let plan = Plan::new(
        source,
        format,
        options.precision,
        options.components,
        options.baked.as_ref(),
    )?;
    if format == Format::Pth {
        refuse_untyped(source, &plan)?;
    }
    let (package, metadata_file, archive_file) = create_outputs(options)?;
    let origin = match source.metadata_json() {
        Some(text) => Some(Metadata::from_json(text).map_err(|reason| Error::invalid(source.path(), reason))?),
        None => None,
    };
    let baked_prompts = match (&options.baked, &origin) {
        (Some(baked), _) => baked.texts.clone(),
        (None, Some(origin)) => origin.baked_prompts.clone(),
        (None, None) => Vec::new(),
    };
    let origin = origin.map(|metadata| metadata.source);
    let mut config = options.config.clone();
    if let Some(Value::Object(config)) = &mut config {
        let how = quantization_config(&plan.stored);
        config.extend(how.map(|how| ("quantization_config".to_owned(), how)));
    }
    let describe = |source_info: Source, written: &[Written]| {
        let records = plan.stored.iter().zip(written).map(|(stored, written)| TensorRecord {
            name: stored.name.clone(),
            dtype: stored.dtype.name().to_owned(),
            shape: stored.shape.clone(),
            sha256: hex(&written.sha256),
            error: written.cost.error(),
        });
        Metadata {
            config: config.clone(),
            synthesised: source.synthesised().map(str::to_owned).collect(),
            baked_prompts: baked_prompts.clone(),
            ..Metadata::new(
                options.created,
                source_info,
                options.precision,
                &plan.stored,
                records.collect(),
            )
        }
    };
    let files = source.checkpoint().files();
    let source_bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let stored_bytes: u64 = plan.stored.iter().map(Stored::bytes).sum();
    progress.stage("packaging", source_bytes + stored_bytes);

    let layout = match format {
        Format::Pth => Layout::Pth(pth::Layout::new(&stem(&options.output), &plan.stored)),
        Format::Safetensors => {
            let unknown = vec![Written::default(); plan.stored.len()];
            let mut draft = describe(Source::unread(source.path(), files, origin.clone()), &unknown);
            draft.test = options.test.clone();
            Layout::Safetensors(safetensors::Layout::new(&plan.stored, &draft.to_json()))
        }
    };
    let offset = |tensor| match &layout {
        Layout::Pth(layout) => layout.offset(tensor),
        Layout::Safetensors(layout) => layout.offset(tensor),
    };
    let stop = AtomicBool::new(false);
    let read_source = || {
        let read = Source::read(source.path(), files, origin, progress, &stop);
        read.inspect_err(|_| stop.store(true, Ordering::Relaxed))
    };
    let (source_info, written) = rayon::join(read_source, || {
        write::tensors(source, &plan, &package, offset, progress, &stop)
    });
    // In this order: a hash fails, too, where the tensors did and stopped it.
    let (written, source_info) = (written?, source_info?);
    let mut warnings = judge_losses(source, &plan, options.precision, &written)?;
    if !plan.left_out.is_empty() {
        warnings.push(format!(
            "left out, as a .pth cannot store such numbers and they are no part of the model: {}; write .safetensors \
             to keep them",
            list_of(&plan.left_out)
        ));
    }
    if let Some(other) = sharing_metadata(&metadata_path(output), output) {
        warnings.push(format!(
            "{} has the same name as the metadata of {}, which are replaced: keep such packages in folders of their own",
            metadata_path(output).display(),
            other.display()
        ));
    }
    let draft = Draft {
        options: options.clone(),
        metadata: describe(source_info, &written),
        package,
        metadata_file,
        archive_file,
        layout,
        written,
        warnings,
    };
    draft.describe()?;
    Ok(draft)
}

/// Says now, before a download or other long work, whether the outputs can be written; `source` must be none of them.
///
/// # Errors
/// [`Error::Exists`], [`Error::Output`], [`Error::OutputIsInput`] and [`Error::MetadataOfAnother`].
pub fn check_outputs(source: Option<&StateDict>, options: &Options) -> Result<()> {
    if let Some(source) = source {
        refuse_to_spoil_source(source, &options.output)?;
    }
    create_outputs(options).map(drop)
}

fn create_outputs(options: &Options) -> Result<(Staged, Staged, Option<archive::Output>)> {
    let Options {
        output, split, force, ..
    } = options;
    let package = Staged::create(output, *force)?;
    let metadata_file = Staged::create(&metadata_path(output), *force)?;
    let archive = |compression| {
        let path = archive_path(output, compression);
        archive::Output::create(&path, compression, *split, *force)
    };
    Ok((package, metadata_file, options.archive.map(archive).transpose()?))
}

impl Draft {
    /// Where the package is until it gets its name: it opens there as any other.
    pub fn path(&self) -> &Path {
        self.package.temporary()
    }

    /// Records in the metadata what trying the package gave. A `.safetensors` has room for it where [`Options::test`]
    /// said what comes.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn set_test(&mut self, test: TestRun) -> Result<()> {
        self.metadata.test = Some(test);
        self.describe()
    }

    /// Writes the metadata, and what else of the package depends on it.
    fn describe(&self) -> Result<()> {
        let json = self.metadata.to_json();
        // Nobody would read such a package.
        check_size(&json).map_err(|reason| Error::invalid(self.package.target(), reason))?;
        match &self.layout {
            Layout::Pth(layout) => {
                let crcs: Vec<u32> = self.written.iter().map(|tensor| tensor.crc).collect();
                layout.finish(&self.package, &crcs, identity(&self.written), &json)?;
            }
            Layout::Safetensors(layout) => layout.finish(&self.package, &json)?,
        }
        // It may have become shorter.
        self.metadata_file.set_len(json.len() as u64)?;
        self.metadata_file.write_at(&json, 0)
    }

    /// Writes the archive, and gives all the files their names.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn finish(self, progress: &dyn Progress) -> Result<Report> {
        let Self {
            options,
            package,
            metadata_file,
            archive_file,
            metadata,
            mut warnings,
            ..
        } = self;
        let lengths = [file_length(&package)?, file_length(&metadata_file)?];
        let mut outputs: Vec<(Staged, u64)> = [package, metadata_file].into_iter().zip(lengths).collect();
        if let Some(archive_file) = archive_file {
            let [package, metadata] = [&outputs[0].0, &outputs[1].0].map(entry_of);
            let list;
            // The metadata first, so that a reader knows early what to expect; the package last, so that what else is
            // there is known without reading it.
            let mut entries = vec![metadata];
            entries.extend(
                options
                    .extras
                    .iter()
                    .map(|(extra, bytes)| Entry::of_extra(*extra, bytes)),
            );
            if !options.extras.is_empty() {
                let listed: Vec<&Entry<'_>> = entries.iter().chain([&package]).collect();
                list = archive::sums_of(&listed, progress)?;
                entries.push(Entry::of_extra(Extra::Sums, list.as_bytes()));
            }
            entries.push(package);
            archive::create(&archive_file, &entries, options.created, progress)?;
            outputs.extend(archive_file.finish(progress)?);
        }
        let files: Vec<(PathBuf, u64)> = outputs
            .iter()
            .map(|(file, length)| (file.target().to_owned(), *length))
            .collect();
        warnings.extend(other_archives(&options.output, &files));
        let mut outputs: Vec<Staged> = outputs.into_iter().map(|(file, _)| file).collect();
        let is_split = options.archive.is_some() && options.split.is_some();
        if is_split {
            // Named first, the list tells which parts a run that was killed has not named.
            outputs[2..].rotate_right(1);
        }
        commit_all(outputs, options.sync, || match options.archive {
            Some(compression) if is_split && options.force => {
                archive::remove_superseded(&archive_path(&options.output, compression))
            }
            _ => Ok(()),
        })?;
        Ok(Report {
            files,
            metadata,
            warnings,
        })
    }
}

/// A file of the package as its archive has it.
fn entry_of(file: &Staged) -> Entry<'_> {
    Entry::of_file(file.target(), file.temporary())
}

/// Archives of the package's name that are not its own: carried by mistake, they would be another package.
fn other_archives(output: &Path, files: &[(PathBuf, u64)]) -> Vec<String> {
    let mut others = Vec::new();
    for compression in [Compression::Gzip, Compression::Zstd] {
        let archive = archive_path(output, compression);
        let found = [archive.exists().then(|| archive.clone()), archive::first_part(&archive)];
        let is_ours = |path: &PathBuf| files.iter().any(|(file, _)| file == path);
        others.extend(found.into_iter().flatten().filter(|path| !is_ours(path)).map(|path| {
            format!(
                "{} is there still, with an earlier package in it: remove it, or carry the right one",
                path.display()
            )
        }));
    }
    others
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
        not_finite: written
            .iter()
            .filter_map(|written| written.cost.lost)
            .any(|lost| !lost.value.is_finite()),
    })
}

/// Refuses outputs that would replace the source, or the metadata beside a source that is a package.
fn refuse_to_spoil_source(source: &StateDict, output: &Path) -> Result<()> {
    let mut files = source.checkpoint().files().iter().map(|file| file.path.as_path());
    if files
        .clone()
        .chain([source.path()])
        .any(|file| FileId::is_same(file, output))
    {
        return Err(Error::OutputIsInput {
            path: output.to_owned(),
            reason: "this is the checkpoint itself: write the package under another name",
        });
    }
    let metadata = metadata_path(output);
    let shares = |file: &&Path| is_package_name(file) && FileId::is_same(&existing(&metadata_path(file)), &metadata);
    match files.find(shares).filter(|_| source.metadata_json().is_some()) {
        Some(package) => Err(Error::MetadataOfAnother {
            path: metadata,
            package: package.to_owned(),
        }),
        None => Ok(()),
    }
}

/// `.pth` has typed storages only for the older element types.
fn refuse_untyped(source: &StateDict, plan: &Plan) -> Result<()> {
    match plan.stored.iter().find(|stored| stored.dtype.storage().is_none()) {
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

#[cfg(test)]
mod tests;
