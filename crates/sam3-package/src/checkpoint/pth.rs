//! `.pt`/`.pth`: a zip of one pickle (`ARCHIVE/data.pkl`) and one raw entry a storage (`ARCHIVE/data/KEY`).
//!
//! The pickle is read as data ([`super::pickle`]); the few calls that mean a tensor are recognised by name, and any
//! other where a tensor should be is refused by name.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use super::{
    Contents, MAX_NAME, MAX_RANK, MAX_TENSORS,
    pickle::{Node, Pickle, Value},
    tensor::{Dtype, Stored, byte_len},
    zip,
};

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
    let mut pickles = entries.iter().filter(|e| {
        e.name
            .split_once('/')
            .is_some_and(|(_, rest)| rest == "data.pkl")
    });
    let pickle = match (pickles.next(), pickles.next()) {
        (Some(entry), None) => entry,
        (None, _) => {
            return Err("it is a zip, but not PyTorch's: it has no ARCHIVE/data.pkl".into());
        }
        (Some(a), Some(b)) => {
            return Err(format!(
                "it holds two checkpoints, \"{}\" and \"{}\"",
                a.name, b.name
            ));
        }
    };
    let archive = pickle.name.split_once('/').expect("found by its slash").0;
    let by_name: HashMap<&str, Range<usize>> = entries
        .iter()
        .filter_map(|e| {
            Some((
                e.name.strip_prefix(archive)?.strip_prefix('/')?,
                e.data.clone(),
            ))
        })
        .collect();
    if by_name.contains_key("constants.pkl") {
        return Err(
            "it is a TorchScript program, not a checkpoint: save its state_dict() with torch.save"
                .into(),
        );
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
    let parsed = Pickle::parse(&file[pickle.data.clone()])?;
    let (tensors, warnings) = Reader {
        pickle: &parsed,
        storages: Some(&by_name),
    }
    .state_dict(file.len())?;
    Ok(Contents {
        tensors,
        warnings,
        metadata: by_name.get(METADATA).map(|r| file[r.clone()].to_vec()),
    })
}

/// For a zip without its end: what the pickle, which torch.save writes first, says should have been there.
fn truncation(file: &[u8]) -> Option<String> {
    let local = |at| {
        Some(usize::from(u16::from_le_bytes([
            *file.get(at)?,
            *file.get(at + 1)?,
        ])))
    };
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

/// A storage as the pickle names it.
struct Storage {
    dtype: Option<Dtype>,
    /// In the file; when sizes alone are wanted, `start` only tells storages apart.
    start: usize,
    bytes: usize,
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
                inner = inner
                    .or(first.filter(|v| self.pickle.dict(*v).is_some() || self.is_foreign(*v)));
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

    fn tensors(
        &self,
        entries: &[(Value, Value)],
        file_len: usize,
    ) -> Result<(Vec<Stored>, Vec<String>), String> {
        let mut names = HashSet::new();
        let mut tensors = Vec::new();
        let mut warnings = Vec::new();
        let mut total = 0usize;
        for &(key, value) in entries {
            let Some(name) = self.pickle.text(key) else {
                if self.is_foreign(value) {
                    return Err("its state dict has a key that is not a string".into());
                }
                continue;
            };
            if name.len() > MAX_NAME {
                return Err(format!(
                    "a tensor name has {} bytes; at most {MAX_NAME} are read",
                    name.len()
                ));
            }
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
            let keys: Vec<_> = names.iter().take(8).collect();
            return Err(format!(
                "it holds no tensors; the keys of its dictionary are {keys:?}"
            ));
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

    fn tensor(&self, name: &str, mut value: Value) -> Result<Stored, String> {
        // A Parameter is a call whose first argument is the call that makes its tensor.
        for _ in 0..3 {
            let Some(&Node::Call { callable, args }) = self.pickle.node(value) else {
                break;
            };
            let args = self.pickle.items(args).unwrap_or(&[]);
            match self.pickle.global(callable) {
                Some(("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state"))
                    if !args.is_empty() =>
                {
                    value = args[0];
                }
                Some(("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2"))
                    if args.len() >= 4 =>
                {
                    return self.rebuild(name, args, None, args.get(6));
                }
                Some(("torch._utils", "_rebuild_tensor_v3")) if args.len() >= 7 => {
                    let dtype = match self.pickle.global(args[6]) {
                        Some(("torch", name)) => Dtype::from_torch(name).ok_or_else(|| {
                            format!("has dtype torch.{}, which is not read", clip(name))
                        })?,
                        _ => return Err("has no dtype".into()),
                    };
                    return self.rebuild(name, args, Some(dtype), args.get(7));
                }
                _ => {
                    return Err(format!(
                        "would be made by calling {}, which is not allowed: nothing in a checkpoint is executed. In \
                         Python, save a state dict of plain tensors",
                        self.callable(value).unwrap_or_default()
                    ));
                }
            }
        }
        Err("is not a tensor".into())
    }

    /// `args` are storage, offset, size, stride, in elements.
    fn rebuild(
        &self,
        name: &str,
        args: &[Value],
        dtype: Option<Dtype>,
        bits: Option<&Value>,
    ) -> Result<Stored, String> {
        let storage = self.storage(args[0])?;
        let dtype = dtype
            .or(storage.dtype)
            .ok_or("lies in a storage without a dtype")?;
        let offset =
            extent(args[1]).ok_or_else(|| format!("has storage offset {:?}", Plain(args[1])))?;
        let shape = self.extents(args[2], "shape")?;
        let mut strides = self.extents(args[3], "strides")?;
        if strides.len() != shape.len() {
            return Err(format!(
                "has {} axes but {} strides",
                shape.len(),
                strides.len()
            ));
        }
        // Lazy conjugation and negation of complex tensors: {"conj": True}.
        let bits = bits.and_then(|b| self.pickle.dict(*b)).unwrap_or(&[]);
        if bits.iter().any(|(_, v)| *v == Value::Bool(true)) {
            return Err(
                "is a lazily conjugated or negated view: save tensor.resolve_conj().resolve_neg()"
                    .into(),
            );
        }
        let bytes =
            byte_len(&shape, dtype).ok_or_else(|| format!("has the impossible shape {shape:?}"))?;
        let last = if bytes == 0 {
            strides = dense(&shape);
            Some(offset)
        } else {
            shape.iter().zip(&strides).try_fold(offset, |at, (&d, &s)| {
                at.checked_add((d - 1).checked_mul(s)?)
            })
        };
        let end = last
            .and_then(|l| l.checked_add(usize::from(bytes > 0)))
            .and_then(|e| e.checked_mul(dtype.size()));
        if end.is_none_or(|e| e > storage.bytes) || bytes > storage.bytes {
            return Err(format!(
                "of {dtype} {shape:?}, strides {strides:?}, offset {offset}, needs more than the {} bytes of its storage",
                storage.bytes
            ));
        }
        // An axis of one element may have any stride.
        let is_dense = shape
            .iter()
            .zip(&strides)
            .zip(dense(&shape))
            .all(|((&d, &s), t)| d == 1 || s == t);
        Ok(Stored {
            name: name.to_owned(),
            dtype,
            strides: (!is_dense).then_some(strides),
            shape,
            file: 0,
            start: storage.start + offset * dtype.size(),
        })
    }

    /// `('storage', torch.FloatStorage, key, location, numel)`
    fn storage(&self, value: Value) -> Result<Storage, String> {
        let malformed = "has a malformed storage";
        let Some(&Node::Persistent(id)) = self.pickle.node(value) else {
            return Err(malformed.into());
        };
        let Some(&[tag, class, key, _, numel]) = self.pickle.items(id) else {
            return Err(malformed.into());
        };
        let (Some("storage"), Some((module, class)), Some(key)) = (
            self.pickle.text(tag),
            self.pickle.global(class),
            self.pickle.text(key),
        ) else {
            return Err(malformed.into());
        };
        let dtype = match (module, class) {
            ("torch", class) if Dtype::from_storage(class).is_some() => Dtype::from_storage(class),
            ("torch" | "torch.storage", "UntypedStorage") => None,
            _ => {
                return Err(format!(
                    "lies in a {}.{}, which is not read",
                    clip(module),
                    clip(class)
                ));
            }
        };
        let bytes = extent(numel)
            .and_then(|n| n.checked_mul(dtype.map_or(1, Dtype::size)))
            .ok_or_else(|| format!("has a storage of {:?} elements", Plain(numel)))?;
        let Some(storages) = self.storages else {
            return Ok(Storage {
                dtype,
                start: key.parse().map_err(|_| malformed)?,
                bytes,
            });
        };
        let name = format!("data/{}", clip(key));
        let data = storages
            .get(name.as_str())
            .ok_or_else(|| format!("has its data in \"{name}\", which the zip lacks"))?;
        if data.len() != bytes {
            return Err(format!(
                "should have {bytes} bytes in \"{name}\", found {}",
                data.len()
            ));
        }
        Ok(Storage {
            dtype,
            start: data.start,
            bytes,
        })
    }

    fn extents(&self, value: Value, what: &str) -> Result<Vec<usize>, String> {
        let items = self
            .pickle
            .items(value)
            .ok_or_else(|| format!("has no {what}"))?;
        if items.len() > MAX_RANK {
            return Err(format!(
                "has {} axes; at most {MAX_RANK} are read",
                items.len()
            ));
        }
        items
            .iter()
            .map(|&v| extent(v).ok_or_else(|| format!("has {:?} in its {what}", Plain(v))))
            .collect()
    }
}

fn extent(value: Value) -> Option<usize> {
    match value {
        Value::Int(n) => usize::try_from(n).ok(),
        _ => None,
    }
}

/// Row-major strides in elements; saturating, since an empty shape may have absurd axes.
fn dense(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

/// Names in messages come from the file: keep them short.
fn clip(name: &str) -> &str {
    let end = (0..=name.len().min(80))
        .rev()
        .find(|&i| name.is_char_boundary(i))
        .unwrap_or(0);
    &name[..end]
}

/// A value as a person would write it.
struct Plain(Value);

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Value::Int(n) => write!(f, "{n}"),
            other => write!(f, "{other:?}"),
        }
    }
}
