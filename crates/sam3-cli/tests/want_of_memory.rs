//! What is said where memory ends, under the shell's limits.
#![cfg(target_os = "linux")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use support::{Folder, check, text};

/// The folder of the demo's files, made once for both tests.
fn demo() -> &'static Path {
    static DEMO: OnceLock<PathBuf> = OnceLock::new();
    DEMO.get_or_init(|| {
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("want-of-memory");
        check(&["demo", "--output", text(&root)], 0, &[]);
        root
    })
}

/// `sam3` where `ulimit` allows it so much.
fn run_under(limit: &str, args: &[&str]) -> Output {
    let shell = Command::new("sh")
        .args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\"")])
        .arg(env!("CARGO_BIN_EXE_sam3"))
        .args(args)
        .env("RUST_BACKTRACE", "0")
        .output();
    shell.unwrap()
}

#[test]
fn a_picture_that_does_not_fit_keeps_no_other_one_waiting() {
    let folder = Folder::new();
    let (picture, side) = (folder.path("large.bmp"), 8000u32);
    let len = 54 + 3 * side * side;
    let mut header = b"BM".to_vec();
    for word in [len, 0, 54, 40, side, side, 24 << 16 | 1, 0, 0, 0, 0, 0, 0] {
        header.extend(word.to_le_bytes());
    }
    // 192 MB of black, which a file system need not store.
    fs::write(&picture, header).unwrap();
    let file = fs::File::options().write(true).open(&picture).unwrap();
    file.set_len(len.into()).unwrap();
    let output = run_under(
        "-d 160000",
        &[
            "segment",
            "--prompt",
            "boat",
            "--device",
            "cpu",
            "--image",
            text(&picture),
            text(&demo().join("scene.png")),
            "--checkpoint-path",
            text(&demo().join("device/sam3_demo_fp16.pth")),
            "--output",
            text(&folder.path("out")),
        ],
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    for words in ["large.bmp: out of memory", "hint: ", "some images were not segmented"] {
        assert!(said.contains(words), "{words} in {said}");
    }
    assert!(folder.path("out/scene.json").exists(), "{said}");
}

/// 128 MB, which a frame of one block asks for in its header.
#[test]
fn a_window_that_does_not_fit_is_an_error() {
    let folder = Folder::new();
    let archive = folder.path("x.tar.zst");
    // No content size, a window of 1 << 27 bytes, and a raw block of 512 bytes, the last one.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3];
    frame.extend(&(1 | 512u32 << 3).to_le_bytes()[..3]);
    frame.resize(frame.len() + 512, 0);
    fs::write(&archive, frame).unwrap();
    let output = run_under("-d 160000", &["verify", text(&archive)]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    for words in ["x.tar.zst: out of memory", "hint: end other programs"] {
        assert!(said.contains(words), "{words} in {said}");
    }
}

/// With ever more memory: never a signal, a panic or half of a result.
#[test]
fn every_limit_ends_in_a_result_or_an_error() {
    const STEP: usize = 3 << 10;
    let folder = Folder::new();
    // What the program itself takes: the system's loader has no words of ours.
    let starts = |limit: &usize| run_under(&format!("-v {limit}"), &["--version"]).status.success();
    let least = (1..100).map(|i| i * STEP).find(starts).expect("it starts in 300 MB");
    let mut errors = 0;
    for limit in (0..100).map(|i| least + i * STEP) {
        let out = folder.path(&limit.to_string());
        let output = run_under(
            &format!("-v {limit}"),
            &[
                "segment",
                "--prompt",
                "boat",
                "--threads",
                "2",
                "--device",
                "cpu",
                "--image",
                text(&demo().join("scene.png")),
                "--checkpoint-path",
                text(&demo().join("device/sam3_demo_fp16.pth")),
                "--output",
                text(&out),
            ],
        );
        let said = String::from_utf8_lossy(&output.stderr);
        let json = out.join("scene.json");
        match output.status.code() {
            Some(0) => {
                assert!(is_whole(&json), "{limit} kB: {said}");
                assert!(errors > 0, "{limit} kB, the first limit, is enough");
                return;
            }
            Some(3) => {
                errors += 1;
                assert!(
                    said.contains("error: ") && said.contains("hint: "),
                    "{limit} kB: {said}"
                );
                assert!(!json.exists() || is_whole(&json), "{limit} kB: {said}");
            }
            other => panic!("{limit} kB: {other:?}, {said}"),
        }
    }
    panic!("300 MB are not enough");
}

fn is_whole(json: &Path) -> bool {
    let text = fs::read(json).unwrap();
    serde_json::from_slice::<serde_json::Value>(&text).is_ok()
}
