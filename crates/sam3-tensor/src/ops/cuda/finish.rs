//! What follows a matrix product.

use crate::{
    DType, Result, Tensor,
    error::mismatch,
    launch::{self, Address, Args, Launch, Module, module, type_name},
};

use crate::ops::{
    Activation,
    simd::{Portable, math},
};

/// `residual + activation(y + bias)` as the type `out`.
///
/// `y` is `[.., columns]`, `bias` f32 `[columns]`, `residual` of as many values as `y`, f32 or of the type `out`.
pub fn finish(
    y: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
    residual: Option<&Tensor>,
    out: DType,
) -> Result<Tensor> {
    let columns = y.last_dim()?;
    if let Some(bias) = bias
        && bias.dims() != [columns]
    {
        mismatch!("bias {:?} after a product {:?}", bias.dims(), y.dims());
    }
    run(y, bias, activation, residual, out, false)
}

/// `y + shift`: `y` is f32 `[rows, columns]`, `shift` f32 `[rows]`.
pub fn shift_rows(y: &Tensor, shift: &Tensor) -> Result<Tensor> {
    let (rows, _) = y.dims2()?;
    if shift.dims() != [rows] {
        mismatch!("a shift {:?} of rows {:?}", shift.dims(), y.dims());
    }
    if !launch::runs_on(y.device()) {
        return y + shift.unsqueeze(1)?;
    }
    run(y, Some(shift), Activation::None, None, DType::F32, true)
}

fn run(
    y: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
    residual: Option<&Tensor>,
    out: DType,
    bias_of_rows: bool,
) -> Result<Tensor> {
    let columns = y.last_dim()?;
    if let Some(residual) = residual
        && residual.elem_count() != y.elem_count()
    {
        mismatch!("residual {:?} after a product {:?}", residual.dims(), y.dims());
    }
    if !launch::runs_on(y.device()) {
        return twin(y, bias, activation, residual, out);
    }
    const MODULE: Module = module!("finish");
    const THREADS: usize = 256;
    let residual_type = residual.map_or(out, Tensor::dtype);
    if ![DType::F32, out].contains(&residual_type) {
        mismatch!("residual {residual_type:?} where f32 or {out:?} is added");
    }
    let total = y.elem_count();
    let Ok(total_word) = u32::try_from(total) else {
        mismatch!("a product {:?} of more than 2³² values", y.dims());
    };
    let finished = launch::uninitialised(y.dims(), out, y.device())?;
    let mut launch = Launch::on(y.device());
    let args = FinishArgs {
        y: launch.input(y, y.dtype())?,
        bias: launch.optional(bias, DType::F32)?,
        residual: launch.optional(residual, residual_type)?,
        out: launch.output(&finished)?,
        columns: columns as u32,
        activation: activation as u32,
        residual_is_f32: u32::from(residual_type == DType::F32),
        total: total_word,
        bias_of_rows: bias_of_rows.into(),
        unused: 0,
    };
    let addresses = [
        (args.y, y.dtype()),
        (if bias_of_rows { 0 } else { args.bias }, DType::F32),
        (args.residual, residual_type),
        (args.out, out),
    ];
    // Sixteen bytes of the narrower type.
    let most = if y.dtype() != DType::F32 && out != DType::F32 {
        8
    } else {
        4
    };
    let vectors = columns.is_multiple_of(most) && launch::aligned(&addresses, most);
    let (kernel, each) = if vectors {
        ("finish_vectors", most)
    } else {
        ("finish", 1)
    };
    let kernel = format!("{kernel}_{}_{}", type_name(y.dtype())?, type_name(out)?);
    // SAFETY: a thread for each `each` values of tensors of `total`.
    unsafe { launch.run(MODULE, &kernel, [total.div_ceil(each * THREADS), 1, 1], THREADS, args)? };
    Ok(finished)
}

/// `FinishArgs` of `kernels/finish.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct FinishArgs {
    y: Address,
    bias: Address,
    residual: Address,
    out: Address,
    columns: u32,
    activation: u32,
    residual_is_f32: u32,
    total: u32,
    bias_of_rows: u32,
    unused: u32,
}

// SAFETY: as its source has it; 56 bytes.
unsafe impl Args for FinishArgs {}

fn twin(
    y: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
    residual: Option<&Tensor>,
    out: DType,
) -> Result<Tensor> {
    let y = y.to_dtype(DType::F32)?;
    let sum = match bias {
        Some(bias) => (y + bias)?,
        None => y,
    };
    let value = match activation {
        Activation::None => sum,
        Activation::Gelu => sum.map(math::gelu::<Portable>)?,
        Activation::Relu => sum.map(math::relu)?,
    };
    match residual {
        Some(residual) => (residual.reshape(value.dims())?.to_dtype(DType::F32)? + value)?.to_dtype(out),
        None => value.to_dtype(out),
    }
}
