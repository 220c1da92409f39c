//! `--tiles` and `--batch` from outside, on the trained miniature, which sees 168 pixels a side.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use sam3_model::image::Image;
use serde_json::{Value, json};
use support::{Folder, check, sam3, text, trained};

/// The demo's scene at a quarter of its size, in a corner of a picture of 640 × 400.
fn picture(folder: &Folder) -> PathBuf {
    let (width, height) = (640, 400);
    let scene = Image::open(&trained().scene).unwrap().resize(168, 168).unwrap();
    let mut rgb = [196, 205, 180].repeat(width * height);
    for (y, row) in scene.rgb().chunks_exact(3 * 168).enumerate() {
        rgb[3 * ((y + 220) * width + 460)..][..row.len()].copy_from_slice(row);
    }
    let path = folder.path("large.png");
    fs::write(&path, Image::new(width as u32, height as u32, rgb).unwrap().to_png()).unwrap();
    path
}

fn segment<'a>(image: &'a Path, out: &'a Path, flags: &[&'a str]) -> Vec<&'a str> {
    let fixed = [
        "segment",
        "--checkpoint-path",
        text(&trained().checkpoint),
        "--image",
        text(image),
    ];
    let rest = ["--prompt", "boat", "--compute", "f32", "--output", text(out)];
    [&fixed[..], &rest, flags].concat()
}

fn records(arguments: &[&str]) -> Vec<Value> {
    let output = sam3(&[arguments, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}\n{said}");
    let lines = output
        .stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[test]
fn tiles_find_what_is_small_and_say_how_the_picture_was_cut() {
    let folder = Folder::new();
    let image = picture(&folder);
    let small = |record: &Value| {
        let instances = record["prompts"][0]["instances"].as_array().unwrap();
        let of_boat =
            |instance: &&Value| instance["area"].as_u64().unwrap() < 3000 && instance["box"][0].as_f64() > Some(455.0);
        instances.iter().filter(of_boat).count()
    };
    let whole = &records(&segment(&image, &folder.path("whole"), &[]))[0];
    assert!(whole.get("tiling").is_none() && small(whole) < 3, "{whole}");
    for (tiles, grid) in [("auto", [5, 3]), ("168", [5, 3]), ("4x3", [4, 3])] {
        let out = folder.path(tiles);
        let record = &records(&segment(&image, &out, &["--tiles", tiles, "--masks"]))[0];
        assert_eq!(record["tiling"]["tiles"], tiles);
        assert_eq!(record["tiling"]["grid"], json!(grid));
        assert!((record["tiling"]["overlap"].as_f64().unwrap() - 0.2).abs() < 1e-6);
        assert_eq!(small(record), 3, "{tiles}: {}", record["prompts"]);
        let instances = record["prompts"][0]["instances"].as_array().unwrap();
        assert!(
            instances
                .iter()
                .all(|instance| instance["segmentation"]["size"] == json!([400, 640]))
        );
        let overlay = Image::open(out.join("large_overlay.png")).unwrap();
        assert_eq!((overlay.width(), overlay.height()), (640, 400));
        assert_eq!(fs::read_dir(out.join("large_masks")).unwrap().count(), instances.len());
    }
    let text = check(
        &segment(&image, &folder.path("text"), &["--tiles", "5x3"]),
        0,
        &["5 × 3 tiles"],
    );
    assert!(text.contains("presence"), "{text}");
}

#[test]
fn results_of_other_tiles_are_not_the_same_results() {
    let folder = Folder::new();
    let image = picture(&folder);
    let run = |flags: &[&str], skipped: &str| {
        let flags = [&["--skip-existing"], flags].concat();
        check(&segment(&image, &folder.path("out"), &flags), 0, &[skipped]);
    };
    run(&[], "skipped 0 of 1");
    run(&["--tiles", "2x1"], "skipped 0 of 1");
    run(&["--tiles", "2x1", "--batch", "2"], "skipped 1 of 1");
    run(&["--tiles", "2x1", "--overlap", "0.3"], "skipped 0 of 1");
    run(&[], "skipped 0 of 1");
}

#[test]
fn tiles_that_cannot_be_are_refused() {
    let folder = Folder::new();
    let (image, out) = (picture(&folder), folder.path("out"));
    let refused = |flags: &[&str], words: &[&str]| check(&segment(&image, &out, flags), 2, words);
    for tiles in ["", "0", "-1", "4x", "x3", "0x3", "1.5", "all", "3x3x3"] {
        refused(&["--tiles", tiles], &["--tiles", "columns by rows such as 4x3"]);
    }
    for overlap in ["-0.1", "0.9", "20%", "nan"] {
        refused(
            &["--tiles", "auto", "--overlap", overlap],
            &["--overlap", "from 0 to 0.75"],
        );
    }
    refused(&["--overlap", "0.3"], &["--tiles"]);
    refused(&["--tiles", "3"], &["640 x 400", "at least 16", "--tiles auto"]);
    refused(&["--tiles", "100x1"], &["640 x 400", "at least 16"]);
    refused(&["--batch", "0"], &["--batch"]);
    refused(&["--batch", "65"], &["--batch"]);
    assert!(!out.join("large.json").exists());
}

#[test]
fn pictures_of_a_batch_are_as_those_alone_and_a_bad_one_is_told() {
    let folder = Folder::new();
    let image = picture(&folder);
    let images = folder.path("images");
    fs::create_dir(&images).unwrap();
    fs::copy(&image, images.join("a.png")).unwrap();
    fs::write(images.join("b.png"), b"no picture").unwrap();
    for name in ["c.png", "d.png"] {
        fs::copy(&trained().scene, images.join(name)).unwrap();
    }
    let (alone, together) = (folder.path("alone"), folder.path("together"));
    for (out, batch) in [(&alone, "1"), (&together, "3")] {
        let said = check(&segment(&images, out, &["--batch", batch]), 1, &["b.png"]);
        assert_eq!(said.matches("b.png").count(), 2, "as it is met and at the end: {said}");
    }
    for name in ["a", "c", "d"] {
        let read = |out: &Path| -> Value {
            serde_json::from_slice(&fs::read(out.join(format!("{name}.json"))).unwrap()).unwrap()
        };
        assert_eq!(read(&alone)["prompts"], read(&together)["prompts"], "{name}");
    }
    assert!(!together.join("b.json").exists());
}
