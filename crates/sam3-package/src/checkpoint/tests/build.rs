//! Files byte by byte: the smallest zip, pickle and safetensors writers that can also lie.

use std::path::PathBuf;

use crate::checkpoint::Checkpoint;

/// A zip entry: what the directory says of it, and its bytes.
pub struct Entry {
    pub name: String,
    pub data: Vec<u8>,
    pub method: u16,
    pub flags: u16,
    pub claims: u32,
    pub extra: Vec<u8>,
    pub comment: Vec<u8>,
}

pub fn entry(name: &str, data: &[u8]) -> Entry {
    Entry {
        name: name.into(),
        data: data.to_vec(),
        method: 0,
        flags: 0x808,
        claims: data.len() as u32,
        extra: Vec::new(),
        comment: Vec::new(),
    }
}

/// As torch.save lays it out, less the alignment and the data descriptors: local headers with sizes 0.
pub fn zip(entries: &[Entry]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for e in entries {
        let header = out.len() as u32;
        out.extend_from_slice(b"PK\x03\x04\0\0");
        out.extend_from_slice(&[0; 20]);
        out.extend_from_slice(&(e.name.len() as u16).to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(e.name.as_bytes());
        out.extend_from_slice(&e.data);
        directory.extend_from_slice(b"PK\x01\x02\0\0\0\0");
        directory.extend_from_slice(&e.flags.to_le_bytes());
        directory.extend_from_slice(&e.method.to_le_bytes());
        directory.extend_from_slice(&[0; 8]);
        directory.extend_from_slice(&e.claims.to_le_bytes());
        directory.extend_from_slice(&e.claims.to_le_bytes());
        for behind in [e.name.as_bytes(), &e.extra, &e.comment] {
            directory.extend_from_slice(&(behind.len() as u16).to_le_bytes());
        }
        directory.extend_from_slice(&[0; 8]);
        directory.extend_from_slice(&header.to_le_bytes());
        for behind in [e.name.as_bytes(), &e.extra, &e.comment] {
            directory.extend_from_slice(behind);
        }
    }
    let at = out.len() as u32;
    out.extend_from_slice(&directory);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    out.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    out.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    out.extend_from_slice(&(directory.len() as u32).to_le_bytes());
    out.extend_from_slice(&at.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out
}

/// Opcodes of a string.
pub fn text(s: &str) -> Vec<u8> {
    [b"X".as_slice(), &(s.len() as u32).to_le_bytes(), s.as_bytes()].concat()
}

/// Opcodes of an integer.
pub fn int(n: i64) -> Vec<u8> {
    [b"\x8a\x08".as_slice(), &n.to_le_bytes()].concat()
}

/// Opcodes of a tuple.
pub fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(".as_slice(), &items.concat(), b"t"].concat()
}

pub fn ints(items: &[i64]) -> Vec<u8> {
    tuple(&items.iter().map(|&n| int(n)).collect::<Vec<_>>())
}

/// Opcodes of `torch._utils._rebuild_tensor_v2` over storage `key`.
pub fn tensor(class: &str, key: &str, numel: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let class = format!("ctorch\n{class}\n").into_bytes();
    let storage = tuple(&[text("storage"), class, text(key), text("cpu"), int(numel)]);
    let args = [
        [&storage[..], b"Q"].concat(),
        int(offset),
        ints(shape),
        ints(strides),
        b"\x89".to_vec(),
        b"}".to_vec(),
    ];
    [b"ctorch._utils\n_rebuild_tensor_v2\n".as_slice(), &tuple(&args), b"R"].concat()
}

/// Opcodes of `torch._utils._rebuild_tensor_v3`, of types that have no storage of their own.
pub fn tensor_v3(dtype: &str, key: &str, bytes: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let class = b"ctorch.storage\nUntypedStorage\n".to_vec();
    let storage = tuple(&[text("storage"), class, text(key), text("cpu"), int(bytes)]);
    let args = [
        [&storage[..], b"Q"].concat(),
        int(0),
        ints(shape),
        ints(strides),
        b"\x89".to_vec(),
        b"}".to_vec(),
        format!("ctorch\n{dtype}\n").into_bytes(),
    ];
    [b"ctorch._utils\n_rebuild_tensor_v3\n".as_slice(), &tuple(&args), b"R"].concat()
}

/// A pickled dict.
pub fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let body: Vec<u8> = entries
        .iter()
        .flat_map(|(k, v)| [text(k), v.clone()].concat())
        .collect();
    [b"\x80\x02}(".as_slice(), &body, b"u."].concat()
}

/// A PyTorch file of this pickle and one storage, `data/0`, of 24 bytes.
pub fn pth(pickle: &[u8]) -> Vec<u8> {
    zip(&[
        entry("x/data.pkl", pickle),
        entry("x/data/0", &[0; 24]),
        entry("x/byteorder", b"little"),
    ])
}

/// A safetensors file with this header.
pub fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A file of this test run.
pub fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("sam3-checkpoint-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Opens the bytes; the error's words must hold each of `expected`.
#[track_caller]
pub fn refused(name: &str, bytes: &[u8], expected: &[&str]) {
    let message = Checkpoint::open(&write(name, bytes)).expect_err(name).to_string();
    for words in expected {
        assert!(message.contains(words), "{name}: {message:?} lacks {words:?}");
    }
    assert!(message.len() < 2000, "{name}: a message of {} bytes", message.len());
}
