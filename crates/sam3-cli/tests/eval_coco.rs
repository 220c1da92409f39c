//! `sam3 eval --coco` and `sam3 segment --format` from outside: what one labels, the other scores; what is wrong is named.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use support::{Folder, check, sam3, text, trained};

/// Segments the scene and writes the formats.
fn label(folder: &Folder, more: &[&str]) -> Vec<String> {
    let fixed = ["segment", "--compute", "f32", "--prompt", "boat, circle", "--image"];
    let mut flags: Vec<String> = fixed.map(str::to_owned).into();
    flags.push(text(&trained().scene).to_owned());
    let output = folder.path("labelled");
    let rest = [
        "--output",
        text(&output),
        "--checkpoint-path",
        text(&trained().checkpoint),
    ];
    flags.extend(rest.iter().chain(more).map(|&flag| flag.to_owned()));
    flags
}

fn run(flags: &[String], code: i32, words: &[&str]) -> String {
    check(&flags.iter().map(String::as_str).collect::<Vec<_>>(), code, words)
}

/// The labels that `segment --format coco` wrote of the scene.
fn labels(folder: &Folder) -> PathBuf {
    run(&label(folder, &["--format", "coco"]), 0, &["coco.json"]);
    folder.path("labelled/coco.json")
}

fn eval<'a>(labels: &'a Path, output: &'a Path) -> Vec<&'a str> {
    let (checkpoint, pictures) = (text(&trained().checkpoint), trained().scene.parent().unwrap());
    let fixed = [
        "eval",
        "--compute",
        "f32",
        "--checkpoint-path",
        checkpoint,
        "--coco-images",
        text(pictures),
    ];
    [&fixed[..], &["--coco", text(labels), "--output", text(output)]].concat()
}

fn record(flags: &[&str]) -> Value {
    let output = sam3(&[flags, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The labels with a change.
fn changed(folder: &Folder, labels: &Path, change: impl Fn(&mut Value)) -> PathBuf {
    let mut json: Value = serde_json::from_slice(&fs::read(labels).unwrap()).unwrap();
    change(&mut json);
    let path = folder.path("changed.json");
    fs::write(&path, json.to_string()).unwrap();
    path
}

#[test]
fn what_a_model_labelled_it_finds_again() {
    let folder = Folder::new();
    let (labels, output) = (labels(&folder), folder.path("scores"));
    let found = record(&eval(&labels, &output));
    let score = |kind: &str, name: &str| found[kind][name].as_f64().unwrap();
    assert!(score("segm", "AP50") > 0.999, "{found}");
    assert!(
        score("segm", "AP") > 0.9 && score("segm", "AP") <= 1.0,
        "outlines are simplified: {found}"
    );
    assert_eq!(found["prompts"], json!({"boat": "boat", "circle": "circle"}));
    assert_eq!(
        (&found["threshold"], &found["max_detections"]),
        (&json!(0.0), &json!(100))
    );
    let results: Vec<Value> = serde_json::from_slice(&fs::read(output.join("segm.json")).unwrap()).unwrap();
    assert!(
        results.len() > 3
            && results
                .iter()
                .all(|found| found["image_id"] == 1 && found["bbox"].is_null())
    );

    // What is there already is not made again: without the pictures it is the same.
    let again = record(&eval(&labels, &output));
    assert_eq!((&again["segm"], &again["bbox"]), (&found["segm"], &found["bbox"]));
    check(
        &eval(&labels, &output),
        0,
        &["1 of 1 pictures are there already", "AP_small"],
    );
    let other = [&eval(&labels, &output)[..], &["--threshold", "0.2"]].concat();
    check(&other, 2, &["other flags", "--output"]);
    fs::write(output.join("detections.jsonl"), "mine").unwrap();
    check(&eval(&labels, &output), 2, &["detections.jsonl", "did not write it"]);
}

#[test]
fn another_size_is_compared_with_its_intervals() {
    let folder = Folder::new();
    let (labels, output) = (labels(&folder), folder.path("scores"));
    let flags = [
        &eval(&labels, &output)[..],
        &[
            "--against",
            text(&trained().checkpoint),
            "--against-compute",
            "bf16",
            "--max-drop",
            "50",
        ],
    ]
    .concat();
    let found = record(&flags);
    let differences = &found["against"]["differences"]["segm"];
    let between = found["segm"]["AP"].as_f64().unwrap() - found["against"]["segm"]["AP"].as_f64().unwrap();
    assert!((differences["AP"]["difference"].as_f64().unwrap() - between).abs() < 1e-12);
    assert!(
        differences["AP"]["low"].is_number() && differences["AP_small"]["low"].is_null(),
        "{differences}"
    );
    assert!(output.join("against/bbox.json").is_file());
}

#[test]
fn what_is_wrong_with_labels_is_named() {
    let folder = Folder::new();
    let (labels, output) = (labels(&folder), folder.path("scores"));
    let wrong = |change: &dyn Fn(&mut Value), words: &[&str]| {
        let labels = changed(&folder, &labels, change);
        let said = check(&eval(&labels, &output), 1, &[&["--coco", "hint:"], words].concat());
        assert!(!said.contains("panicked"), "{said}");
    };
    wrong(&|json| json["images"] = json!(3), &["expected a sequence"]);
    wrong(&|json| json["annotations"][0]["image_id"] = json!(7), &["no image 7"]);
    wrong(
        &|json| json["annotations"][0]["category_id"] = json!(70),
        &["no category 70"],
    );
    wrong(&|json| json["annotations"][1]["id"] = json!(1), &["id 1 stands twice"]);
    wrong(
        &|json| json["annotations"][0]["bbox"] = json!([1, 2, 3]),
        &["bbox", "annotation 1"],
    );
    wrong(
        &|json| json["annotations"][0]["segmentation"] = json!([[1, 2, 3, 4]]),
        &["three corners"],
    );
    wrong(
        &|json| json["annotations"][0]["segmentation"] = json!([]),
        &["have a segmentation"],
    );
    wrong(
        &|json| json["images"][0]["file_name"] = json!("none.png"),
        &["no such picture"],
    );
    let runs = json!({"size": [3, 3], "counts": [9]});
    wrong(
        &|json| json["annotations"][0]["segmentation"] = runs.clone(),
        &["3 x 3 pixels", "annotation 1"],
    );
    fs::remove_dir_all(&output).unwrap();
    wrong(
        &|json| json["images"][0]["width"] = json!(99),
        &["left out", "says 99 x"],
    );
    fs::write(folder.path("cut.json"), &fs::read(&labels).unwrap()[..90]).unwrap();
    check(&eval(&folder.path("cut.json"), &output), 1, &["cut.json", "EOF"]);
    check(&eval(&folder.path("none.json"), &output), 1, &["none.json"]);
    check(
        &[&eval(&labels, &output)[..], &["--class-prompt", "cat=feline"]].concat(),
        2,
        &["boat, circle"],
    );
    check(
        &[&eval(&labels, &output)[..], &["--class-prompt", "boat"]].concat(),
        2,
        &["CLASS=TEXT"],
    );
    check(
        &[&eval(&labels, &output)[..], &["--limit", "0"]].concat(),
        2,
        &["--limit"],
    );
}

#[test]
fn formats_replace_their_own_files_alone() {
    let folder = Folder::new();
    let all = label(&folder, &["--format", "coco,labelme,yolo-seg,voc-mask"]);
    for _ in 0..2 {
        run(&all, 0, &["yolo-seg", "coco.json"]);
    }
    let skipped = [&all[..], &["--skip-existing".to_owned()]].concat();
    let before = fs::read(folder.path("labelled/coco.json")).unwrap();
    run(&skipped, 0, &["skipped 1 of 1"]);
    assert_eq!(
        fs::read(folder.path("labelled/coco.json")).unwrap(),
        before,
        "of what is there"
    );
    for (file, mine) in [
        ("coco.json", "{\"images\": []}"),
        (
            "labelme/scene.json",
            "{\"version\": \"5.5.0\", \"generator\": \"sam3 0.1.0\"}",
        ),
        ("yolo-seg/data.yaml", "path: ."),
        ("voc-mask/labelmap.txt", "# label:color_rgb:parts:actions"),
    ] {
        let path = folder.path("labelled").join(file);
        let own = fs::read(&path).unwrap();
        fs::write(&path, mine).unwrap();
        run(&all, 2, &["did not write it", "--force"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), mine, "{file}");
        fs::write(&path, own).unwrap();
    }
    fs::write(folder.path("labelled/coco.json"), "{}").unwrap();
    run(&[&all[..], &["--force".to_owned()]].concat(), 0, &[]);
}
