//! Paths that lead to nothing of use, to every command: each has its exit code and says the next step.

#![cfg(target_os = "linux")]

mod support;

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener},
    path::Path,
    process::{Command, Stdio},
};

use support::{Folder, check, package, text, trained};

fn run(arguments: &[&OsStr]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sam3"));
    let output = command.args(arguments).stdin(Stdio::null()).output().unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// What no command can read, with words of the next step.
fn useless(folder: &Folder) -> Vec<(OsString, &'static str)> {
    let path = |name: &str| folder.path(name).into_os_string();
    fs::create_dir(folder.path("folder")).unwrap();
    fs::write(folder.path("empty"), "").unwrap();
    fs::write(folder.path("text"), "some words, of no format that is read").unwrap();
    let odd = folder.path("").join(OsStr::from_bytes(b"odd\xff.pth"));
    fs::write(&odd, "some words, of no format that is read").unwrap();
    symlink("loop", folder.path("loop")).unwrap();
    symlink("pruned", folder.path("dangling")).unwrap();
    let made = Command::new("mkfifo").arg(folder.path("pipe")).status();
    assert!(made.unwrap().success());
    drop(UnixListener::bind(folder.path("socket")).unwrap());
    vec![
        (path("absent"), "check the spelling"),
        (path("folder"), "name a file, not a folder"),
        (path("empty"), "copy or download"),
        (path("text"), ""),
        (odd.into_os_string(), ""),
        (path("loop"), "links in the path lead to each other"),
        (path("dangling"), "it is a link to pruned, which is gone"),
        (path("pipe"), "copy what it gives into a file"),
        (path("socket"), "copy what it gives into a file"),
        (path(&"n".repeat(300)), "longer than the system takes"),
        (path("text/below"), "a part of the path is a file"),
        ("/dev/null".into(), "copy what it gives into a file"),
        ("/dev/zero".into(), "copy what it gives into a file"),
    ]
}

#[test]
fn every_command_tells_a_useless_path_apart() {
    let folder = Folder::new();
    let (x, drive, out) = (
        package(&folder, "x.pth", "fp16"),
        folder.path("drive"),
        folder.path("y.pth"),
    );
    fs::create_dir(&drive).unwrap();
    let (x, drive, out) = (text(&x), text(&drive), text(&out));
    let (model, scene) = (text(&trained().checkpoint), text(&trained().scene));
    let commands: [&[&str]; 13] = [
        &["inspect"],
        &["verify"],
        &["unpack", "-C", drive],
        &["copy"],
        &["bench", "--checkpoint-path"],
        &[
            "bench",
            "--checkpoint-path",
            model,
            "--rounds",
            "1",
            "--warm-up",
            "0",
            "--image",
        ],
        &[
            "segment",
            "--prompt",
            "boat",
            "-o",
            drive,
            "--image",
            scene,
            "--checkpoint-path",
        ],
        &[
            "segment",
            "--prompt",
            "boat",
            "-o",
            drive,
            "--checkpoint-path",
            model,
            "--image",
        ],
        &["eval", "--scenes", "1", "--checkpoint-path"],
        &["eval", "--scenes", "1", "--checkpoint-path", model, "--against"],
        &[
            "eval",
            "--prompt",
            "boat",
            "--checkpoint-path",
            model,
            "--against",
            model,
            "--image",
        ],
        &["package", "--output", out, "--checkpoint-path"],
        &[
            "package",
            "--output",
            out,
            "--checkpoint-path",
            x,
            "--test-prompt",
            "boat",
            "--test-image",
        ],
    ];
    let before = fs::read_dir(drive).unwrap().count();
    for (path, next_step) in useless(&folder) {
        let name = path.to_string_lossy().into_owned();
        for command in commands {
            // What is in a file does not matter to `copy`.
            let is_file = ["empty", "text", ".pth"].iter().any(|end| name.ends_with(end));
            if command == ["copy"] && is_file {
                continue;
            }
            let mut arguments: Vec<&OsStr> = command.iter().map(OsStr::new).collect();
            arguments.push(&path);
            if command == ["copy"] {
                arguments.push(OsStr::new(drive));
            }
            // To `segment` a folder is the pictures in it.
            let is_folder_of_pictures =
                command[0] == "segment" && command.ends_with(&["--image"]) && name.ends_with("folder");
            let next_step = if is_folder_of_pictures {
                "expected files such as boat.jpg"
            } else {
                next_step
            };
            let (code, said) = run(&arguments);
            assert_eq!(code, Some(1), "{arguments:?}\n{said}");
            let start = said.find("error: ").unwrap_or_else(|| panic!("{arguments:?}\n{said}"));
            let (error, hint) = said[start..]
                .split_once("\nhint: ")
                .unwrap_or_else(|| panic!("{arguments:?}\n{said}"));
            assert!(error.contains(&name), "{arguments:?}\n{said}");
            assert!(
                hint.contains(next_step),
                "{arguments:?}: expected {next_step:?} in\n{said}"
            );
        }
    }
    assert_eq!(fs::read_dir(drive).unwrap().count(), before, "nothing is written");
    assert!(!folder.path("y.pth").exists());
}

#[test]
fn a_folder_to_work_in_that_cannot_be_made_is_told() {
    let folder = Folder::new();
    fs::write(folder.path("text"), "x").unwrap();
    symlink("nowhere", folder.path("dangling")).unwrap();
    for place in ["text", "text/below", "dangling", &"n".repeat(300)] {
        let place = folder.path(place);
        let (code, said) = run(&["demo", "--output", text(&place)].map(OsStr::new));
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("cannot write") && said.contains("\nhint: "), "{said}");
    }
    let odd = folder.path("").join(OsStr::from_bytes(b"demo\xff"));
    let (code, said) = run(&[OsStr::new("demo"), OsStr::new("--output"), odd.as_os_str()]);
    assert_eq!(code, Some(0), "{said}");
}

/// With `--force` too: renaming would replace the device itself.
#[test]
fn a_pipe_or_device_is_not_replaced() {
    let folder = Folder::new();
    let x = package(&folder, "x.pth", "fp16");
    let pipe = folder.path("pipe.pth");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let run_to_pipe = [
        "package",
        "--force",
        "--checkpoint-path",
        text(&x),
        "--output",
        text(&pipe),
    ];
    let (code, said) = run(&run_to_pipe.map(OsStr::new));
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("a pipe or a device is there") && said.contains("hint: "),
        "{said}"
    );
    assert!(!pipe.is_file());
}

/// What `verify` and `unpack` would pass over or refuse is not written.
#[test]
fn names_that_an_archive_cannot_carry_are_refused_before_the_work() {
    let folder = Folder::new();
    let source = support::checkpoint(&folder);
    for (name, reason) in [
        ("._x.pth", "begins with ._"),
        ("x\n.pth", "control characters"),
        ("x\u{85}.safetensors", "control characters"),
        ("\u{1b}[31mx.pt", "control characters"),
    ] {
        let output = folder.path(name);
        let run = ["package", "--checkpoint-path", text(&source), "--output", text(&output)];
        check(&run, 2, &[reason, "choose another"]);
        assert_eq!(folder.names(), ["src"], "{name:?}");
    }
    package(&folder, ".x..pth", "fp16");
}

/// `z.pth` and `z.safetensors` share `z_metadata.json`.
#[test]
fn the_metadata_of_the_source_stays_even_by_force() {
    let folder = Folder::new();
    let checkpoint = support::checkpoint(&folder);
    let source = package(&folder, "z.pth", "fp16");
    let metadata = fs::read(folder.path("z_metadata.json")).unwrap();
    let names = folder.names();
    let run = |source: &Path, output: &str, code, words: &[&str]| {
        let output = folder.path(output);
        let fixed = ["package", "--force", "--quantize", "none", "--checkpoint-path"];
        let run = [&fixed[..], &[text(source), "--output", text(&output)]].concat();
        check(&run, code, words);
    };
    run(
        &source,
        "z.safetensors",
        2,
        &[
            "z_metadata.json: it is the metadata of",
            "z.pth already",
            "choose another folder",
        ],
    );
    assert!(fs::read(folder.path("z_metadata.json")).unwrap() == metadata);
    assert_eq!(folder.names(), names);
    run(&source, "y.safetensors", 0, &[]);
    // Of other packages the user is warned.
    run(
        &checkpoint,
        "z.safetensors",
        0,
        &["keep such packages in folders of their own"],
    );
    // A checkpoint that is no package has no metadata of its own.
    for _ in 0..2 {
        run(&checkpoint, "src/in.pth", 0, &[]);
    }
}
