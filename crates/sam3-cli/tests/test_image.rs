//! `sam3 package --test-image` from outside, on the trained miniature.

mod support;

use std::fs;

use support::{Folder, check, packaging, sam3, text, trained};

#[test]
fn the_comparison_is_on_screen_and_in_the_metadata() {
    for (quantize, name, at_least) in [
        ("none", "x.pth", 1.0),
        ("fp16", "x.safetensors", 0.95),
        ("int8", "x.pth", 0.8),
    ] {
        let folder = Folder::new();
        let output = folder.path(name);
        let made = sam3(&[
            "package",
            "--json",
            "--checkpoint-path",
            text(&trained().checkpoint),
            "--output",
            text(&output),
            "--quantize",
            quantize,
            "--test-image",
            text(&trained().scene),
            "--test-prompt",
            "boat",
        ]);
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{said}");
        let record: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
        let test = &record["metadata"]["test"];
        assert_eq!(test["image"], "scene.png");
        assert_eq!(
            [&test["source_instances"], &test["package_instances"], &test["matched"]],
            [3, 3, 3]
        );
        let iou = test["worst_mask_iou"].as_f64().unwrap();
        assert!(iou >= at_least && iou <= 1.0, "{quantize}: {iou}");
        let score = test["largest_score_difference"].as_f64().unwrap();
        assert_eq!(score == 0.0, quantize == "none", "{quantize}: {score}");
        let beside: serde_json::Value =
            serde_json::from_slice(&fs::read(folder.path("x_metadata.json")).unwrap()).unwrap();
        assert_eq!(beside["test"], *test);
        // The metadata was written again: package and archive are whole all the same.
        let archive = folder.path("x.tar.gz");
        check(
            &["verify", text(&output), text(&archive)],
            0,
            &["verified", "equal to the metadata inside"],
        );
    }
}

#[test]
fn baked_packages_are_tested_with_what_they_know() {
    let folder = Folder::new();
    let output = folder.path("x.pth");
    let fixed = [
        &packaging(&trained().checkpoint, &output)[..],
        &["--bake-prompts", "boat,star", "--test-image", text(&trained().scene)],
    ]
    .concat();
    check(
        &[&fixed[..], &["--test-prompt", "square"]].concat(),
        2,
        &["--test-prompt", "boat, star"],
    );
    check(&fixed, 2, &["--test-prompt"]);
    assert!(folder.names().is_empty());
    let said = check(
        &[&fixed[..], &["--test-prompt", "Boat"]].concat(),
        0,
        &["worst mask IoU"],
    );
    assert!(said.contains("the source found 3, the package 3, matched 3"), "{said}");
}

#[test]
fn a_picture_or_a_device_that_is_not_there_ends_it_before_the_work() {
    let folder = Folder::new();
    let (output, none) = (folder.path("x.pth"), folder.path("none.jpg"));
    let fixed = packaging(&trained().checkpoint, &output);
    let test = ["--test-prompt", "boat", "--test-image"];
    check(&[&fixed[..], &test, &[text(&none)]].concat(), 1, &["none.jpg"]);
    let scene = [text(&trained().scene), "--device", "cuda:1"];
    check(
        &[&fixed[..], &test, &scene].concat(),
        3,
        &["--device cuda:1", "without CUDA"],
    );
    check(
        &[&fixed[..], &["--device", "tpu"]].concat(),
        2,
        &["auto, cpu, cuda or cuda:N"],
    );
    assert!(folder.names().is_empty());
    let warned = [text(&trained().scene), "--gpu", "0"];
    check(
        &[&fixed[..], &["--test-prompt", "star", "--test-image"], &warned].concat(),
        0,
        &["shows nothing"],
    );
}

#[test]
fn several_prompts_are_tested_together() {
    let folder = Folder::new();
    let output = folder.path("x.pth");
    let fixed = [
        "package",
        "--no-tarball",
        "--checkpoint-path",
        text(&trained().checkpoint),
        "--output",
        text(&output),
    ];
    let test = [
        "--test-image",
        text(&trained().scene),
        "--test-prompt",
        r"boat, square, cup\, saucer",
    ];
    let said = check(&[&fixed[..], &test].concat(), 0, &[r"boat, square, cup\\, saucer"]);
    assert!(said.contains("the source found 5, the package 5, matched 5"), "{said}");
    let metadata: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path("x_metadata.json")).unwrap()).unwrap();
    assert_eq!(
        metadata["test"]["prompts"],
        serde_json::json!(["boat", "square", "cup, saucer"])
    );
}

/// The metadata in a .safetensors stands before the tensors, where the prompt needs its room.
#[test]
fn a_prompt_of_any_length_fits_the_metadata() {
    let folder = Folder::new();
    let prompt = "boat ".repeat(8000);
    let flags = [
        "--test-image",
        text(&trained().scene),
        "--test-prompt",
        &prompt,
        "--no-tarball",
    ];
    support::package_trained(&folder, "x.safetensors", &flags);
    check(&["verify", text(&folder.path("x.safetensors"))], 0, &["verified"]);
}

#[test]
fn the_picture_of_the_test_is_not_replaced() {
    let folder = Folder::new();
    let picture = folder.path("x.pth");
    fs::copy(&trained().scene, &picture).unwrap();
    let fixed = [
        "package",
        "--force",
        "--checkpoint-path",
        text(&trained().checkpoint),
        "--output",
        text(&picture),
    ];
    let test = ["--test-image", text(&picture), "--test-prompt", "boat"];
    check(&[&fixed[..], &test].concat(), 2, &["--test-image", "would replace it"]);
    assert_eq!(fs::read(&picture).unwrap(), fs::read(&trained().scene).unwrap());
}
