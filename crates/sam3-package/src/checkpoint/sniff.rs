//! What a file is, from its first bytes; and, where it is something else, what to do about it.

use std::path::Path;

use super::{clip, foreign, safetensors};
use crate::{Error, Result};

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
pub(super) fn sniff(path: &Path, file: &[u8]) -> Result<Kind> {
    if file.starts_with(b"PK\x03\x04") {
        return Ok(Kind::Zip);
    }
    if safetensors::is_safetensors(file) {
        return Ok(Kind::Safetensors);
    }
    if file.trim_ascii_start().starts_with(b"{") {
        return Ok(Kind::Json);
    }
    let head = &file[..file.len().min(512)];
    Err(match foreign(head) {
        Some(foreign) if !is_tar(file) => foreign.error(path),
        _ => Error::invalid(path, what_it_is(file)),
    })
}

fn what_it_is(file: &[u8]) -> String {
    if file.starts_with(&[0x80]) && file.get(2..).is_some_and(|rest| rest.starts_with(LEGACY)) {
        return format!("it is a PyTorch file of the form used before torch 1.6, which is not read: {RESAVE}");
    }
    if file.starts_with(&[0x80]) && file.get(1).is_some_and(|v| (2..=5).contains(v)) {
        return format!("it is a bare Python pickle, which is not read: {RESAVE}");
    }
    if is_tar(file) {
        return if legacy_tar(file) {
            format!("it is a PyTorch file of the tar form used before torch 0.2, which is not read: {RESAVE}")
        } else {
            "it is a tar archive: unpack it first and name the checkpoint in it".into()
        };
    }
    if file.starts_with(&[0x1f, 0x8b]) || file.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return "it is a compressed archive: unpack it first (sam3 unpack) and name the checkpoint in it".into();
    }
    let head = &file[..file.len().min(4096)];
    if head.iter().all(|&b| b == 0) {
        return "it begins with zeros: the copy or download was interrupted".into();
    }
    let expected = "it is not a checkpoint: expected a PyTorch zip (.pt, .pth), a safetensors file or the index of a \
                    sharded one";
    match text_of(head) {
        Some(text) => format!(
            "{expected}, found the text {text:?}: where a server's answer was saved, the download needs a login or \
             another address"
        ),
        None => format!("{expected}, found none of their signatures"),
    }
}

/// The first line of what is text throughout, kept short.
fn text_of(head: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(head)
        .ok()
        .filter(|text| text.chars().all(|c| !c.is_control() || c.is_ascii_whitespace()))?;
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(clip)
}

fn is_tar(file: &[u8]) -> bool {
    file.get(257..262) == Some(b"ustar")
}

fn legacy_tar(file: &[u8]) -> bool {
    let first = |name: &str| file.starts_with(name.as_bytes()) && file.get(name.len()) == Some(&0);
    ["sys_info", "pickle", "storages", "tensors"].into_iter().any(first)
}
