//! Element types.

use half::{bf16, f16};

use crate::storage::Buffer;

/// What a tensor's elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// `u8`: pixels, and the bits of int8 codes.
    U8,
    /// `i32`: bits of masks, and tables of kernels.
    I32,
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    BF16,
    /// Single precision: what everything but operands of products is.
    F32,
}

impl DType {
    /// Bytes of an element.
    pub const fn size_in_bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 | Self::BF16 => 2,
            Self::I32 | Self::F32 => 4,
        }
    }
}

/// A Rust type that tensors may hold: `u8`, `i32`, [`f16`](struct@f16), [`bf16`] and `f32`.
pub trait Element: Copy + Send + Sync + 'static + private::Sealed {
    /// Its name at run time.
    const DTYPE: DType;

    #[doc(hidden)]
    fn buffer(values: Vec<Self>) -> Buffer;
    #[doc(hidden)]
    fn values(buffer: &Buffer) -> Option<&[Self]>;
    #[doc(hidden)]
    fn values_mut(buffer: &mut Buffer) -> Option<&mut [Self]>;
}

mod private {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($kind:ident $element:ty),*) => {$(
        impl private::Sealed for $element {}

        impl Element for $element {
            const DTYPE: DType = DType::$kind;

            fn buffer(values: Vec<Self>) -> Buffer {
                Buffer::$kind(values)
            }

            fn values(buffer: &Buffer) -> Option<&[Self]> {
                match buffer {
                    Buffer::$kind(values) => Some(values),
                    _ => None,
                }
            }

            fn values_mut(buffer: &mut Buffer) -> Option<&mut [Self]> {
                match buffer {
                    Buffer::$kind(values) => Some(values),
                    _ => None,
                }
            }
        }
    )*};
}

elements!(U8 u8, I32 i32, F16 f16, BF16 bf16, F32 f32);
