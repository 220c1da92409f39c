//! Videos by `sam3 serve`: each frame's answer is the line that `sam3 track` writes.

#![cfg(all(unix, feature = "serve"))]

mod support;

use std::{fs, path::Path};

use serde_json::{Value, json};
use support::{
    Folder,
    clicks::golden,
    served::Served,
    videos::{CLICK, found, said, speaking, track_by, words},
};

fn frame(number: usize) -> Vec<u8> {
    fs::read(golden(&format!("video/{number:02}.png"))).unwrap()
}

/// As `track` follows the folder: with memories in f32, of 24 frames.
fn begin(served: &Served, more: Value) -> String {
    let mut body = json!({"memory_dtype": "f32", "frames": 24});
    body.as_object_mut()
        .unwrap()
        .append(&mut more.as_object().unwrap().clone());
    let begun = served.json("POST", "/v1/videos", body.to_string(), 201);
    format!("/v1/videos/{}", begun["id"].as_str().unwrap())
}

fn lines(answer: &Value) -> Vec<Value> {
    answer["frames"].as_array().unwrap().clone()
}

/// What `track` says of the first frames.
fn tracked(model: &Path, frames: usize, line: &str, more: &[&str]) -> Vec<Value> {
    let folder = Folder::new();
    let line = format!("{line} --max-frames {frames} --device cpu");
    said(&track_by(model, &golden("video"), &folder.path("out"), &line, more))
}

/// Lines but for the time that they took.
fn without_times(lines: &[Value]) -> Vec<Value> {
    let strip = |line: &Value| {
        let mut line = line.clone();
        line["compute_ms"] = Value::Null;
        line
    };
    lines.iter().map(strip).collect()
}

#[test]
fn texts_are_followed_as_track_follows_them() {
    let folder = Folder::new();
    let model = speaking(&folder);
    let served = Served::of(&model, &[]);
    let words = words();
    for (at_once, flags) in [(false, ""), (true, "--at-once")] {
        let expected = tracked(&model, 18, flags, &["--prompt", &words]);
        let video = begin(&served, json!({"prompts": [words], "at_once": at_once}));
        let mut lines_found = Vec::new();
        for number in 0..18 {
            let answer = served.json("POST", &format!("{video}/frames"), frame(number), 200);
            assert_eq!(answer["frame"], number);
            let held_back = if at_once { 0 } else { 14 };
            let came_out = lines(&answer);
            assert_eq!(came_out.len(), usize::from(number >= held_back), "frame {number}");
            lines_found.extend(came_out);
        }
        lines_found.extend(lines(&served.json("POST", &format!("{video}/finish"), "", 200)));
        assert_eq!(
            without_times(&lines_found),
            without_times(&expected),
            "at once: {at_once}"
        );
        assert!(lines_found.iter().all(|line| line["compute_ms"].as_f64() > Some(0.0)));
        assert!(
            lines_found
                .iter()
                .any(|line| !line["objects"].as_array().unwrap().is_empty())
        );
        // It has ended.
        served.json("POST", &format!("{video}/finish"), "", 404);
    }
}

/// A frame as a form, with what is shown on it.
fn send_form(served: &Served, path: &str, number: usize, objects: &Value) -> Value {
    let mut body = b"--edge\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\n".to_vec();
    body.extend(frame(number));
    body.extend(b"\r\n--edge\r\nContent-Disposition: form-data; name=\"objects\"\r\n\r\n");
    body.extend(format!("{objects}\r\n--edge--\r\n").bytes());
    let form = "Content-Type: multipart/form-data; boundary=edge\r\n";
    let answer = served.ask("POST", path, form, &body);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(body).unwrap()
}

#[test]
fn clicks_are_followed_as_track_follows_them() {
    let served = Served::of(&golden("mini.pt"), &[]);
    let line = format!("{CLICK} --point 125,95@3 --point 16.29,103.66,0@3 --object --box 30,40,90,100@3");
    let expected = tracked(&golden("mini.pt"), 6, &line, &[]);
    let video = begin(&served, json!({}));
    let path = format!("{video}/frames");
    let mut lines_found = Vec::new();
    for number in 0..6 {
        let answer = match number {
            0 => send_form(&served, &path, 0, &json!([{"points": [[120.016, 92.676]]}])),
            3 => {
                let objects = json!([
                    {"id": 0, "points": [[125, 95, 1], {"point": [16.29, 103.66], "label": 0}]},
                    {"box": [30, 40, 90, 100]},
                ]);
                send_form(&served, &path, 3, &objects)
            }
            number => served.json("POST", &path, frame(number), 200),
        };
        let ids: Vec<&Value> = answer["clicked"]
            .as_array()
            .unwrap()
            .iter()
            .map(|own| &own["id"])
            .collect();
        let shown = match number {
            0 => json!([0]),
            3 => json!([0, 1]),
            _ => json!([]),
        };
        assert_eq!(json!(ids), shown, "frame {number}");
        lines_found.extend(lines(&answer));
    }
    assert_eq!(without_times(&lines_found), without_times(&expected));
    // Of random weights the tracker loses the second one.
    assert!(!found(&lines_found)[5][1].as_array().unwrap().is_empty());
    // Frames of videos are not those of others.
    let other = begin(&served, json!({}));
    assert_eq!(
        served.json("POST", &format!("{other}/frames"), frame(0), 200)["frame"],
        0
    );
    served.json("DELETE", &other, "", 204);
    served.json("DELETE", &other, "", 404);
}
