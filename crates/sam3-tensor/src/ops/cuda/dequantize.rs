//! int8 codes to floats.

use crate::{
    DType, Result, Tensor,
    error::mismatch,
    launch::{self, Address, Args, Launch, Module, module, type_name},
};

use super::host;

/// `codes[i][j] × scales[i]` as the type `out`, `[rows, columns]`.
///
/// `codes` are the bits of i8 held as u8 `[rows, columns]`; `scales`, f32, has a value for each row, `[rows]` or
/// `[rows, 1]`.
pub fn dequantize(codes: &Tensor, scales: &Tensor, out: DType) -> Result<Tensor> {
    let (rows, columns) = codes.dims2()?;
    if codes.dtype() != DType::U8 || scales.elem_count() != rows {
        mismatch!(
            "{rows} rows of codes {:?} with scales {:?}",
            codes.dtype(),
            scales.dims()
        );
    }
    if !launch::runs_on(codes.device()) {
        return twin(codes, scales, out);
    }
    const MODULE: Module = module!("dequantize");
    let values = launch::uninitialised((rows, columns), out, codes.device())?;
    let mut launch = Launch::on(codes.device());
    let args = DequantizeArgs {
        codes: launch.input(codes, DType::U8)?,
        scales: launch.input(scales, DType::F32)?,
        out: launch.output(&values)?,
        columns: columns as u64,
    };
    let vectors = columns.is_multiple_of(8) && launch::aligned(&[(args.codes, DType::U8), (args.out, out)], 8);
    let kernel = if vectors { "dequantize_vectors" } else { "dequantize" };
    let kernel = format!("{kernel}_{}", type_name(out)?);
    // SAFETY: a block for each row of `columns` values.
    unsafe { launch.run(MODULE, &kernel, [rows, 1, 1], 128, args)? };
    Ok(values)
}

/// `DequantizeArgs` of `kernels/dequantize.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct DequantizeArgs {
    codes: Address,
    scales: Address,
    out: Address,
    columns: u64,
}

// SAFETY: as its source has it; 32 bytes.
unsafe impl Args for DequantizeArgs {}

fn twin(codes: &Tensor, scales: &Tensor, out: DType) -> Result<Tensor> {
    let (rows, columns) = codes.dims2()?;
    let (bits, scales) = (codes.flatten_all().to_vec::<u8>()?, host::values(scales)?);
    let value = |(i, bits): (usize, u8)| f32::from(bits as i8) * scales[i / columns];
    let values = bits.into_iter().enumerate().map(value).collect();
    host::tensor(values, &[rows, columns], out, codes)
}
