//! `sam3 package`, `verify`, `unpack` and `inspect` from outside.

mod support;

use std::fs;

use support::{Folder, check, checkpoint, package, packaging, tensors, text, write_checkpoint};

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
        assert_eq!(folder.names(), ["src", name, "x.tar.gz", "x_metadata.json"]);
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
    let mut restored = 0;
    for (name, shape, values) in tensors() {
        let place = &header[&name];
        assert_eq!(place["shape"], serde_json::json!(shape), "{name}");
        if place["dtype"] != "F32" {
            continue;
        }
        let begin = 8 + length + place["data_offsets"][0].as_u64().unwrap() as usize;
        let stored = bytes[begin..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
        let row = if shape.len() == 2 { shape[1] } else { values.len() };
        let stored: Vec<f32> = stored.take(values.len()).collect();
        for (values, stored) in values.chunks(row).zip(stored.chunks(row)) {
            let largest = values.iter().fold(0f32, |max, value| max.max(value.abs()));
            for (value, stored) in values.iter().zip(stored) {
                restored += usize::from(value != stored);
                assert!(
                    (value - stored).abs() <= 0.51 * largest / 127.0,
                    "{name}: {value} came back as {stored}"
                );
            }
        }
    }
    assert!(restored > 0, "nothing was int8");
    assert_eq!(header.as_object().unwrap().len(), tensors().len() + 1);
}

/// A flipped bit anywhere in a tensor is found and the tensor named, in every container.
#[test]
fn a_flipped_bit_is_found_and_named() {
    for name in ["x.pth", "x.safetensors"] {
        let folder = Folder::new();
        let x = package(&folder, name, "none");
        let sound = fs::read(&x).unwrap();
        for (tensor, _, values) in tensors().iter().filter(|tensor| tensor.2.len() >= 4).step_by(60) {
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

/// Packaging a damaged package anew would give the damage digests of its own.
#[test]
fn a_damaged_package_is_no_source() {
    let folder = Folder::new();
    let x = package(&folder, "x.pth", "fp16");
    let mut bytes = fs::read(&x).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&x, bytes).unwrap();
    let output = folder.path("y.pth");
    let run = ["package", "--checkpoint-path", text(&x), "--output", text(&output)];
    check(&run, 1, &["expected sha256", "hint:"]);
    check(
        &["unpack", text(&x), "-C", text(&folder.path("out"))],
        1,
        &["expected a .tar.gz"],
    );
    assert!(!output.exists());
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
    let at = all.iter().position(|tensor| tensor.0.ends_with("qkv.weight")).unwrap();
    let name = &all[at].0.clone()[..];
    all[at].2[5] = 70_000.0;
    all[at].2[9] = -1e30;
    let source = folder.path("src/in.safetensors");
    write_checkpoint(&source, &all);
    let output = folder.path("x.pth");
    let run = [&packaging(&source, &output)[..], &["--quantize"]].concat();
    check(
        &[&run[..], &["fp16"]].concat(),
        1,
        &[name, "2 values", "70000", "index 5", "bf16"],
    );
    assert_eq!(folder.names(), ["src"]);
    check(&[&run[..], &["bf16"]].concat(), 0, &["bf16"]);

    all[at].2[5] = f32::NAN;
    write_checkpoint(&source, &all);
    check(
        &[&run[..], &["bf16", "--force"]].concat(),
        1,
        &[name, "not finite", "index 5", "fetch it again", "--quantize none"],
    );
    check(
        &[&run[..], &["none", "--force"]].concat(),
        0,
        &["warning:", name, "not finite"],
    );
}

/// A name on Linux is bytes; JSON and the files that carry the name want text.
#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text_are_shown_or_refused() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt, process::Command};

    let folder = Folder::new();
    let source = checkpoint(&folder);
    let strange = |name: &[u8]| folder.path("").join(OsStr::from_bytes(name));
    let run = |arguments: &[&OsStr]| {
        let output = Command::new(env!("CARGO_BIN_EXE_sam3"))
            .args(arguments)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )
    };
    let output = strange(b"x\xff.pth");
    let flags = ["package", "--checkpoint-path", text(&source), "--output"].map(OsStr::new);
    let (code, says) = run(&[&flags[..], &[output.as_os_str()]].concat());
    assert!(code == Some(2) && says.contains("is not UTF-8"), "{says}");
    assert_eq!(folder.names(), ["src"]);
    package(&folder, "x.pth", "none");
    fs::rename(folder.path("x.pth"), &output).unwrap();
    let (code, says) = run(&[OsStr::new("inspect"), output.as_os_str(), OsStr::new("--json")]);
    assert_eq!(code, Some(0), "{says}");
    fs::create_dir(folder.path("drive")).unwrap();
    let drive = folder.path("drive");
    let (code, says) = run(&[
        OsStr::new("copy"),
        output.as_os_str(),
        drive.as_os_str(),
        OsStr::new("--json"),
    ]);
    assert_eq!(code, Some(0), "{says}");
    assert!(drive.join(OsStr::from_bytes(b"x\xff.pth")).exists());
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
    package("src/in.safetensors/x.pth", 3, &["cannot write", "hint:"]);
    package("src/in.safetensors", 2, &["the checkpoint itself"]);
    package("src/../src/./in.safetensors", 2, &["the checkpoint itself"]);
    std::os::unix::fs::symlink("src/in.safetensors", folder.path("link.safetensors")).unwrap();
    package("link.safetensors", 2, &["the checkpoint itself"]);
    std::os::unix::fs::symlink("src", folder.path("linked")).unwrap();
    package("linked/in.safetensors", 2, &["the checkpoint itself"]);
    fs::hard_link(&source, folder.path("second.pth")).unwrap();
    package("second.pth", 2, &["the checkpoint itself"]);
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
fn of_several_files_all_are_verified() {
    let folder = Folder::new();
    let good = package(&folder, "good.safetensors", "fp16");
    let bad = folder.path("bad.safetensors");
    // The last byte is a tensor's.
    let mut bytes = fs::read(&good).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&bad, bytes).unwrap();
    let absent = folder.path("absent.pth");
    let said = check(
        &["verify", text(&bad), text(&absent), text(&good)],
        1,
        &[
            "expected sha256",
            "absent.pth: No such file",
            "some files are not right",
        ],
    );
    assert!(said.contains("good.safetensors: verified"), "{said}");
}

/// A download or the prompts of a large model take minutes: what cannot be written is told before.
#[test]
fn outputs_in_the_way_are_told_before_the_work() {
    let folder = Folder::new();
    let output = package(&folder, "x.pth", "fp16");
    for (gone, left) in [("x.pth", "x_metadata.json"), ("x_metadata.json", "x.tar.gz")] {
        fs::remove_file(folder.path(gone)).unwrap();
        let offline = ["package", "--offline", "--output", text(&output)];
        check(&offline, 2, &[left, "exists already", "--force"]);
    }
    let nowhere = folder.path("no/x.pth");
    check(
        &["package", "--offline", "--output", text(&nowhere)],
        3,
        &["cannot write", "no/x.pth", "its folder exists"],
    );
    assert_eq!(folder.names(), ["src", "x.tar.gz"]);
}

/// The metadata's name is longer than the package's, and that of an archive's list is known last.
#[test]
fn names_that_become_too_long_are_told_before_the_work() {
    let folder = Folder::new();
    let source = checkpoint(&folder);
    let run = |stem: usize, more: &[&str], code, words: &[&str]| {
        let output = folder.path(&("x".repeat(stem) + ".pth"));
        let fixed = ["package", "--checkpoint-path", text(&source), "--output", text(&output)];
        check(&[&fixed[..], more].concat(), code, words);
    };
    run(
        242,
        &[],
        2,
        &["_metadata.json: the name is too long", "choose a shorter one"],
    );
    run(252, &[], 2, &[".pth: the name is too long"]);
    let split = ["--split", "200K", "--archive", "zst"];
    run(241, &split, 2, &[".tar.zst.sha256: the name is too long"]);
    assert_eq!(folder.names(), ["src"]);
    run(240, &split, 0, &[".tar.zst.sha256"]);
    let package = folder.path(&("x".repeat(240) + ".pth"));
    check(
        &["verify", text(&package)],
        0,
        &["_metadata.json equal to the metadata inside"],
    );
}

#[test]
fn a_killed_run_s_temporary_file_is_removed_by_the_next() {
    let folder = Folder::new();
    fs::write(folder.path(".x.pth.sam3-tmp-999999-3"), "half").unwrap();
    package(&folder, "x.pth", "fp16");
    assert_eq!(folder.names(), ["src", "x.pth", "x.tar.gz", "x_metadata.json"]);
}

/// What cannot segment is not packaged; the keys that it lacks are named.
#[test]
fn a_checkpoint_with_missing_keys_is_refused() {
    let folder = Folder::new();
    let source = folder.path("src/in.safetensors");
    let lacking = [
        "detector.transformer.decoder.query_embed.weight",
        "detector.dot_prod_scoring.prompt_proj.bias",
    ];
    let (kept, lost): (Vec<_>, Vec<_>) = tensors().into_iter().partition(|tensor| tensor.0 != lacking[1]);
    assert_eq!(lost.len(), 1);
    write_checkpoint(&source, &kept);
    let output = folder.path("x.pth");
    let run = ["package", "--checkpoint-path", text(&source), "--output", text(&output)];
    check(&run, 1, &["1 keys", lacking[1]]);
    let kept: Vec<_> = kept.into_iter().filter(|tensor| tensor.0 != lacking[0]).collect();
    write_checkpoint(&source, &kept);
    check(&run, 1, &[lacking[0]]);
    assert_eq!(folder.names(), ["src"]);
}

/// Heads and window are in no tensor: a package carries them, so that it opens without a config.json.
#[test]
fn the_config_travels_inside() {
    let folder = Folder::new();
    let x = package(&folder, "x.pth", "fp16");
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(support::miniature("config.json")).unwrap()).unwrap();
    let found: serde_json::Value =
        serde_json::from_slice(&support::sam3(&["inspect", text(&x), "--json"]).stdout).unwrap();
    let found = &found["metadata"]["config"];
    for path in [
        "/vision_config/backbone_config/num_attention_heads",
        "/vision_config/backbone_config/window_size",
        "/text_config/num_attention_heads",
        "/detr_decoder_config/num_attention_heads",
    ] {
        assert!(found.pointer(path).is_some(), "{path} is not in {found}");
        assert_eq!(found.pointer(path), config.pointer(path), "{path}");
    }
    let again = folder.path("again.pth");
    check(
        &["package", "--checkpoint-path", text(&x), "--output", text(&again)],
        0,
        &["fp16"],
    );
}

#[test]
fn an_image_package_leaves_out_what_no_image_needs() {
    let folder = Folder::new();
    let mut all = tensors();
    all.push(("tracker.no_mem_embed".to_owned(), vec![1, 1, 2], vec![0.5, 0.25]));
    let source = folder.path("src/in.safetensors");
    write_checkpoint(&source, &all);
    let count = |flags: &[&str], name: &str| {
        let output = folder.path(name);
        let run = [&packaging(&source, &output)[..], &["--no-tarball"]].concat();
        check(&[&run, flags].concat(), 0, &[]);
        check(&["verify", text(&output)], 0, &["verified"]);
        let found = support::sam3(&["inspect", text(&output), "--json"]).stdout;
        let found: serde_json::Value = serde_json::from_slice(&found).unwrap();
        let has = |word: &str| found["tensors"].to_string().contains(word);
        (
            found["tensors"].as_array().unwrap().len(),
            has("tracker."),
            has("convs.3."),
        )
    };
    assert_eq!(count(&[], "all.pth"), (all.len(), true, true));
    let (image, tracker, dead) = count(&["--components", "image"], "image.pth");
    assert!(image < all.len() && image > all.len() / 2, "{image} of {}", all.len());
    assert!(!tracker && !dead);
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
            assert!(value["dtypes"]["F16"]["tensors"].as_u64().unwrap() > 100);
        }
    }
}
