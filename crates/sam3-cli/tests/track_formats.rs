//! What `sam3 track --format` makes of its lines. `tools/interop/track_formats.py` has the formats' own tools read it.

#![cfg(target_os = "linux")]

mod support;

use std::{collections::BTreeSet, fs, path::Path};

use sam3_model::masks::{Mask, Rle};
use serde_json::Value;
use support::{
    Folder, check,
    clicks::golden,
    videos::{CLICK, arguments, interrupt, lines, speaking, track, track_by, tracked, words, y4m},
};

const ALL: &str = "--format mot,mots --format ytvis,davis";

fn rows(out: &Path, file: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(out.join(file)).unwrap();
    let row = |line: &str| line.split([',', ' ']).map(str::to_owned).collect();
    text.lines().map(row).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mask(object: &Value) -> Mask {
    let rle: Rle = serde_json::from_value(object["segmentation"].clone()).unwrap();
    Mask::from_rle(&rle).unwrap()
}

/// Two objects, both ways by threes: the lines' order is not that of the frames, and some are left out.
#[test]
fn each_format_says_what_the_lines_say() {
    let folder = Folder::new();
    let out = folder.path("out");
    let line = format!("{CLICK}@12 --object --box 90,60,150,110@12 --direction both --every 3 {ALL}");
    let mut told = tracked(&golden("video"), &out, &line, &[]);
    assert_eq!((&told[0]["frame"], &told[7]["frame"]), (&12.into(), &0.into()));
    told.sort_by_key(|line| line["frame"].as_u64());
    assert_eq!(
        names(&out),
        ["davis", "mot.txt", "mots.txt", "track.jsonl", "ytvis.json"]
    );

    let objects = |line: &Value| line["objects"].as_array().unwrap().clone();
    let seen = told
        .iter()
        .flat_map(|line| objects(line).into_iter().map(|object| (line["frame"].clone(), object)));
    let seen: Vec<(u64, Value)> = seen.map(|(frame, object)| (frame.as_u64().unwrap(), object)).collect();
    let ids: BTreeSet<u64> = seen.iter().map(|(_, object)| object["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), 2, "{seen:?}");

    let expected = seen.iter().map(|(frame, object)| {
        let edge = |place: usize| object["box"][place].as_u64().unwrap();
        let sizes = [edge(2) - edge(0) + 1, edge(3) - edge(1) + 1];
        let numbers = [frame + 1, object["id"].as_u64().unwrap() + 1, edge(0) + 1, edge(1) + 1]
            .into_iter()
            .chain(sizes);
        let numbers = numbers.map(|number| number.to_string());
        let score = object["score"].to_string();
        numbers.chain([score]).chain(["-1"; 3].map(str::to_owned)).collect()
    });
    assert_eq!(rows(&out, "mot.txt"), expected.collect::<Vec<Vec<String>>>());

    // The masks of a frame are apart, and together are all that is seen on it.
    let found = rows(&out, "mots.txt");
    assert!(found.is_sorted_by_key(|row| row[0].parse::<u64>().unwrap()));
    for line in &told {
        let number = (line["frame"].as_u64().unwrap() + 1).to_string();
        let mut all = Mask::new(160, 120);
        let mut best: Vec<Value> = objects(line);
        best.sort_by(|a, b| b["score"].as_f64().unwrap().total_cmp(&a["score"].as_f64().unwrap()));
        for object in best {
            let mut own = mask(&object);
            own.subtract(&all);
            all.unite(&own);
            let id = (object["id"].as_u64().unwrap() + 1).to_string();
            let row = found.iter().find(|row| row[0] == number && row[1] == id);
            let expected = [&number, &id, "1", "120", "160", &own.to_rle().counts].map(str::to_owned);
            assert_eq!(row.map(Vec::as_slice), (own.area() > 0).then_some(&expected[..]));
        }
        let davis = fs::read(out.join(format!("davis/{:05}.png", line["frame"].as_u64().unwrap()))).unwrap();
        let background = sam3_model::image::Image::decode(&davis).unwrap();
        let is_empty = |place: usize| background.rgb()[3 * place..][..3] == [0; 3];
        assert!((0..160 * 120).all(|place| is_empty(place) != all.get(place as u32 % 160, place as u32 / 160)));
    }
    assert_eq!(names(&out.join("davis")).len(), told.len());

    let ytvis: Value = serde_json::from_slice(&fs::read(out.join("ytvis.json")).unwrap()).unwrap();
    let video = &ytvis["videos"][0];
    assert_eq!(
        video["file_names"],
        serde_json::json!([0, 3, 6, 9, 12, 15, 18, 21].map(|n| format!("video/{n:02}.png")))
    );
    assert_eq!((&video["length"], &video["width"]), (&8.into(), &160.into()));
    assert_eq!(ytvis["categories"][0]["name"], "object");
    let tracks = ytvis["annotations"].as_array().unwrap();
    assert_eq!(tracks.len(), 2);
    for track in tracks {
        for (place, line) in told.iter().enumerate() {
            let own = objects(line)
                .into_iter()
                .find(|object| object["id"].as_u64().unwrap() + 1 == track["id"]);
            let rle = own
                .as_ref()
                .map_or(Value::Null, |object| object["segmentation"].clone());
            assert_eq!(track["segmentations"][place], rle);
            let shape = own.map(|object| {
                let mask = mask(&object);
                let [left, top, right, bottom] = mask.bounding_box().unwrap();
                (mask.area(), [left, top, right - left, bottom - top])
            });
            assert_eq!(track["areas"][place], serde_json::json!(shape.map(|(area, _)| area)));
            assert_eq!(track["bboxes"][place], serde_json::json!(shape.map(|(_, bbox)| bbox)));
        }
    }
}

/// With `--at-once` lines show objects that turn out to be none; the formats do not, as without.
#[test]
fn what_turned_out_to_be_none_is_left_out() {
    let folder = Folder::new();
    let (model, words) = (speaking(&folder), words());
    let prompt = format!("{words}, a b");
    let source = folder.path("a.y4m");
    fs::write(&source, y4m(0..12)).unwrap();
    let run = |name: &str, line: &str| {
        let out = folder.path(name);
        let flags = track_by(&model, &source, &out, &format!("{ALL} {line}"), &["--prompt", &prompt]);
        check(&arguments(&flags), 0, &["ytvis.json"]);
        out
    };
    let (at_once, held) = (run("at_once", "--at-once"), run("held", ""));
    let removed = lines(&at_once)
        .into_iter()
        .flat_map(|line| line["objects"].as_array().unwrap().clone());
    assert!(
        removed.filter(|object| object["state"] == "removed").count() > 0,
        "some turn out to be none"
    );
    assert_eq!(rows(&at_once, "mot.txt"), rows(&held, "mot.txt"));
    // Pixels that it had are another's where it never was.
    let seen = |out: &Path| {
        rows(out, "mots.txt")
            .into_iter()
            .map(|row| row[..3].to_vec())
            .collect::<Vec<_>>()
    };
    assert_eq!(seen(&at_once), seen(&held));
    let ytvis: Value = serde_json::from_slice(&fs::read(held.join("ytvis.json")).unwrap()).unwrap();
    let category = |place: usize| ytvis["categories"][place]["name"].as_str().unwrap();
    assert_eq!([category(0), category(1)], [words.as_str(), "a b"]);
    assert_eq!(ytvis["videos"][0]["file_names"][3], "a/00003.jpg");
}

#[test]
fn what_others_wrote_stays() {
    let folder = Folder::new();
    let out = folder.path("out");
    let run = |line: &str| tracked(&golden("video"), &out, &format!("{CLICK} --max-frames 3 {line}"), &[]);
    run(ALL);
    run(ALL);
    assert_eq!(names(&out.join("davis")).len(), 3);
    // What is not of the new lines goes.
    run("--format mot");
    assert_eq!(names(&out), ["mot.txt", "track.jsonl"]);
    run("");
    assert_eq!(names(&out), ["track.jsonl"]);

    let others = ["1,1,5,5,10,10,0.9,-1,-1,-1\n", "1 1 1 120 160 0\n", "{}", "notes"];
    for (file, bytes) in ["mot.txt", "mots.txt", "ytvis.json", "davis/00002.png"]
        .iter()
        .zip(others)
    {
        let path = out.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        let flags = track(&golden("video"), &out, &format!("{CLICK} --max-frames 3 {ALL}"), &[]);
        check(&arguments(&flags), 2, &[file, "sam3 did not write it", "--force"]);
        // Of no concern to a run that does not write there.
        run("--force");
        assert_eq!(fs::read_to_string(&path).unwrap(), bytes);
        run(&format!("--force {ALL}"));
        assert_ne!(fs::read(&path).unwrap(), bytes.as_bytes());
    }
    fs::create_dir_all(out.join("other/ytvis.json")).unwrap();
    let flags = track(&golden("video"), &out.join("other"), &format!("{CLICK} {ALL}"), &[]);
    check(&arguments(&flags), 2, &["ytvis.json: expected a file, found a folder"]);
}

#[test]
fn an_interrupted_run_is_converted() {
    let folder = Folder::new();
    let out = folder.path("out");
    let flags = track(
        &golden("video"),
        &out,
        &format!("{CLICK} --format mot,ytvis"),
        &["--json"],
    );
    interrupt(&flags);
    let told = lines(&out);
    let last = told
        .iter()
        .rev()
        .find(|line| !line["objects"].as_array().unwrap().is_empty())
        .unwrap();
    let row = rows(&out, "mot.txt").pop().unwrap();
    assert_eq!(row[0], (last["frame"].as_u64().unwrap() + 1).to_string());
    let ytvis: Value = serde_json::from_slice(&fs::read(out.join("ytvis.json")).unwrap()).unwrap();
    assert_eq!(ytvis["videos"][0]["length"], told.len());
}

#[test]
fn a_run_that_fails_is_converted() {
    let folder = Folder::new();
    let (stills, out) = (folder.path("stills"), folder.path("out"));
    fs::create_dir(&stills).unwrap();
    for frame in 0..5 {
        let name = format!("{frame:02}.png");
        fs::copy(golden(&format!("video/{name}")), stills.join(name)).unwrap();
    }
    fs::write(stills.join("03.png"), "damaged").unwrap();
    let flags = track(&stills, &out, &format!("{CLICK} {ALL}"), &[]);
    check(&arguments(&flags), 1, &["03.png", "davis/"]);
    let ytvis: Value = serde_json::from_slice(&fs::read(out.join("ytvis.json")).unwrap()).unwrap();
    let expected = [0, 1, 2, 4].map(|frame| format!("stills/{frame:02}.png"));
    assert_eq!(ytvis["videos"][0]["file_names"], serde_json::json!(expected));
    let frames: BTreeSet<String> = rows(&out, "mot.txt").into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(frames, ["1", "2", "3", "5"].map(str::to_owned).into());
    let pictures = ["00000.png", "00001.png", "00002.png", "00004.png"];
    assert_eq!(names(&out.join("davis")), pictures);
}
