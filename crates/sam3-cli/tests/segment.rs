//! `sam3 demo` and `sam3 segment` from outside, on the embedded miniature.

mod support;

use std::{fs, path::PathBuf, sync::OnceLock};

use serde_json::Value;
use support::{Folder, check, sam3, text};

/// The demo's files, made once for all tests: its output is a package, a checkpoint and a picture to segment.
fn demo() -> &'static Demo {
    static DEMO: OnceLock<Demo> = OnceLock::new();
    DEMO.get_or_init(|| {
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("demo");
        let record = json(&["demo", "--output", text(&root)], 0).remove(0);
        Demo {
            package: root.join("device/sam3_demo_fp16.pth"),
            checkpoint: root.join("desktop/model.safetensors"),
            scene: root.join("scene.png"),
            record,
        }
    })
}

struct Demo {
    package: PathBuf,
    checkpoint: PathBuf,
    scene: PathBuf,
    record: Value,
}

impl Demo {
    /// Segments the scene with the package.
    fn segment(&self, flags: &[&str], code: i32, says: &[&str]) {
        let folder = Folder::new();
        let out = folder.path("out");
        let fixed = [
            "segment",
            "--checkpoint-path",
            text(&self.package),
            "--output",
            text(&out),
        ];
        check(&[&fixed[..], flags].concat(), code, says);
    }
}

/// Runs `sam3 … --json`, asserts the exit code and returns the documents on stdout.
fn json(arguments: &[&str], code: i32) -> Vec<Value> {
    let output = sam3(&[arguments, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "sam3 {arguments:?}\n{said}");
    let documents = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    documents
        .map(|document| document.expect("stdout is JSON and nothing else"))
        .collect()
}

#[test]
fn the_demo_goes_from_checkpoint_to_masks() {
    let record = &demo().record;
    let steps: Vec<&str> = record["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["step"].as_str().unwrap())
        .collect();
    assert_eq!(steps, ["checkpoint", "package", "verify", "unpack", "segment"]);
    let ious: Vec<f64> = record["iou"]
        .as_array()
        .unwrap()
        .iter()
        .map(|iou| iou.as_f64().unwrap())
        .collect();
    assert!(ious.len() == 3 && ious.iter().all(|&iou| iou > 0.7), "{ious:?}");
}

#[test]
fn every_prompt_finds_its_own_things_and_leaves_its_files() {
    let demo = demo();
    let folder = Folder::new();
    let out = folder.path("out");
    let dump = folder.path("raw.safetensors");
    let json = json(
        &[
            "segment",
            "--masks",
            "--polygons",
            "--image",
            text(&demo.scene),
            "--prompt",
            "boat",
            "square",
            "--checkpoint-path",
            text(&demo.package),
            "--output",
            text(&out),
            "--dump-tensors",
            text(&dump),
        ],
        0,
    )
    .remove(0);
    assert_eq!(
        json,
        serde_json::from_slice::<Value>(&fs::read(out.join("scene.json")).unwrap()).unwrap()
    );
    assert_eq!(
        (&json["image"]["width"], &json["image"]["height"]),
        (&672.into(), &672.into())
    );
    let prompts = json["prompts"].as_array().unwrap();
    let counts: Vec<_> = prompts
        .iter()
        .map(|p| p["instances"].as_array().unwrap().len())
        .collect();
    assert_eq!(counts, [3, 2], "boats, squares");
    for instance in prompts
        .iter()
        .flat_map(|prompt| prompt["instances"].as_array().unwrap())
    {
        assert!(instance["score"].as_f64().unwrap() > 0.5);
        assert_eq!(instance["segmentation"]["size"], serde_json::json!([672, 672]));
        assert!(instance["area"].as_u64().unwrap() > 0 && !instance["polygons"].as_array().unwrap().is_empty());
    }
    assert!(out.join("scene_overlay.png").exists());
    let mut masks: Vec<_> = fs::read_dir(out.join("scene_masks"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    masks.sort();
    assert_eq!(
        masks,
        [
            "1_boat_001.png",
            "1_boat_002.png",
            "1_boat_003.png",
            "2_square_001.png",
            "2_square_002.png"
        ]
    );
    let header = fs::read(&dump).unwrap();
    for name in [
        "pred_logits",
        "pred_boxes",
        "presence_logits",
        "pred_masks",
        "semantic_seg",
    ] {
        assert!(String::from_utf8_lossy(&header[..2000]).contains(name), "{name}");
    }
}

#[test]
fn an_example_box_alone_asks_for_what_it_shows() {
    let demo = demo();
    let boat = &demo.record["result"]["prompts"][0]["instances"][0]["box"];
    let sides: Vec<String> = boat.as_array().unwrap().iter().map(|side| side.to_string()).collect();
    let folder = Folder::new();
    let out = folder.path("out");
    let (package, image, exemplar) = (text(&demo.package), text(&demo.scene), sides.join(","));
    let flags = [
        "--checkpoint-path",
        package,
        "--image",
        image,
        "--box",
        &exemplar,
        "--output",
        text(&out),
    ];
    let json = json(&[&["segment"], &flags[..]].concat(), 0).remove(0);
    assert_eq!(json["prompts"][0]["prompt"], "visual");
    assert!(!json["prompts"][0]["instances"].as_array().unwrap().is_empty());
}

#[test]
fn a_package_finds_what_its_source_finds() {
    let demo = demo();
    let find = |checkpoint: &PathBuf| {
        let folder = Folder::new();
        let out = folder.path("out");
        let flags = ["--image", text(&demo.scene), "--prompt", "boat", "--output", text(&out)];
        let exact = ["segment", "--compute", "f32", "--checkpoint-path", text(checkpoint)];
        let json = json(&[&exact[..], &flags[..]].concat(), 0).remove(0);
        let instances = json["prompts"][0]["instances"].as_array().unwrap().clone();
        instances
            .iter()
            .map(|i| i["score"].as_f64().unwrap())
            .collect::<Vec<_>>()
    };
    let (source, package) = (find(&demo.checkpoint), find(&demo.package));
    assert_eq!(source.len(), package.len());
    assert!(
        source.iter().zip(&package).all(|(a, b)| (a - b).abs() < 1e-3),
        "{source:?} {package:?}"
    );
}

#[test]
fn of_several_images_a_bad_one_is_named_and_the_others_are_segmented() {
    let demo = demo();
    let folder = Folder::new();
    let bad = folder.path("bad.png");
    fs::write(&bad, "no picture").unwrap();
    let images = ["--image", text(&bad), text(&demo.scene), "--prompt", "boat"];
    demo.segment(
        &images,
        1,
        &[
            "bad.png",
            "JPEG, PNG, WebP",
            "already optimised",
            "\"boat\": 3 instances",
        ],
    );
}

#[test]
fn what_is_wrong_is_named_with_its_exit_code() {
    let demo = demo();
    let folder = Folder::new();
    let scene = text(&demo.scene);
    let empty = folder.path("empty.pth");
    fs::write(&empty, "").unwrap();
    let cut = folder.path("cut.pth");
    fs::write(&cut, &fs::read(&demo.package).unwrap()[..1 << 20]).unwrap();

    let image = |path: &str, code, says: &[&str]| demo.segment(&["--prompt", "boat", "--image", path], code, says);
    image("no-such.png", 1, &["no-such.png", "hint:"]);
    image(text(&empty), 1, &["empty.pth", "JPEG"]);
    image(
        text(demo.checkpoint.parent().unwrap()),
        1,
        &["no picture in this folder", "hint:"],
    );

    let prompt = |flags: &[&str], code, says: &[&str]| {
        demo.segment(&[&["--image", scene], flags].concat(), code, says);
    };
    prompt(&[], 2, &["nothing to look for", "--prompt"]);
    prompt(&["--prompt", "  "], 2, &["--prompt is empty"]);
    prompt(&["--box", "1,2,3"], 2, &["--box", "x1,y1,x2,y2"]);
    prompt(&["--box", "600,600,700,660"], 2, &["box 600,600,700,660", "672"]);
    prompt(&["--box", "-5,0,20,20"], 2, &["box -5,0,20,20"]);
    prompt(&["--prompt", "boat", "--threshold", "2"], 2, &["--threshold"]);
    prompt(
        &["--prompt", "boat", "--threshold", "-0.1"],
        2,
        &["expected a score from 0 to 1, found \"-0.1\""],
    );

    let model = |path: &str, says: &[&str]| {
        let out = folder.path("out");
        let flags = [
            "segment",
            "--image",
            scene,
            "--prompt",
            "boat",
            "--output",
            text(&out),
            "--checkpoint-path",
            path,
        ];
        check(&flags, 1, says);
    };
    model("no-such.pth", &["no-such.pth", "hint:"]);
    model(text(&empty), &["empty.pth"]);
    model(text(&cut), &["cut.pth"]);
    model(scene, &["scene.png"]);
    model(text(demo.scene.parent().unwrap()), &["folder"]);

    let below_a_file = format!("{scene}/out");
    let flags = [
        "segment",
        "--image",
        scene,
        "--prompt",
        "boat",
        "--checkpoint-path",
        text(&demo.package),
    ];
    check(
        &[&flags[..], &["--output", &below_a_file]].concat(),
        3,
        &["scene.png/out", "hint:"],
    );
}
