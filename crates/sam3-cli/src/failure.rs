//! From an error to what the user reads and the shell gets: the message, the next step, the exit code.

use std::{fmt, io::ErrorKind};

use sam3_model::image::ImageError;
use sam3_package::Error;

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

/// The exit code of an error.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.code;
    }
    if let Some(error) = package_error(error) {
        return match error {
            Error::Exists { .. } | Error::NameTooLong { .. } | Error::TooManyParts { .. } => USAGE,
            error if error.is_input() => INPUT,
            _ => ENVIRONMENT,
        };
    }
    match error.downcast_ref::<sam3_model::Error>() {
        Some(sam3_model::Error::Prompt(_) | sam3_model::Error::Precision(_)) => USAGE,
        Some(
            sam3_model::Error::NotFinite(_)
            | sam3_model::Error::Checkpoint { .. }
            | sam3_model::Error::Image(ImageError::Invalid { .. }),
        ) => INPUT,
        Some(sam3_model::Error::Image(ImageError::Io { source, .. })) if is_wrong_path(source) => INPUT,
        _ => ENVIRONMENT,
    }
}

/// The file error in it, also where the model met it.
fn package_error(error: &anyhow::Error) -> Option<&Error> {
    match error.downcast_ref::<sam3_model::Error>() {
        Some(sam3_model::Error::Package(error)) => Some(error),
        _ => error.downcast_ref(),
    }
}

fn is_wrong_path(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::NotADirectory
    )
}

/// The next step, where the message does not say it.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.hint.clone();
    }
    if let Some(sam3_model::Error::Image(ImageError::Io { source, .. })) = error.downcast_ref() {
        return io_hint(source).map(str::to_owned);
    }
    match error.downcast_ref() {
        Some(sam3_model::Error::Precision(_)) => return Some("--compute auto takes what the device has".to_owned()),
        Some(sam3_model::Error::NotFinite(_)) => {
            return Some(
                "--compute bf16 and --compute f32 have the range of f32; `sam3 verify` shows whether the file is whole"
                    .to_owned(),
            );
        }
        Some(error @ sam3_model::Error::Compute(_)) if is_out_of_gpu_memory(&error.to_string()) => {
            return Some(
                "the GPU's memory is full (a Jetson's is the machine's own): end other programs, or take an int8 package, \
                 --bake-prompts or --device cpu"
                    .to_owned(),
            );
        }
        _ => {}
    }
    let hint = match package_error(error)? {
        Error::Exists { .. } => "pass --force to replace it, or choose another name",
        Error::NameTooLong { .. } => {
            "choose a shorter one: most file systems take 255 bytes, also for X_metadata.json and X.tar.gz.sha256"
        }
        Error::TooManyParts { .. } => "pass a larger --split",
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
        Error::Io { source, .. } | Error::Output { source, .. } => io_hint(source)?,
        _ => return None,
    };
    Some(hint.to_owned())
}

/// As the driver and cuBLAS say it.
fn is_out_of_gpu_memory(message: &str) -> bool {
    message.contains("OUT_OF_MEMORY") || message.contains("CUBLAS_STATUS_ALLOC_FAILED")
}

fn io_hint(error: &std::io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        ErrorKind::NotFound => "check the spelling of the path and that its folder exists",
        ErrorKind::NotADirectory => "a part of the path is a file, not a folder",
        ErrorKind::IsADirectory => "name a file, not a folder",
        ErrorKind::AlreadyExists => "something else of that name is in the way: choose another place",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "choose a place that you may write to",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space or write elsewhere: --no-tarball halves what a package takes, and a copy goes on where it stopped"
        }
        ErrorKind::FileTooLarge => "the file system cannot hold a file of this size (FAT32 stops at 4 GiB)",
        ErrorKind::UnexpectedEof => "it became shorter while it was read: copy it to a drive of this machine first",
        _ if is_drive_gone(error) => "the drive is gone or failing: connect it again, or use another one",
        _ => return None,
    })
}

/// EIO, ENXIO and ENODEV, which have no kind of their own.
fn is_drive_gone(error: &std::io::Error) -> bool {
    cfg!(unix) && matches!(error.raw_os_error(), Some(5 | 6 | 19))
}

#[cfg(test)]
mod tests {
    use super::{ENVIRONMENT, INPUT, USAGE, exit_code, hint, is_out_of_gpu_memory};

    #[cfg(unix)]
    #[test]
    fn a_drive_that_is_gone_has_a_next_step() {
        let error = anyhow::Error::from(sam3_package::Error::Io {
            action: "read",
            path: "/media/stick/x.pth".into(),
            source: std::io::Error::from_raw_os_error(5),
        });
        assert_eq!(exit_code(&error), ENVIRONMENT);
        assert!(hint(&error).unwrap().contains("connect it again"));
    }

    #[test]
    fn what_a_gpu_cannot_do_has_a_next_step() {
        assert!(is_out_of_gpu_memory(
            "computing: DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")"
        ));
        for (error, code, expected) in [
            (
                sam3_model::Error::Precision("int8 products: a GPU has none".into()),
                USAGE,
                "--compute auto",
            ),
            (
                sam3_model::Error::NotFinite("the scores are NaN".into()),
                INPUT,
                "--compute bf16",
            ),
        ] {
            let error = anyhow::Error::from(error);
            assert_eq!(exit_code(&error), code, "{error}");
            let hint = hint(&error).unwrap();
            assert!(hint.contains(expected), "{hint}");
        }
    }
}
