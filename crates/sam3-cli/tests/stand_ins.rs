//! `--device cuda` on a machine without a GPU: NVIDIA's libraries are stand-ins that run the kernels on the CPU, and
//! find memory that is used wrongly (`crates/sam3-tensor/stand_ins`).
#![cfg(feature = "cuda")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use serde_json::Value;
use support::{Folder, check, clicks::golden, package_trained, text, trained};

/// A folder with both libraries, built once.
fn libraries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sam3-tensor/stand_ins/build.sh");
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("stand-ins");
        assert!(Command::new(script).arg(&folder).status().unwrap().success());
        folder
    })
}

/// Runs `sam3` with the libraries of a folder and these words for the driver.
fn run_with(folder: &Path, words: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sam3"));
    command
        .args(arguments)
        .env("LD_LIBRARY_PATH", folder)
        .env("SAM3_STAND_IN", words);
    command.output().unwrap()
}

fn segment(words: &str, package: &Path, device: &str, flags: &[&str]) -> Vec<Value> {
    let folder = Folder::new();
    let out = folder.path("out");
    let fixed = [
        "segment",
        "--json",
        "--image",
        text(&trained().scene),
        "--checkpoint-path",
        text(package),
    ];
    let rest = ["--prompt", "boat", "--device", device, "--output", text(&out)];
    let output = run_with(libraries(), words, &[&fixed[..], &rest, flags].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{words} {flags:?}: {said}");
    // It says where it found an error, even where the program goes on.
    assert!(!said.contains("stand-in:"), "{said}");
    let record: Value = serde_json::from_slice(&output.stdout).unwrap();
    let place = if device == "cpu" { "cpu" } else { "cuda:0 (stand-in)" };
    assert_eq!(record["model"]["device"], place);
    record["prompts"][0]["instances"].as_array().unwrap().clone()
}

/// The same instances, so far apart at most in score, and as a share of the picture in their boxes.
fn assert_same(found: &[Value], expected: &[Value], tolerance: f64, what: &str) {
    assert!(
        expected.len() == 3 && found.len() == 3,
        "{what}: {} of {}",
        found.len(),
        expected.len()
    );
    for (found, expected) in found.iter().zip(expected) {
        let apart = |value: &Value, other: &Value| (value.as_f64().unwrap() - other.as_f64().unwrap()).abs();
        let score = apart(&found["score"], &expected["score"]);
        assert!(score <= tolerance, "{what}: score {score} apart");
        for side in 0..4 {
            let apart = apart(&found["box"][side], &expected["box"][side]) / 672.0;
            assert!(apart <= tolerance, "{what}: box {apart} apart");
        }
        let area = apart(&found["area"], &expected["area"]) / expected["area"].as_f64().unwrap();
        assert!(area <= 5.0 * tolerance, "{what}: area {area} apart");
    }
}

#[test]
fn packages_find_there_what_they_find_on_the_cpu() {
    let folder = Folder::new();
    for (precision, words, compute, texts, tolerance) in [
        ("fp16", "", "auto", "cpu", 5e-3),
        ("int8", "integrated", "auto", "auto", 5e-3),
        ("bf16", "pools=0 capability=90", "auto", "auto", 2e-2),
        ("none", "capability=90", "f32", "gpu", 1e-3),
    ] {
        let name = format!("{precision}.pth");
        package_trained(&folder, &name, &["--quantize", precision, "--no-tarball"]);
        let package = folder.path(&name);
        let expected = segment("", &package, "cpu", &["--compute", "f32"]);
        let found = segment(
            words,
            &package,
            "cuda:0",
            &["--compute", compute, "--text-device", texts],
        );
        assert_same(&found, &expected, tolerance, precision);
    }
}

#[test]
fn bench_accounts_for_the_memory() {
    let folder = Folder::new();
    package_trained(&folder, "x.pth", &["--no-tarball"]);
    let package = folder.path("x.pth");
    let account = |words, texts| -> Value {
        let model = [
            "bench",
            "--json",
            "--checkpoint-path",
            text(&package),
            "--device",
            "cuda:0",
        ];
        let rest = ["--warm-up", "0", "--rounds", "1", "--text-device", texts];
        // Memory is the same where nothing is computed.
        let output = run_with(libraries(), &format!("dry {words}"), &[&model[..], &rest].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("stand-in:"), "{said}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["device_memory_bytes"].clone()
    };
    let bytes = |account: &Value, name: &str| account[name].as_u64().unwrap();
    let there = account("bytes=1000000000", "auto");
    assert!(bytes(&there, "weights") < bytes(&there, "peak"));
    // The stand-in has no context and runs nothing else.
    assert_eq!((bytes(&there, "beside"), bytes(&there, "total")), (0, 1_000_000_000));
    assert!(bytes(&there, "in_use") < bytes(&there, "peak"));
    assert!(there["taken_of_the_machine"].is_null());
    // A Jetson's texts are encoded on the CPU, and their weights stay in the file.
    let jetson = account("bytes=1000000000 integrated", "auto");
    assert!(bytes(&jetson, "weights") < bytes(&there, "weights"));
    assert!(jetson["taken_of_the_machine"].is_u64());
    for (words, texts, same) in [
        ("", "cpu", &jetson),
        ("integrated", "gpu", &there),
        ("pools=0", "gpu", &there),
    ] {
        let account = account(words, texts);
        assert_eq!(account["weights"], same["weights"], "{words} {texts}");
    }
}

#[test]
fn other_sizes_and_examples_go_there_too() {
    let checkpoint = &trained().checkpoint;
    let flags = ["--compute", "f32", "--image-size", "140", "--box", "308,49,453,199"];
    let run = |device| {
        let mut instances = segment("", checkpoint, device, &flags);
        instances.truncate(3);
        instances
    };
    assert_same(&run("cuda:0"), &run("cpu"), 1e-3, "140 pixels");
}

#[test]
fn clicks_go_there_too() {
    let folder = Folder::new();
    let (out, image, model) = (folder.path("out"), golden("picture.png"), golden("mini.pt"));
    let run = |device: &str, clicks: &[&str]| -> Vec<Value> {
        let fixed = ["click", "--json", "--compute", "f32", "--image", text(&image)];
        let rest = [
            "--checkpoint-path",
            text(&model),
            "--output",
            text(&out),
            "--device",
            device,
        ];
        let output = run_with(libraries(), "", &[&fixed[..], &rest, clicks].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("stand-in:"), "{said}");
        let record: Value = serde_json::from_slice(&output.stdout).unwrap();
        let objects = record["objects"].as_array().unwrap().iter();
        objects
            .flat_map(|object| object["instances"].as_array().unwrap().clone())
            .collect()
    };
    let logits = folder.path("step.safetensors");
    let step = ["--point", "107.85,91.11", "--save-logits", text(&logits)];
    let box_and_step = [
        "--box",
        "160.96,34.05,264.88,146.24",
        "--object",
        "--mask",
        text(&logits),
    ];
    for clicks in [&step[..], &box_and_step] {
        let (expected, found) = (run("cpu", clicks), run("cuda:0", clicks));
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            let apart = |field: &str| (found[field].as_f64().unwrap() - expected[field].as_f64().unwrap()).abs();
            assert!(apart("iou") <= 1e-3, "iou {}", apart("iou"));
            assert!(apart("object_score") <= 5e-3, "object score {}", apart("object_score"));
            assert!(
                apart("area") <= 0.02 * expected["area"].as_f64().unwrap(),
                "area {}",
                apart("area")
            );
        }
    }
}

#[test]
fn the_demo_runs_there() {
    let folder = Folder::new();
    let out = folder.path("demo");
    let arguments = [
        "demo",
        "--json",
        "--output",
        text(&out),
        "--device",
        "cuda:0",
        "--compute",
        "auto",
    ];
    let output = run_with(libraries(), "", &arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("stand-in:"), "{said}");
    let record: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(record["result"]["model"]["device"], "cuda:0 (stand-in)");
    for iou in record["iou"].as_array().unwrap() {
        assert!(iou.as_f64().unwrap() > 0.7, "{record}");
    }
}

#[test]
fn what_the_machine_lacks_is_named() {
    let folder = Folder::new();
    let checkpoint = text(&trained().checkpoint);
    let out = folder.path("out");
    let fixed = [
        "segment",
        "--image",
        text(&trained().scene),
        "--prompt",
        "boat",
        "--checkpoint-path",
        checkpoint,
    ];
    let rest = ["--output", text(&out), "--device"];
    let arguments = [&fixed[..], &rest, &["cuda:0"]].concat();
    let fails = |libraries: &Path, words: &str, says: &[&str]| {
        let output = run_with(libraries, words, &arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        for word in says {
            assert!(said.contains(word), "expected {word:?} in {said}");
        }
    };
    fails(libraries(), "bytes=1000000", &["GPU's memory", "hint:"]);
    fails(
        libraries(),
        "capability=75",
        &["GPU 0", "compute capability 7.5", "hint:"],
    );
    // A driver without CUDA's libraries, as it comes with the card.
    let driver = folder.path("driver");
    fs::create_dir(&driver).unwrap();
    fs::copy(libraries().join("libcuda.so.1"), driver.join("libcuda.so.1")).unwrap();
    if !Path::new("/usr/local/cuda/lib64").exists() {
        fails(&driver, "", &["libcublasLt.so.13 is missing", "libcublas", "hint:"]);
    }
    // Another GPU than there is, and none at all for a program that may do without.
    let other = [&fixed[..], &rest, &["cuda:1"]].concat();
    let output = run_with(libraries(), "", &other);
    assert_eq!(output.status.code(), Some(3));
    check(&[&fixed[..], &rest, &["auto"]].concat(), 0, &["running on the CPU"]);
}
