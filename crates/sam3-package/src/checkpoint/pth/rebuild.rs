//! From the uncalled `torch._utils._rebuild_…` to a tensor's place in the file, or the reason it has none.

use super::{Fault, Reader, weights::not_called};
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
    pub(super) fn tensor(&self, name: &str, mut value: Value) -> Result<Stored, Fault> {
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
                // A tensor with attributes: a function, the class, the function's arguments, the attributes.
                Some(("torch._tensor", "_rebuild_from_type_v2")) if args.len() >= 3 => {
                    let inner = self.pickle.items(args[2]).unwrap_or(&[]);
                    return self.rebuild_by(name, self.pickle.global(args[0]), inner, value);
                }
                global => return self.rebuild_by(name, global, args, value),
            }
        }
        Err(Fault::Unread("is not a tensor".into()))
    }

    fn rebuild_by(
        &self,
        name: &str,
        function: Option<(&str, &str)>,
        args: &[Value],
        value: Value,
    ) -> Result<Stored, Fault> {
        match function {
            Some(("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2")) if args.len() >= 4 => {
                self.rebuild(name, args, None, args.get(6))
            }
            Some(("torch._utils", "_rebuild_tensor_v3")) if args.len() >= 7 => {
                let Some(("torch", dtype)) = self.pickle.global(args[6]) else {
                    return Err(Fault::Unread("has no dtype".into()));
                };
                let dtype = Dtype::from_torch(dtype)
                    .ok_or_else(|| Fault::Unread(format!("has dtype torch.{}, which is not read", clip(dtype))))?;
                self.rebuild(name, args, Some(dtype), args.get(7))
            }
            _ => Err(Fault::Unread(not_called(&self.callable(value).unwrap_or_default()))),
        }
    }

    /// `args` are storage, offset, size, stride, in elements.
    fn rebuild(&self, name: &str, args: &[Value], dtype: Option<Dtype>, bits: Option<&Value>) -> Result<Stored, Fault> {
        let storage = self.storage(args[0])?;
        let dtype = dtype
            .or(storage.dtype)
            .ok_or_else(|| Fault::Unread("lies in a storage without a dtype".into()))?;
        let offset = extent(args[1]).ok_or_else(|| Fault::Lie(format!("has storage offset {:?}", Plain(args[1]))))?;
        let shape = self.extents(args[2], "shape")?;
        let mut strides = self.extents(args[3], "strides")?;
        if strides.len() != shape.len() {
            let (axes, strides) = (shape.len(), strides.len());
            return Err(Fault::Lie(format!("has {axes} axes but {strides} strides")));
        }
        // Lazy conjugation and negation of complex tensors: {"conj": True}.
        let bits = bits.and_then(|b| self.pickle.dict(*b)).unwrap_or(&[]);
        if bits.iter().any(|(_, v)| *v == Value::Bool(true)) {
            return Err(Fault::Unread(
                "is a lazily conjugated or negated view: save tensor.resolve_conj().resolve_neg()".into(),
            ));
        }
        let bytes =
            byte_len(&shape, dtype).ok_or_else(|| Fault::Unread(format!("has the impossible shape {shape:?}")))?;
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
        if end.is_none_or(|e| e > storage.bytes) {
            return Err(Fault::Lie(format!(
                "of {dtype} {shape:?}, strides {strides:?}, offset {offset}, needs more than the {} bytes of its storage",
                storage.bytes
            )));
        }
        if bytes > storage.bytes {
            self.expand(bytes)?;
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
            // In a file that is cut off, any number stands for a storage.
            start: storage.start.saturating_add(offset * dtype.size()),
        })
    }

    /// Counts a tensor that repeats its storage (`expand`): all of them together may be as large as the file.
    fn expand(&self, bytes: usize) -> Result<(), Fault> {
        let total = self.expanded.get().saturating_add(bytes);
        if total > self.file_len {
            return Err(Fault::Unread(format!(
                "repeats its storage (stride 0) to {bytes} bytes, more than the file of {}: save a clone of it",
                self.file_len
            )));
        }
        self.expanded.set(total);
        Ok(())
    }

    /// `('storage', torch.FloatStorage, key, location, numel)`
    fn storage(&self, value: Value) -> Result<Storage, Fault> {
        let malformed = || Fault::Lie("has a malformed storage".into());
        let Some(&Node::Persistent(id)) = self.pickle.node(value) else {
            return Err(malformed());
        };
        let Some(&[tag, class, key, _, numel]) = self.pickle.items(id) else {
            return Err(malformed());
        };
        let (Some("storage"), Some((module, class)), Some(key)) =
            (self.pickle.text(tag), self.pickle.global(class), self.pickle.text(key))
        else {
            return Err(malformed());
        };
        let dtype = match (module, class) {
            ("torch", class) if Dtype::from_storage(class).is_some() => Dtype::from_storage(class),
            ("torch" | "torch.storage", "UntypedStorage") => None,
            _ => {
                let reason = format!("lies in a {}.{}, which is not read", clip(module), clip(class));
                return Err(Fault::Unread(reason));
            }
        };
        let bytes = extent(numel)
            .and_then(|n| n.checked_mul(dtype.map_or(1, Dtype::size)))
            .ok_or_else(|| Fault::Lie(format!("has a storage of {:?} elements", Plain(numel))))?;
        let Some(storages) = self.storages else {
            return Ok(Storage {
                dtype,
                start: key.parse().map_err(|_| malformed())?,
                bytes,
            });
        };
        let name = format!("data/{}", clip(key));
        let data = storages
            .get(name.as_str())
            .ok_or_else(|| Fault::Lie(format!("has its data in \"{name}\", which the zip lacks")))?;
        if data.len() != bytes {
            let found = data.len();
            return Err(Fault::Lie(format!(
                "should have {bytes} bytes in \"{name}\", found {found}"
            )));
        }
        Ok(Storage {
            dtype,
            start: data.start,
            bytes,
        })
    }

    fn extents(&self, value: Value, what: &str) -> Result<Vec<usize>, Fault> {
        let Some(items) = self.pickle.items(value) else {
            return Err(Fault::Lie(format!("has no {what}")));
        };
        if items.len() > MAX_RANK {
            let axes = items.len();
            return Err(Fault::Unread(format!("has {axes} axes; at most {MAX_RANK} are read")));
        }
        items
            .iter()
            .map(|&v| extent(v).ok_or_else(|| Fault::Lie(format!("has {:?} in its {what}", Plain(v)))))
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
