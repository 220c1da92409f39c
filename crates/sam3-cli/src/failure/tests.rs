//! Each error has its exit code, and the next step.

use anyhow::{Error, anyhow};
use sam3_model::{TensorError, image::ImageError};

use super::{ENVIRONMENT, Failure, INPUT, USAGE, exit_code, hint, io};

/// Wherever a typed error stands in a chain, it decides.
#[test]
fn the_exit_code_comes_from_the_typed_error() {
    let invalid = || ImageError::Invalid {
        name: "x.png".into(),
        reason: "cut".into(),
    };
    let exists = || sam3_package::Error::Exists { path: "x".into() };
    for (error, code) in [
        (Error::from(invalid()), INPUT),
        (Error::from(invalid()).context("some images were not segmented"), INPUT),
        (Error::from(sam3_model::Error::Image(invalid())), INPUT),
        (Error::from(exists()), USAGE),
        (Error::from(sam3_model::Error::Package(exists())), USAGE),
        (Error::from(exists()).context("a").context("b"), USAGE),
        (Failure::input("a", "b").context("c"), INPUT),
        (Failure::environment("a", "b"), ENVIRONMENT),
        (
            Error::from(io::Error::other("no room")).context("cannot write to stdout"),
            ENVIRONMENT,
        ),
        (anyhow!("not known"), ENVIRONMENT),
    ] {
        assert_eq!(exit_code(&error), code, "{error:#}");
    }
}

/// A path that is wrong is the input's fault, a machine that refuses is not; for packages and pictures alike.
#[test]
fn what_the_system_says_of_an_input_decides() {
    for (number, code) in [
        (libc::ENOENT, INPUT),
        (libc::ENOTDIR, INPUT),
        (libc::EISDIR, INPUT),
        (libc::ELOOP, INPUT),
        (libc::ENAMETOOLONG, INPUT),
        (libc::EACCES, ENVIRONMENT),
        (libc::EIO, ENVIRONMENT),
        (libc::ENXIO, ENVIRONMENT),
    ] {
        let source = || io::Error::from_raw_os_error(number);
        let (action, path) = ("open", std::path::PathBuf::from("/nowhere/x"));
        let package = sam3_package::Error::Io {
            action,
            path: path.clone(),
            source: source(),
        };
        let picture = ImageError::Io {
            action,
            path,
            source: source(),
        };
        for error in [Error::from(package), Error::from(picture)] {
            assert_eq!(exit_code(&error), code, "{error:#}");
            let hint = hint(&error).unwrap();
            assert!(!hint.contains("write"), "{error:#}: {hint}");
        }
    }
}

/// Limits of the machine and of the shell, whether a file is read or written.
#[test]
fn what_a_limit_stops_has_a_next_step() {
    for (number, step) in [
        (libc::EMFILE, "ulimit -n"),
        (libc::ENFILE, "ulimit -n"),
        (libc::ENOMEM, "end other programs"),
        (libc::EFBIG, "ulimit -f"),
        (libc::ENOSPC, "free some space"),
    ] {
        let (path, source) = (std::path::PathBuf::from("x.pth"), || {
            io::Error::from_raw_os_error(number)
        });
        let read = sam3_package::Error::Io {
            action: "map",
            path: path.clone(),
            source: source(),
        };
        let written = sam3_package::Error::Output { path, source: source() };
        for error in [Error::from(read), Error::from(written)] {
            assert_eq!(exit_code(&error), ENVIRONMENT, "{error:#}");
            let hint = hint(&error).unwrap();
            assert!(hint.contains(step), "{error:#}: {hint}");
        }
    }
    let (needed, free) = (2, 1);
    let path = "/media/stick".into();
    let error = Error::from(sam3_package::Error::NoRoom { path, needed, free });
    assert_eq!(exit_code(&error), ENVIRONMENT);
    assert!(hint(&error).unwrap().contains("free some space"));
}

/// The message says what is wrong with the file; the hint says what to do.
#[test]
fn each_fault_of_a_checkpoint_or_copy_has_a_next_step() {
    let path = || std::path::PathBuf::from("/nowhere/x");
    for (error, step) in [
        (
            sam3_package::Error::Empty { path: path() },
            "download a damaged one again",
        ),
        (
            sam3_package::Error::MissingPart {
                path: path(),
                number: 2,
                count: 3,
            },
            "copy it again",
        ),
        (
            sam3_package::Error::MissingShards {
                path: path(),
                missing: vec!["b".into()],
            },
            "all files of the checkpoint",
        ),
        (
            sam3_package::Error::Changed {
                path: path(),
                before: 2,
                after: 3,
            },
            "when it is done",
        ),
        (
            sam3_package::Error::NotInPth {
                path: path(),
                tensor: "a".into(),
                dtype: "U16",
            },
            ".safetensors",
        ),
        (sam3_package::Error::SameName { path: path() }, "rename one"),
    ] {
        let error = Error::from(error);
        assert_eq!(exit_code(&error), INPUT, "{error:#}");
        let hint = hint(&error).unwrap();
        assert!(hint.contains(step), "{error:#}: {hint}");
    }
}

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
fn what_a_device_cannot_do_has_a_next_step() {
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
        (
            sam3_model::Error::Compute(TensorError::OutOfGpuMemory),
            ENVIRONMENT,
            "--device cpu",
        ),
        (
            sam3_model::Error::Compute(TensorError::OutOfMemory { bytes: 1 << 30 }),
            ENVIRONMENT,
            "ulimit -v",
        ),
    ] {
        let error = anyhow::Error::from(error);
        assert_eq!(exit_code(&error), code, "{error}");
        let hint = hint(&error).unwrap();
        assert!(hint.contains(expected), "{hint}");
    }
}
