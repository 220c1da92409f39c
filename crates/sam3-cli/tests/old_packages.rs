//! Packages that released versions wrote are read by every later one: `packages/VERSION/`, of `tools/old_packages.py`.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use support::{Folder, check, sam3, text};

/// Of scores and presence.
const SCORE: f64 = 1e-4;
/// Of boxes, in pixels.
const PIXELS: f64 = 0.05;
/// Of a mask's area: the pixels where its logit is near 0.
const AREA: f64 = 0.002;

fn folders() -> Vec<PathBuf> {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packages");
    let entries = fs::read_dir(packages).unwrap().map(|entry| entry.unwrap().path());
    let folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    assert!(!folders.is_empty());
    folders
}

#[test]
fn packages_of_every_version_verify_unpack_and_segment() {
    for version in folders() {
        let expected: Value = serde_json::from_slice(&fs::read(version.join("expected.json")).unwrap()).unwrap();
        for (name, expected) in expected.as_object().unwrap() {
            let folder = Folder::new();
            let archive = version.join(format!("{name}.tar.gz"));
            check(&["verify", text(&archive)], 0, &["verified"]);
            check(&["inspect", text(&archive)], 0, &["package of model.safetensors"]);
            check(
                &["unpack", text(&archive), "-C", text(&folder.path("out"))],
                0,
                &["verified"],
            );
            let package = folder.path("out").join(format!("{name}.pth"));
            check(&["verify", text(&package)], 0, &["equal to the metadata inside"]);
            let what = format!("{} {name}", version.display());
            same(&segment(&folder, &package), expected, &what);
        }
    }
}

/// What the package finds, whatever its score.
fn segment(folder: &Folder, package: &Path) -> Value {
    let scene = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo/scene.png");
    let output = folder.path("found");
    let asked = [
        "--image",
        text(&scene),
        "--prompt",
        "boat",
        "--threshold",
        "0",
        "--compute",
        "f32",
    ];
    let fixed = [
        "segment",
        "--json",
        "--device",
        "cpu",
        "--checkpoint-path",
        text(package),
    ];
    let output = sam3(&[&fixed[..], &asked, &["--output", text(&output)]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let record: Value = serde_json::from_slice(&output.stdout).unwrap();
    record["prompts"][0].clone()
}

/// The numbers of the version that made the package.
fn same(found: &Value, expected: &Value, what: &str) {
    let near = |found: &Value, expected: &Value, tolerance: f64| {
        let (a, b) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
        assert!((a - b).abs() <= tolerance, "{what}: {a}, expected {b}");
    };
    near(&found["presence"], &expected["presence"], SCORE);
    let instances = |value: &Value| value["instances"].as_array().unwrap().clone();
    let (found, expected) = (instances(found), instances(expected));
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(&expected) {
        near(&found["score"], &expected["score"], SCORE);
        for corner in 0..4 {
            near(&found["box"][corner], &expected["box"][corner], PIXELS);
        }
        let area = expected["area"].as_f64().unwrap();
        near(&found["area"], &expected["area"], AREA * area + 1.0);
    }
}
