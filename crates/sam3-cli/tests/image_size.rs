//! `--image-size` from outside, on the trained miniature: 168 pixels a side, in patches of 14 and windows of 6.

mod support;

use std::{collections::BTreeSet, fs, path::Path};

use sam3_package::Checkpoint;
use serde_json::Value;
use support::{Folder, check, packaging, sam3, text, trained};

fn json(arguments: &[&str]) -> Value {
    let output = sam3(&[arguments, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}\n{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn segment<'a>(out: &'a Path, flags: &[&'a str]) -> Vec<&'a str> {
    let (checkpoint, scene) = (text(&trained().checkpoint), text(&trained().scene));
    let fixed = ["segment", "--checkpoint-path", checkpoint, "--image", scene];
    let rest = ["--prompt", "boat", "--compute", "f32", "--output", text(out)];
    [&fixed[..], &rest, flags].concat()
}

#[test]
fn a_picture_is_seen_at_the_size_that_is_asked_for() {
    let folder = Folder::new();
    let dump = folder.path("raw.safetensors");
    // 18 patches are three whole windows; 10 and 7 are none.
    for (size, side) in [("252", 72), ("168", 48), ("140", 40), ("98", 28)] {
        let out = folder.path(size);
        let flags = ["--image-size", size, "--dump-tensors", text(&dump), "--force"];
        let record = json(&segment(&out, &flags));
        assert_eq!(record["model"]["image_size"].to_string(), size);
        let found = record["prompts"][0]["instances"].as_array().unwrap().len();
        // It was trained at 168, and takes parts for boats where it sees less.
        assert!((2..=6).contains(&found), "{size}: {found} boats of 3");
        let raw = Checkpoint::open(&dump).unwrap();
        let masks = raw.tensors().find(|tensor| tensor.name == "pred_masks").unwrap();
        assert_eq!(masks.shape[2..], [side, side], "{size}");
    }
    let own = json(&segment(&folder.path("own"), &[]));
    assert_eq!(own["model"]["image_size"], 168);
    let read = |size: &str| -> Value {
        serde_json::from_slice(&fs::read(folder.path(size).join("scene.json")).unwrap()).unwrap()
    };
    assert_eq!(read("168")["prompts"], own["prompts"]);
    assert_ne!(read("252")["prompts"], own["prompts"]);
}

#[test]
fn a_result_of_another_size_is_not_the_same_result() {
    let folder = Folder::new();
    let run = |flags: &[&str], skipped: &str| check(&segment(&folder.path("out"), flags), 0, &[skipped]);
    run(&["--skip-existing"], "skipped 0 of 1");
    run(&["--skip-existing", "--image-size", "168"], "skipped 1 of 1");
    run(&["--skip-existing", "--image-size", "252"], "skipped 0 of 1");
    run(&["--skip-existing", "--image-size", "252"], "skipped 1 of 1");
}

#[test]
fn a_size_that_the_model_does_not_take_is_refused_with_the_nearest() {
    let folder = Folder::new();
    let out = folder.path("out");
    for (size, nearest) in [("100", "98"), ("70", "84"), ("4032", "2016"), ("1", "84")] {
        let expected = "expected the model's own 168, or a multiple of 14 from 84 to 2016";
        let hint = format!("the nearest that it takes is {nearest}");
        check(&segment(&out, &["--image-size", size]), 2, &[expected, &hint]);
    }
    for wrong in ["0", "x", "", "-14", "672x672", "672,504"] {
        check(
            &segment(&out, &["--image-size", wrong]),
            2,
            &["--image-size", "such as 672"],
        );
    }
    assert!(!out.join("scene.json").exists());
}

#[test]
fn bench_times_a_size() {
    let checkpoint = text(&trained().checkpoint);
    let run = [
        "bench",
        "--checkpoint-path",
        checkpoint,
        "--rounds",
        "1",
        "--image-size",
    ];
    assert_eq!(json(&[&run[..], &["84"]].concat())["image_size"], 84);
    check(&[&run[..], &["84"]].concat(), 0, &["at 84 x 84 on"]);
    check(&["bench", "--ops", "--image-size", "84"], 2, &["--ops", "--image-size"]);
}

#[test]
fn eval_compares_sizes() {
    let checkpoint = text(&trained().checkpoint);
    let run = [
        "eval",
        "--checkpoint-path",
        checkpoint,
        "--against",
        checkpoint,
        "--compute",
        "f32",
    ];
    let sizes = ["--image-size", "84", "--against-image-size", "168"];
    let record = json(&[&run[..], &sizes, &["--scenes", "24"]].concat());
    assert_eq!(record["model"]["image_size"], 84);
    assert_eq!(record["against"]["model"]["image_size"], 168);
    let f1 = |record: &Value| record["score"]["f1"].as_f64().unwrap();
    assert!(
        f1(&record) < f1(&record["against"]),
        "a quarter of the pixels: {record}"
    );

    let picture = ["--image", text(&trained().scene), "--prompt", "boat"];
    let record = json(&[&run[..], &sizes, &picture].concat());
    let stages = record["stages"].as_array().unwrap().iter();
    let outputs: BTreeSet<&str> = stages.map(|stage| stage["output"].as_str().unwrap()).collect();
    assert!(
        outputs.contains("boxes") && outputs.contains("text features"),
        "{outputs:?}"
    );
    assert!(
        !outputs.contains("trunk"),
        "maps of two sizes have no difference: {outputs:?}"
    );
}

#[test]
fn a_package_is_tried_at_other_sizes() {
    let folder = Folder::new();
    let output = folder.path("x.safetensors");
    let fixed = packaging(&trained().checkpoint, &output);
    let test = [
        "--test-image",
        text(&trained().scene),
        "--test-prompt",
        "boat",
        "--image-size",
    ];
    check(
        &[&fixed[..], &test, &["252,100"]].concat(),
        2,
        &["image size 100", "takes is 98"],
    );
    check(&[&fixed[..], &["--image-size", "252"]].concat(), 2, &["--test-image"]);
    assert!(folder.names().is_empty());

    let record = json(&[&fixed[..], &test, &["84,252, 84"]].concat());
    let test = &record["metadata"]["test"];
    assert_eq!((&test["matched"], &test["source_instances"]), (&3.into(), &3.into()));
    let sizes = test["sizes"].as_array().unwrap();
    let asked: Vec<u64> = sizes.iter().map(|run| run["image_size"].as_u64().unwrap()).collect();
    assert_eq!(asked, [252, 84]);
    let iou = |run: &Value| run["worst_mask_iou"].as_f64().unwrap();
    assert!(iou(&sizes[0]) < iou(test), "another size finds other masks: {test}");
    check(&["verify", text(&output)], 0, &["verified"]);
}
