//! Element types, where a tensor lies in a mapped file, and the borrowed view of one.

use std::{borrow::Cow, fmt};

use half::{bf16, f16};

/// Element types. The model computes on the first five; the rest may lie in an otherwise fine checkpoint
/// (an `int64` counter), where they are listed and left to whoever asks for them to refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the last group is named as in the safetensors format")]
pub enum Dtype {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// Brain floating point.
    BF16,
    /// Signed bytes of a quantised weight.
    I8,
    /// Pairs of f32: real, imaginary (`freqs_cis`).
    C64,
    F64,
    I64,
    I32,
    I16,
    U8,
    U16,
    U32,
    U64,
    Bool,
    C128,
    F8E4M3,
    F8E5M2,
    C32,
}

/// What an element type is called, and how large it is.
struct Names {
    size: usize,
    safetensors: &'static str,
    torch: &'static str,
    /// PyTorch's typed storage; newer types have none.
    storage: Option<&'static str>,
}

/// One row of the table below.
const fn row(size: usize, safetensors: &'static str, torch: &'static str, storage: Option<&'static str>) -> Names {
    Names {
        size,
        safetensors,
        torch,
        storage,
    }
}

impl Dtype {
    const ALL: [Self; 18] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::I8,
        Self::C64,
        Self::F64,
        Self::I64,
        Self::I32,
        Self::I16,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::Bool,
        Self::C128,
        Self::F8E4M3,
        Self::F8E5M2,
        Self::C32,
    ];

    #[rustfmt::skip]
    const fn names(self) -> Names {
        match self {
            Self::F32 =>   row(4,  "F32",     "float32",       Some("FloatStorage")),
            Self::F16 =>   row(2,  "F16",     "float16",       Some("HalfStorage")),
            Self::BF16 =>  row(2,  "BF16",    "bfloat16",      Some("BFloat16Storage")),
            Self::I8 =>    row(1,  "I8",      "int8",          Some("CharStorage")),
            Self::C64 =>   row(8,  "C64",     "complex64",     Some("ComplexFloatStorage")),
            Self::F64 =>   row(8,  "F64",     "float64",       Some("DoubleStorage")),
            Self::I64 =>   row(8,  "I64",     "int64",         Some("LongStorage")),
            Self::I32 =>   row(4,  "I32",     "int32",         Some("IntStorage")),
            Self::I16 =>   row(2,  "I16",     "int16",         Some("ShortStorage")),
            Self::U8 =>    row(1,  "U8",      "uint8",         Some("ByteStorage")),
            Self::U16 =>   row(2,  "U16",     "uint16",        None),
            Self::U32 =>   row(4,  "U32",     "uint32",        None),
            Self::U64 =>   row(8,  "U64",     "uint64",        None),
            Self::Bool =>  row(1,  "BOOL",    "bool",          Some("BoolStorage")),
            Self::C128 =>  row(16, "C128",    "complex128",    Some("ComplexDoubleStorage")),
            Self::F8E4M3 =>row(1,  "F8_E4M3", "float8_e4m3fn", None),
            Self::F8E5M2 =>row(1,  "F8_E5M2", "float8_e5m2",   None),
            Self::C32 =>   row(4,  "C32",     "complex32",     None),
        }
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        self.names().size
    }

    /// The name safetensors and our metadata use: `F32`, `BF16`, `C64`.
    pub fn name(self) -> &'static str {
        self.names().safetensors
    }

    pub(super) fn from_safetensors(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.names().safetensors == name)
    }

    /// From `torch.float32`'s last part.
    pub(super) fn from_torch(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.names().torch == name)
    }

    /// The typed storage whose class tells PyTorch the type; `None` for a type that has none.
    pub(crate) fn storage(self) -> Option<&'static str> {
        self.names().storage
    }

    /// From the class of a typed storage, `FloatStorage`.
    pub(super) fn from_storage(class: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.names().storage == Some(class))
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Elements of a shape and their bytes; `None` when either does not fit the address space.
pub(crate) fn byte_len(shape: &[usize], dtype: Dtype) -> Option<usize> {
    // An axis of 0 does not excuse the others: whoever multiplies them may rely on the product.
    let bytes = shape
        .iter()
        .try_fold(dtype.size(), |n, &d| n.checked_mul(d.max(1)))
        .filter(|&n| n <= isize::MAX as usize)?;
    Some(if shape.contains(&0) { 0 } else { bytes })
}

/// A tensor's place in one of a checkpoint's files, already checked against that file's length.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// In elements; `None` when row-major and dense.
    pub strides: Option<Vec<usize>>,
    /// Index of the file (shards).
    pub file: usize,
    /// First byte of the first element in that file.
    pub start: usize,
}

impl Stored {
    /// Bytes of the dense tensor.
    pub fn byte_len(&self) -> usize {
        byte_len(&self.shape, self.dtype).expect("checked when the file was opened")
    }

    /// The dense row-major bytes: borrowed when they lie so in the file, gathered otherwise.
    pub fn bytes<'a>(&self, file: &'a [u8]) -> Cow<'a, [u8]> {
        match &self.strides {
            None => Cow::Borrowed(&file[self.start..self.start + self.byte_len()]),
            Some(strides) => Cow::Owned(gather(&file[self.start..], &self.shape, strides, self.dtype.size())),
        }
    }
}

/// Row-major copy of a strided tensor: `data` begins at element 0, strides are in elements of `size` bytes.
pub(crate) fn gather(data: &[u8], shape: &[usize], strides: &[usize], size: usize) -> Vec<u8> {
    let numel: usize = shape.iter().product();
    let mut out = Vec::with_capacity(numel * size);
    let mut index = vec![0usize; shape.len()];
    let mut offset = 0usize;
    for _ in 0..numel {
        out.extend_from_slice(&data[offset * size..(offset + 1) * size]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            offset += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            offset -= index[axis] * strides[axis];
            index[axis] = 0;
        }
    }
    out
}

/// One tensor, borrowed from the mapped file; row-major, little-endian.
#[derive(Debug)]
pub struct TensorView<'a> {
    /// Name in the dictionary that was asked.
    pub name: &'a str,
    /// Element type as stored.
    pub dtype: Dtype,
    /// Extent of each axis.
    pub shape: &'a [usize],
    /// The bytes, in one piece or (a fused `qkv` stored as three tensors) in several, each whole rows.
    /// No alignment is promised.
    pub parts: Vec<Cow<'a, [u8]>>,
}

impl TensorView<'_> {
    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of all parts together: `numel × dtype.size()`.
    pub fn byte_len(&self) -> usize {
        self.parts.iter().map(|p| p.len()).sum()
    }

    /// Values widened to f32; `None` for every dtype but F32, F16 and BF16: the others are not plain numbers here.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        let mut out = Vec::with_capacity(self.numel());
        for part in &self.parts {
            match self.dtype {
                Dtype::F32 => out.extend(part.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b))),
                Dtype::F16 => out.extend(part.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32())),
                Dtype::BF16 => out.extend(part.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32())),
                _ => return None,
            }
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_each_of_its_names() {
        for dtype in Dtype::ALL {
            let names = dtype.names();
            assert_eq!(Dtype::from_safetensors(names.safetensors), Some(dtype));
            assert_eq!(Dtype::from_torch(names.torch), Some(dtype));
            if let Some(class) = names.storage {
                assert_eq!(Dtype::from_storage(class), Some(dtype));
            }
        }
        assert_eq!(Dtype::from_storage(""), None);
    }

    #[test]
    fn gather_reads_a_transpose_and_a_broadcast() {
        let data: Vec<u8> = (0..6).collect();
        assert_eq!(gather(&data, &[3, 2], &[1, 3], 1), [0, 3, 1, 4, 2, 5]);
        assert_eq!(gather(&data, &[2, 2], &[0, 1], 2), [0, 1, 2, 3, 0, 1, 2, 3]);
        assert_eq!(gather(&data, &[], &[], 1), [0]);
        assert!(gather(&data, &[0, 4], &[4, 1], 1).is_empty());
    }

    #[test]
    fn absurd_shapes_have_no_length() {
        assert_eq!(byte_len(&[1 << 40, 1 << 40], Dtype::F32), None);
        assert_eq!(byte_len(&[0, 1 << 62, 1 << 62], Dtype::F32), None);
        assert_eq!(byte_len(&[0, 3], Dtype::F32), Some(0));
        assert_eq!(byte_len(&[], Dtype::C64), Some(8));
    }
}
