//! Element types that the model does not compute in, as single precision.

use std::borrow::Cow;

use half::{bf16, f16};

use super::Entry;
use crate::checkpoint::Dtype;

/// Presents double precision as single, and says how often.
pub(super) fn doubles(entries: &mut [Entry]) -> Option<String> {
    let mut count = 0;
    for entry in entries.iter_mut().filter(|entry| entry.dtype == Dtype::F64) {
        entry.dtype = Dtype::F32;
        count += 1;
    }
    let tensors = if count == 1 { "tensor is" } else { "tensors are" };
    (count > 0).then(|| format!("{count} {tensors} float64 in the file: rounded to float32 when read"))
}

/// Little-endian f32, one for each number of `bytes`: two for a complex one.
pub(super) fn to_f32(bytes: Cow<'_, [u8]>, dtype: Dtype) -> Cow<'_, [u8]> {
    let out: Vec<u8> = match dtype {
        Dtype::F64 | Dtype::C128 => {
            let doubles = bytes.as_chunks::<8>().0.iter();
            doubles
                .flat_map(|b| (f64::from_le_bytes(*b) as f32).to_le_bytes())
                .collect()
        }
        Dtype::F16 | Dtype::C32 => {
            let halves = bytes.as_chunks::<2>().0.iter();
            halves
                .flat_map(|b| f16::from_le_bytes(*b).to_f32().to_le_bytes())
                .collect()
        }
        Dtype::BF16 => {
            let halves = bytes.as_chunks::<2>().0.iter();
            halves
                .flat_map(|b| bf16::from_le_bytes(*b).to_f32().to_le_bytes())
                .collect()
        }
        _ => return bytes,
    };
    Cow::Owned(out)
}

/// Complex numbers of f32 real parts and as many imaginary ones.
pub(super) fn interleave(re: &[u8], im: &[u8]) -> Vec<u8> {
    let pairs = re.as_chunks::<4>().0.iter().zip(im.as_chunks::<4>().0);
    pairs.flat_map(|(re, im)| [*re, *im].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_float_becomes_single() {
        let singles = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
        let expected = singles(&[1.5, -2.0]);
        let double: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let half = [0x00, 0x3e, 0x00, 0xc0];
        let brain = [0xc0, 0x3f, 0x00, 0xc0];
        for (dtype, bytes) in [
            (Dtype::F64, &double[..]),
            (Dtype::C128, &double),
            (Dtype::F16, &half),
            (Dtype::C32, &half),
            (Dtype::BF16, &brain),
            (Dtype::F32, &expected),
            (Dtype::C64, &expected),
        ] {
            assert_eq!(&to_f32(Cow::Borrowed(bytes), dtype)[..], expected, "{dtype}");
        }
        assert_eq!(
            interleave(&singles(&[1.0, 2.0]), &singles(&[3.0, 4.0])),
            singles(&[1.0, 3.0, 2.0, 4.0])
        );
    }
}
