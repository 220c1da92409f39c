//! What `sam3 segment` takes: folders, lists, stdin, prompts between commas.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::Value;
use support::{Folder, check, sam3_reading, text, trained};

/// `sam3 segment --json` with the trained miniature: the exit code, the records and what was said.
fn segment(folder: &Folder, flags: &[&str], stdin: &[u8]) -> (i32, Vec<Value>, String) {
    let out = folder.path("out");
    let fixed = [
        "segment",
        "--json",
        "--checkpoint-path",
        text(&trained().checkpoint),
        "--output",
        text(&out),
    ];
    let Output { status, stdout, stderr } = sam3_reading(&[&fixed[..], flags].concat(), stdin);
    let records = serde_json::Deserializer::from_slice(&stdout).into_iter();
    let records = records.map(|record| record.expect("stdout is JSON and nothing else"));
    (
        status.code().unwrap(),
        records.collect(),
        String::from_utf8_lossy(&stderr).into_owned(),
    )
}

fn scene(folder: &Folder, name: &str) -> PathBuf {
    let path = folder.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::copy(&trained().scene, &path).unwrap();
    path
}

/// Files below a folder, sorted.
fn files(folder: &Path) -> Vec<String> {
    fn visit(root: &Path, folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => visit(root, &path, found),
                false => found.push(text(path.strip_prefix(root).unwrap()).to_owned()),
            }
        }
    }
    let mut found = Vec::new();
    visit(folder, folder, &mut found);
    found.sort();
    found
}

#[test]
fn a_folder_is_all_its_pictures_and_sub_folders_are_kept() {
    let folder = Folder::new();
    scene(&folder, "in/b.png");
    scene(&folder, "in/without_extension");
    scene(&folder, "in/deep/er/a.PNG");
    scene(&folder, "in/._b.png");
    fs::write(folder.path("in/b.txt"), "a label").unwrap();
    fs::write(folder.path("in/.DS_Store"), "").unwrap();
    std::os::unix::fs::symlink(folder.path("in"), folder.path("in/deep/back")).unwrap();
    let input = folder.path("in");
    let flags = ["--prompt", "boat", "--image", text(&input)];
    let (code, records, said) = segment(&folder, &flags, b"");
    assert_eq!((code, records.len()), (0, 2), "{said}");
    let out = folder.path("out");
    let flat = [
        "b.json",
        "b_overlay.png",
        "without_extension.json",
        "without_extension_overlay.png",
    ];
    assert_eq!(files(&out), flat);

    let (code, records, said) = segment(&folder, &[&flags[..], &["--recursive"]].concat(), b"");
    assert_eq!((code, records.len()), (0, 3), "{said}");
    assert_eq!(
        files(&out),
        [&flat[..2], &["deep/er/a.json", "deep/er/a_overlay.png"], &flat[2..]].concat()
    );
}

#[test]
fn results_inside_the_folder_are_no_pictures_of_it() {
    let folder = Folder::new();
    scene(&folder, "in/b.png");
    let input = folder.path("in");
    for out in [folder.path("in"), folder.path("in/out")] {
        for _ in 0..2 {
            let fixed = [
                "segment",
                "--checkpoint-path",
                text(&trained().checkpoint),
                "--prompt",
                "boat",
                "--recursive",
            ];
            let flags = ["--masks", "--image", text(&input), "--output", text(&out)];
            let said = check(&[&fixed[..], &flags].concat(), 0, &[]);
            assert_eq!(said.matches("\"boat\":").count(), 1, "{said}");
        }
    }
}

#[test]
fn a_sub_folder_named_like_masks_keeps_its_results() {
    let folder = Folder::new();
    scene(&folder, "in/b.png");
    scene(&folder, "in/b_masks/c.png");
    let input = folder.path("in");
    let flags = ["--prompt", "boat", "--recursive", "--masks", "--image", text(&input)];
    for more in [
        &[][..],
        &["--skip-existing"],
        &["--skip-existing", "--threshold", "0.6"],
    ] {
        let (code, _, said) = segment(&folder, &[&flags[..], more].concat(), b"");
        assert_eq!(code, 0, "{said}");
        let found = files(&folder.path("out"));
        for name in [
            "b.json",
            "b_masks/boat_001.png",
            "b_masks/c.json",
            "b_masks/c_masks/boat_001.png",
            "b_masks/c_overlay.png",
        ] {
            assert!(found.iter().any(|own| own == name), "{name} in {found:?}");
        }
    }
}

#[test]
fn a_bad_picture_or_folder_does_not_stop_the_others() {
    let folder = Folder::new();
    let good = scene(&folder, "in/b.png");
    fs::write(folder.path("in/bad.jpg"), "<!doctype html>").unwrap();
    fs::create_dir_all(folder.path("empty/sub")).unwrap();
    let (input, empty) = (folder.path("in"), folder.path("empty"));
    let flags = ["--prompt", "boat", "--image", text(&empty), text(&input), "no-such.png"];
    let (code, records, said) = segment(&folder, &flags, b"");
    assert_eq!((code, records.len()), (1, 1), "{said}");
    assert_eq!(records[0]["image"]["file"], text(&good));
    for word in [
        "empty: no picture in this folder",
        "--recursive",
        "bad.jpg",
        "no-such.png",
    ] {
        assert!(said.contains(word), "{word} in {said}");
    }
    let (code, records, said) = segment(&folder, &["--prompt", "boat", "--image", text(&empty)], b"");
    assert_eq!((code, records.len()), (1, 0), "{said}");
}

#[test]
fn a_picture_comes_from_stdin() {
    let folder = Folder::new();
    let bytes = fs::read(&trained().scene).unwrap();
    let (code, records, said) = segment(&folder, &["--prompt", "boat", "--image", "-"], &bytes);
    assert_eq!((code, records.len()), (0, 1), "{said}");
    assert_eq!(records[0]["image"]["file"], "-");
    assert_eq!(files(&folder.path("out")), ["stdin.json", "stdin_overlay.png"]);
    let (code, _, said) = segment(&folder, &["--prompt", "boat", "--image", "-"], b"");
    assert!(code == 1 && said.contains("stdin") && said.contains("empty"), "{said}");
    let (code, _, said) = segment(&folder, &["--prompt", "boat", "--image", "-", "-"], &bytes);
    assert!(code == 2 && said.contains("stdin is named more than once"), "{said}");
}

#[test]
fn a_list_names_pictures_and_folders() {
    let folder = Folder::new();
    let (a, b) = (scene(&folder, "x/a b.png"), scene(&folder, "y/b.png"));
    let lines = format!("\u{feff}{}\r\n\r\n{}\n", text(&a), text(b.parent().unwrap()));
    let list = folder.path("list.txt");
    fs::write(&list, &lines).unwrap();
    for (name, stdin) in [(text(&list), &b""[..]), ("-", lines.as_bytes())] {
        let (code, records, said) = segment(&folder, &["--prompt", "boat", "--image-list", name], stdin);
        assert_eq!((code, records.len()), (0, 2), "{said}");
        assert_eq!(records[1]["image"]["file"], text(&b));
    }
    fs::write(&list, [text(&a), "\0", text(&b), "\0"].concat()).unwrap();
    let (code, records, said) = segment(&folder, &["--prompt", "boat", "--image-list", text(&list)], b"");
    assert_eq!((code, records.len()), (0, 2), "{said}");
    let picture = fs::read(&a).unwrap();
    for (content, says) in [
        (&b"\n\n"[..], "no path in it"),
        (b"\xff\xfea\0", "UTF-16"),
        (&picture, "a picture"),
    ] {
        fs::write(&list, content).unwrap();
        let (code, _, said) = segment(&folder, &["--prompt", "boat", "--image-list", text(&list)], b"");
        assert!(code == 1 && said.contains(says) && said.contains("hint:"), "{said}");
    }
    let (code, _, said) = segment(&folder, &["--prompt", "boat", "--image-list", "no-such.txt"], b"");
    assert!(code == 1 && said.contains("no-such.txt"), "{said}");
    let (code, _, said) = segment(&folder, &["--prompt", "boat"], b"");
    assert!(code == 2 && said.contains("--image"), "{said}");
}

#[test]
fn commas_separate_prompts() {
    let folder = Folder::new();
    let image = text(&trained().scene);
    let flags = ["--image", image, "--prompt", r"boat, square,", r"cup\, saucer"];
    let (code, records, said) = segment(&folder, &flags, b"");
    assert_eq!(code, 0, "{said}");
    let prompts = records[0]["prompts"].as_array().unwrap();
    let texts: Vec<&str> = prompts
        .iter()
        .map(|prompt| prompt["prompt"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["boat", "square", "cup, saucer"]);
    let counts: Vec<usize> = prompts
        .iter()
        .map(|prompt| prompt["instances"].as_array().unwrap().len())
        .collect();
    assert_eq!(counts[..2], [3, 2]);
    let (code, _, said) = segment(&folder, &["--image", image, "--prompt", " , "], b"");
    assert!(code == 2 && said.contains("--prompt is empty"), "{said}");
}

#[test]
fn words_that_the_model_does_not_read_are_told() {
    let folder = Folder::new();
    let long = format!("boat {} and a mast at the end", "on the wide blue sea ".repeat(8));
    let flags = ["--image", text(&trained().scene), "--prompt", "boat", &long];
    let (code, _, said) = segment(&folder, &flags, b"");
    assert_eq!((code, said.matches("too long for the model").count()), (0, 1), "{said}");
    assert!(!said.contains("mast"), "{said}");
}

#[test]
fn a_box_in_shares_of_the_sides_is_told_from_one_in_pixels() {
    let folder = Folder::new();
    let (code, _, said) = segment(
        &folder,
        &["--image", text(&trained().scene), "--box", "0.1,0.2,0.3,0.4"],
        b"",
    );
    assert!(
        code == 2 && said.contains("0.1,0.2,0.3,0.4") && said.contains("in pixels"),
        "{said}"
    );
}

#[test]
fn a_demo_replaces_no_file_of_somebody_else() {
    let folder = Folder::new();
    let mine = scene(&folder, "scene.json");
    let before = fs::read(&mine).unwrap();
    check(
        &["demo", "--output", text(mine.parent().unwrap())],
        2,
        &["scene.json exists already", "--output"],
    );
    assert_eq!(fs::read(&mine).unwrap(), before);
    assert_eq!(folder.names(), ["scene.json"]);
}
