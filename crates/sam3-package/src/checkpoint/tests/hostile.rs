//! Every way we know to make a file lie, and the words it is refused with.

use super::{build::*, *};

fn one(value: Vec<u8>) -> Vec<u8> {
    pth(&dict(&[("w", value)]))
}

#[test]
fn the_builder_makes_a_good_file() {
    let bytes = one(tensor("FloatStorage", "0", 6, 2, &[2, 2], &[1, 2]));
    let checkpoint = Checkpoint::open(&write("good.pt", &bytes)).unwrap();
    assert_eq!(checkpoint.view(0).to_f32().unwrap(), [0.0; 4]);
}

#[test]
fn tensors_that_lie() {
    let float = |offset, shape: &[i64], strides: &[i64]| one(tensor("FloatStorage", "0", 6, offset, shape, strides));
    for (name, bytes, expected) in [
        (
            "past the end",
            float(3, &[2, 2], &[2, 1]),
            "needs more than the 24 bytes",
        ),
        ("negative stride", float(0, &[2, 2], &[-2, 1]), "has -2 in its strides"),
        ("negative size", float(0, &[-1], &[1]), "has -1 in its shape"),
        ("negative offset", float(-1, &[2], &[1]), "storage offset -1"),
        ("huge", float(0, &[1 << 40, 1 << 40], &[0, 0]), "impossible shape"),
        (
            "expanded",
            float(0, &[1 << 20], &[0]),
            "repeats its storage (stride 0) to 4194304 bytes",
        ),
        (
            "wrapping stride",
            float(0, &[3, 2], &[i64::MAX, i64::MAX]),
            "needs more than",
        ),
        ("too many axes", float(0, &[1; 9], &[1; 9]), "9 axes"),
        ("axes without strides", float(0, &[2, 2], &[1]), "2 axes but 1 strides"),
        ("empty beyond", float(7, &[0], &[1]), "offset 7"),
        (
            "lying storage",
            one(tensor("FloatStorage", "0", 7, 0, &[2], &[1])),
            "should have 28 bytes in \"data/0\", found 24",
        ),
        (
            "absent storage",
            one(tensor("FloatStorage", "1", 6, 0, &[2], &[1])),
            "\"data/1\", which the zip lacks",
        ),
        (
            "path as key",
            one(tensor("FloatStorage", "../0", 6, 0, &[2], &[1])),
            "the zip lacks",
        ),
        (
            "unknown storage",
            one(tensor("QInt8Storage", "0", 24, 0, &[2], &[1])),
            "torch.QInt8Storage",
        ),
    ] {
        refused(name, &bytes, &["tensor \"w\"", expected]);
    }
}

#[test]
fn pickles_that_call() {
    let system = [b"cos\nsystem\n".as_slice(), &tuple(&[text("touch /tmp/pwned")]), b"R"].concat();
    refused(
        "os.system",
        &one(system.clone()),
        &["tensor \"w\"", "os.system", "not allowed"],
    );
    refused("as model", &pth(&dict(&[("model", system.clone())])), &["os.system"]);
    refused(
        "as root",
        &pth(&[b"\x80\x02", &system[..], b"."].concat()),
        &["os.system", "state_dict"],
    );
    let nested = [
        b"ctorch._utils\n_rebuild_parameter\n".as_slice(),
        &tuple(std::slice::from_ref(&system)),
        b"R",
    ]
    .concat();
    refused("in a parameter", &one(nested), &["os.system"]);
    let stack_global = [&text("builtins")[..], &text("eval"), b"\x93)R"].concat();
    refused("by STACK_GLOBAL", &one(stack_global), &["builtins.eval"]);
}

#[test]
fn calls_outside_the_state_dict_are_data() {
    let system = [b"cos\nsystem\n".as_slice(), &tuple(&[text("true")]), b"R}b"].concat();
    let good = dict(&[("w", tensor("FloatStorage", "0", 6, 0, &[6], &[1]))]);
    let model = good[2..good.len() - 1].to_vec();
    let checkpoint = Checkpoint::open(&write("aside.pt", &pth(&dict(&[("hook", system), ("model", model)])))).unwrap();
    assert_eq!(checkpoint.len(), 1);
}

#[test]
fn duplicate_keys() {
    let t = || tensor("FloatStorage", "0", 6, 0, &[6], &[1]);
    refused("twice.pt", &pth(&dict(&[("w", t()), ("w", t())])), &["key \"w\" twice"]);
    let inner = dict(&[("w", t())]);
    let model = inner[2..inner.len() - 1].to_vec();
    refused(
        "models.pt",
        &pth(&dict(&[("model", model.clone()), ("model", model)])),
        &["key \"model\" twice"],
    );
}

#[test]
fn pickles_that_swell_or_stop() {
    let repeat = |op: &[u8], n: usize| [b"\x80\x02".as_slice(), &op.repeat(n), b"."].concat();
    for (name, pickle, expected) in [
        ("deep marks", repeat(b"(", 1_000_000), "nests too deeply"),
        (
            "deep tuples",
            [b"\x80\x02)".as_slice(), &b"\x85".repeat(1_000_000), b"."].concat(),
            "more than 125000 objects",
        ),
        ("many values", repeat(b"N", 1_000_000), "more than 125000 objects"),
        ("many dicts", repeat(b"}0", 1_000_000), "more than 125000 objects"),
        (
            "long list",
            [b"\x80\x02]".as_slice(), &b"Na".repeat(1_000_000), b"."].concat(),
            "more than 250000 items",
        ),
        (
            "far memo",
            b"\x80\x02Nr\xff\xff\xff\xff.".to_vec(),
            "remembers more than",
        ),
        (
            "lying text",
            b"\x80\x02X\xff\xff\xff\x7fab.".to_vec(),
            "needs 2147483647 bytes and 3 are left",
        ),
        (
            "lying text 8",
            b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xffab.".to_vec(),
            "is cut off",
        ),
        ("no stop", b"\x80\x02N".to_vec(), "is cut off"),
        ("empty stack", b"\x80\x02.".to_vec(), "takes more values"),
        ("under a mark", b"\x80\x02N(R.".to_vec(), "takes more values"),
        ("no mark", b"\x80\x02t.".to_vec(), "never opened"),
        ("no memo", b"\x80\x02h\x07.".to_vec(), "recalls object 7"),
        ("odd items", b"\x80\x02}(Nu.".to_vec(), "key without a value"),
        ("items of a tuple", b"\x80\x02)NNs.".to_vec(), "not a dict"),
        ("extension", b"\x80\x02\x82\x01.".to_vec(), "opcode 0x82"),
        ("protocol 9", b"\x80\x09N.".to_vec(), "protocol 9"),
        ("a number", b"\x80\x02K\x01.".to_vec(), "not a dictionary of tensors"),
        (
            "no tensors",
            dict(&[("a", int(1))]),
            "holds no tensors; the keys of its dictionary are [\"a\"]",
        ),
    ] {
        refused(name, &pth(&pickle), &[expected]);
    }
}

#[test]
fn a_thousand_million_laughs_are_one_tuple_each() {
    let mut pickle = b"\x80\x02)q\x00".to_vec();
    for _ in 0..100 {
        pickle.extend_from_slice(b"0(h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00tq\x00");
    }
    // A list that holds itself, too.
    pickle.extend_from_slice(b"0]q\x01h\x01a.");
    refused("laughs.pt", &pth(&pickle), &["not a dictionary of tensors"]);
}

#[test]
fn many_views_of_one_storage() {
    let t = tensor("FloatStorage", "0", 6, 0, &[6], &[1]);
    // Remembered, then recalled under 20000 names: 480 kB from a file of 150 kB is fine, of 40 MB is not.
    let mut pickle = [b"\x80\x02}(".as_slice(), &text("a"), &t, b"q\x00"].concat();
    for i in 0..40_000 {
        pickle.extend_from_slice(&[&text(&format!("{i}"))[..], b"h\x00"].concat());
    }
    pickle.extend_from_slice(b"u.");
    refused("many.pt", &pth(&pickle), &["more than 16384 tensors"]);
    let big = vec![0; 1 << 20];
    let t = tensor("ByteStorage", "0", 1 << 20, 0, &[1 << 20], &[1]);
    let entries: Vec<(String, Vec<u8>)> = (0..100).map(|i| (i.to_string(), t.clone())).collect();
    let entries: Vec<(&str, Vec<u8>)> = entries.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
    let bytes = zip(&[entry("x/data.pkl", &dict(&entries)), entry("x/data/0", &big)]);
    refused("unfold.pt", &bytes, &["would unfold to 104857600 bytes"]);
}

#[test]
fn zips_that_lie() {
    let pickle = dict(&[("w", tensor("FloatStorage", "0", 6, 0, &[6], &[1]))]);
    let good = || [entry("x/data.pkl", &pickle), entry("x/data/0", &[0; 24])];
    let with = |change: &dyn Fn(&mut [Entry])| {
        let mut entries = good();
        change(&mut entries);
        zip(&entries)
    };
    for (name, bytes, expected) in [
        ("compressed", with(&|e| e[1].method = 8), "\"x/data/0\" is compressed"),
        ("encrypted", with(&|e| e[1].flags |= 1), "\"x/data/0\" is encrypted"),
        (
            "overlapping",
            with(&|e| e[0].claims += 40),
            "\"x/data.pkl\" and \"x/data/0\" overlap",
        ),
        (
            "too long",
            with(&|e| e[1].claims = 1 << 30),
            "\"x/data/0\" should hold 1073741824 bytes",
        ),
        (
            "same name",
            with(&|e| e[1].name = "x/data.pkl".into()),
            "two zip entries are named",
        ),
        (
            "two pickles",
            with(&|e| e[1].name = "y/data.pkl".into()),
            "two checkpoints",
        ),
        (
            "no pickle",
            with(&|e| e[0].name = "word/document.xml".into()),
            "no ARCHIVE/data.pkl",
        ),
        (
            "big end",
            zip(&[entry("x/data.pkl", &pickle), entry("x/byteorder", b"big")]),
            "byte order is \"big\"",
        ),
        (
            "program",
            zip(&[entry("x/data.pkl", &pickle), entry("x/constants.pkl", b"")]),
            "TorchScript",
        ),
    ] {
        refused(name, &bytes, &[expected]);
    }
    let mut trailing = zip(&good());
    trailing.extend_from_slice(b"more");
    Checkpoint::open(&write("comment.pt", &trailing)).expect("bytes after the end record are a comment");
    let mut shifted = zip(&good());
    shifted.insert(10, 0);
    refused("shifted", &shifted, &["lost or added"]);
}

/// Other writers' directories have more behind a name than `torch.save`'s.
#[test]
fn a_directory_may_say_more_of_its_entries() {
    let sizes = [7u64, 7].map(u64::to_le_bytes).concat();
    let zip64 = [&[1, 0, 16, 0], &sizes[..]].concat();
    let time = [b"UT", &[5, 0, 1, 2, 3, 4, 5][..]].concat();
    let mut entries = ["a", "b", "c", "d", "e"].map(|name| entry(name, b"7 bytes"));
    entries[0].extra = time.clone();
    entries[1].comment = b"a comment".to_vec();
    entries[2].claims = u32::MAX;
    entries[2].extra = [time, zip64].concat();
    entries[2].comment = b"another".to_vec();
    let bytes = zip(&entries);
    let found = zip::entries(&bytes).unwrap();
    let found: Vec<_> = found.iter().map(|e| (e.name, &bytes[e.data.clone()])).collect();
    assert_eq!(found, ["a", "b", "c", "d", "e"].map(|name| (name, &b"7 bytes"[..])));
}

#[test]
fn files_cut_short_say_what_was_expected() {
    let pickle = dict(&[("w", tensor("FloatStorage", "0", 100_000, 0, &[100_000], &[1]))]);
    let bytes = zip(&[entry("x/data.pkl", &pickle), entry("x/data/0", &[0; 400_000])]);
    refused("cut.pt", &bytes[..1000], &["cut off", "400000 bytes", "a file of 1000"]);
    refused("cut short.pt", &bytes[..60], &["cut off"]);
    let header = r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
    let bytes = safetensors(header, &[0; 16]);
    let expected = format!("expected {} bytes, found {}", bytes.len(), bytes.len() - 1);
    refused("cut.safetensors", &bytes[..bytes.len() - 1], &["cut off", &expected]);
    refused("header.safetensors", &bytes[..20], &["cut off", "a file of 20"]);
    // Every prefix ends in an error, none in a panic.
    let bytes = std::fs::read(fixture("wrapped.pt")).unwrap();
    for end in 0..bytes.len() {
        refused("prefix.pt", &bytes[..end], &[]);
    }
}

#[test]
fn safetensors_that_lie() {
    let info = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
    };
    let a = info("F32", "[4]", "[0,16]");
    for (name, header, expected) in [
        ("twice", format!(r#"{{"a":{a},"a":{a}}}"#), "\"a\" is there twice"),
        (
            "overlap",
            format!(r#"{{"a":{a},"b":{}}}"#, info("F32", "[2]", "[8,16]")),
            "\"b\" overlaps",
        ),
        (
            "gap",
            format!(r#"{{"a":{}}}"#, info("F32", "[2]", "[8,16]")),
            "leaves a gap",
        ),
        (
            "tail",
            format!(r#"{{"a":{}}}"#, info("F32", "[2]", "[0,8]")),
            "8 bytes after its last tensor: expected",
        ),
        (
            "backwards",
            format!(r#"{{"a":{}}}"#, info("F32", "[4]", "[16,0]")),
            "needs 16 bytes",
        ),
        (
            "wrong size",
            format!(r#"{{"a":{}}}"#, info("F32", "[3]", "[0,16]")),
            "needs 12 bytes",
        ),
        (
            "overflow",
            format!(r#"{{"a":{}}}"#, info("F32", "[4611686018427387905]", "[0,4]")),
            "impossible shape",
        ),
        (
            "far",
            format!(
                r#"{{"a":{}}}"#,
                info("F32", "[1]", "[18446744073709551611,18446744073709551615]")
            ),
            "leaves a gap",
        ),
        (
            "negative",
            format!(r#"{{"a":{}}}"#, info("F32", "[-4]", "[0,16]")),
            "malformed",
        ),
        (
            "axes",
            format!(r#"{{"a":{}}}"#, info("F32", "[1,1,1,1,1,1,1,1,4]", "[0,16]")),
            "more than 8 axes",
        ),
        (
            "dtype",
            format!(r#"{{"a":{}}}"#, info("F4", "[4]", "[0,16]")),
            "dtype \"F4\"",
        ),
        ("not json", "{\"a\":".to_owned(), "malformed"),
        ("deep", format!("{{\"a\":{}", "[".repeat(100_000)), "malformed"),
        (
            "long name",
            format!(r#"{{"{}":{a}}}"#, "n".repeat(1000)),
            "name has 1000 bytes",
        ),
    ] {
        refused(name, &safetensors(&header, &[0; 16]), &[expected]);
    }
    let mut huge = (u64::from(u32::MAX)).to_le_bytes().to_vec();
    huge.extend_from_slice(b"{}");
    refused("header.safetensors", &huge, &["claims 4294967295 bytes"]);
}

#[test]
fn other_files_are_recognised() {
    let tar = |name: &str| {
        let mut block = vec![0u8; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[257..262].copy_from_slice(b"ustar");
        block
    };
    for (name, bytes, expected) in [
        (
            "legacy",
            std::fs::read(fixture("legacy.pt")).unwrap(),
            "before torch 1.6",
        ),
        ("bare pickle", b"\x80\x04}.".to_vec(), "bare Python pickle"),
        ("legacy tar", tar("sys_info"), "before torch 0.2"),
        ("tar", tar("X.pth"), "tar archive"),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0".to_vec(), "unpack"),
        ("zstd", b"\x28\xb5\x2f\xfd\0\0".to_vec(), "unpack"),
        (
            "lfs",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n".to_vec(),
            "git lfs pull",
        ),
        ("html", b"<!DOCTYPE html><html>".to_vec(), "web page"),
        ("zeros", vec![0; 10_000], "zeros"),
        ("noise", b"what is this".to_vec(), "not a checkpoint"),
        ("config", br#"{"model_type": "sam3"}"#.to_vec(), "not the index"),
        (
            "metadata",
            b"{\n  \"format\": \"sam3-package\",\n  \"format_version\": 1".to_vec(),
            "metadata of a package",
        ),
        ("empty", vec![], "empty"),
        (
            "answer",
            br#"{"error": "Repository not found"}"#.to_vec(),
            "a server's answer",
        ),
        (
            "words",
            b"Entry not found\n".to_vec(),
            "found the text \"Entry not found\"",
        ),
        ("gguf", b"GGUF\x03\0\0\0".to_vec(), "a GGUF model: SAM 3 is read from"),
        ("onnx", b"\x08\x08\x12\x07pytorch".to_vec(), "an ONNX model"),
        ("engine", b"ftrt\0\0".to_vec(), "a TensorRT engine"),
        ("hdf5", b"\x89HDF\r\n\x1a\n".to_vec(), "an HDF5 file"),
        ("npy", b"\x93NUMPY\x01\0".to_vec(), "a NumPy array"),
        ("heic", b"\0\0\0\x18ftypheic".to_vec(), "a HEIC picture"),
        (
            "npz",
            zip(&[entry("a.npy", b"\x93NUMPY")]),
            "an archive of NumPy arrays",
        ),
        (
            "zipped",
            zip(&[entry("sam3/config.json", b"{}"), entry("sam3/sam3.pt", b"PK")]),
            "a zip that holds sam3/sam3.pt: unpack it first",
        ),
        ("keras", zip(&[entry("model.weights.h5", b"")]), "a Keras model"),
        (
            "export",
            zip(&[entry("a/archive_format", b"pt2")]),
            "a program of torch.export",
        ),
    ] {
        refused(name, &bytes, &[expected]);
    }
    let module = std::fs::read(fixture("module.pt")).unwrap();
    refused("module", &module, &["torch.nn.modules.linear.Linear", "state_dict"]);
    refused(
        "conj",
        &std::fs::read(fixture("conj.pt")).unwrap(),
        &["tensor \"a\"", "resolve_conj"],
    );
    let folder = write("x.pt", b"").parent().unwrap().to_owned();
    assert!(Checkpoint::open(&folder.join("absent.pt")).unwrap_err().is_input());
}

#[test]
fn a_zip64_directory_that_lies() {
    // End record, its locator and the old end record, of a zip without entries.
    let zip64 = |count: u64, at: u64, disk: u8| {
        let mut bytes = [
            &b"PK\x06\x06"[..],
            &44u64.to_le_bytes(),
            &[45, 0, 45, 0, disk, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        for number in [count, count, 0, 0] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend([&b"PK\x06\x07"[..], &[0; 4], &at.to_le_bytes(), &[1, 0, 0, 0]].concat());
        bytes.extend([&b"PK\x05\x06"[..], &[0; 4], &[0xff; 12], &[0, 0]].concat());
        bytes
    };
    let open = |bytes: &[u8]| zip::entries(bytes).map(|entries| entries.len());
    assert_eq!(open(&zip64(0, 0, 0)), Ok(0));
    for (bytes, expected) in [
        (zip64(65_537, 0, 0), "counts 65537 entries; at most 65536 are read"),
        (zip64(u64::MAX, 0, 0), "counts 18446744073709551615 entries"),
        (zip64(0, 1, 0), "not where the locator says"),
        (zip64(0, u64::MAX, 0), "not where the locator says"),
        (zip64(0, 0, 1), "one part of a multi-part zip"),
    ] {
        let error = open(&bytes).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
