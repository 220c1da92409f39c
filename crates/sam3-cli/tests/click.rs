//! `sam3 click` from outside, on the miniature whose answers by the official code are known.

mod support;

use std::fs;

use sam3_model::{image::Image, masks::Mask};
use serde_json::{Value, json};
use support::{
    Folder, check,
    clicks::{click, clicked, close, golden, refused, tensors},
    text, write_checkpoint,
};

const TWO_CLICKS: &str = "--point 107.85,91.11 --point 192.68,174.48,0";

#[test]
fn raw_outputs_are_the_official_ones() {
    let folder = Folder::new();
    let expected = tensors(&golden("clicks.safetensors"));
    let answers: Value = serde_json::from_slice(&fs::read(golden("clicks.json")).unwrap()).unwrap();
    for (case, masks, line) in [
        ("one_click_multi", 3, "--point 107.85,91.11 --multimask"),
        ("two_clicks_single", 1, TWO_CLICKS),
        ("box_single", 1, "--box 160.96,34.05,264.88,146.24"),
        (
            "box_and_clicks_single",
            1,
            "--point 214.77,97.35,1 --box 160.96,34.05,264.88,146.24 --point 192.68,174.48,0",
        ),
    ] {
        let dump = folder.path(&format!("{case}.safetensors"));
        let json = clicked(&folder.path(case), line, &["--dump-tensors", text(&dump)]);
        let found = tensors(&dump);
        let (shape, logits) = &found["low_res_masks"];
        assert_eq!(*shape, [1, masks, 64, 64], "{case}");
        close(logits, &expected[&format!("{case}.low_res")].1, 0.02);
        let answer = &answers["cases"][case];
        let numbers = |value: &Value| serde_json::from_value::<Vec<f32>>(value.clone()).unwrap();
        assert_eq!(found["iou_scores"].0, [1, masks]);
        close(&found["iou_scores"].1, &numbers(&answer["iou"]), 1e-4);
        assert_eq!(found["object_score_logits"].0, [1, 1]);
        close(
            &found["object_score_logits"].1,
            &numbers(&answer["object_score_logit"]),
            2e-3,
        );
        let instances = json["objects"][0]["instances"].as_array().unwrap();
        for (instance, iou) in instances.iter().zip(&found["iou_scores"].1) {
            assert_eq!(instance["iou"].as_f64().unwrap() as f32, *iou);
            assert_eq!(
                instance["object_score"].as_f64().unwrap() as f32,
                found["object_score_logits"].1[0]
            );
        }
        assert_eq!(instances.len(), masks);
    }
}

#[test]
fn each_object_has_its_clicks_and_its_files() {
    let folder = Folder::new();
    let out = folder.path("out");
    let line = format!(
        "{TWO_CLICKS} --object --box 160.96,34.05,264.88,146.24 --object --point 20,30 --masks --id-map --polygons"
    );
    let json = clicked(&out, &line, &[]);
    let objects = json["objects"].as_array().unwrap();
    assert_eq!(
        objects[0]["clicks"],
        json!({"points": [{"point": [107.85, 91.11], "label": 1}, {"point": [192.68, 174.48], "label": 0}]})
    );
    assert_eq!(objects[1]["clicks"], json!({"box": [160.96, 34.05, 264.88, 146.24]}));
    for (object, id) in objects.iter().zip(1..) {
        let instance = &object["instances"][0];
        assert_eq!(instance["id"], id);
        assert_eq!(instance["score"], instance["iou"]);
        assert_eq!(instance["segmentation"]["size"], json!([227, 301]));
        let area = instance["area"].as_u64().unwrap();
        assert!(area > 0 && !instance["polygons"].as_array().unwrap().is_empty());
        let mask = Image::open(out.join(format!("picture_masks/object_{id}_001.png"))).unwrap();
        let inside = mask.rgb().chunks_exact(3).filter(|pixel| pixel[0] == 255).count();
        assert_eq!(inside as u64, area);
    }
    assert!(out.join("picture_overlay.png").exists() && out.join("picture_ids.png").exists());
    assert!(json.get("prompts").is_none() && json.get("threshold").is_none());
}

/// The logits of a step are those that the official code hands on, and the next step takes them.
#[test]
fn a_step_goes_on_from_the_one_before() {
    let folder = Folder::new();
    let (first, second) = (folder.path("first.safetensors"), folder.path("second.safetensors"));
    let two = format!("{TWO_CLICKS} --object --point 107.85,91.11");
    clicked(&folder.path("out"), &two, &["--save-logits", text(&first)]);
    let saved = tensors(&first);
    assert_eq!(saved["mask_input"].0, [2, 64, 64]);
    let expected = tensors(&golden("clicks.safetensors"));
    close(
        &saved["mask_input"].1[..4096],
        &expected["two_clicks_single.low_res"].1,
        0.02,
    );
    close(
        &saved["mask_input"].1[4096..],
        &expected["one_click_single.low_res"].1,
        0.02,
    );
    let step = format!(
        "--point 107.85,91.11 --mask {0} --object --point 107.85,91.11 --mask {0}",
        text(&first)
    );
    let json = clicked(&folder.path("out"), &step, &["--dump-tensors", text(&second)]);
    assert_eq!(json["objects"][1]["clicks"]["mask"], text(&first));
    let found = &tensors(&second)["low_res_masks"].1;
    let (first_object, other) = found.split_at(4096);
    assert_ne!(first_object, other, "each object has its own logits");

    let third = format!("{two} --object --mask {}", text(&first));
    refused(
        &third,
        &[],
        1,
        &["expected logits of object 3, found those of 2 objects"],
    );
    refused("--mask", &[text(&golden("mini.pt"))], 1, &["mini.pt"]);
    let other = text(&second).to_owned();
    refused("--mask", &[&other], 1, &["expected the logits of masks, mask_input"]);
    refused(
        "--image-size 168 --mask",
        &[text(&first)],
        1,
        &["expected logits of 48 x 48", "found 64 x 64"],
    );
    assert_eq!(saved["orig_hw"].1, [227.0, 301.0]);
    let other = folder.path("other.png");
    fs::write(&other, Mask::new(227, 301).to_png()).unwrap();
    let mut step = click(&folder.path("none"), "--mask", &[text(&first)]);
    step[4] = text(&other).to_owned();
    let step: Vec<&str> = step.iter().map(String::as_str).collect();
    let words = ["expected logits of an image of 227 x 301 pixels", "one of 301 x 227"];
    check(&step, 1, &words);
    assert!(!folder.path("none").exists());
}

#[test]
fn a_mask_is_a_picture_of_the_image_s_size() {
    let folder = Folder::new();
    let mask = folder.path("mask.png");
    let inside = |x: u32, y: u32| (60..180).contains(&x) && (40..150).contains(&y);
    fs::write(&mask, Mask::from_fn(301, 227, inside).to_png()).unwrap();
    let dump = folder.path("dump.safetensors");
    let of_mask = || tensors(&dump).remove("low_res_masks").unwrap().1;
    let flags = ["--mask", text(&mask), "--dump-tensors", text(&dump)];
    clicked(&folder.path("out"), "", &flags);
    let masked = of_mask();

    // The same as logits: 10 inside and -10 outside, at the model's resolution.
    let logits = (0..64 * 64).map(|cell| {
        let middle = |cell: usize, extent: f64| ((cell as f64 + 0.5) * extent / 64.0) as u32;
        if inside(middle(cell % 64, 301.0), middle(cell / 64, 227.0)) {
            10.0
        } else {
            -10.0
        }
    });
    let saved = folder.path("src/logits.safetensors");
    write_checkpoint(&saved, &[("mask_input".to_owned(), vec![1, 64, 64], logits.collect())]);
    let flags = ["--mask", text(&saved), "--dump-tensors", text(&dump)];
    clicked(&folder.path("out"), "", &flags);
    close(&masked, &of_mask(), 1e-5);

    let small = folder.path("small.png");
    fs::write(&small, Mask::new(300, 227).to_png()).unwrap();
    refused(
        "--mask",
        &[text(&small)],
        1,
        &["expected a mask of the image's 301 x 227 pixels, found 300 x 227"],
    );
    refused("--mask nowhere.png", &[], 1, &["nowhere.png"]);
    // An id map, or a mask of 0 and 1, has no pixel inside.
    let dark = folder.path("dark.png");
    let pixels = vec![2; 3 * 301 * 227];
    fs::write(&dark, Image::new(301, 227, pixels).unwrap().to_png()).unwrap();
    refused(
        "--mask",
        &[text(&dark)],
        1,
        &["128 and above", "found none above 2", "hint:"],
    );
}

#[test]
fn what_cannot_be_clicked_is_refused_before_the_work() {
    for (line, words) in [
        ("", &["nothing is clicked", "--point x,y"][..]),
        (
            "--point 301,5",
            &[
                "--point 301,5 is not inside the image",
                "301 x 227",
                "0 <= x < 301 and 0 <= y < 227",
            ],
        ),
        ("--point 5,-1", &["--point 5,-1 is not inside"]),
        ("--box 10,10,302,20", &["--box 10,10,302,20 is not inside", "x2 <= 301"]),
        ("--box 30,10,20,20", &["x1 < x2"]),
        ("--point 1", &["--point", "expected x,y in pixels", "found \"1\""]),
        ("--point ,", &["--point", "expected x,y in pixels", "found \",\""]),
        ("--point nan", &["--point", "expected x,y in pixels", "found \"nan\""]),
        (
            "--point 1e308,5",
            &["--point", "expected x,y in pixels", "found \"1e308,5\""],
        ),
        ("--point 5,5,2", &["--point", "perhaps ,0 or ,1", "found \"5,5,2\""]),
        ("--mask -", &["--mask", "a mask is not read from stdin"]),
        ("--box 1,2,3,4,0", &["expected x1,y1,x2,y2"]),
        ("--point 1,2 --object", &["object 2 has no --point"]),
        ("--point 1,2 --image-size 100", &["image size 100"]),
        ("--everything --point 1,2", &["--everything clicks by itself"]),
        ("--everything --object", &["--everything", "--object"]),
    ] {
        refused(line, &[], 2, words);
    }
    // Of all objects together: nothing of how `sam3` is used.
    for (line, words) in [
        (
            "--box 1,2,30,40 --box 1,2,30,40",
            ["error: --box: object 1 has one already", "--object before it"],
        ),
        (
            "--point 1,2 --object --object --point 3,4",
            ["error: --object: object 2 has no", "between two objects"],
        ),
        ("--point 1,2@3", ["error: @3 names a frame", "`sam3 track`"]),
    ] {
        let said = refused(line, &[], 2, &words);
        assert!(!said.contains("Usage"), "{said}");
    }
    check(
        &["segment", "--point", "1,2"],
        2,
        &["`sam3 click` finds the object at a point"],
    );
}

#[test]
fn files_that_sam3_did_not_write_stay() {
    let folder = Folder::new();
    let out = folder.path("out");
    let logits = folder.path("logits.safetensors");
    let flags = ["--save-logits", text(&logits)];
    clicked(&out, "--point 50,60", &flags);
    // Its own are replaced, and read ones are not.
    clicked(&out, "--point 50,60", &flags);
    let step = format!("--mask {}", text(&logits));
    let before = fs::read(&logits).unwrap();
    let words = ["--save-logits", "this run reads it", "choose another name"];
    refused(&step, &flags, 2, &words);
    assert_eq!(fs::read(&logits).unwrap(), before);
    fs::write(&logits, "notes").unwrap();
    refused("--point 50,60", &flags, 2, &["sam3 did not write it", "--force"]);
    assert_eq!(fs::read(&logits).unwrap(), b"notes");
    clicked(&out, "--point 50,60 --force", &flags);
}

/// By whatever way a file is named.
#[test]
fn files_of_flags_are_apart_from_the_results() {
    let folder = Folder::new();
    let out = folder.path("out");
    fs::create_dir(&out).unwrap();
    let refused = |flags: &[&str], words: &[&str]| {
        let flags = click(&out, "--point 50,60 --masks", flags);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        check(&flags, 2, words);
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0, "{words:?}: nothing is written");
    };
    let [by_way, json, mask] = [
        "./../out/a.safetensors",
        "../out/PICTURE.json",
        "picture_masks/object_1_001.png",
    ];
    let [by_way, json, mask] = [by_way, json, mask].map(|path| out.join(path));
    let twice = [
        "--save-logits",
        text(&out.join("A.safetensors")),
        "--dump-tensors",
        text(&by_way),
    ]
    .map(str::to_owned);
    refused(
        &twice.each_ref().map(String::as_str),
        &["A.safetensors: a result of this run has that name"],
    );
    refused(
        &["--save-logits", text(&json)],
        &["--save-logits", "a result of this run has that name"],
    );
    refused(
        &["--dump-tensors", text(&mask)],
        &["--dump-tensors", "a result of this run has that name"],
    );
    let none = folder.path("none");
    let flags = click(&none, "--point 50,60", &["--dump-tensors", text(&none)]);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    check(&flags, 2, &["it is the folder of --output"]);
    assert!(!none.exists());
}

#[test]
fn everything_is_found_by_a_grid() {
    let folder = Folder::new();
    let out = folder.path("out");
    let everything = "--everything --grid 6 --min-iou 0.5 --min-stability 0";
    let unlike = clicked(&out, everything, &[]);
    let json = clicked(&out, &format!("{everything} --most-overlap 1 --masks --id-map"), &[]);
    let objects = json["objects"].as_array().unwrap();
    let count = unlike["objects"].as_array().unwrap().len();
    assert!((1..objects.len()).contains(&count) && objects.len() <= 6 * 6 * 3);
    let ious: Vec<f64> = objects
        .iter()
        .map(|object| object["instances"][0]["iou"].as_f64().unwrap())
        .collect();
    assert!(ious.is_sorted_by(|a, b| a >= b) && ious.iter().all(|iou| *iou > 0.5));
    assert_eq!(unlike["objects"][0], objects[0], "the best stays");
    for (object, id) in objects.iter().zip(1..) {
        let instance = &object["instances"][0];
        assert_eq!(instance["id"], id);
        let stability = instance["stability"].as_f64().unwrap();
        assert!((0.0..1.0).contains(&stability) && instance["area"].as_u64().unwrap() > 0);
        let point = &object["clicks"]["points"][0]["point"];
        let point = serde_json::from_value::<[f64; 2]>(point.clone()).unwrap();
        let cell = [point[0] * 6.0 / 301.0, point[1] * 6.0 / 227.0];
        assert!(
            cell.iter().all(|at| (at.fract() - 0.5).abs() < 1e-4),
            "{point:?} is the middle of a cell"
        );
        assert!(out.join(format!("picture_masks/segment_{id:03}.png")).exists());
    }
    // The point alone gives the same mask, as one of three.
    let point = &objects[0]["clicks"]["points"][0]["point"];
    let line = format!("--multimask --point {},{}", point[0], point[1]);
    let alone = clicked(&folder.path("alone"), &line, &[]);
    let masks = alone["objects"][0]["instances"].as_array().unwrap();
    let best = &objects[0]["instances"][0]["segmentation"];
    assert!(masks.iter().any(|mask| mask["segmentation"] == *best));

    // Logits of random weights are near 0: none of their masks is stable.
    let stable = clicked(&out, "--everything --grid 2 --min-iou 0.5", &[]);
    assert_eq!(stable["objects"], json!([]));
    let good = clicked(&out, "--everything --grid 2 --min-iou 1 --min-stability 0", &[]);
    assert_eq!(good["objects"], json!([]));
    refused("--everything --point 1,2", &[], 2, &["--everything clicks by itself"]);
    refused("--everything --multimask", &[], 2, &["cannot be used with"]);
    refused("--point 1,2 --grid 3", &[], 2, &["--everything"]);
    refused("--everything --grid 0", &[], 2, &["a number from 1 to 256"]);
}
