//! Where the elements of tensors are.

use half::{bf16, f16};

use crate::{DType, Error, Result};

/// Elements in main memory.
#[derive(Debug)]
pub enum Buffer {
    /// See [`DType`].
    U8(Vec<u8>),
    /// See [`DType`].
    I32(Vec<i32>),
    /// See [`DType`].
    F16(Vec<f16>),
    /// See [`DType`].
    BF16(Vec<bf16>),
    /// See [`DType`].
    F32(Vec<f32>),
}

/// Does the same with a buffer of any type: `with_values!(buffer, values => expression)`.
macro_rules! with_values {
    ($buffer:expr, $values:ident => $result:expr) => {
        match $buffer {
            $crate::storage::Buffer::U8($values) => $result,
            $crate::storage::Buffer::I32($values) => $result,
            $crate::storage::Buffer::F16($values) => $result,
            $crate::storage::Buffer::BF16($values) => $result,
            $crate::storage::Buffer::F32($values) => $result,
        }
    };
}
pub(crate) use with_values;

impl Buffer {
    /// Elements of zero.
    pub fn zeros(dtype: DType, len: usize) -> Result<Self> {
        Ok(match dtype {
            DType::U8 => Self::U8(filled(len, 0)?),
            DType::I32 => Self::I32(filled(len, 0)?),
            DType::F16 => Self::F16(filled(len, f16::ZERO)?),
            DType::BF16 => Self::BF16(filled(len, bf16::ZERO)?),
            DType::F32 => Self::F32(filled(len, 0.0)?),
        })
    }

    /// What its elements are.
    pub fn dtype(&self) -> DType {
        match self {
            Self::U8(_) => DType::U8,
            Self::I32(_) => DType::I32,
            Self::F16(_) => DType::F16,
            Self::BF16(_) => DType::BF16,
            Self::F32(_) => DType::F32,
        }
    }

    /// Elements given as bytes in this machine's order; an incomplete last one is left out.
    pub fn from_bytes(bytes: &[u8], dtype: DType) -> Result<Self> {
        let mut buffer = Self::zeros(dtype, bytes.len() / dtype.size_in_bytes())?;
        buffer.bytes_mut().copy_from_slice(bytes);
        Ok(buffer)
    }

    /// Its elements as bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: numbers without padding, of which every byte is one.
        with_values!(self, values => unsafe {
            std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values.as_slice()))
        })
    }

    /// The same, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`; every pattern of bits is one of these numbers.
        with_values!(self, values => unsafe {
            std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values.as_slice()))
        })
    }
}

/// An empty list with room for `len` values.
///
/// # Errors
/// When main memory has none.
pub fn reserved<T>(len: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    match values.try_reserve_exact(len) {
        Ok(()) => Ok(values),
        Err(_) => Err(Error::OutOfMemory {
            bytes: len.saturating_mul(size_of::<T>()),
        }),
    }
}

/// `len` times the same.
pub fn filled<T: Clone>(len: usize, value: T) -> Result<Vec<T>> {
    let mut values = reserved(len)?;
    values.resize(len, value);
    Ok(values)
}

/// A copy.
pub fn copied<T: Copy>(values: &[T]) -> Result<Vec<T>> {
    let mut copy = reserved(values.len())?;
    copy.extend_from_slice(values);
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: [DType; 5] = [DType::U8, DType::I32, DType::F16, DType::BF16, DType::F32];

    #[test]
    fn bytes_of_every_type_come_back() {
        let bytes: Vec<u8> = (0..24u8).map(|i| i.wrapping_mul(37)).collect();
        for dtype in TYPES {
            let mut buffer = Buffer::from_bytes(&bytes, dtype).unwrap();
            assert_eq!((buffer.dtype(), buffer.bytes()), (dtype, &bytes[..]));
            let len = with_values!(&buffer, values => values.len());
            assert_eq!(len, 24 / dtype.size_in_bytes(), "{dtype:?}");
            buffer.bytes_mut()[23] = 1;
            assert_eq!(buffer.bytes()[..23], bytes[..23]);
            assert_eq!(buffer.bytes()[23], 1);
        }
        assert!(matches!(Buffer::from_bytes(&1.5f32.to_ne_bytes(), DType::F32), Ok(Buffer::F32(x)) if x == [1.5]));
    }

    #[test]
    fn zeros_of_every_type_are_zero_bits() {
        for dtype in TYPES {
            let buffer = Buffer::zeros(dtype, 3).unwrap();
            assert_eq!(
                (buffer.dtype(), buffer.bytes()),
                (dtype, &vec![0; 3 * dtype.size_in_bytes()][..])
            );
            assert!(Buffer::zeros(dtype, 0).unwrap().bytes().is_empty());
        }
    }

    #[test]
    fn what_there_is_no_room_for_is_an_error() {
        for (len, bytes) in [(usize::MAX / 8, usize::MAX / 8 * 4), (usize::MAX, usize::MAX)] {
            let expected = Error::OutOfMemory { bytes };
            assert_eq!(reserved::<f32>(len).unwrap_err(), expected);
            assert_eq!(filled(len, 0f32).unwrap_err(), expected);
            assert_eq!(Buffer::zeros(DType::I32, len).unwrap_err(), expected);
        }
        assert_eq!(copied(&[1, 2, 3]).unwrap(), [1, 2, 3]);
    }
}
