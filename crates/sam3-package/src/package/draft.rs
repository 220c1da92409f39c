//! A package on its way: every tensor is written, under a temporary name, and can be tried before it gets its own.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use sha2::{Digest, Sha256};

use super::{
    Metadata, Options, Report, Source, TestRun, archive_path,
    description::Description,
    metadata::check_size,
    plan::{Plan, Planned},
    pth_writer::PthWriter,
    safetensors_writer::SafetensorsWriter,
    write::{self, Written},
};
use crate::{
    Error, FileId, Progress, Result, StateDict,
    archive::{self, Compression, Entry, Extra},
    error::list_of,
    naming::{Format, format_of, is_package_name, metadata_path, sharing_metadata, stem},
    precision::Precision,
    regular::existing,
    staged::{Staged, commit_all},
};

/// A whole package that has no name yet. Dropped without [`Draft::finish`], it is removed.
#[derive(Debug)]
pub struct Draft {
    options: Options,
    outputs: Outputs,
    writer: Writer,
    written: Vec<Written>,
    metadata: Metadata,
    warnings: Vec<String>,
}

/// Writes the package in its format, and knows where each tensor lies.
#[derive(Debug)]
enum Writer {
    Pth(PthWriter),
    Safetensors(SafetensorsWriter),
}

impl Writer {
    /// File offset of a tensor's first byte.
    fn offset(&self, tensor: usize) -> u64 {
        match self {
            Self::Pth(writer) => writer.offset(tensor),
            Self::Safetensors(writer) => writer.offset(tensor),
        }
    }
}

/// Writes the tensors of a package and its metadata, under temporary names.
///
/// # Errors
/// [`Error::Exists`] and [`Error::Output`] for the outputs, [`Error::OutputIsInput`] and [`Error::MetadataOfAnother`]
/// where they would replace what belongs to the source; [`Error::Unrepresentable`] where values do not fit the
/// precision; [`Error::Invalid`] where the source contradicts itself.
pub fn draft(source: &StateDict, options: &Options, progress: &dyn Progress) -> Result<Draft> {
    let output = &options.output;
    let Some(format) = format_of(output) else {
        return Err(Error::PackageName {
            path: output.to_owned(),
        });
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
    let outputs = Outputs::create(options)?;
    let description = Description::new(source, options, &plan)?;
    let files = source.checkpoint().files();
    let source_bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let stored_bytes: u64 = plan.stored.iter().map(Planned::bytes).sum();
    progress.stage("packaging", source_bytes + stored_bytes);

    let writer = match format {
        Format::Pth => Writer::Pth(PthWriter::new(&stem(output), &plan.stored)),
        Format::Safetensors => Writer::Safetensors(SafetensorsWriter::new(
            &plan.stored,
            &description.longest(files).to_json(),
        )),
    };
    let stop = AtomicBool::new(false);
    let read_source = || {
        let read = Source::read(source.path(), files, description.origin.clone(), progress, &stop);
        read.inspect_err(|_| stop.store(true, Ordering::Relaxed))
    };
    let write_tensors = || {
        let offset = |tensor| writer.offset(tensor);
        write::tensors(source, &plan, &outputs.package, offset, progress, &stop)
    };
    let (source_info, written) = rayon::join(read_source, write_tensors);
    // In this order: a hash fails, too, where the tensors did and stopped it.
    let (written, source_info) = (written?, source_info?);
    let mut warnings = judge_losses(source, &plan, options.precision, &written)?;
    warnings.extend(left_out(&plan));
    warnings.extend(shared_metadata(output));
    let draft = Draft {
        options: options.clone(),
        metadata: description.of(source_info, &written),
        outputs,
        writer,
        written,
        warnings,
    };
    draft.describe()?;
    Ok(draft)
}

/// The files of a package under their temporary names.
#[derive(Debug)]
struct Outputs {
    package: Staged,
    metadata: Staged,
    archive: Option<archive::Output>,
}

impl Outputs {
    fn create(options: &Options) -> Result<Self> {
        let Options {
            output, split, force, ..
        } = options;
        let archive = |compression| {
            let path = archive_path(output, compression);
            archive::Output::create(&path, compression, *split, *force)
        };
        Ok(Self {
            package: Staged::create(output, *force)?,
            metadata: Staged::create(&metadata_path(output), *force)?,
            archive: options.archive.map(archive).transpose()?,
        })
    }
}

fn left_out(plan: &Plan) -> Option<String> {
    (!plan.left_out.is_empty()).then(|| {
        format!(
            "left out, as a .pth cannot store such numbers and they are no part of the model: {}; write .safetensors \
             to keep them",
            list_of(&plan.left_out)
        )
    })
}

/// Another package whose metadata will be replaced.
fn shared_metadata(output: &Path) -> Option<String> {
    let metadata = metadata_path(output);
    let other = sharing_metadata(&metadata, output)?;
    Some(format!(
        "{} has the same name as the metadata of {}, which are replaced: keep such packages in folders of their own",
        metadata.display(),
        other.display()
    ))
}

/// Says now, before a download or other long work, whether the outputs can be written; `source` must be none of them.
///
/// # Errors
/// [`Error::Exists`], [`Error::Output`], [`Error::OutputIsInput`] and [`Error::MetadataOfAnother`].
pub fn check_outputs(source: Option<&StateDict>, options: &Options) -> Result<()> {
    if let Some(source) = source {
        refuse_to_spoil_source(source, &options.output)?;
    }
    Outputs::create(options).map(drop)
}

impl Draft {
    /// Where the package is until it gets its name: it opens there as any other.
    pub fn path(&self) -> &Path {
        self.outputs.package.temporary()
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
        check_size(&json).map_err(|reason| Error::invalid(self.outputs.package.target(), reason))?;
        match &self.writer {
            Writer::Pth(writer) => {
                let crcs: Vec<u32> = self.written.iter().map(|tensor| tensor.crc).collect();
                writer.finish(&self.outputs.package, &crcs, identity(&self.written), &json)?;
            }
            Writer::Safetensors(writer) => writer.finish(&self.outputs.package, &json)?,
        }
        // It may have become shorter.
        self.outputs.metadata.set_len(json.len() as u64)?;
        self.outputs.metadata.write_at(&json, 0)
    }

    /// Writes the archive, and gives all the files their names.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn finish(self, progress: &dyn Progress) -> Result<Report> {
        let Self {
            options,
            outputs:
                Outputs {
                    package,
                    metadata: metadata_file,
                    archive: archive_file,
                },
            metadata,
            mut warnings,
            ..
        } = self;
        let archive = match archive_file {
            Some(file) => write_archive(file, &package, &metadata_file, &options, progress)?,
            None => Vec::new(),
        };
        let mut files = Vec::new();
        for file in [&package, &metadata_file] {
            files.push((file.target().to_owned(), file_length(file)?));
        }
        files.extend(archive.iter().map(|(file, length)| (file.target().to_owned(), *length)));
        warnings.extend(other_archives(&options.output, &files));
        let mut archive: Vec<Staged> = archive.into_iter().map(|(file, _)| file).collect();
        let is_split = options.archive.is_some() && options.split.is_some();
        if is_split {
            // Their list is the last. Named first, it tells which parts a run that was killed has not named.
            archive.rotate_right(1);
        }
        let outputs = [package, metadata_file].into_iter().chain(archive).collect();
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

/// Writes the archive, whose files are returned with their sizes.
fn write_archive(
    file: archive::Output,
    package: &Staged,
    metadata: &Staged,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Vec<(Staged, u64)>> {
    let [package, metadata] = [package, metadata].map(entry_of);
    let list;
    // The metadata first, so that a reader knows early what to expect; the package last, so that what else is there is
    // known without reading it.
    let mut entries = vec![metadata];
    let extras = options.extras.iter();
    entries.extend(extras.map(|(extra, bytes)| Entry::of_extra(*extra, bytes)));
    if !options.extras.is_empty() {
        let listed: Vec<&Entry<'_>> = entries.iter().chain([&package]).collect();
        list = archive::sums_of(&listed, progress)?;
        entries.push(Entry::of_extra(Extra::Sums, list.as_bytes()));
    }
    entries.push(package);
    archive::create(&file, &entries, options.created, progress)?;
    file.finish(progress)
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
        Some(stored) => Err(Error::NotInPth {
            path: source.path().to_owned(),
            tensor: stored.name.clone(),
            dtype: stored.dtype.name(),
        }),
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
