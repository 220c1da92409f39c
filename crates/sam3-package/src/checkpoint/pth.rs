//! `.pt`/`.pth`: a zip of one pickle (`ARCHIVE/data.pkl`) and one raw entry a storage (`ARCHIVE/data/KEY`).
//!
//! The pickle is read as data ([`super::pickle`]); the few calls that mean a tensor are recognised by name, and any
//! other where a tensor should be is refused by name.

mod rebuild;

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use super::{
    Contents, MAX_TENSORS, check_name, clip,
    pickle::{Node, Pickle, Value},
    tensor::Stored,
    zip,
};
use crate::package::MAX_METADATA_BYTES;

/// Where our packages keep their metadata, after the archive's name.
const METADATA: &str = "sam3_metadata.json";

/// Keys under which training code wraps a state dict, tried in this order.
const WRAPPERS: [&str; 3] = ["model", "state_dict", "model_state_dict"];

/// Lists the tensors of a mapped PyTorch zip.
pub(super) fn read(file: &[u8]) -> Result<Contents, String> {
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
    if by_name.contains_key("constants.pkl") {
        return Err("it is a TorchScript program, not a checkpoint: save its state_dict() with torch.save".into());
    }
    match by_name.get("byteorder").map(|r| &file[r.clone()]) {
        None | Some(b"little") => {}
        Some(other) => {
            return Err(format!(
                "its byte order is {:?}, expected \"little\": save it again on a little-endian machine",
                String::from_utf8_lossy(&other[..other.len().min(16)])
            ));
        }
    }
    let metadata = by_name.get(METADATA).cloned();
    if let Some(large) = metadata.clone().filter(|range| range.len() as u64 > MAX_METADATA_BYTES) {
        return Err(format!(
            "its {METADATA} has {} bytes; at most {MAX_METADATA_BYTES} are read",
            large.len()
        ));
    }
    let parsed = Pickle::parse(&file[pickle.data.clone()])?;
    let (tensors, warnings) = Reader {
        pickle: &parsed,
        storages: Some(&by_name),
    }
    .state_dict(file.len())?;
    Ok(Contents {
        tensors,
        warnings,
        metadata: metadata.map(|range| file[range].to_vec()),
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
    let (tensors, _) = Reader {
        pickle: &pickle,
        storages: None,
    }
    .state_dict(usize::MAX / 16)
    .ok()?;
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
}

impl Reader<'_, '_> {
    fn state_dict(&self, file_len: usize) -> Result<(Vec<Stored>, Vec<String>), String> {
        let mut root = self.pickle.root;
        // A wrapper in a wrapper is as deep as anyone goes.
        for _ in 0..2 {
            let Some(entries) = self.pickle.dict(root) else {
                break;
            };
            let mut inner = None;
            for key in WRAPPERS {
                let mut found = entries
                    .iter()
                    .filter(|(k, _)| self.pickle.text(*k) == Some(key))
                    .map(|(_, v)| *v);
                let first = found.next();
                if found.next().is_some() {
                    return Err(format!("its pickle has the key \"{key}\" twice"));
                }
                inner = inner.or(first.filter(|v| self.pickle.dict(*v).is_some() || self.is_foreign(*v)));
            }
            match inner {
                Some(value) => root = value,
                None => break,
            }
        }
        let Some(entries) = self.pickle.dict(root) else {
            return Err(match self.callable(root) {
                Some(name) => format!(
                    "it holds a pickled object ({name}) where a state dict should be, and nothing is called to rebuild it: \
                     in Python, torch.save(model.state_dict(), …)"
                ),
                None => "its pickle is not a dictionary of tensors".into(),
            });
        };
        self.tensors(entries, file_len)
    }

    fn tensors(&self, entries: &[(Value, Value)], file_len: usize) -> Result<(Vec<Stored>, Vec<String>), String> {
        let mut names = HashSet::new();
        let mut tensors = Vec::new();
        let mut warnings = Vec::new();
        let mut total = 0usize;
        for &(key, value) in entries {
            let Some(name) = self.pickle.text(key) else {
                if self.is_foreign(value) {
                    return Err("its state dict has a key that is not a string, or is a very long one".into());
                }
                continue;
            };
            check_name(name)?;
            if !names.insert(name) {
                return Err(format!("its state dict has the key \"{name}\" twice"));
            }
            if !self.is_foreign(value) {
                if warnings.len() < 100 {
                    warnings.push(format!("\"{name}\" is not a tensor; ignored"));
                }
                continue;
            }
            let tensor = self
                .tensor(name, value)
                .map_err(|reason| format!("tensor \"{name}\" {reason}"))?;
            total = total.saturating_add(tensor.byte_len());
            tensors.push(tensor);
            if tensors.len() > MAX_TENSORS {
                return Err(format!("it lists more than {MAX_TENSORS} tensors"));
            }
        }
        if tensors.is_empty() {
            let keys = entries.iter().filter_map(|(k, _)| self.pickle.text(*k));
            let keys: Vec<_> = keys.map(clip).take(8).collect();
            return Err(format!("it holds no tensors; the keys of its dictionary are {keys:?}"));
        }
        if total / 8 > file_len {
            return Err(format!(
                "its tensors share storages so that they would unfold to {total} bytes from a file of {file_len}: \
                 save clones of them"
            ));
        }
        Ok((tensors, warnings))
    }

    /// True for the result of a call: a tensor, or an object nobody will build.
    fn is_foreign(&self, value: Value) -> bool {
        matches!(self.pickle.node(value), Some(Node::Call { .. }))
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
