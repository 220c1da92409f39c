//! Clicking in the picture whose answers by the official code are known, and the miniature that they are of.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use sam3_package::{Checkpoint, StateDict};
use serde_json::Value;

use super::{Folder, check, sam3, text, write_checkpoint};

/// Where the miniature with a tracker, its picture and the answers lie.
pub fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../sam3-model/tests/goldens/tracker")
        .join(file)
}

/// Clicks in the picture with the flags in `line`, and what `more` adds.
pub fn click(out: &Path, line: &str, more: &[&str]) -> Vec<String> {
    let mut flags: Vec<String> = ["click", "--compute", "f32", "--image"].map(str::to_owned).into();
    flags.push(text(&golden("picture.png")).to_owned());
    flags.extend(["--checkpoint-path", text(&golden("mini.pt")), "--output", text(out)].map(str::to_owned));
    flags.extend(line.split_whitespace().chain(more.iter().copied()).map(str::to_owned));
    flags
}

/// Returns what is said.
pub fn refused(line: &str, more: &[&str], code: i32, words: &[&str]) -> String {
    let folder = Folder::new();
    let flags = click(&folder.path("out"), line, more);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let said = check(&flags, code, words);
    assert!(!folder.path("out").exists(), "{line}: nothing is written");
    said
}

pub fn clicked(out: &Path, line: &str, more: &[&str]) -> Value {
    let flags = click(out, line, more);
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(["--json"]).collect();
    let output = sam3(&flags);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{flags:?}\n{said}");
    let json = serde_json::from_slice(&output.stdout).unwrap();
    let written: Value = serde_json::from_slice(&fs::read(out.join("picture.json")).unwrap()).unwrap();
    assert_eq!(json, written);
    json
}

/// Shape and values of a file's tensors.
pub fn tensors(path: &Path) -> HashMap<String, (Vec<usize>, Vec<f32>)> {
    let file = Checkpoint::open(path).unwrap();
    let views = (0..file.len()).map(|index| file.view(index));
    let read = views.filter_map(|view| Some((view.name.to_owned(), (view.shape.to_vec(), view.to_f32()?))));
    read.collect()
}

#[track_caller]
pub fn close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    let apart = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(apart <= tolerance, "{apart} apart");
}

/// The miniature's tensors, each name as `rename` has it; none leaves it out.
pub fn renamed(folder: &Folder, rename: impl Fn(&str) -> Option<String>) -> PathBuf {
    let source = StateDict::open(&golden("mini.pt")).unwrap();
    let tensors = (0..source.len()).map(|index| source.view(index)).filter_map(|view| {
        let name = rename(view.name)?;
        Some((name, view.shape.to_vec(), view.to_f32()?))
    });
    let path = folder.path("src/renamed.safetensors");
    write_checkpoint(&path, &tensors.collect::<Vec<_>>());
    fs::copy(golden("config.json"), path.with_file_name("config.json")).unwrap();
    path
}
