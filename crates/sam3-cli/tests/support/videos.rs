//! Following through the video whose answers by the official code are known, and videos made of it.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sam3_model::{image::Image, tokenizer::Tokenizer};
use sam3_package::StateDict;
use serde_json::Value;

use super::{Folder, check, clicks::golden, sam3, text, write_checkpoint};

/// Frames of the golden video, of 160 x 120 pixels.
pub const FRAMES: usize = 24;
/// A click on what is there on frame 0.
pub const CLICK: &str = "--point 120.016,92.676";

/// `sam3 track` of a source on the miniature, with the flags in `line`, and what `more` adds.
pub fn track(source: &Path, out: &Path, line: &str, more: &[&str]) -> Vec<String> {
    let model = golden("mini.pt");
    track_by(&model, source, out, line, more)
}

pub fn track_by(model: &Path, source: &Path, out: &Path, line: &str, more: &[&str]) -> Vec<String> {
    let fixed = ["track", "--compute", "f32", "--memory-dtype", "f32"].map(str::to_owned);
    let places = [
        "--source",
        text(source),
        "--checkpoint-path",
        text(model),
        "--output",
        text(out),
    ];
    let rest = line.split_whitespace().chain(more.iter().copied());
    fixed
        .into_iter()
        .chain(places.into_iter().chain(rest).map(str::to_owned))
        .collect()
}

pub fn arguments(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

/// Runs it, and returns the lines that it wrote.
pub fn tracked(source: &Path, out: &Path, line: &str, more: &[&str]) -> Vec<Value> {
    let flags = track(source, out, line, more);
    check(&arguments(&flags), 0, &["wrote"]);
    lines(out)
}

/// The lines of `track.jsonl`, each of which is whole.
pub fn lines(out: &Path) -> Vec<Value> {
    let written = fs::read_to_string(out.join("track.jsonl")).unwrap();
    assert!(written.is_empty() || written.ends_with('\n'), "the last line is whole");
    written
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What was found, without how long it took and when the frame was.
pub fn found(lines: &[Value]) -> Vec<Value> {
    let found = |line: &Value| serde_json::json!([line["frame"], line["objects"]]);
    lines.iter().map(found).collect()
}

pub fn refused(source: &Path, line: &str, more: &[&str], code: i32, words: &[&str]) {
    let folder = Folder::new();
    let flags = track(source, &folder.path("out"), line, more);
    check(&arguments(&flags), code, words);
    assert!(!folder.path("out").exists(), "{line}: nothing is written");
}

/// Runs `track`, with `--json` among its flags, until it has told three frames, and interrupts it.
pub fn interrupt(flags: &[String]) {
    let mut child = Command::new("env")
        .args(["--default-signal=INT", env!("CARGO_BIN_EXE_sam3")])
        .args(flags)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        said.next().unwrap().unwrap();
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    said.map_while(Result::ok).for_each(drop);
    assert!(!child.wait().unwrap().success());
}

/// What it says on stdout with `--json`.
pub fn said(flags: &[String]) -> Vec<Value> {
    let output = sam3(&[&arguments(flags)[..], &["--json", "--quiet"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The brightness of a frame, as samples of a Y4M.
pub fn samples(frame: usize) -> Vec<u8> {
    let image = Image::open(golden(&format!("video/{frame:02}.png"))).unwrap();
    let pixels = image.rgb().chunks_exact(3);
    pixels
        .map(|pixel| (16 + u32::from(pixel[1]) * 219 / 255) as u8)
        .collect()
}

/// A grey Y4M of these frames, 25 a second.
pub fn y4m(frames: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let mut bytes = b"YUV4MPEG2 W160 H120 F25:1 Ip A1:1 Cmono\n".to_vec();
    for frame in frames {
        bytes.extend(b"FRAME\n");
        bytes.extend(samples(frame));
    }
    bytes
}

/// The same frames as pictures in a folder.
pub fn pictures(folder: &Path, frames: impl IntoIterator<Item = usize>) {
    fs::create_dir_all(folder).unwrap();
    for frame in frames {
        let grey = |sample: u8| ((f64::from(sample) - 16.0) * 255.0 / 219.0).round() as u8;
        let rgb = samples(frame)
            .into_iter()
            .flat_map(|sample| [grey(sample); 3])
            .collect();
        let image = Image::new(160, 120, rgb).unwrap();
        fs::write(folder.join(format!("{frame}.png")), image.to_png()).unwrap();
    }
}

/// The miniature with a text encoder that reads CLIP's tokens: each is the one of its own 64 with the same last six
/// bits.
pub fn speaking(folder: &Folder) -> PathBuf {
    let source = StateDict::open(&golden("mini.pt")).unwrap();
    let tensors = (0..source.len()).map(|index| source.view(index)).filter_map(|view| {
        let (mut shape, mut values) = (view.shape.to_vec(), view.to_f32()?);
        if view.name.ends_with("encoder.token_embedding.weight") {
            shape[0] = 49_408;
            values = values.repeat(49_408 / 64);
        } else if view.name.ends_with("encoder.positional_embedding") {
            shape[0] = 32;
            values.resize(32 * shape[1], 0.0);
        }
        Some((view.name.to_owned(), shape, values))
    });
    let path = folder.path("speaking/mini.safetensors");
    write_checkpoint(&path, &tensors.collect::<Vec<_>>());
    let config = fs::read_to_string(golden("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    let of_text = &mut config["text_config"];
    for (name, value) in [
        ("vocab_size", 49_408),
        ("max_position_embeddings", 32),
        ("bos_token_id", 49_406),
        ("eos_token_id", 49_407),
    ] {
        of_text[name] = value.into();
    }
    fs::write(path.with_file_name("config.json"), config.to_string()).unwrap();
    path
}

/// Words that the speaking miniature finds much of: those of which the official code's answers are known.
pub fn words() -> String {
    let golden = fs::read(golden("e2e.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let tokens: Vec<u32> = serde_json::from_value(golden["tokens"].clone()).unwrap();
    let tokenizer = Tokenizer::new();
    let letters = || ('a'..='z').map(String::from);
    let pairs = letters().flat_map(|a| letters().map(move |b| a.clone() + &b));
    let words: Vec<String> = letters().chain(pairs).collect();
    let word = |token: &u32| {
        let is_it = |word: &&String| matches!(tokenizer.encode(word).ids[..], [_, id, 49_407, ..] if id % 64 == *token);
        words.iter().find(is_it).expect("a word of one or two letters").clone()
    };
    tokens[1..tokens.len() - 1]
        .iter()
        .map(word)
        .collect::<Vec<_>>()
        .join(" ")
}
