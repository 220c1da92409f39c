//! Matrix products by cuBLASLt, alone or with what is added to them in the same kernel.

#[cfg(feature = "cuda")]
use crate::Device;
use crate::{DType, Result, Tensor, error::mismatch};

use super::finish;
use crate::ops::{Activation, matmul_t};

/// `x wᵀ` in the type of both: `x` is `[rows, depth]`, `w` `[columns, depth]`. Sums are f32, which are rounded once.
///
/// # Errors
/// When the device fails, or is none.
pub fn product(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(gpu) = x.device() {
        if let Some(y) = on_gpu::product(gpu, [x, w], [None, None], x.dtype())? {
            return Ok(y);
        }
        if x.dtype() != DType::F32 {
            // Rows of halves that begin anywhere, which its kernels may not take.
            let [x_wide, w_wide] = [x, w].map(|x| x.to_dtype(DType::F32));
            return product(&x_wide?, &w_wide?)?.to_dtype(x.dtype());
        }
    }
    mismatch!("no product of {x:?} and the transpose of {w:?} there")
}

/// `residual + x wᵀ + bias` in f32: `x` is `[rows, depth]`, `w` `[columns, depth]`, both f16 or bf16; `bias` is f32 `[columns]`,
/// `residual` f32 `[rows, columns]`.
///
/// On a GPU the sums stay f32 throughout, where [`finish`] after a product gets them rounded to the operands' type.
pub fn product_add(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, residual: Option<&Tensor>) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(gpu) = x.device()
        && x.dtype() != DType::F32
        && let Some(y) = on_gpu::product(gpu, [x, w], [bias, residual], DType::F32)?
    {
        return Ok(y);
    }
    finish(&matmul_t(x, w)?, bias, Activation::None, residual, DType::F32)
}

#[cfg(feature = "cuda")]
mod on_gpu {
    use std::{
        collections::HashMap,
        ffi::c_void,
        ptr,
        sync::{Arc, Mutex, PoisonError},
    };

    use cudarc::{
        cublaslt::{
            result::{self, CublasError},
            sys::{
                self, cublasLtEpilogue_t as Epilogue, cublasLtMatmulDescAttributes_t as Attribute,
                cublasLtMatmulPreferenceAttributes_t as Preference,
            },
        },
        driver::CudaContext,
    };

    use crate::{
        DType, Error, Result, Tensor,
        gpu::Gpu,
        launch::{self, Address, Launch},
    };

    /// What NVIDIA advises for a Hopper; earlier cards want 4 MB.
    const WORKSPACE: usize = 32 << 20;
    /// Allocations begin at multiples of this; more is of no use to cuBLASLt.
    const MOST_ALIGNED: Address = 256;

    /// cuBLASLt on one device.
    struct Library {
        context: Arc<CudaContext>,
        handle: sys::cublasLtHandle_t,
        /// Used by one product at a time: they are all on the device's one stream.
        workspace: Tensor,
        /// `None` where it has no kernel.
        plans: HashMap<Key, Option<Plan>>,
    }

    // SAFETY: handles and descriptors may be used by one thread after another, and `LIBRARIES` sees to that.
    unsafe impl Send for Library {}

    static LIBRARIES: Mutex<Vec<Library>> = Mutex::new(Vec::new());

    #[derive(Clone, Copy, PartialEq, Eq, Hash)]
    struct Key {
        operands: DType,
        out: DType,
        rows: usize,
        columns: usize,
        depth: usize,
        has_bias: bool,
        /// Of all addresses, in bytes.
        alignment: u32,
    }

    /// A product's descriptors and kernel, which stay until the program ends.
    struct Plan {
        description: sys::cublasLtMatmulDesc_t,
        /// cuBLASLt counts columns first: `w`, `x`, and both the sum's and the residual's.
        layouts: [sys::cublasLtMatrixLayout_t; 3],
        algorithm: sys::cublasLtMatmulAlgo_t,
    }

    /// `residual + x wᵀ + bias` as the type `out`; `None` where cuBLASLt has no kernel for it.
    pub fn product(
        gpu: &Gpu,
        [x, w]: [&Tensor; 2],
        [bias, residual]: [Option<&Tensor>; 2],
        out: DType,
    ) -> Result<Option<Tensor>> {
        let ((rows, depth), (columns, _)) = (x.dims2()?, w.dims2()?);
        let (operands, place) = (x.dtype(), x.device());
        if rows * columns * depth == 0 {
            // What is added would be left out: only products alone have no depth.
            let is_alone = bias.is_none() && residual.is_none();
            return is_alone.then(|| Tensor::zeros((rows, columns), out, place)).transpose();
        }
        let sums = launch::uninitialised((rows, columns), out, place)?;
        let mut addresses = Launch::on(place);
        let [from_x, from_w] = [addresses.input(x, operands)?, addresses.input(w, operands)?];
        let added = addresses.optional(residual, DType::F32)?;
        let bias = addresses.optional(bias, DType::F32)?;
        let to = addresses.output(&sums)?;
        let key = Key {
            operands,
            out,
            rows,
            columns,
            depth,
            has_bias: bias != 0,
            alignment: 1 << (from_x | from_w | added | bias | to | MOST_ALIGNED).trailing_zeros(),
        };
        let mut libraries = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
        let library = match libraries
            .iter()
            .position(|library| library.context == *gpu.stream().context())
        {
            Some(index) => &mut libraries[index],
            None => {
                libraries.push(Library {
                    context: gpu.stream().context().clone(),
                    handle: result::create_handle().map_err(wrapped)?,
                    workspace: launch::uninitialised(WORKSPACE, DType::U8, place)?,
                    plans: HashMap::new(),
                });
                libraries.last_mut().expect("one was pushed")
            }
        };
        let handle = library.handle;
        let plan = library
            .plans
            .entry(key)
            .or_insert_with(|| Plan::new(handle, key, bias).ok());
        let Some(plan) = plan else { return Ok(None) };
        let workspace = Launch::on(place).input(&library.workspace, DType::U8)?;
        let (one, share) = (1f32, if added == 0 { 0f32 } else { 1f32 });
        let pointer = |address: Address| address as *const c_void;
        // SAFETY: the descriptors are those of the tensors, which were checked to be contiguous and stay borrowed; all work on them is in
        // order on this stream. Without a residual, where its share is 0, its place is not read.
        unsafe {
            if key.has_bias {
                attribute(plan.description, Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
            }
            result::matmul(
                handle,
                plan.description,
                (&raw const one).cast(),
                (&raw const share).cast(),
                pointer(from_w),
                plan.layouts[0],
                pointer(from_x),
                plan.layouts[1],
                pointer(if added == 0 { to } else { added }),
                plan.layouts[2],
                pointer(to).cast_mut(),
                plan.layouts[2],
                &raw const plan.algorithm,
                pointer(workspace).cast_mut(),
                WORKSPACE,
                gpu.stream().cu_stream().cast(),
            )
            .map_err(wrapped)?;
        }
        Ok(Some(sums))
    }

    impl Plan {
        /// Chooses a kernel; the error is that there is none.
        fn new(handle: sys::cublasLtHandle_t, key: Key, bias: Address) -> Result<Self> {
            let float = sys::cudaDataType_t::CUDA_R_32F;
            let cuda_type = |dtype| match dtype {
                DType::F16 => sys::cudaDataType_t::CUDA_R_16F,
                DType::BF16 => sys::cudaDataType_t::CUDA_R_16BF,
                _ => float,
            };
            let (operand, out) = (cuda_type(key.operands), cuda_type(key.out));
            let description =
                result::create_matmul_desc(sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, float).map_err(wrapped)?;
            let layout = |of, lines: usize, length: usize| {
                result::create_matrix_layout(of, length as u64, lines as u64, length as i64).map_err(wrapped)
            };
            let layouts = [
                layout(operand, key.columns, key.depth)?,
                layout(operand, key.rows, key.depth)?,
                layout(out, key.rows, key.columns)?,
            ];
            // SAFETY: each attribute is given a value of its own type, and descriptors that live.
            unsafe {
                /// `CUBLAS_OP_T`, of cuBLAS's header.
                const TRANSPOSED: i32 = 1;
                attribute(description, Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &TRANSPOSED)?;
                if key.has_bias {
                    let epilogue = Epilogue::CUBLASLT_EPILOGUE_BIAS;
                    attribute(description, Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
                    attribute(description, Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
                }
                let preferences = result::create_matmul_pref().map_err(wrapped)?;
                let prefer = |name, value: *const c_void, size| {
                    result::set_matmul_pref_attribute(preferences, name, value, size).map_err(wrapped)
                };
                let workspace = WORKSPACE;
                prefer(
                    Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                    (&raw const workspace).cast(),
                    size_of_val(&workspace),
                )?;
                for name in [
                    Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                    Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                    Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                    Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
                ] {
                    prefer(name, (&raw const key.alignment).cast(), size_of_val(&key.alignment))?;
                }
                let [w, x, sum] = layouts;
                let found = result::get_matmul_algo_heuristic(handle, description, w, x, sum, sum, preferences);
                result::destroy_matmul_pref(preferences).map_err(wrapped)?;
                Ok(Self {
                    description,
                    layouts,
                    algorithm: found.map_err(wrapped)?.algo,
                })
            }
        }
    }

    /// # Safety
    /// `value` is of the attribute's type.
    unsafe fn attribute<T>(description: sys::cublasLtMatmulDesc_t, name: Attribute, value: &T) -> Result<()> {
        // SAFETY: the caller's; the library copies the value.
        unsafe { result::set_matmul_desc_attribute(description, name, ptr::from_ref(value).cast(), size_of::<T>()) }
            .map_err(wrapped)
    }

    fn wrapped(error: CublasError) -> Error {
        match error.0 {
            sys::cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED => Error::OutOfGpuMemory,
            _ => Error::Device(format!("cuBLASLt: {error:?}")),
        }
    }
}
