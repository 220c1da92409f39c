//! Ctrl-C at any moment: the results of a picture are all there, or those of the run before are.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use support::{Folder, check, text};

/// Masks in a picture's folder of them.
fn masks(json: &Path) -> usize {
    fs::read_dir(json.with_file_name(format!("{}_masks", json.file_stem().unwrap().to_str().unwrap()))).map_or(
        0,
        |names| {
            names
                .filter(|name| !name.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'))
                .count()
        },
    )
}

/// Instances that a picture's JSON tells of.
fn instances(json: &Path) -> usize {
    let report: serde_json::Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let found = report["prompts"].as_array().expect("a list of prompts");
    found
        .iter()
        .map(|prompt| prompt["instances"].as_array().expect("a list of instances").len())
        .sum()
}

#[test]
fn an_interrupted_run_leaves_whole_results_of_each_picture() {
    let folder = Folder::new();
    let demo = folder.path("demo");
    check(&["demo", "--output", text(&demo)], 0, &[]);
    let (pictures, out) = (folder.path("pictures"), folder.path("out"));
    fs::create_dir(&pictures).unwrap();
    let names: Vec<String> = (0..4).map(|i| format!("p{i}")).collect();
    for name in &names {
        fs::copy(demo.join("scene.png"), pictures.join(format!("{name}.png"))).unwrap();
    }
    let package: PathBuf = demo.join("device/sam3_demo_fp16.pth");
    let flags = |threshold: &'static str| {
        let fixed = [
            "segment",
            "--masks",
            "--id-map",
            "--prompt",
            "boat",
            "--image",
            text(&pictures),
            "--checkpoint-path",
            text(&package),
            "--output",
            text(&out),
            "--threshold",
        ];
        [&fixed[..], &[threshold]].concat()
    };
    let is_whole = |when: &str| {
        for name in &names {
            let json = out.join(format!("{name}.json"));
            assert_eq!(masks(&json), instances(&json), "{name}, {when}");
        }
    };
    check(&flags("0.02"), 0, &[]);
    is_whole("before");
    let mut interrupted = 0;
    for round in 0..24u64 {
        // One run keeps many masks, the next few.
        let arguments = flags(if round % 2 == 0 { "0.95" } else { "0.02" });
        // Where tests run in the background, SIGINT is ignored, and so it is by what they start.
        let mut child = Command::new("env")
            .args(["--default-signal=INT", env!("CARGO_BIN_EXE_sam3")])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(120 + 31 * round));
        let id = child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).stderr(Stdio::null()).status();
        sent.expect("a system has kill");
        interrupted += usize::from(!child.wait().unwrap().success());
        is_whole(&format!("after round {round}"));
    }
    assert!(interrupted > 0, "every run ended first");
}
