//! `sam3 track` from outside, on the miniature and the video whose answers by the official code are known.

mod support;

use std::{collections::HashMap, fs, path::PathBuf};

use sam3_model::image::Image;
use serde_json::{Value, json};
use support::{
    Folder, check,
    clicks::{close, golden, tensors},
    sam3_reading, text,
    videos::{
        CLICK, FRAMES, arguments, found, lines, pictures, refused, said, speaking, track, track_by, tracked, words, y4m,
    },
};

#[test]
fn a_click_is_followed_as_officially() {
    let folder = Folder::new();
    let (out, dump) = (folder.path("out"), folder.path("dump"));
    let lines = tracked(&golden("video"), &out, CLICK, &["--dump-tensors", text(&dump)]);
    assert_eq!(lines.len(), FRAMES);
    let expected = tensors(&golden("pvs.safetensors"));
    let script: Value = serde_json::from_slice(&fs::read(golden("pvs.json")).unwrap()).unwrap();
    let script = &script["cases"]["a"]["steps"][2]["frames"];
    for (frame, line) in lines.iter().enumerate() {
        let dumped = tensors(&dump.join(format!("{frame:05}.safetensors")));
        let (shape, logits) = &dumped["low_res_masks"];
        assert_eq!(*shape, [1, 64, 64]);
        assert_eq!(dumped["object_ids"], (vec![1], vec![0.0]));
        if let Some((_, expected)) = expected.get(&format!("a.2.{frame:02}.low_res")) {
            close(logits, expected, 0.02);
        }
        let [object] = &line["objects"].as_array().unwrap()[..] else {
            panic!("one object on frame {frame}")
        };
        let near = |found: &Value, expected: &Value, tolerance: f64| {
            (found.as_f64().unwrap() - expected.as_f64().unwrap()).abs() < tolerance
        };
        assert!(
            near(&object["object_score"], &script[frame]["score"][0], 5e-3),
            "frame {frame}"
        );
        if frame > 0 {
            assert!(near(&object["iou"], &script[frame]["iou"][0], 1e-3), "frame {frame}");
        }
        assert_eq!((&line["frame"], &line["time_ms"]), (&json!(frame), &Value::Null));
        assert_eq!(
            (&object["id"], &object["prompt"], &object["state"]),
            (&json!(0), &json!("object 1"), &json!("tracked"))
        );
        assert_eq!(object["segmentation"]["size"], json!([120, 160]));
        assert_eq!(object["score"], object["iou"]);
    }
}

#[test]
fn every_source_gives_the_same() {
    let folder = Folder::new();
    let (film, stills) = (folder.path("film.y4m"), folder.path("stills"));
    let frames = 0..6;
    fs::write(&film, y4m(frames.clone())).unwrap();
    pictures(&stills, frames);
    // What is no picture is left out.
    fs::write(stills.join("notes.txt"), "notes").unwrap();
    let of_stills = tracked(&stills, &folder.path("a"), CLICK, &[]);
    let of_film = tracked(&film, &folder.path("b"), CLICK, &[]);
    let flags = track("-".as_ref(), &folder.path("c"), CLICK, &["--json"]);
    let streamed = sam3_reading(&arguments(&flags), &y4m(0..6));
    assert!(streamed.status.success());
    let of_stream = lines(&folder.path("c"));
    let said: Vec<Value> = String::from_utf8(streamed.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(said, of_stream, "stdout has the file's lines");
    assert_eq!(found(&of_stills), found(&of_film));
    // The number of frames of a stream is not known; that of the others is: pointers lie otherwise in time.
    assert_eq!(found(&of_stills)[0], found(&of_stream)[0]);
    assert_eq!(of_stream.len(), 6);
    assert_eq!(of_film[3]["time_ms"], json!(120.0));
    assert_eq!(of_stills[3]["time_ms"], Value::Null);
}

#[test]
fn objects_are_clicked_on_their_frames() {
    let folder = Folder::new();
    let run = |name: &str, line: &str| {
        let line = format!("--point 104.7,112.4@6 {line} --every 2 --start 2 --stop 17");
        tracked(&golden("video"), &folder.path(name), &line, &[])
    };
    let on_10 = "--point 148.45,97.21@10 --point 16.29,103.66,0@10";
    let lines = run("two", &format!("--object {on_10}"));
    let numbers: Vec<&Value> = lines.iter().map(|line| &line["frame"]).collect();
    assert_eq!(json!(numbers), json!([6, 8, 10, 12, 14, 16]));
    let names = |line: &Value| {
        let objects = line["objects"].as_array().unwrap().iter();
        objects
            .map(|object| object["prompt"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert!(lines[..2].iter().all(|line| names(line) == ["object 1"]));
    assert_eq!(names(&lines[2]), ["object 1", "object 2"]);
    let most = run("most", &format!("--max-frames 3 --object {on_10}"));
    assert_eq!(found(&most), found(&lines)[..3]);
    // A correction changes nothing before it, and the object has the mask that it would have if it began there.
    let corrected = run("corrected", on_10);
    assert_eq!(found(&corrected)[..2], found(&lines)[..2]);
    let of = |line: &Value, place: usize| line["objects"][place]["object_score"].clone();
    assert_eq!(
        of(&corrected[2], 0),
        of(&lines[2], 1),
        "clicks alone, without memory, find both"
    );
    assert_ne!(of(&corrected[2], 0), of(&lines[2], 0));
}

#[test]
fn videos_are_gone_through_both_ways() {
    let folder = Folder::new();
    let film = folder.path("film.y4m");
    fs::write(&film, y4m(0..10)).unwrap();
    let frames = |lines: &[Value]| {
        lines
            .iter()
            .map(|line| line["frame"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    let run = |name: &str, line: &str| tracked(&film, &folder.path(name), &format!("{CLICK}@6 {line}"), &[]);
    let both = run("both", "--direction both");
    assert_eq!(frames(&both), [6, 7, 8, 9, 5, 4, 3, 2, 1, 0]);
    let forward = run("forward", "");
    assert_eq!(found(&forward), found(&both)[..4]);
    assert_eq!(frames(&run("back", "--direction backward --max-frames 3")), [6, 5, 4]);
    // A click that names no frame is on the first that there is.
    let click = |name: &str, line: &str| tracked(&film, &folder.path(name), line, &[]);
    let back = click("last", &format!("{CLICK} --direction backward"));
    assert_eq!(frames(&back), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(
        found(&back),
        found(&click("named", &format!("{CLICK}@9 --direction backward")))
    );
    refused(
        "-".as_ref(),
        &format!("{CLICK} --direction both"),
        &[],
        1,
        &["found nothing"],
    );
    let flags = track(
        "-".as_ref(),
        &folder.path("c"),
        &format!("{CLICK} --direction both"),
        &[],
    );
    let streamed = sam3_reading(&arguments(&flags), &y4m(0..2));
    let words = String::from_utf8_lossy(&streamed.stderr).into_owned();
    assert_eq!(streamed.status.code(), Some(2), "{words}");
    assert!(
        words.contains("a stream only goes forward") && words.contains("X.y4m"),
        "{words}"
    );
}

#[test]
fn a_text_is_followed() {
    let folder = Folder::new();
    let words = words();
    let prompt = ["--prompt", &words];
    let model = speaking(&folder);
    let (out, overlay) = (folder.path("out"), folder.path("overlay"));
    let flags = track_by(
        &model,
        &golden("video"),
        &out,
        "--max-frames 9",
        &[&prompt[..], &["--overlay", text(&overlay)]].concat(),
    );
    let said = said(&flags);
    assert_eq!(said, lines(&out));
    assert_eq!(said.len(), 9);
    let drawn = Image::open(overlay.join("00008.png")).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (160, 120));
    let objects = |lines: &[Value]| -> Vec<Value> {
        lines
            .iter()
            .flat_map(|line| line["objects"].as_array().unwrap().clone())
            .collect()
    };
    assert!(
        objects(&said)
            .iter()
            .all(|object| object["prompt"] == words.as_str() && object["state"] == "tracked")
    );

    let at_once = track_by(
        &model,
        &golden("video"),
        &folder.path("once"),
        "--at-once --max-frames 9",
        &prompt,
    );
    let at_once = support::videos::said(&at_once);
    let mut states: HashMap<String, usize> = HashMap::new();
    for object in objects(&at_once) {
        *states.entry(object["state"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert!(states["tentative"] > 0 && states["removed"] > 0, "{states:?}");
    // Who is not removed is on the same frames as with those that are certain.
    let removed: Vec<Value> = objects(&at_once)
        .into_iter()
        .filter(|object| object["state"] == "removed")
        .collect();
    let removed: Vec<&Value> = removed.iter().map(|object| &object["id"]).collect();
    for (certain, early) in said.iter().zip(&at_once) {
        let ids = |line: &Value| -> Vec<Value> {
            let objects = line["objects"].as_array().unwrap().iter();
            objects
                .map(|object| object["id"].clone())
                .filter(|id| !removed.contains(&id))
                .collect()
        };
        assert_eq!(ids(certain), ids(early), "frame {}", certain["frame"]);
    }
}

#[test]
fn what_cannot_be_followed_is_refused_before_the_work() {
    let video = golden("video");
    for (line, words) in [
        ("", &["nothing to follow", "--point x,y"][..]),
        ("--point 1,2 --prompt boat", &["--prompt finds objects by itself"]),
        (
            "--point 1,2@24",
            &["@24: there is no frame 24: the video has 24 frames", "0 to 23"],
        ),
        ("--point 1,2@5 --every 2", &["@5: frame 5 is left out", "frame 4"]),
        ("--point 1,2@5 --start 6", &["@5: frame 5 is left out", "--start"]),
        ("--point 1,2 --start 24", &["leave no frame of", "0 to 23"]),
        (
            "--box 1,2,30,40 --box 1,2,30,40@0",
            &["--box: object 1 has one already on frame 0"],
        ),
        ("--point 1,2 --every 0", &["a number from 1 on"]),
        ("--point 1,2 --prompt-frame 3", &["--prompt"]),
        ("--prompt , ", &["--prompt is empty"]),
        (
            "--prompt boat --prompt-frame 24",
            &["--prompt-frame: there is no frame 24"],
        ),
    ] {
        refused(&video, line, &[], 2, words);
    }
    let folder = Folder::new();
    let empty = folder.path("empty");
    fs::create_dir(&empty).unwrap();
    refused(&empty, CLICK, &[], 1, &["empty: no picture in this folder"]);
    fs::create_dir(empty.join("frames")).unwrap();
    refused(&empty, CLICK, &[], 1, &["name the sub-folder"]);
    refused(&folder.path("absent"), CLICK, &[], 1, &["absent", "check the spelling"]);
    for (name, bytes, words) in [
        (
            "a.png",
            &b"\x89PNG\r\n\x1a\n"[..],
            &["found one picture", "sam3 click"][..],
        ),
        ("a.y4m", b"", &["found nothing"]),
        (
            "b.y4m",
            b"YUV4MPEG2 W160 H120 F25:1 C420p10\n",
            &["C420p10, 10 bits", "yuv420p"],
        ),
        (
            "c.y4m",
            b"YUV4MPEG2 W160 H120 F25:1\n",
            &["expected frames, found none"],
        ),
        ("d.y4m", b"YUV4MPEG2 W0 H120\n", &["found 0 and 120"]),
    ] {
        let path = folder.path(name);
        fs::write(&path, bytes).unwrap();
        refused(&path, CLICK, &[], 1, words);
    }
    for (source, words) in [
        ("webrtc://camera/1", "expected v4l2:///dev/video0"),
        ("csi://left", "a camera's number"),
        ("v4l2:///etc/passwd", "such as /dev/video0"),
        ("rtp://@", "a port to listen at"),
    ] {
        refused(source.as_ref(), CLICK, &[], 2, &["--source", words]);
    }
    for line in ["--size 640", "--size 0x4", "--fps 0", "--fps 30/0", "--fps -1"] {
        let flag = line.split(' ').next().unwrap();
        refused(&video, &format!("{CLICK} {line}"), &[], 2, &[flag, "expected"]);
    }
}

#[test]
fn frames_that_cannot_be_read_leave_the_others() {
    let folder = Folder::new();
    let (stills, out) = (folder.path("stills"), folder.path("out"));
    pictures(&stills, 0..6);
    let whole = fs::read(stills.join("2.png")).unwrap();
    fs::write(stills.join("2.png"), &whole[..whole.len() / 2]).unwrap();
    let small = Image::new(16, 12, vec![9; 3 * 16 * 12]).unwrap();
    fs::write(stills.join("4.png"), small.to_png()).unwrap();
    let flags = track(&stills, &out, CLICK, &[]);
    let words = [
        "2.png: damaged PNG",
        "4.png: expected 160 x 120 pixels",
        "found 16 x 12",
        "some frames were left out",
    ];
    check(&arguments(&flags), 1, &words);
    let numbers: Vec<u64> = lines(&out).iter().map(|line| line["frame"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 3, 5]);
    // One that is clicked on is needed.
    let flags = track(&stills, &folder.path("clicked"), &format!("{CLICK}@2"), &[]);
    check(&arguments(&flags), 1, &["2.png: damaged PNG"]);

    let film = folder.path("film.y4m");
    let bytes = y4m(0..4);
    fs::write(&film, &bytes[..bytes.len() - 100]).unwrap();
    for (name, direction, expected) in [("f", "forward", &[0, 1, 2][..]), ("b", "backward", &[2, 1, 0])] {
        let out = folder.path(name);
        let line = format!("{CLICK}@{} --direction {direction}", expected[0]);
        check(
            &arguments(&track(&film, &out, &line, &[])),
            1,
            &["film.y4m: cut off in its last frame", "3 whole frames"],
        );
        let numbers: Vec<u64> = lines(&out).iter().map(|line| line["frame"].as_u64().unwrap()).collect();
        assert_eq!(numbers, expected);
    }
    let flags = track(
        "-".as_ref(),
        &folder.path("s"),
        &format!("{CLICK} --object --point 1,2@7"),
        &[],
    );
    let streamed = sam3_reading(&arguments(&flags), &y4m(0..3));
    let words = String::from_utf8_lossy(&streamed.stderr).into_owned();
    assert_eq!(streamed.status.code(), Some(2), "{words}");
    assert!(words.contains("@7: stdin ended before frame 7"), "{words}");
    assert_eq!(lines(&folder.path("s")).len(), 3);
}

#[test]
fn a_model_that_cannot_is_named() {
    let folder = Folder::new();
    let run = |model: &PathBuf, more: &[&str], code: i32, words: &[&str]| {
        let flags = track_by(model, &golden("video"), &folder.path("out"), "--max-frames 2", more);
        check(&arguments(&flags), code, words);
    };
    let odd = support::miniature("odd.pt");
    run(
        &odd,
        &["--point", "1,2"],
        1,
        &["odd.pt: no video: it has no tracker", "--components image"],
    );
    let package = |name: &str, components: &str| {
        let path = folder.path(name);
        let model = speaking(&folder);
        let flags = [
            "package",
            "--no-tarball",
            "--checkpoint-path",
            text(&model),
            "--output",
            text(&path),
        ];
        check(&[&flags[..], &["--components", components]].concat(), 0, &[]);
        path
    };
    let image = package("image.pth", "image");
    let texts = ["--prompt", "boat"];
    run(&image, &texts, 1, &["no video: it has no tracker"]);
    let clicks = package("click.pth", "click");
    run(&clicks, &texts, 1, &["no texts", "sam3 track"]);
    run(&clicks, &["--point", "120,92"], 0, &["track.jsonl"]);
}
