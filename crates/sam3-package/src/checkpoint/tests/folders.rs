//! Folders named in place of a checkpoint, and PyTorch's shards.

use super::{build::*, *};

/// A folder of these files.
fn folder(name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("sam3-folder-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    for (file, bytes) in files {
        std::fs::write(folder.join(file), bytes).unwrap();
    }
    folder
}

fn pt(tensor_name: &str) -> Vec<u8> {
    pth(&dict(&[(tensor_name, tensor("FloatStorage", "0", 6, 0, &[6], &[1]))]))
}

#[test]
fn the_checkpoint_in_a_folder_is_found() {
    let header = r#"{"s":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let (safe, index) = (
        safetensors(header, &[0; 4]),
        br#"{"weight_map":{"s":"model-00001-of-00001.safetensors"}}"#,
    );
    let bin = br#"{"weight_map":{"b":"pytorch_model-00001-of-00002.bin","c":"pytorch_model-00002-of-00002.bin"}}"#;
    let p = pt("p");
    for (name, files, taken, note) in [
        (
            "safe",
            &[("model.safetensors", &safe[..]), ("config.json", b"{}")][..],
            "model.safetensors",
            "",
        ),
        (
            "index",
            &[
                ("model.safetensors.index.json", index),
                ("model-00001-of-00001.safetensors", &safe),
            ],
            "model.safetensors.index.json",
            "",
        ),
        (
            "hub",
            &[("sam3.pt", &p), ("model.safetensors", &safe)],
            "model.safetensors",
            "it also holds sam3.pt",
        ),
        ("meta", &[("sam3.pt", &p), ("LICENSE", b"x")], "sam3.pt", ""),
        (
            "package",
            &[("x_fp16.pth", &p), ("x_fp16_metadata.json", b"{}")],
            "x_fp16.pth",
            "",
        ),
        ("stick", &[("SAM3.PTH", &p), ("._SAM3.PTH", b"x")], "SAM3.PTH", ""),
        (
            "fat",
            &[("SAM3.PT", &p), ("OTHER.PT", &p)],
            "SAM3.PT",
            "SAM3.PT was taken; it also holds OTHER.PT",
        ),
        (
            "beside",
            &[
                ("x.safetensors.index.json", index),
                ("model-00001-of-00001.safetensors", &safe),
                ("finetuned.pt", &p),
            ],
            "x.safetensors.index.json",
            "it also holds finetuned.pt",
        ),
        (
            "trainer",
            &[("epoch9.pt", &p), ("optimizer.pt", &p), ("rng_state.pth", &p)],
            "epoch9.pt",
            "",
        ),
        (
            "bin",
            &[("pytorch_model.bin", &p), ("training_args.bin", b"x")],
            "pytorch_model.bin",
            "",
        ),
        (
            "bins",
            &[
                ("pytorch_model.bin.index.json", bin),
                ("pytorch_model-00001-of-00002.bin", &pt("b")),
                ("pytorch_model-00002-of-00002.bin", &pt("c")),
            ],
            "pytorch_model.bin.index.json",
            "",
        ),
    ] {
        let folder = folder(name, files);
        let checkpoint = Checkpoint::open(&folder).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(checkpoint.path(), folder.join(taken), "{name}");
        let warnings = checkpoint.warnings().join("\n");
        assert!(
            warnings.is_empty() == note.is_empty() && warnings.contains(note),
            "{name}: {warnings}"
        );
    }
}

#[test]
fn a_folder_that_stands_for_no_one_file_says_what_is_in_it() {
    let p = pt("p");
    for (name, files, expected) in [
        (
            "two",
            &[("a.pt", &p[..]), ("b.pt", &p)][..],
            "name one of the files in it (a.pt, b.pt)",
        ),
        (
            "none",
            &[("model.onnx", b"x"), ("config.json", b"{}")],
            "holds no checkpoint (.pt, .pth or .safetensors): found",
        ),
        ("empty", &[], "an empty folder"),
        (
            "distributed",
            &[("__0_0.distcp", b"x"), (".metadata", b"x")],
            "dcp_to_torch",
        ),
    ] {
        let error = Checkpoint::open(&folder(name, files)).unwrap_err();
        assert!(
            error.is_input() && error.to_string().contains(expected),
            "{name}: {error}"
        );
    }
}

#[test]
fn a_tensor_that_is_not_read_is_not_lacking() {
    let header =
        r#"{"b":{"dtype":"F4","shape":[8],"data_offsets":[0,4]},"c":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    let index = br#"{"weight_map":{"b":"1.safetensors","c":"1.safetensors"}}"#;
    let files = [
        ("i.index.json", &index[..]),
        ("1.safetensors", &safetensors(header, &[0; 8])),
    ];
    let checkpoint = Checkpoint::open(&folder("unread", &files).join("i.index.json")).unwrap();
    assert_eq!((checkpoint.len(), checkpoint.position("c")), (1, Some(0)));
    assert_eq!(
        checkpoint.unread(),
        ["tensor \"b\" has dtype \"F4\", which is not read"]
    );
}

#[test]
fn a_shard_of_which_no_tensor_is_read_takes_none_from_the_others() {
    let index = br#"{"weight_map":{"b\"c":"1.safetensors","c":"2.safetensors"}}"#;
    let odd = r#"{"b\"c":{"dtype":"F4","shape":[2],"data_offsets":[0,4]}}"#;
    let good = r#"{"c":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let (odd, good) = (safetensors(odd, &[0; 4]), safetensors(good, &[0; 4]));
    let files = [
        ("i.index.json", &index[..]),
        ("1.safetensors", &odd),
        ("2.safetensors", &good),
    ];
    let checkpoint = Checkpoint::open(&folder("odd-shard", &files).join("i.index.json")).unwrap();
    assert_eq!((checkpoint.len(), checkpoint.position("c")), (1, Some(0)));
    assert!(
        checkpoint.unread()[0].starts_with("tensor \"b\"c\" has dtype"),
        "{:?}",
        checkpoint.unread()
    );
    let alone = br#"{"weight_map":{"b\"c":"1.safetensors"}}"#;
    let files = [("i.index.json", &alone[..]), ("1.safetensors", &odd)];
    let error = Checkpoint::open(&folder("no-shard", &files).join("i.index.json"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("has dtype"), "{error}");
}

#[test]
fn shards_are_of_one_format_and_hold_tensors() {
    let index = br#"{"weight_map":{"b":"1.bin","c":"2.bin"}}"#;
    let header = r#"{"c":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    for (name, second, expected) in [
        (
            "mixed",
            safetensors(header, &[0; 4]),
            "of another format than the first shard",
        ),
        ("page", b"<html>".to_vec(), "web page"),
        ("again", br#"{"weight_map":{}}"#.to_vec(), "it is JSON"),
        ("other", pt("d"), "holds tensor \"d\", which its index does not list"),
    ] {
        let folder = folder(
            name,
            &[("i.index.json", index), ("1.bin", &pt("b")), ("2.bin", &second)],
        );
        let error = Checkpoint::open(&folder.join("i.index.json")).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("2.bin"), "{name}: {error}");
    }
}
