//! `sam3 segment --refine`: what a text found, through the head of `sam3 click`.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use sam3_package::StateDict;
use serde_json::Value;
use support::{Folder, check, clicks::golden, miniature, sam3, text, write_checkpoint};

/// The miniature with a vocabulary that takes any text: its words mean nothing, as all of it.
fn with_words(folder: &Folder) -> PathBuf {
    let source = StateDict::open(&golden("mini.pt")).unwrap();
    let views = (0..source.len()).map(|index| source.view(index));
    let tensors = views.filter_map(|view| Some((view.name.to_owned(), view.shape.to_vec(), view.to_f32()?)));
    let widened = tensors.map(|(name, shape, values)| match name.rsplit('.').nth(1) {
        Some("token_embedding") => {
            let row = |row: usize| values[row % shape[0] * shape[1]..][..shape[1]].to_vec();
            let values = (0..49408).flat_map(row).collect();
            (name, vec![49408, shape[1]], values)
        }
        _ if name.ends_with("encoder.positional_embedding") => {
            let values = values.iter().cycle().take(32 * shape[1]).copied().collect();
            (name, vec![32, shape[1]], values)
        }
        _ => (name, shape, values),
    });
    let path = folder.path("src/words.safetensors");
    write_checkpoint(&path, &widened.collect::<Vec<_>>());
    let config = fs::read_to_string(golden("config.json")).unwrap();
    let config = config.replace("\"vocab_size\": 64", "\"vocab_size\": 49408");
    let config = config.replace("\"max_position_embeddings\": 12", "\"max_position_embeddings\": 32");
    fs::write(path.with_file_name("config.json"), config).unwrap();
    path
}

/// `--refine` is a click with the mask that was found, and its box.
#[test]
fn what_a_text_found_is_refined_by_clicks() {
    let folder = Folder::new();
    let model = with_words(&folder);
    let image = golden("picture.png");
    let segment = |out: &Path, more: &[&str]| -> Value {
        let fixed = [
            "segment",
            "--json",
            "--masks",
            "--compute",
            "f32",
            "--prompt",
            "boat",
            "--threshold",
            "0",
        ];
        let files = [
            "--image",
            text(&image),
            "--checkpoint-path",
            text(&model),
            "--output",
            text(out),
        ];
        let output = sam3(&[&fixed[..], &files, more].concat());
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let (plain, refined) = (folder.path("plain"), folder.path("refined"));
    let (found, finer) = (segment(&plain, &[]), segment(&refined, &["--refine"]));
    let instances = |json: &Value| json["prompts"][0]["instances"].as_array().unwrap().clone();
    let (found, finer_instances) = (instances(&found), instances(&finer));
    assert_eq!(found.len(), finer_instances.len());
    assert!(found.len() > 5);
    assert_eq!(finer["refined"], true);
    let is_inside = |found: &Value| {
        let sides = serde_json::from_value::<[f32; 4]>(found["box"].clone()).unwrap();
        sides[0] >= 0.0
            && sides[1] >= 0.0
            && sides[2] <= 301.0
            && sides[3] <= 227.0
            && sides[0] < sides[2]
            && sides[1] < sides[3]
    };
    let mut compared = 0;
    for (index, (before, after)) in found.iter().zip(&finer_instances).enumerate() {
        assert_eq!(before["score"], after["score"]);
        assert_eq!(before["area"], after["refined"]["area_found"]);
        let said = after["refined"]["iou_with_found"].as_f64().unwrap();
        assert_eq!(said == 1.0, before["segmentation"] == after["segmentation"], "{said}");
        if !is_inside(before) || compared == 3 {
            continue;
        }
        let mask = plain.join(format!("picture_masks/boat_{:03}.png", index + 1));
        let sides: Vec<String> = before["box"]
            .as_array()
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        let (out, sides) = (folder.path("clicked"), sides.join(","));
        let fixed = [
            "click",
            "--json",
            "--compute",
            "f32",
            "--mask",
            text(&mask),
            "--box",
            &sides,
        ];
        let files = [
            "--image",
            text(&image),
            "--checkpoint-path",
            text(&model),
            "--output",
            text(&out),
        ];
        let output = sam3(&[&fixed[..], &files].concat());
        let clicked: Value = serde_json::from_slice(&output.stdout).unwrap();
        let clicked = &clicked["objects"][0]["instances"][0];
        if clicked["area"] != 0 {
            assert_eq!(clicked["segmentation"], after["segmentation"]);
        }
        assert_eq!(clicked["iou"], after["refined"]["iou"]);
        compared += 1;
    }
    assert!(compared > 0, "a box lies in the picture");

    // Results that are not refined are none of a run that refines.
    let flags = ["--skip-existing", "--refine"];
    let again = segment(&refined, &flags);
    assert_eq!(again["timings"], finer["timings"], "it is there");
    assert_eq!(segment(&plain, &flags)["refined"], true);
    check(
        &[
            "segment",
            "--refine",
            "--prompt",
            "boat",
            "--image",
            text(&image),
            "--checkpoint-path",
            text(&miniature("odd.pt")),
            "--output",
            text(&folder.path("none")),
        ],
        1,
        &["no clicks: it has no tracker"],
    );
}
