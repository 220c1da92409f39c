//! `.pt`/`.pth`: a zip of one pickle (`ARCHIVE/data.pkl`) and one raw entry a storage (`ARCHIVE/data/KEY`).
//!
//! The pickle is read as data ([`super::pickle`]); the few calls that mean a tensor are recognised by name.
//! Everything else beside the tensors is ignored, with a warning that lists it.

mod foreign_zip;
mod rebuild;
mod weights;

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    ops::Range,
};

use super::{
    Contents, MAX_TENSORS, check_name, clip,
    pickle::{Node, Pickle, Value},
    tensor::Stored,
    zip,
};
use crate::{
    error::list_of,
    naming::{MAX_METADATA_BYTES, RECORD},
};

/// Lists the tensors of a mapped PyTorch zip.
///
/// `wanted` names the weights that are asked for, where there are several.
pub(super) fn read(file: &[u8], wanted: Option<&str>) -> Result<Contents, String> {
    if let Some(what) = foreign_zip::name(&zip::names(file)) {
        return Err(what);
    }
    let entries = match zip::entries(file) {
        Ok(entries) => entries,
        Err(reason) => return Err(truncation(file).unwrap_or(reason)),
    };
    let mut pickles = entries
        .iter()
        .filter(|e| e.name.split_once('/').is_some_and(|(_, rest)| rest == "data.pkl"));
    let pickle = match (pickles.next(), pickles.next()) {
        (Some(entry), None) => entry,
        (None, _) => {
            return Err("it is a zip, but not PyTorch's: it has no ARCHIVE/data.pkl".into());
        }
        (Some(a), Some(b)) => {
            return Err(format!("it holds two checkpoints, \"{}\" and \"{}\"", a.name, b.name));
        }
    };
    let archive = pickle.name.split_once('/').expect("found by its slash").0;
    let by_name: HashMap<&str, Range<usize>> = entries
        .iter()
        .filter_map(|e| Some((e.name.strip_prefix(archive)?.strip_prefix('/')?, e.data.clone())))
        .collect();
    match by_name.get("byteorder").map(|r| &file[r.clone()]) {
        None | Some(b"little") => {}
        Some(other) => {
            return Err(format!(
                "its byte order is {:?}, expected \"little\": save it again on a little-endian machine",
                String::from_utf8_lossy(&other[..other.len().min(16)])
            ));
        }
    }
    let metadata = by_name.get(RECORD).cloned();
    if let Some(large) = metadata.clone().filter(|range| range.len() as u64 > MAX_METADATA_BYTES) {
        return Err(format!(
            "its {RECORD} has {} bytes; at most {MAX_METADATA_BYTES} are read",
            large.len()
        ));
    }
    // Others' files may have a comment there; a package has none.
    if let Some(more @ 1..) = metadata.is_some().then(|| zip::bytes_after(file)) {
        return Err(format!(
            "it has {more} bytes after the end of its zip: bytes were added in copying, so copy or download it again"
        ));
    }
    let parsed = Pickle::parse(&file[pickle.data.clone()])?;
    let reader = Reader::new(&parsed, Some(&by_name), file.len());
    let chosen = reader.weights(wanted)?;
    let mut listed = reader.tensors(chosen.entries)?;
    listed.warnings.extend(chosen.choice.as_ref().map(ToString::to_string));
    Ok(Contents {
        metadata: metadata.map(|range| file[range].to_vec()),
        sets: chosen.sets,
        choice: chosen.choice,
        is_wanted: chosen.is_wanted,
        ..listed
    })
}

/// For a zip without its end: what the pickle, which torch.save writes first, says should have been there.
fn truncation(file: &[u8]) -> Option<String> {
    let local = |at| Some(usize::from(u16::from_le_bytes([*file.get(at)?, *file.get(at + 1)?])));
    let start = 30 + local(26)? + local(28)?;
    if !file.get(30..30 + local(26)?)?.ends_with(b"/data.pkl") {
        return None;
    }
    let pickle = Pickle::parse(file.get(start..)?).ok()?;
    // A file so large that no tensor is refused for its size. Tensors may unfold to eight times the file's size, which
    // is half of the address space here: the sum below cannot overflow.
    let reader = Reader::new(&pickle, None, usize::MAX / 16);
    let tensors = reader.tensors(reader.weights(None).ok()?.entries).ok()?.tensors;
    let mut seen = HashSet::new();
    let bytes: usize = tensors
        .iter()
        .filter(|t| seen.insert(t.start))
        .map(Stored::byte_len)
        .sum();
    (bytes > file.len()).then(|| {
        format!(
            "it is cut off: its {} tensors alone need {bytes} bytes, found a file of {}; copy or download it again",
            tensors.len(),
            file.len()
        )
    })
}

struct Reader<'p, 'f> {
    pickle: &'p Pickle<'f>,
    /// Entries after `ARCHIVE/`; `None` when the file is cut off and only sizes are wanted.
    storages: Option<&'p HashMap<&'p str, Range<usize>>>,
    file_len: usize,
    /// Bytes of the tensors that are larger than their storages.
    expanded: Cell<usize>,
}

/// Why a tensor is not listed.
enum Fault {
    /// It is of a kind that is not read: it is left out, with a warning.
    Unread(String),
    /// It says what cannot be so: the file is damaged, or lies.
    Lie(String),
}

impl<'p, 'f> Reader<'p, 'f> {
    fn new(pickle: &'p Pickle<'f>, storages: Option<&'p HashMap<&'p str, Range<usize>>>, file_len: usize) -> Self {
        Self {
            pickle,
            storages,
            file_len,
            expanded: Cell::new(0),
        }
    }

    /// Lists the tensors among a dictionary's entries.
    fn tensors(&self, entries: &[(Value, Value)]) -> Result<Contents, String> {
        let mut names = HashSet::new();
        let mut contents = Contents::default();
        let mut others = Vec::new();
        let mut total = 0usize;
        for &(key, value) in entries {
            let name = self.pickle.text(key);
            if !self.is_tensor(value) {
                others.push(self.describe(name, value));
                continue;
            }
            let Some(name) = name else {
                others.push("a tensor whose key is no string, or a very long one".into());
                continue;
            };
            check_name(name)?;
            if !names.insert(name) {
                return Err(format!("its state dict has the key \"{name}\" twice"));
            }
            let tensor = match self.tensor(name, value) {
                Ok(tensor) => tensor,
                Err(Fault::Lie(reason)) => return Err(format!("tensor \"{name}\" {reason}")),
                Err(Fault::Unread(reason)) => {
                    contents.unread.push((name.to_owned(), reason));
                    continue;
                }
            };
            total = total.saturating_add(tensor.byte_len());
            contents.tensors.push(tensor);
            if contents.tensors.len() > MAX_TENSORS {
                return Err(format!("it lists more than {MAX_TENSORS} tensors"));
            }
        }
        if total / 8 > self.file_len {
            return Err(format!(
                "its tensors share storages so that they would unfold to {total} bytes from a file of {}: \
                 save clones of them",
                self.file_len
            ));
        }
        if !others.is_empty() {
            contents
                .warnings
                .push(format!("ignored, as no tensors: {}", list_of(&others)));
        }
        Ok(contents)
    }

    /// An entry that is no tensor, for people.
    fn describe(&self, key: Option<&str>, value: Value) -> String {
        let key = key.map_or("an entry without a name".to_owned(), |key| format!("\"{}\"", clip(key)));
        match self.callable(value) {
            Some(name) => format!("{key} ({name})"),
            None => key,
        }
    }

    /// `module.name` of what a call would call.
    fn callable(&self, value: Value) -> Option<String> {
        let Some(&Node::Call { callable, .. }) = self.pickle.node(value) else {
            return None;
        };
        Some(match self.pickle.global(callable) {
            Some((module, name)) => format!("{}.{}", clip(module), clip(name)),
            None => "a computed function".into(),
        })
    }
}
