//! int8 codes to floats.

use candle_core::{DType, Result, Tensor, bail};

use super::host;

/// `codes[i][j] × scales[i]` as the type `out`, `[rows, columns]`.
///
/// `codes` are the bits of i8 held as u8 `[rows, columns]`; `scales`, f32, has a value for each row, `[rows]` or `[rows, 1]`.
pub fn dequantize(codes: &Tensor, scales: &Tensor, out: DType) -> Result<Tensor> {
    let (rows, _) = codes.dims2()?;
    if codes.dtype() != DType::U8 || scales.elem_count() != rows {
        bail!(
            "{rows} rows of codes {:?} with scales {:?}",
            codes.dtype(),
            scales.dims()
        );
    }
    twin(codes, scales, out)
}

fn twin(codes: &Tensor, scales: &Tensor, out: DType) -> Result<Tensor> {
    let (rows, columns) = codes.dims2()?;
    let (bits, scales) = (codes.flatten_all()?.to_vec1::<u8>()?, host::values(scales)?);
    let value = |(i, bits): (usize, u8)| f32::from(bits as i8) * scales[i / columns];
    let values = bits.into_iter().enumerate().map(value).collect();
    host::tensor(values, &[rows, columns], out, codes)
}
