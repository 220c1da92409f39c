//! What lies beside the weights in files of training code, and the several forms that weights have there.

use super::{build::*, *};

/// As Python's pickle writes these, protocol 2.
const OBJECTS: [(&str, &[u8], &str); 9] = [
    (
        "Namespace",
        b"cargparse\nNamespace\nq\x00)\x81q\x01}q\x02(X\x02\x00\x00\x00lrq\x03G?\xb9\x99\x99\x99\x99\x99\x9aub",
        "argparse.Namespace",
    ),
    (
        "BytesIO",
        b"c_io\nBytesIO\nq\x00)\x81q\x01c_codecs\nencode\nq\x02X\x03\x00\x00\x00abcq\x03X\x06\x00\x00\x00latin1q\x04\
          \x86q\x05Rq\x06K\x00N\x87q\x07b",
        "_io.BytesIO",
    ),
    (
        "NumPy scalar",
        b"cnumpy._core.multiarray\nscalar\nq\x00cnumpy\ndtype\nq\x01X\x02\x00\x00\x00f8q\x02\x89\x88\x87q\x03Rq\x04(K\
          \x03X\x01\x00\x00\x00<q\x05NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x06bc_codecs\nencode\nq\x07X\x01\x00\
          \x00\x00aq\x08X\x06\x00\x00\x00latin1q\t\x86q\nRq\x0b\x86q\x0cRq\r",
        "numpy._core.multiarray.scalar",
    ),
    (
        "NumPy array",
        b"cnumpy._core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nq\x01K\x00\x85q\x02X\x01\x00\x00\x00bq\x03\x87\
          q\x04Rq\x05(K\x01K\x03\x85q\x06Ntq\x07b",
        "numpy._core.multiarray._reconstruct",
    ),
    (
        "set",
        b"c__builtin__\nset\nq\x00]q\x01(K\x01K\x02e\x85q\x02Rq\x03",
        "__builtin__.set",
    ),
    (
        "deque",
        b"ccollections\ndeque\nq\x00)Rq\x01(K\x01K\x02e",
        "collections.deque",
    ),
    (
        "class",
        b"ctrain\nA\nq\x00)\x81q\x01}q\x02X\x01\x00\x00\x00xq\x03]q\x04(K\x01K\x02esb",
        "train.A",
    ),
    ("call", b"cos\nsystem\nX\x04\x00\x00\x00true\x85R", "os.system"),
    ("number", b"K\x07", "\"thing\""),
];

fn weights() -> Vec<u8> {
    tensor("FloatStorage", "0", 6, 0, &[6], &[1])
}

/// The opcodes of a dict of these, to be a value.
fn inner(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let whole = dict(entries);
    whole[2..whole.len() - 1].to_vec()
}

fn open(name: &str, pickle: &[u8]) -> Checkpoint {
    Checkpoint::open(&write(name, &pth(pickle))).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn objects_beside_the_tensors_are_told_and_left() {
    for (name, object, told) in OBJECTS {
        let entries = [("thing", object.to_vec()), ("w", weights())];
        let checkpoint = open("object.pt", &dict(&entries));
        assert_eq!(checkpoint.len(), 1, "{name}");
        let warning = checkpoint.warnings().join("\n");
        assert!(
            warning.contains("ignored, as no tensors") && warning.contains(told),
            "{name}: {warning}"
        );
        // Beside the state dict they are nobody's business.
        let entries = [("thing", object.to_vec()), ("model", inner(&[("w", weights())]))];
        let checkpoint = open("object.pt", &dict(&entries));
        assert_eq!((checkpoint.len(), checkpoint.warnings()), (1, &[][..]), "{name}");
    }
    let keys = [b"\x80\x02}(K\x01".as_slice(), &weights(), &text("w"), &weights(), b"u."].concat();
    let checkpoint = open("number as key.pt", &keys);
    assert_eq!(checkpoint.len(), 1);
    assert!(checkpoint.warnings()[0].contains("whose key is no string"));
}

#[test]
fn tensors_of_kinds_that_are_not_read_are_told_and_left() {
    let sparse = [
        b"ctorch._utils\n_rebuild_sparse_tensor\n".as_slice(),
        &tuple(&[int(1)]),
        b"R",
    ]
    .concat();
    let float8 = tensor_v3("float8_e8m0fnu", "0", 24, &[6], &[1]);
    for (name, odd, told) in [
        ("sparse", sparse, "torch._utils._rebuild_sparse_tensor"),
        ("float8", float8, "torch.float8_e8m0fnu, which is not read"),
        (
            "quantised",
            tensor("QInt8Storage", "0", 24, 0, &[2], &[1]),
            "torch.QInt8Storage",
        ),
        ("axes", tensor("FloatStorage", "0", 6, 0, &[1; 9], &[1; 9]), "9 axes"),
        (
            "large",
            tensor("FloatStorage", "0", 6, 0, &[1 << 30], &[0]),
            "repeats its storage (stride 0)",
        ),
    ] {
        let checkpoint = open("unread.pt", &dict(&[("odd", odd), ("w", weights())]));
        assert_eq!(checkpoint.len(), 1, "{name}");
        let unread = checkpoint.unread();
        assert!(
            unread.len() == 1 && unread[0].contains("\"odd\"") && unread[0].contains(told),
            "{name}: {unread:?}"
        );
    }
    // What a damaged file says is no odd kind.
    let beyond = tensor("FloatStorage", "0", 6, 3, &[6], &[1]);
    refused(
        "beyond.pt",
        &pth(&dict(&[("odd", beyond), ("w", weights())])),
        &["\"odd\"", "needs more than"],
    );
}

#[test]
fn an_expanded_tensor_is_read_as_it_is_seen() {
    let data: Vec<u8> = [1f32, 2.0, 3.0, 4.0, 5.0, 6.0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let expanded = tensor("FloatStorage", "0", 6, 4, &[3, 2], &[0, 1]);
    let one = tensor("FloatStorage", "0", 6, 1, &[8], &[0]);
    let pickle = dict(&[("a", expanded), ("b", one)]);
    let bytes = zip(&[entry("x/data.pkl", &pickle), entry("x/data/0", &data)]);
    let checkpoint = Checkpoint::open(&write("expanded.pt", &bytes)).unwrap();
    assert_eq!(checkpoint.view(0).to_f32().unwrap(), [5.0, 6.0, 5.0, 6.0, 5.0, 6.0]);
    assert_eq!(checkpoint.view(1).to_f32().unwrap(), [2.0; 8]);
}

#[test]
fn complex32_and_tensors_with_attributes_are_read() {
    let half = tensor_v3("complex32", "0", 24, &[3, 2], &[2, 1]);
    let checkpoint = open("complex32.pt", &dict(&[("c", half)]));
    assert_eq!(
        (checkpoint.view(0).dtype, checkpoint.view(0).byte_len()),
        (Dtype::C32, 24)
    );

    let plain = weights();
    let args = &plain["ctorch._utils\n_rebuild_tensor_v2\n".len()..plain.len() - 1];
    let parts = [
        b"ctorch._utils\n_rebuild_tensor_v2\n".to_vec(),
        b"ctorch\nTensor\n".to_vec(),
        args.to_vec(),
        b"}".to_vec(),
    ];
    let typed = [
        b"ctorch._tensor\n_rebuild_from_type_v2\n".as_slice(),
        &tuple(&parts),
        b"R",
    ]
    .concat();
    assert_eq!(open("typed.pt", &dict(&[("w", typed)])).view(0).shape, [6]);
}

#[test]
fn one_of_several_sets_is_taken_and_named() {
    let set = |name: &str| inner(&[(name, weights()), ("b", weights())]);
    let first = |checkpoint: &Checkpoint| checkpoint.tensors().next().unwrap().name.to_owned();
    let optimizer = inner(&[("exp_avg", set("optimizer's"))]);
    let ema = inner(&[("module", set("ema's")), ("decay", int(1))]);
    let pickle = dict(&[
        ("optimizer", optimizer),
        ("ema", ema),
        ("model", set("model's")),
        ("epoch", weights()),
    ]);
    let path = write("sets.pt", &pth(&pickle));
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(first(&checkpoint), "model's");
    let warning = &checkpoint.warnings()[0];
    assert!(warning.contains("\"model\" was taken, not \"ema.module\""), "{warning}");
    assert_eq!(checkpoint.other_weights(), ["ema.module"]);
    for (wanted, taken) in [("model", "model's"), ("ema", "ema's"), ("ema.module", "ema's")] {
        let checkpoint = Checkpoint::open_weights(&path, Some(wanted)).unwrap();
        assert_eq!(
            (first(&checkpoint), checkpoint.wanted()),
            (taken.to_owned(), None),
            "{wanted}"
        );
        assert!(checkpoint.warnings().is_empty(), "{wanted}");
    }
    assert_eq!(
        Checkpoint::open_weights(&path, Some("other")).unwrap().wanted(),
        Some("other")
    );

    for wrapper in [
        "model",
        "state_dict",
        "model_state_dict",
        "module",
        "ema",
        "net",
        "whatever",
    ] {
        let checkpoint = open("wrapped.pt", &dict(&[("epoch", int(3)), (wrapper, set("w"))]));
        assert_eq!((checkpoint.len(), checkpoint.warnings()), (2, &[][..]), "{wrapper}");
    }
    let deep = inner(&[("state_dict", inner(&[("model", set("w"))]))]);
    assert_eq!(open("deep.pt", &dict(&[("checkpoint", deep)])).len(), 2);
}

#[test]
fn a_storage_of_any_number_in_a_cut_file_is_no_overflow() {
    let far = tensor("FloatStorage", &usize::MAX.to_string(), 100_000, 1, &[99_999], &[1]);
    let pickle = dict(&[
        ("w", far),
        ("v", tensor("FloatStorage", "7", 100_000, 0, &[100_000], &[1])),
    ]);
    let bytes = zip(&[entry("x/data.pkl", &pickle), entry("x/data/0", &[0; 400_000])]);
    refused("far.pt", &bytes[..1000], &["cut off", "799996 bytes"]);
}
