//! `sam3 bench` from outside: what its report holds, and its exit codes.

mod support;

use std::{collections::BTreeSet, fs};

use serde_json::Value;
use support::{Folder, check, package_trained, sam3, text, trained};

const STAGES: [&str; 7] = [
    "vision trunk",
    "vision neck",
    "text encoder",
    "geometry encoder",
    "fusion encoder",
    "decoder",
    "mask head",
];

fn report(arguments: &[&str]) -> Value {
    let output = sam3(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn seconds(value: &Value) -> f64 {
    let seconds = value
        .as_f64()
        .unwrap_or_else(|| panic!("expected seconds, found {value}"));
    assert!(seconds > 0.0 && seconds < 600.0, "{seconds}");
    seconds
}

#[test]
fn every_stage_is_timed() {
    let (checkpoint, scene) = (text(&trained().checkpoint), text(&trained().scene));
    let run = [
        "bench",
        "--checkpoint-path",
        checkpoint,
        "--image",
        scene,
        "--prompt",
        "boat",
        "--warm-up",
        "0",
    ];
    let report = report(
        &[
            &run[..],
            &["--rounds", "3", "--compute", "f32", "--device", "cpu", "--json"],
        ]
        .concat(),
    );
    let stages = report["stage_seconds"].as_object().unwrap();
    let names: BTreeSet<&str> = stages.keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(STAGES));
    let stages: f64 = stages.values().map(seconds).sum();
    let total = seconds(&report["total_seconds"]);
    assert!(
        (0.2..5.0).contains(&(stages / total)),
        "stages take {stages} s of {total}"
    );
    let rounds: Vec<f64> = report["rounds_seconds"]
        .as_array()
        .unwrap()
        .iter()
        .map(seconds)
        .collect();
    assert_eq!(rounds.len(), 3);
    assert_eq!(
        rounds.iter().filter(|round| **round <= total).count(),
        2,
        "{total} is the median of {rounds:?}"
    );
    seconds(&report["load_seconds"]);
    seconds(&report["second_prompt_seconds"]);
    assert_eq!(report["compute"], "f32");
    assert_eq!(report["device"], "cpu");
    assert!(report["cpu"].as_str().is_some_and(|cpu| !cpu.is_empty()));
    assert!(report["uninterrupted_seconds"].is_null() && report["device_memory_bytes"].is_null());
    if cfg!(target_os = "linux") {
        assert!(report["peak_rss_bytes"].as_u64().unwrap() > 1 << 20);
    }
    check(
        &[&run[..], &["--rounds", "1"]].concat(),
        0,
        &[
            "load",
            "vision trunk",
            "total",
            "second prompt",
            "peak memory",
            "1 rounds",
        ],
    );
}

#[test]
fn a_baked_package_is_timed_with_a_prompt_that_it_knows() {
    let folder = Folder::new();
    package_trained(&folder, "x.pth", &["--bake-prompts", "boat", "--no-tarball"]);
    let package = folder.path("x.pth");
    let run = [
        "bench",
        "--checkpoint-path",
        text(&package),
        "--warm-up",
        "0",
        "--rounds",
        "1",
    ];
    check(&[&run[..], &["--prompt", "boat"]].concat(), 0, &["second prompt"]);
    check(&[&run[..], &["--prompt", "bus"]].concat(), 2, &["bus", "boat"]);
}

#[test]
fn what_cannot_be_timed_has_its_exit_code() {
    let folder = Folder::new();
    let bad = folder.path("bad.png");
    fs::write(&bad, "no picture").unwrap();
    let checkpoint = text(&trained().checkpoint);
    let run = ["bench", "--checkpoint-path", checkpoint, "--rounds", "1", "--image"];
    check(&[&run[..], &[text(&bad)]].concat(), 1, &["bad.png", "hint:"]);
    check(
        &[&run[..], &[text(&folder.path("absent.png"))]].concat(),
        1,
        &["absent.png", "hint:"],
    );
    check(
        &[&run[..], &[text(&bad.join("x"))]].concat(),
        1,
        &["hint: a part of the path is a file"],
    );
    check(
        &[&run[..], &[text(&folder.path(""))]].concat(),
        1,
        &["hint: name a file"],
    );
    check(&["bench", "--checkpoint-path", text(&bad)], 1, &["bad.png"]);
    check(&["bench"], 2, &["--checkpoint-path"]);
    for unused in [
        "--checkpoint-path x",
        "--image x",
        "--prompt x",
        "--warm-up 2",
        "--text-device cpu",
    ] {
        let words: Vec<&str> = ["bench", "--ops"].into_iter().chain(unused.split(' ')).collect();
        check(&words, 2, &["--ops", "cannot be used with", words[2]]);
    }
    check(
        &["bench", "--checkpoint-path", checkpoint, "--rounds", "0"],
        2,
        &["--rounds"],
    );
    check(
        &[
            "bench",
            "--checkpoint-path",
            checkpoint,
            "--compute",
            "f16",
            "--device",
            "cpu",
        ],
        2,
        &["hint:"],
    );
    check(
        &["bench", "--checkpoint-path", checkpoint, "--device", "cuda:99"],
        3,
        &["hint:"],
    );
}
