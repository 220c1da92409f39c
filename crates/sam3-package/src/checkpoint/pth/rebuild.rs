//! From the uncalled `torch._utils._rebuild_…` to a tensor's place in the file, or the reason it has none.

use super::Reader;
use crate::checkpoint::{
    MAX_RANK, clip,
    pickle::{Node, Value},
    tensor::{Dtype, Stored, byte_len},
};

/// A storage as the pickle names it.
struct Storage {
    dtype: Option<Dtype>,
    /// In the file; when sizes alone are wanted, `start` only tells storages apart.
    start: usize,
    bytes: usize,
}

impl Reader<'_, '_> {
    /// What a value of the state dict describes, its storage and extents checked.
    pub(super) fn tensor(&self, name: &str, mut value: Value) -> Result<Stored, String> {
        // A Parameter is a call whose first argument is the call that makes its tensor.
        for _ in 0..3 {
            let Some(&Node::Call { callable, args }) = self.pickle.node(value) else {
                break;
            };
            let args = self.pickle.items(args).unwrap_or(&[]);
            match self.pickle.global(callable) {
                Some(("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state")) if !args.is_empty() => {
                    value = args[0];
                }
                Some(("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2")) if args.len() >= 4 => {
                    return self.rebuild(name, args, None, args.get(6));
                }
                Some(("torch._utils", "_rebuild_tensor_v3")) if args.len() >= 7 => {
                    let dtype = match self.pickle.global(args[6]) {
                        Some(("torch", name)) => Dtype::from_torch(name)
                            .ok_or_else(|| format!("has dtype torch.{}, which is not read", clip(name)))?,
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
        let dtype = dtype.or(storage.dtype).ok_or("lies in a storage without a dtype")?;
        let offset = extent(args[1]).ok_or_else(|| format!("has storage offset {:?}", Plain(args[1])))?;
        let shape = self.extents(args[2], "shape")?;
        let mut strides = self.extents(args[3], "strides")?;
        if strides.len() != shape.len() {
            return Err(format!("has {} axes but {} strides", shape.len(), strides.len()));
        }
        // Lazy conjugation and negation of complex tensors: {"conj": True}.
        let bits = bits.and_then(|b| self.pickle.dict(*b)).unwrap_or(&[]);
        if bits.iter().any(|(_, v)| *v == Value::Bool(true)) {
            return Err("is a lazily conjugated or negated view: save tensor.resolve_conj().resolve_neg()".into());
        }
        let bytes = byte_len(&shape, dtype).ok_or_else(|| format!("has the impossible shape {shape:?}"))?;
        let last = if bytes == 0 {
            strides = dense(&shape);
            Some(offset)
        } else {
            shape
                .iter()
                .zip(&strides)
                .try_fold(offset, |at, (&d, &s)| at.checked_add((d - 1).checked_mul(s)?))
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
        let (Some("storage"), Some((module, class)), Some(key)) =
            (self.pickle.text(tag), self.pickle.global(class), self.pickle.text(key))
        else {
            return Err(malformed.into());
        };
        let dtype = match (module, class) {
            ("torch", class) if Dtype::from_storage(class).is_some() => Dtype::from_storage(class),
            ("torch" | "torch.storage", "UntypedStorage") => None,
            _ => {
                return Err(format!("lies in a {}.{}, which is not read", clip(module), clip(class)));
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
            return Err(format!("should have {bytes} bytes in \"{name}\", found {}", data.len()));
        }
        Ok(Storage {
            dtype,
            start: data.start,
            bytes,
        })
    }

    fn extents(&self, value: Value, what: &str) -> Result<Vec<usize>, String> {
        let items = self.pickle.items(value).ok_or_else(|| format!("has no {what}"))?;
        if items.len() > MAX_RANK {
            return Err(format!("has {} axes; at most {MAX_RANK} are read", items.len()));
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
