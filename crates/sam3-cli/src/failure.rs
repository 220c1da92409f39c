//! From an error to what the user reads and the shell gets: the message, the next step, the exit code.

mod hub;

use std::{
    fmt, fs,
    io::{self, ErrorKind},
    path::Path,
};

use sam3_model::{TensorError, config::VitConfig, image::ImageError};
use sam3_package::{Error, is_wrong_path};

/// The input is at fault.
pub const INPUT: u8 = 1;
/// The command line is at fault.
pub const USAGE: u8 = 2;
/// The machine is at fault: disk, permission, device, network.
pub const ENVIRONMENT: u8 = 3;

/// An error of a command's own, with its next step and exit code.
#[derive(Debug)]
pub struct Failure {
    message: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// A machine, or a build, that cannot do what was asked.
    pub fn environment(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
        Self {
            message: message.into(),
            hint: Some(hint.into()),
            code: ENVIRONMENT,
        }
        .into()
    }

    /// A system that starts no threads.
    pub fn threads(error: impl fmt::Display) -> anyhow::Error {
        Self::environment(
            format!("threads cannot be started: {error}"),
            "ask for fewer, --threads 1; `ulimit -u` and `ulimit -v` show how many a user may have, and the memory for them",
        )
    }

    /// A file that cannot serve for what was asked.
    pub fn input(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
        Self {
            message: message.into(),
            hint: Some(hint.into()),
            code: INPUT,
        }
        .into()
    }

    /// Flags that contradict each other or the rules.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
        Self {
            message: message.into(),
            hint: Some(hint.into()),
            code: USAGE,
        }
        .into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The errors that have an exit code of their own, wherever they stand in a chain of causes.
enum Known<'a> {
    Own(&'a Failure),
    Package(&'a Error),
    Model(&'a sam3_model::Error),
    Image(&'a ImageError),
    System(&'a io::Error),
}

impl<'a> Known<'a> {
    /// The outermost one of an error and its causes.
    fn of(error: &'a anyhow::Error) -> Option<Self> {
        error.chain().find_map(|cause| {
            let package = cause.downcast_ref().map(Self::Package);
            let model = || cause.downcast_ref().map(Self::of_model);
            let image = || cause.downcast_ref().map(Self::Image);
            let own = || cause.downcast_ref().map(Self::Own);
            let system = || cause.downcast_ref().map(Self::System);
            package.or_else(model).or_else(image).or_else(own).or_else(system)
        })
    }

    /// The model's own errors, and those of the files and pictures that it met.
    fn of_model(error: &'a sam3_model::Error) -> Self {
        match error {
            sam3_model::Error::Package(error) => Self::Package(error),
            sam3_model::Error::Image(error) => Self::Image(error),
            error => Self::Model(error),
        }
    }
}

/// The exit code of an error.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match Known::of(error) {
        Some(Known::Own(failure)) => failure.code,
        Some(Known::Package(error)) => match error {
            Error::Exists { .. }
            | Error::NameTooLong { .. }
            | Error::OutputIsInput { .. }
            | Error::MetadataOfAnother { .. }
            | Error::PackageName { .. }
            | Error::TooManyParts { .. } => USAGE,
            error if error.is_input() => INPUT,
            _ => ENVIRONMENT,
        },
        Some(Known::Model(
            sam3_model::Error::Prompt(_)
            | sam3_model::Error::NotBaked(_)
            | sam3_model::Error::Clicks(_)
            | sam3_model::Error::Video(_)
            | sam3_model::Error::Precision(_)
            | sam3_model::Error::Tiling(_)
            | sam3_model::Error::ImageSize { .. },
        )) => USAGE,
        Some(Known::Model(
            sam3_model::Error::NotFinite(_)
            | sam3_model::Error::Checkpoint { .. }
            | sam3_model::Error::NoClickHead { .. }
            | sam3_model::Error::NoTracker { .. }
            | sam3_model::Error::NoDetector { .. },
        )) => INPUT,
        Some(Known::Image(ImageError::Io { source, .. })) if !is_wrong_path(source) => ENVIRONMENT,
        Some(Known::Image(_)) => INPUT,
        Some(Known::Model(_) | Known::System(_)) | None => ENVIRONMENT,
    }
}

/// The next step, where the message does not say it.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    let hint = match Known::of(error)? {
        Known::Own(failure) => return failure.hint.clone(),
        Known::Package(Error::Io { path, source, .. }) | Known::Image(ImageError::Io { path, source, .. }) => {
            return broken_link(path, source).or_else(|| input_hint(source).map(str::to_owned));
        }
        Known::Package(Error::Invalid { path, .. } | Error::NotAFile { path, .. } | Error::Empty { path }) => {
            no_content(path).unwrap_or(FILE_HINT)
        }
        Known::Package(error) => package_hint(error)?,
        Known::Model(sam3_model::Error::ImageSize { found, vit }) => return nearest_size(*found, vit),
        Known::Model(error) => model_hint(error)?,
        Known::Image(ImageError::Invalid { name, .. }) => no_content(Path::new(name)).unwrap_or(IMAGE_HINT),
        Known::Image(_) => IMAGE_HINT,
        Known::System(error) => io_hint(error)?,
    };
    Some(hint.to_owned())
}

const FILE_HINT: &str = "a checkpoint is sam3.pt or model.safetensors, a package and its archive are what \
                         `sam3 package` wrote: copy or download a damaged one again";
const IMAGE_HINT: &str = "take a JPEG, PNG, WebP, BMP, GIF or TIFF that a viewer shows whole: copy a damaged one again, convert one of another kind";

/// What to do where a path leads to a folder, a pipe, a device or an empty file.
fn no_content(path: &Path) -> Option<&'static str> {
    let metadata = fs::metadata(path).ok()?;
    if metadata.is_dir() {
        Some("name a file, not a folder")
    } else if !metadata.is_file() {
        Some("copy what it gives into a file, and name that file")
    } else if metadata.len() == 0 {
        Some("the file has no bytes: copy or download it again")
    } else {
        None
    }
}

fn model_hint(error: &sam3_model::Error) -> Option<&'static str> {
    match error {
        sam3_model::Error::NotBaked(_) => Some(
            "`sam3 package --bake-prompts` takes the prompts that a package knows, from the checkpoint that it was made of",
        ),
        sam3_model::Error::Precision(_) => Some("--compute auto takes what the device has"),
        sam3_model::Error::Tiling(_) => Some(
            "--tiles auto takes tiles of --image-size pixels; --tiles SIZE takes larger ones, of which there are fewer",
        ),
        sam3_model::Error::NotFinite(_) => Some(
            "--compute bf16 and --compute f32 have the range of f32; `sam3 verify` shows whether the file is whole",
        ),
        sam3_model::Error::Compute(TensorError::OutOfMemory { .. }) => Some(
            "end other programs, or raise the limit (`ulimit -v`, a cgroup's memory.max); segmenting takes some 0.6 GB at SAM 3's size, and less at a smaller --image-size",
        ),
        sam3_model::Error::Compute(TensorError::OutOfGpuMemory) => Some(
            "the GPU's memory is full (a Jetson's is the machine's own): end other programs, or take an int8 package, \
             --bake-prompts or --device cpu",
        ),
        sam3_model::Error::NoClickHead { .. } => {
            Some("`sam3 inspect` shows what a file can do; for clicks, package sam3.pt without --components image")
        }
        sam3_model::Error::NoTracker { .. } => {
            Some("`sam3 inspect` shows what a file can do; for videos, package sam3.pt without --components image")
        }
        sam3_model::Error::NoDetector { .. } => {
            Some("`sam3 click` and `sam3 track` take clicks; for texts, package sam3.pt without --components click")
        }
        sam3_model::Error::Checkpoint { .. } => {
            Some("`sam3 inspect --tensors` lists what the file holds; facebook/sam3 has a checkpoint that is whole")
        }
        _ => None,
    }
}

fn nearest_size(found: usize, vit: &VitConfig) -> Option<String> {
    let sizes = vit.image_sizes().chain([vit.image_size]);
    let nearest = sizes.min_by_key(|size| size.abs_diff(found))?;
    Some(format!("the nearest that it takes is {nearest}"))
}

fn package_hint(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::Exists { .. } => "pass --force to replace it, or choose another name or folder",
        Error::MissingPart { .. } => "copy it again from where it was made",
        Error::MissingShards { .. } => "copy or download all files of the checkpoint into one folder",
        Error::Changed { .. } => "copy it again when it is done",
        Error::AnotherModel { .. } => FILE_HINT,
        Error::NotInPth { .. } => "--output NAME.safetensors can store it",
        Error::SameName { .. } => "rename one of them, or copy them to two folders",
        Error::LinkInTheWay { .. } => "remove the link, or choose another folder with -C",
        Error::ProgramAlone { .. } => {
            "`sha256sum -c SHA256SUMS` checks a release, `tar -xzf` unpacks it, and `sam3 package --with-program` puts it beside a package"
        }
        Error::NameTooLong { .. } => {
            "choose a shorter one: most file systems take 255 bytes, also for X_metadata.json and X.tar.gz.sha256"
        }
        Error::MetadataOfAnother { .. } => "choose another folder, or move that package away",
        Error::PackageName { .. } => "--output tells the format: sam3_fp16.pth, for example",
        Error::TooManyParts { .. } => "pass a larger --split",
        Error::TooLargeForFat { .. } => "package again with --split fat32, or format the drive as exFAT",
        Error::NoSuchWeights { sets, .. } if sets.is_empty() => "leave --weights away",
        Error::NoSuchWeights { .. } => "pass one of these names to --weights, or leave it away for the model's own",
        Error::Hub { fault, .. } => hub::hint(*fault)?,
        Error::Mismatch { .. } => {
            "the file is damaged or was changed: copy it again from where it was packaged, or package it again"
        }
        Error::NotAPackage { .. } => {
            "`sam3 inspect` shows what it holds; `sam3 package --checkpoint-path …` makes a package with digests of it"
        }
        Error::Unrepresentable { not_finite: true, .. } => {
            "the checkpoint itself holds what is no number: fetch it again and compare its SHA-256; --quantize none stores it as it is"
        }
        Error::Unrepresentable { .. } => {
            "--quantize bf16 holds every finite value; --quantize none stores the values as they are"
        }
        Error::NoRoom { .. } => "free some space, or use a larger drive",
        Error::Output { source, .. } if source.kind() == ErrorKind::IsADirectory => {
            "a folder of that name is in the way: move it, or choose another name or folder"
        }
        Error::Output { source, .. } => io_hint(source)?,
        _ => return None,
    })
}

/// What to do about a link that leads nowhere: its own name is spelled right.
fn broken_link(path: &Path, error: &io::Error) -> Option<String> {
    let target = fs::read_link(path)
        .ok()
        .filter(|_| error.kind() == ErrorKind::NotFound)?;
    Some(format!(
        "it is a link to {}, which is gone: of the Hub's cache, run `sam3 package` once without --checkpoint-path and \
         --offline to fetch it again; else copy the file that it leads to",
        target.display()
    ))
}

/// What to do about an input that the system does not hand over.
fn input_hint(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            Some("you may not read it: `ls -l` shows its owner and rights, `chmod` changes them")
        }
        _ => io_hint(error),
    }
}

fn io_hint(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        ErrorKind::NotFound => "check the spelling of the path and that its folder exists",
        ErrorKind::NotADirectory => "a part of the path is a file, not a folder",
        ErrorKind::InvalidFilename => "the path, or a name in it, is longer than the system takes: check its spelling",
        ErrorKind::IsADirectory => "name a file, not a folder",
        ErrorKind::AlreadyExists => "something else of that name is in the way: choose another place",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "choose a place that you may write to",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space or write elsewhere; --no-tarball halves what a package takes, a copy goes on where it stopped, and \
             --skip-existing goes on with a folder of pictures"
        }
        ErrorKind::FileTooLarge => {
            "the file system cannot hold a file of this size (FAT32 stops at 4 GiB), or `ulimit -f` forbids it: --split \
             cuts an archive into parts"
        }
        ErrorKind::OutOfMemory => "end other programs, or raise the limit on memory, which `ulimit -v` shows",
        ErrorKind::UnexpectedEof => "it became shorter while it was read: copy it to a drive of this machine first",
        _ if is_wrong_path(error) => "links in the path lead to each other: name the file itself",
        _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
            "raise the limit on open files, which `ulimit -n` shows: `ulimit -n 4096`, then run the command again"
        }
        _ if is_drive_gone(error) => "the drive is gone or failing: connect it again, or use another one",
        _ => return None,
    })
}

/// Errors of a drive that have no `ErrorKind`.
fn is_drive_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::ENXIO | libc::ENODEV))
}

#[cfg(test)]
mod tests;
