//! `sam3 package`, `verify`, `unpack` and `inspect` from outside.

mod support;

use std::fs;

use support::{Folder, check, checkpoint, package, tensors, text, write_checkpoint};

#[test]
fn a_package_goes_through_its_archive_and_verifies() {
    for (name, quantize) in [
        ("x.pth", "fp16"),
        ("x.safetensors", "fp16"),
        ("x.pth", "int8"),
        ("x.pth", "bf16"),
    ] {
        let folder = Folder::new();
        let x = package(&folder, name, quantize);
        assert_eq!(folder.names(), ["in.safetensors", name, "x.tar.gz", "x_metadata.json"]);
        let archive = folder.path("x.tar.gz");
        check(
            &["verify", text(&x), text(&archive)],
            0,
            &["verified", "equal to the metadata inside"],
        );
        let out = folder.path("out");
        check(
            &["unpack", text(&archive), "-C", text(&out)],
            0,
            &["verified", quantize],
        );
        assert_eq!(fs::read(out.join(name)).unwrap(), fs::read(&x).unwrap());
        let beside = fs::read(folder.path("x_metadata.json")).unwrap();
        assert_eq!(fs::read(out.join("x_metadata.json")).unwrap(), beside);
        for file in [&x, &archive] {
            check(
                &["inspect", text(file), "--tensors"],
                0,
                &["qkv.weight", "token_embedding", quantize],
            );
        }
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    for name in ["x.pth", "x.safetensors"] {
        let (first, second) = (Folder::new(), Folder::new());
        let files = [&first, &second].map(|folder| {
            package(folder, name, "int8");
            [name, "x_metadata.json", "x.tar.gz"].map(|file| fs::read(folder.path(file)).unwrap())
        });
        assert!(files[0] == files[1], "{name} differs between two runs");
    }
}

#[test]
fn int8_comes_back_as_floats_within_half_a_step() {
    let folder = Folder::new();
    let int8 = package(&folder, "int8.pth", "int8");
    let back = folder.path("back.safetensors");
    let flags = [
        "--checkpoint-path",
        text(&int8),
        "--output",
        text(&back),
        "--quantize",
        "none",
        "--no-tarball",
    ];
    check(&[&["package"], &flags[..]].concat(), 0, &["no value changed"]);
    assert!(!folder.names().contains(&"back.tar.gz".to_owned()));
    let bytes = fs::read(&back).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    for (name, shape, values) in tensors() {
        let place = &header[name];
        assert_eq!(place["shape"], serde_json::json!(shape), "{name}");
        if place["dtype"] != "F32" {
            continue;
        }
        let begin = 8 + length + place["data_offsets"][0].as_u64().unwrap() as usize;
        let stored = bytes[begin..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
        for (value, stored) in values.iter().zip(stored) {
            // Values lie within ±0.5, so a step is at most 0.5 / 127.
            assert!(
                (value - stored).abs() <= 0.51 * 0.5 / 127.0,
                "{name}: {value} came back as {stored}"
            );
        }
    }
    assert_eq!(header.as_object().unwrap().len(), tensors().len() + 1);
}

/// A flipped bit anywhere in a tensor is found and the tensor named, in every container.
#[test]
fn a_flipped_bit_is_found_and_named() {
    for name in ["x.pth", "x.safetensors"] {
        let folder = Folder::new();
        let x = package(&folder, name, "none");
        let sound = fs::read(&x).unwrap();
        for (tensor, _, values) in tensors() {
            let first: Vec<u8> = values[..4].iter().flat_map(|value| value.to_le_bytes()).collect();
            let at = sound.windows(16).position(|window| window == first).unwrap();
            for offset in [at, at + 4 * values.len() - 1] {
                let mut damaged = sound.clone();
                damaged[offset] ^= 0x10;
                fs::write(&x, damaged).unwrap();
                check(&["verify", text(&x)], 1, &[tensor, "expected sha256", "found", "hint:"]);
            }
        }
    }
}

#[test]
fn metadata_beside_the_package_must_be_the_metadata_inside() {
    let folder = Folder::new();
    let x = package(&folder, "x.pth", "fp16");
    let beside = folder.path("x_metadata.json");
    let changed = fs::read_to_string(&beside).unwrap().replace("fp16", "bf16");
    fs::write(&beside, changed).unwrap();
    check(&["verify", text(&x)], 1, &["x_metadata.json", "differs"]);
    fs::remove_file(&beside).unwrap();
    check(&["verify", text(&x)], 0, &["no metadata file beside it"]);
}

#[test]
fn values_that_do_not_fit_are_named_and_nothing_is_written() {
    let folder = Folder::new();
    let mut all = tensors();
    let name = all[2].0;
    all[2].2[5] = 70_000.0;
    all[2].2[9] = -1e30;
    let source = folder.path("in.safetensors");
    write_checkpoint(&source, &all);
    let output = folder.path("x.pth");
    let run = [
        "package",
        "--checkpoint-path",
        text(&source),
        "--output",
        text(&output),
        "--quantize",
    ];
    check(
        &[&run[..], &["fp16"]].concat(),
        1,
        &[name, "2 values", "70000", "index 5", "bf16"],
    );
    assert_eq!(folder.names(), ["in.safetensors"]);
    check(&[&run[..], &["bf16"]].concat(), 0, &["bf16"]);

    all[2].2[5] = f32::NAN;
    write_checkpoint(&source, &all);
    check(
        &[&run[..], &["bf16", "--force"]].concat(),
        1,
        &[name, "not finite", "index 5"],
    );
    check(
        &[&run[..], &["none", "--force"]].concat(),
        0,
        &["warning:", name, "not finite"],
    );
}

#[test]
fn errors_have_their_exit_codes() {
    let folder = Folder::new();
    let source = checkpoint(&folder);
    let package = |output: &str, code, words: &[&str]| {
        let output = folder.path(output);
        check(
            &["package", "--checkpoint-path", text(&source), "--output", text(&output)],
            code,
            words,
        );
    };
    package("x.pth", 0, &["SAM License"]);
    package("x.pth", 2, &["x.pth exists already", "--force"]);
    package("x.bin", 2, &["--output", ".safetensors"]);
    package("no/such/x.pth", 3, &["no/such/x.pth", "hint:"]);
    package("in.safetensors/x.pth", 3, &["cannot write", "hint:"]);
    package("in.safetensors", 1, &["the checkpoint itself"]);
    fs::create_dir(folder.path("d.pth")).unwrap();
    package("d.pth", 3, &["cannot write"]);
    check(&["verify", text(&source)], 1, &["not a sam3 package", "hint:"]);
    check(
        &["verify", text(&folder.path("absent.pth"))],
        1,
        &["absent.pth", "hint:"],
    );
    check(&["verify", text(&folder.path("d.pth"))], 1, &["d.pth"]);
    check(
        &["inspect", text(&folder.path("x_metadata.json"))],
        1,
        &["x_metadata.json"],
    );
    check(&["package"], 2, &["--output"]);
    check(&["frobnicate"], 2, &["frobnicate"]);
}

#[test]
fn a_killed_run_s_temporary_file_is_removed_by_the_next() {
    let folder = Folder::new();
    fs::write(folder.path(".x.pth.sam3-tmp-999999"), "half").unwrap();
    package(&folder, "x.pth", "fp16");
    assert_eq!(
        folder.names(),
        ["in.safetensors", "x.pth", "x.tar.gz", "x_metadata.json"]
    );
}

#[test]
fn json_is_for_machines() {
    let folder = Folder::new();
    let x = package(&folder, "x.pth", "fp16");
    for command in ["inspect", "verify"] {
        let output = support::sam3(&[command, text(&x), "--json"]);
        assert!(output.stderr.is_empty());
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(value.is_object());
        if command == "inspect" {
            assert_eq!(value["metadata"]["source"]["published"], "custom");
            assert_eq!(value["tensors"].as_array().unwrap().len(), tensors().len());
            assert_eq!(value["dtypes"]["F16"]["tensors"], 5);
        }
    }
}
