//! An index and its shards, and our metadata inside either container.

use super::{build::*, *};

fn shard(name: &str, value: f32) -> Vec<u8> {
    let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
    safetensors(&header, &value.to_le_bytes())
}

#[test]
fn shards_are_one_checkpoint() {
    write("s-1.safetensors", &shard("a", 1.0));
    write("s-2.safetensors", &shard("b", 2.0));
    let index = |map: &str| format!(r#"{{"metadata":{{"total_size":8}},"weight_map":{map}}}"#);
    let good = write(
        "s.safetensors.index.json",
        index(r#"{"b":"s-2.safetensors","a":"s-1.safetensors"}"#).as_bytes(),
    );
    let checkpoint = Checkpoint::open(&good).unwrap();
    assert_eq!((checkpoint.len(), checkpoint.files().len()), (2, 2));
    let b = checkpoint.position("b").unwrap();
    assert_eq!(checkpoint.view(b).to_f32().unwrap(), [2.0]);

    for (name, map, expected) in [
        (
            "missing",
            r#"{"a":"s-1.safetensors","b":"s-3.safetensors"}"#,
            "needs s-3.safetensors, not found",
        ),
        (
            "swapped",
            r#"{"a":"s-2.safetensors","b":"s-1.safetensors"}"#,
            "which its index puts in",
        ),
        (
            "lacking",
            r#"{"a":"s-1.safetensors","c":"s-1.safetensors"}"#,
            "\"c\" in s-1.safetensors, which lacks it",
        ),
        (
            "unlisted",
            r#"{"a":"s-2.safetensors"}"#,
            "\"b\", which its index does not list",
        ),
        ("path", r#"{"a":"../s-1.safetensors"}"#, "not a plain file name"),
        (
            "twice",
            r#"{"a":"s-1.safetensors","a":"s-2.safetensors"}"#,
            "\"a\" is there twice",
        ),
    ] {
        refused(&format!("{name}.index.json"), index(map).as_bytes(), &[expected]);
    }
}

#[test]
fn metadata_is_found_in_both_containers() {
    let pickle = dict(&[("w", tensor("FloatStorage", "0", 6, 0, &[6], &[1]))]);
    let json = br#"{"format":1,"config":{"model_type":"sam3"}}"#;
    let entries = [
        entry("x/data.pkl", &pickle),
        entry("x/data/0", &[0; 24]),
        entry("x/sam3_metadata.json", json),
    ];
    let pth = Checkpoint::open(&write("package.pth", &zip(&entries))).unwrap();
    assert_eq!(pth.metadata_json(), Some(&json[..]));

    let quoted = serde_json::to_string(std::str::from_utf8(json).unwrap()).unwrap();
    let header = format!(
        r#"{{"__metadata__":{{"format":"pt","sam3_metadata":{quoted}}},"a":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#
    );
    let file = Checkpoint::open(&write("package.safetensors", &safetensors(&header, &[0; 4]))).unwrap();
    assert_eq!(file.metadata_json(), Some(&json[..]));
    let state = crate::StateDict::new(file).unwrap();
    assert_eq!(state.config(), Some(&serde_json::json!({"model_type": "sam3"})));
}
