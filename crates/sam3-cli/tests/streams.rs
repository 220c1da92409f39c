//! Streams that nobody reads or that cannot take more: the exit code still tells, and nothing panics.

#![cfg(target_os = "linux")]

mod support;

use std::{
    fs::{File, OpenOptions},
    io,
    process::{Command, Stdio},
};

use support::{Folder, checkpoint, package, text};

/// The end of a pipe to write into, whose other end is closed.
fn closed() -> Stdio {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A device that is always full.
fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

/// A file that was opened to be read.
fn unwritable() -> Stdio {
    File::open("/dev/null").unwrap().into()
}

fn code(arguments: &[&str], stdout: Stdio, stderr: Stdio) -> Option<i32> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sam3"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr);
    command.status().unwrap().code()
}

#[test]
fn nothing_panics_where_stderr_is_gone() {
    let folder = Folder::new();
    let source = checkpoint(&folder);
    let absent = folder.path("absent.pth");
    let output = folder.path("x.pth");
    let runs: [(&[&str], i32); 6] = [
        (&["inspect", text(&absent)], 1),
        (&["verify", text(&absent), text(&absent)], 1),
        (&["segment", "--no-such-flag"], 2),
        (&["unpack", text(&source)], 1),
        // Warnings, notes and details, too.
        (
            &[
                "package",
                "-v",
                "--force",
                "--checkpoint-path",
                text(&source),
                "--output",
                text(&output),
            ],
            0,
        ),
        (
            &["package", "--checkpoint-path", text(&source), "--output", text(&output)],
            2,
        ),
    ];
    for (arguments, expected) in runs {
        for (name, stderr) in [
            ("closed", closed as fn() -> Stdio),
            ("full", full),
            ("unwritable", unwritable),
        ] {
            assert_eq!(
                code(arguments, Stdio::null(), stderr()),
                Some(expected),
                "{arguments:?}, stderr {name}"
            );
        }
        // As `sam3 … 2>&-` has it.
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "exec \"$0\" \"$@\" 2>&-", env!("CARGO_BIN_EXE_sam3")])
            .args(arguments)
            .stdout(Stdio::null());
        assert_eq!(
            shell.status().unwrap().code(),
            Some(expected),
            "{arguments:?}, no stderr"
        );
    }
}

/// `sam3 inspect X | head` is no failure; a disk that takes no result is.
#[test]
fn a_result_that_nobody_reads_is_no_failure_and_one_that_is_lost_is() {
    let folder = Folder::new();
    let package = package(&folder, "x.pth", "fp16");
    for arguments in [&["inspect", text(&package)][..], &["verify", "--json", text(&package)]] {
        assert_eq!(code(arguments, closed(), Stdio::null()), Some(0));
        assert_eq!(code(arguments, closed(), closed()), Some(0));
        assert_eq!(code(arguments, full(), Stdio::null()), Some(3));
        assert_eq!(code(arguments, full(), full()), Some(3));
    }
    assert_eq!(code(&["--help"], closed(), Stdio::null()), Some(0));
}
