//! Records of a zip that go by, written as `sam3 package` writes them and otherwise.

use sha2::{Digest, Sha256};

use super::PackageHasher;

const DESCRIPTOR: u8 = 8;

/// A record of a zip: its local header, and what follows.
fn record(name: &str, flags: u8, method: u8, size: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"PK\x03\x04\0\0".to_vec();
    bytes.extend([flags, 0, method, 0]);
    bytes.extend([0; 12]);
    bytes.extend(size.to_le_bytes());
    bytes.extend((name.len() as u16).to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend(name.as_bytes());
    bytes.extend(data);
    bytes
}

/// What comes of records, in pieces of that many bytes; first byte, length and SHA-256 of each tensor.
fn hashed(records: &[Vec<u8>], piece: usize) -> Result<Vec<(u64, u64, [u8; 32])>, String> {
    let bytes = [&records.concat()[..], b"PK\x01\x02", &[0; 26]].concat();
    let mut hasher = PackageHasher::new(bytes.len() as u64)?;
    bytes.chunks(piece).try_for_each(|piece| hasher.update(piece))?;
    Ok(hasher.finish()?.digests)
}

#[test]
fn tensors_are_hashed_and_other_records_are_not() {
    let records = [
        record("x/data.pkl", 0, 0, 3, b"abc"),
        record("x/data/0", 0, 0, 4, b"1234"),
        record("x/data/1", 0, 0, 0, b""),
        record("x/data/note", 0, 0, 2, b"no"),
        record("x/version", DESCRIPTOR, 0, 2, &[&b"3\n"[..], &[0; 16]].concat()),
        record("x/empty", DESCRIPTOR, 0, 0, &[0; 16]),
        record("x/data/2", 0, 0, 1, b"z"),
    ];
    let start = |record: usize, name: &str| {
        let before: usize = records[..record].iter().map(Vec::len).sum();
        (before + 30 + name.len()) as u64
    };
    let sha = |bytes: &[u8]| Sha256::digest(bytes).into();
    let expected = [
        (start(1, "x/data/0"), 4, sha(b"1234")),
        (start(2, "x/data/1"), 0, sha(b"")),
        (start(6, "x/data/2"), 1, sha(b"z")),
    ];
    for piece in [1, 7, 1 << 20] {
        assert_eq!(hashed(&records, piece).unwrap(), expected);
    }
}

#[test]
fn what_others_wrote_is_refused() {
    let pickle = || record("x/data.pkl", 0, 0, 1, b"p");
    for (records, expected) in [
        // Whoever writes into a pipe does not know how long it will be.
        (
            vec![record("x/data.pkl", DESCRIPTOR, 0, 0, b"abc")],
            "not written by sam3 package",
        ),
        (
            vec![record("x/data.pkl", 0, 8, 3, b"abc")],
            "not written by sam3 package",
        ),
        (
            vec![pickle(), b"none of these, for thirty bytes".to_vec()],
            "do not follow each other",
        ),
    ] {
        let error = hashed(&records, 1 << 20).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let mut hasher = PackageHasher::new(100).unwrap();
    hasher.update(&record("x/data/0", 0, 0, 9, b"1234")).unwrap();
    assert!(hasher.finish().unwrap_err().contains("ends before its last tensor"));
}
