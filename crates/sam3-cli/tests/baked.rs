//! `sam3 package --bake-prompts` from outside, on the trained miniature.

mod support;

use std::{fs, path::Path};

use support::{Folder, check, package_trained, packaging, sam3, text, trained};

/// What `sam3 segment --json` finds in the scene, and its raw outputs, without names and times.
fn outputs(folder: &Folder, package: &str, flags: &[&str]) -> (String, Vec<u8>) {
    let (package, out, raw) = (folder.path(package), folder.path("out"), folder.path("raw.safetensors"));
    let fixed = [
        "segment",
        "--json",
        "--checkpoint-path",
        text(&package),
        "--image",
        text(&trained().scene),
    ];
    let output = ["--output", text(&out), "--dump-tensors", text(&raw)];
    let output = sam3(&[&fixed[..], &output, flags].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let record: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_ne!(record["prompts"][0]["instances"].as_array().unwrap().len(), 0);
    (record["prompts"].to_string(), fs::read(raw).unwrap())
}

#[test]
fn baked_prompts_answer_as_the_text_encoder_would_bit_for_bit() {
    for quantize in ["fp16", "int8"] {
        let folder = Folder::new();
        let flags = ["--quantize", quantize, "--no-tarball"];
        package_trained(&folder, "full.pth", &flags);
        for (name, prompts) in [("baked.pth", "boat, Square"), ("baked.safetensors", "Square,boat,boat")] {
            let said = package_trained(
                &folder,
                name,
                &[&flags[..], &["--bake-prompts", prompts, "--force"]].concat(),
            );
            assert!(said.contains("it answers the prompts"), "{said}");
            let exemplar = ["--box", "40,40,200,200"];
            for flags in [["--prompt", "boat"], ["--prompt", "square"]] {
                let (full, baked) = (outputs(&folder, "full.pth", &flags), outputs(&folder, name, &flags));
                assert!(full == baked, "{quantize} {name} {flags:?}");
            }
            let visual = [&["--threshold", "0"], &exemplar[..]].concat();
            assert!(outputs(&folder, "full.pth", &visual) == outputs(&folder, name, &visual));
            let bytes = |name: &str| fs::metadata(folder.path(name)).unwrap().len();
            assert!(
                bytes(name) < bytes("full.pth") / 2,
                "the miniature is mostly token embedding"
            );
        }
    }
}

#[test]
fn another_prompt_is_refused_with_the_list() {
    let folder = Folder::new();
    let list = folder.path("prompts.txt");
    fs::write(&list, "boat\n\n  red boat \n").unwrap();
    package_trained(&folder, "baked.pth", &["--bake-prompts", text(&list)]);
    let (package, out) = (folder.path("baked.pth"), folder.path("out"));
    let segment = [
        "segment",
        "--image",
        text(&trained().scene),
        "--output",
        text(&out),
        "--prompt",
    ];
    let path = ["--checkpoint-path", text(&package)];
    check(
        &[&segment[..], &["star"], &path].concat(),
        2,
        &["\"star\"", "boat, red boat, visual", "--bake-prompts"],
    );
    check(&[&segment[..], &["Red  Boat"], &path].concat(), 0, &["presence"]);
    let archive = folder.path("baked.tar.gz");
    check(&["verify", text(&package), text(&archive)], 0, &["verified"]);
    check(&["inspect", text(&package)], 0, &["baked_prompts"]);

    // A package of a package keeps them; baking others needs the text encoder.
    let (again, int8) = (folder.path("again.pth"), ["--quantize", "int8", "--no-tarball"]);
    let repackage = ["package", "--checkpoint-path", text(&package), "--output", text(&again)];
    check(&[&repackage[..], &int8].concat(), 0, &["boat, red boat, visual"]);
    let flags = ["--bake-prompts", "star", "--force"];
    check(
        &[&repackage[..], &flags].concat(),
        1,
        &["baked.pth", "text encoder is gone"],
    );
}

#[test]
fn a_list_of_prompts_without_a_prompt_is_a_usage_error_and_leaves_nothing() {
    let folder = Folder::new();
    let output = folder.path("x.pth");
    let fixed = packaging(&trained().checkpoint, &output);
    let empty = folder.path("empty.txt");
    fs::write(&empty, "\n \n").unwrap();
    for prompts in ["", " , ", text(&empty)] {
        check(&[&fixed[..], &["--bake-prompts", prompts]].concat(), 2, &["no prompt"]);
    }
    fs::remove_file(&empty).unwrap();
    assert!(folder.names().is_empty());
    assert!(!Path::exists(&output));
}
