//! Which checkpoints and packages take clicks, and what the others say.

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{
    Folder, check,
    clicks::{golden, renamed},
    miniature, sam3, text,
};

#[test]
fn a_model_without_the_click_head_is_named() {
    let point = ["--point", "1,2"];
    let image = golden("picture.png");
    let refused = |model: &Path, words: &[&str]| {
        let folder = Folder::new();
        let out = folder.path("out");
        let fixed = [
            "click",
            "--image",
            text(&image),
            "--checkpoint-path",
            text(model),
            "--output",
            text(&out),
        ];
        check(&[&fixed[..], &point].concat(), 1, words);
        assert!(!out.exists());
    };
    refused(
        &miniature("odd.pt"),
        &["odd.pt: no clicks: it has no tracker", "sam3 inspect"],
    );

    let folder = Folder::new();
    let convs = |name: &str| Some(name.replace("sam2_convs", "interactive_convs"));
    refused(&renamed(&folder, convs), &["no clicks: it is SAM 3.1"]);

    // A part of it is missing: texts do not need it, and clicks say what.
    let gone = "tracker.sam_mask_decoder.iou_token.weight";
    let damaged = renamed(&folder, |name| (name != gone).then(|| name.to_owned()));
    refused(&damaged, &["1 keys that clicks need are missing", gone]);
}

/// Packages the miniature, and returns what `inspect` says of the package.
fn packaged(folder: &Folder, name: &str, flags: &[&str]) -> (PathBuf, Value) {
    let (source, output) = (golden("mini.pt"), folder.path(name));
    let fixed = [
        "package",
        "--no-tarball",
        "--checkpoint-path",
        text(&source),
        "--output",
        text(&output),
    ];
    check(&[&fixed[..], flags].concat(), 0, &[]);
    let said = sam3(&["inspect", text(&output), "--json"]);
    (output, serde_json::from_slice(&said.stdout).unwrap())
}

#[test]
fn a_package_for_clicks_alone_clicks_as_the_whole_one() {
    let folder = Folder::new();
    let (whole, of_whole) = packaged(&folder, "all.pth", &[]);
    let (clicks, of_clicks) = packaged(&folder, "click.pth", &["--components", "click"]);
    let (images, of_images) = packaged(&folder, "image.pth", &["--components", "image"]);
    let tasks = |inspected: &Value| ["texts", "clicks"].map(|task| inspected[task].as_bool().unwrap());
    assert_eq!(tasks(&of_whole), [true, true]);
    assert_eq!(tasks(&of_clicks), [false, true]);
    assert_eq!(tasks(&of_images), [true, false]);
    let parts: Vec<&String> = of_clicks["components"].as_object().unwrap().keys().collect();
    assert_eq!(parts, ["tracker", "tracker_neck", "vit"]);
    assert_eq!(
        of_clicks["components"]["tracker"], of_whole["components"]["tracker"],
        "the whole tracker"
    );

    let image = golden("picture.png");
    let objects = |model: &Path, out: &str| {
        let out = folder.path(out);
        let fixed = ["click", "--json", "--point", "107,91", "--image", text(&image)];
        let output = sam3(&[&fixed[..], &["--checkpoint-path", text(model), "--output", text(&out)]].concat());
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["objects"].clone()
    };
    assert_eq!(objects(&clicks, "clicks"), objects(&whole, "whole"));

    let out = folder.path("out");
    let fixed = ["--image", text(&image), "--output", text(&out), "--checkpoint-path"];
    let of = |command: &'static [&'static str], model| [command, &fixed[..], &[model]].concat();
    check(
        &of(&["segment", "--prompt", "boat"], text(&clicks)),
        1,
        &["click.pth: no texts", "--components click"],
    );
    let once = ["--warm-up", "0", "--rounds", "2", "--json"];
    let bench = sam3(&[&["bench", "--checkpoint-path", text(&clicks)][..], &once].concat());
    let times: Value = serde_json::from_slice(&bench.stdout).unwrap();
    for stage in ["encode", "first click", "click"] {
        assert!(times["stage_seconds"][stage].as_f64().unwrap() > 0.0, "{stage}");
    }
    assert_eq!(times["rounds_seconds"].as_array().unwrap().len(), 2);
    check(
        &of(&["click", "--point", "1,2"], text(&images)),
        1,
        &["image.pth: no clicks: it has no tracker", "--components image"],
    );
    // What a package cannot do is said by `inspect`, and by whoever is asked for it, with the package that can.
    for (file, words) in [
        (
            &whole,
            &[
                "`sam3 segment` answers texts",
                "`sam3 click` and `sam3 track` take clicks",
            ][..],
        ),
        (&clicks, &["no texts", "without --components click", "take clicks"]),
        (
            &images,
            &["answers texts", "no clicks and no videos", "without --components image"],
        ),
    ] {
        check(&["inspect", text(file)], 0, words);
    }
    let (video, whole) = (golden("video"), text(&whole));
    let followed = [
        "track",
        "--source",
        text(&video),
        "--output",
        text(&out),
        "--checkpoint-path",
    ];
    let picture = ["--image", text(&image), "--prompt", "boat", "--against", whole];
    for (line, words) in [
        (
            [&followed[..], &[text(&images), "--point", "1,2"]].concat(),
            ["image.pth: no video", "--components image"],
        ),
        (
            [&followed[..], &[text(&clicks), "--prompt", "a"]].concat(),
            ["click.pth: no texts", "--components click"],
        ),
        (
            vec!["eval", "--checkpoint-path", text(&clicks)],
            ["click.pth: packaged for clicks alone", "sam3 bench"],
        ),
        (
            [&["eval", "--checkpoint-path", text(&clicks)][..], &picture].concat(),
            ["click.pth: packaged for clicks alone", "--components click"],
        ),
    ] {
        check(&line, 1, &words);
    }
    // A package is a source as any other, of what it has.
    let (again, _) = packaged(&folder, "again.safetensors", &["--quantize", "none"]);
    assert_eq!(objects(&again, "again").as_array().unwrap().len(), 1);
    let (from, to) = (text(&clicks), folder.path("none.pth"));
    let fixed = [
        "package",
        "--checkpoint-path",
        from,
        "--output",
        text(&to),
        "--components",
        "image",
    ];
    check(&fixed, 1, &["click.pth: no texts"]);
    check(
        &[&fixed[..5], &["--bake-prompts", "boat"]].concat(),
        1,
        &["click.pth: no texts"],
    );
    let source = golden("mini.pt");
    let fixed = [
        "package",
        "--checkpoint-path",
        text(&source),
        "--output",
        text(&to),
        "--components",
        "click",
    ];
    check(
        &[&fixed[..], &["--bake-prompts", "boat"]].concat(),
        2,
        &["--bake-prompts", "--components click"],
    );
    assert!(!to.exists());
}
