//! docs/CLI.md names every command and flag that `--help` shows and none that it does not, and the JSON as it is.

mod support;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use support::{
    Folder, check,
    clicks::golden,
    sam3, text, trained,
    videos::{CLICK, said, track},
};

/// Flags of every command, which have a section of their own.
const GLOBAL: [&str; 6] = ["--json", "--quiet", "--verbose", "--threads", "--help", "--version"];

/// Words such as `--max-drop`, in their order.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.filter(|word| word.starts_with("--") && word.len() > 2)
}

/// The flags that a help text lists: one a line, after its short form where it has one.
fn listed(help: &str) -> BTreeSet<&str> {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    lines.filter_map(|line| words(line).next()).collect()
}

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/CLI.md");
    fs::read_to_string(path).unwrap()
}

/// A section of the document, from its heading to the next of the same level.
fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let start = document.find(&format!("\n## {heading}\n"));
    let start = start.unwrap_or_else(|| panic!("docs/CLI.md has no section \"## {heading}\""));
    let rest = &document[start + 4..];
    &rest[..rest.find("\n## ").unwrap_or(rest.len())]
}

fn help(arguments: &[&str]) -> String {
    check(&[arguments, &["--help"]].concat(), 0, &["Usage"])
}

/// The subcommands, as `sam3 --help` lists them.
fn commands() -> Vec<String> {
    let help = help(&[]);
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next());
    // Descriptions may go on in a line of their own, deeper in.
    let names = names
        .map(str::to_owned)
        .filter(|name| help.contains(&format!("\n  {name} ")));
    names.filter(|name| name != "help").collect()
}

#[test]
fn every_flag_of_help_is_in_the_reference() {
    let document = document();
    let commands = commands();
    assert!(commands.len() >= 9, "the help is read wrongly: {commands:?}");
    let mut missing = Vec::new();
    for command in &commands {
        let (help, section) = (help(&[command]), section(&document, &format!("sam3 {command}")));
        assert!(
            section.contains(&format!("    sam3 {command} ")),
            "no example of {command}"
        );
        let documented: BTreeSet<&str> = words(section).collect();
        let unknown = |flag: &&&str| !documented.contains(**flag) && !GLOBAL.contains(*flag);
        missing.extend(
            listed(&help)
                .iter()
                .filter(unknown)
                .map(|flag| format!("{command} {flag}")),
        );
    }
    let common: BTreeSet<&str> = words(section(&document, "Flags of every command")).collect();
    missing.extend(
        GLOBAL
            .iter()
            .filter(|flag| !common.contains(**flag))
            .map(|flag| flag.to_string()),
    );
    assert!(missing.is_empty(), "not in docs/CLI.md: {missing:?}");
}

#[test]
fn the_reference_names_no_flag_that_is_not_there() {
    let document = document();
    let mut extra = Vec::new();
    for command in commands() {
        let help = help(&[&command]);
        let listed = listed(&help);
        // What a row of the flags' table is about.
        let rows = section(&document, &format!("sam3 {command}")).lines();
        let rows = rows.filter(|line| line.starts_with("| `-"));
        for flag in rows.flat_map(|line| words(line.split(" | ").next().unwrap_or(line))) {
            if !listed.contains(flag) {
                extra.push(format!("{command} {flag}"));
            }
        }
    }
    assert!(extra.is_empty(), "in docs/CLI.md and not in --help: {extra:?}");
}

/// Every place in a document that holds a value, such as `prompts[].instances[].score`; what is in `source` is free.
fn paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) if !at.ends_with("source") => {
            for (name, value) in fields {
                paths(value, &format!("{at}.{name}"), found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| paths(item, &format!("{at}[]"), found)),
        _ => {
            found.insert(at.to_owned());
        }
    }
}

#[test]
fn the_json_of_segment_is_as_documented() {
    let folder = Folder::new();
    let (trained, out) = (trained(), folder.path("out"));
    let package = trained.scene.with_file_name("device").join("sam3_demo_fp16.pth");
    let what = [
        "--image",
        text(&trained.scene),
        "--prompt",
        "boat",
        "--box",
        "315,51,444,198",
        "--polygons",
    ];
    let how = ["--checkpoint-path", text(&package), "--output", text(&out)];
    let output = sam3(&[&["segment", "--json"], &what[..], &how].concat());
    let (mut found, mut documented) = (BTreeSet::new(), BTreeSet::new());
    paths(&serde_json::from_slice(&output.stdout).unwrap(), "", &mut found);
    let document = document();
    let example = section(&document, "sam3 segment")
        .split("```json")
        .nth(1)
        .expect("an example");
    let example = example.split("```").next().expect("its end");
    paths(&serde_json::from_str(example).unwrap(), "", &mut documented);
    assert_eq!(found, documented);
}

#[test]
fn the_json_of_click_is_as_documented() {
    let folder = Folder::new();
    let (image, model, out) = (golden("picture.png"), golden("mini.pt"), folder.path("out"));
    let logits = folder.path("step.safetensors");
    let fixed = [
        "click",
        "--json",
        "--polygons",
        "--image",
        text(&image),
        "--checkpoint-path",
        text(&model),
        "--output",
        text(&out),
    ];
    let clicks = ["--point", "107,91", "--box", "60,40,200,200"];
    sam3(&[&fixed[..], &clicks, &["--save-logits", text(&logits)]].concat());
    let output = sam3(&[&fixed[..], &clicks, &["--mask", text(&logits)]].concat());
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let document = document();
    let example = section(&document, "sam3 click")
        .split("```json")
        .nth(1)
        .expect("an example");
    let example: Value = serde_json::from_str(example.split("```").next().expect("its end")).unwrap();
    for part in ["timings", "objects"] {
        let (mut of_run, mut documented) = (BTreeSet::new(), BTreeSet::new());
        paths(&found[part], "", &mut of_run);
        paths(&example[part], "", &mut documented);
        assert_eq!(of_run, documented);
    }
}

/// The example of README.md is compiled where it stands in the README of `sam3-model`, which is a doctest.
#[test]
fn the_library_example_is_the_one_that_is_compiled() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let examples = |path: PathBuf| -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        let blocks = text.split("```rust").skip(1);
        blocks
            .map(|block| block.split("```").next().unwrap().to_owned())
            .collect()
    };
    let own = examples(crates.join("../README.md"));
    assert_eq!(own.len(), 1, "README.md has one example in Rust");
    assert_eq!(own, examples(crates.join("sam3-model/README.md")));
}

#[test]
fn the_json_of_track_is_as_documented() {
    let folder = Folder::new();
    let flags = track(&golden("video"), &folder.path("out"), CLICK, &["--max-frames", "1"]);
    let [found] = &said(&flags)[..] else {
        panic!("a line a frame")
    };
    let document = document();
    let example = section(&document, "sam3 track")
        .split("```json")
        .nth(1)
        .expect("an example");
    let example = example.split("```").next().expect("its end");
    let (mut of_run, mut documented) = (BTreeSet::new(), BTreeSet::new());
    paths(found, "", &mut of_run);
    paths(&serde_json::from_str(example).unwrap(), "", &mut documented);
    assert_eq!(of_run, documented);
}
