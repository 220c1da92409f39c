//! Softmax of rows of scores that are too long for the attention kernels.

use crate::{
    DType, Result, Tensor,
    launch::{self, Address, Args, Launch, Module, module, type_name},
};

use super::host;

/// The softmax of each row of `x`, f32 `[rows, columns]`, as the type `out`. A row with what is no number, but for −∞
/// beside others, gives none.
pub fn softmax(x: &Tensor, out: DType) -> Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    if !launch::runs_on(x.device()) {
        return twin(x, columns, out);
    }
    const MODULE: Module = module!("softmax");
    const THREADS: usize = 256;
    let y = launch::uninitialised((rows, columns), out, x.device())?;
    let mut launch = Launch::on(x.device());
    let args = SoftmaxArgs {
        x: launch.input(x, DType::F32)?,
        out: launch.output(&y)?,
        columns: columns as u64,
    };
    // SAFETY: a block for each row, in both tensors.
    unsafe {
        launch.run(
            MODULE,
            &format!("softmax_{}", type_name(out)?),
            [rows, 1, 1],
            THREADS,
            args,
        )?
    };
    Ok(y)
}

/// `SoftmaxArgs` of `kernels/softmax.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct SoftmaxArgs {
    x: Address,
    out: Address,
    columns: u64,
}

// SAFETY: as its source has it; 24 bytes.
unsafe impl Args for SoftmaxArgs {}

fn twin(x: &Tensor, columns: usize, out: DType) -> Result<Tensor> {
    let mut values = host::values(x)?;
    for row in values.chunks_exact_mut(columns.max(1)) {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter_mut().for_each(|x| *x = (*x - most).exp());
        let total: f32 = row.iter().sum();
        row.iter_mut().for_each(|x| *x /= total);
    }
    host::tensor(values, x.dims(), out, x)
}
