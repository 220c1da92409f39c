//! What a file is, from its first bytes; and, where it is something else, what to do about it.

use std::path::Path;

use super::safetensors;

/// The forms a checkpoint comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Zip,
    Safetensors,
    /// Perhaps an index of shards.
    Json,
}

/// torch.save's first pickle before 1.6: the number 0x1950a86a20f9469cfc6c.
const LEGACY: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

const RESAVE: &str = "open it in Python with a current torch and torch.save its state dict again";

/// Decides by content alone.
pub(super) fn sniff(file: &[u8]) -> Result<Kind, String> {
    if file.starts_with(b"PK\x03\x04") {
        return Ok(Kind::Zip);
    }
    if safetensors::is_safetensors(file) {
        return Ok(Kind::Safetensors);
    }
    let text = file.trim_ascii_start();
    if text.starts_with(b"{") {
        return Ok(Kind::Json);
    }
    Err(
        if file.starts_with(&[0x80]) && file.get(2..).is_some_and(|rest| rest.starts_with(LEGACY)) {
            format!("it is a PyTorch file of the form used before torch 1.6, which is not read: {RESAVE}")
        } else if file.starts_with(&[0x80]) && file.get(1).is_some_and(|v| (2..=5).contains(v)) {
            format!("it is a bare Python pickle, which is not read: {RESAVE}")
        } else if file.get(257..262) == Some(b"ustar") {
            if legacy_tar(file) {
                format!("it is a PyTorch file of the tar form used before torch 0.2, which is not read: {RESAVE}")
            } else {
                "it is a tar archive: unpack it first and name the checkpoint in it".into()
            }
        } else if file.starts_with(&[0x1f, 0x8b]) || file.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            "it is a compressed archive: unpack it first (sam3 unpack) and name the checkpoint in it".into()
        } else if file.starts_with(b"version https://git-lfs") {
            "it is a git-lfs pointer, not the file itself: run git lfs pull".into()
        } else if text.starts_with(b"<") {
            "it is a web page, not a checkpoint: the download needs a login or another address".into()
        } else if file.iter().take(4096).all(|&b| b == 0) {
            "it begins with zeros: the copy or download was interrupted".into()
        } else {
            "it is not a checkpoint: expected a PyTorch zip (.pt, .pth), a safetensors file or the index of a sharded one, \
         found none of their signatures"
            .into()
        },
    )
}

fn legacy_tar(file: &[u8]) -> bool {
    let first = |name: &str| file.starts_with(name.as_bytes()) && file.get(name.len()) == Some(&0);
    ["sys_info", "pickle", "storages", "tensors"].into_iter().any(first)
}

/// For a path that is a folder: which of its files to name.
pub(super) fn directory_hint(path: &Path) -> String {
    let mut found: Vec<String> = std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|n| {
            [".pt", ".pth", ".safetensors", ".safetensors.index.json"]
                .iter()
                .any(|end| n.ends_with(end))
        })
        .collect();
    found.sort();
    // An index stands for its shards.
    if let Some(index) = found.iter().find(|n| n.ends_with(".index.json")) {
        return format!("it is a folder: name the file in it, {index}");
    }
    found.truncate(5);
    match found.as_slice() {
        [] => "it is a folder, and holds no checkpoint (.pt, .pth or .safetensors)".into(),
        [one] => format!("it is a folder: name the file in it, {one}"),
        many => format!("it is a folder: name one of the files in it ({})", many.join(", ")),
    }
}
