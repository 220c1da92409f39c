//! A product and what is added to it, in one kernel of cuBLASLt.

#[cfg(feature = "cuda")]
use candle_core::Device;
use candle_core::{DType, Result, Tensor};

use super::finish;
use crate::ops::{Activation, device};

/// `residual + x wᵀ + bias` in f32: `x` is `[rows, depth]`, `w` `[columns, depth]`, both f16 or bf16; `bias` is f32 `[columns]`,
/// `residual` f32 `[rows, columns]`.
///
/// On a GPU the sums stay f32 throughout, where [`finish`] after a product gets them rounded to the operands' type.
pub fn product_add(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, residual: Option<&Tensor>) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(cuda) = x.device()
        && let Some(y) = on_gpu::product_add(cuda, x, w, bias, residual)?
    {
        return Ok(y);
    }
    finish(&device::product(x, w)?, bias, Activation::None, residual, DType::F32)
}

#[cfg(feature = "cuda")]
mod on_gpu {
    use std::{
        collections::HashMap,
        ffi::c_void,
        ptr,
        sync::{Mutex, PoisonError},
    };

    use candle_core::{
        CudaDevice, DType, Error, Result, Tensor,
        cuda_backend::{
            DeviceId,
            cudarc::cublas::sys::cublasOperation_t,
            cudarc::cublaslt::{
                result::{self, CublasError},
                sys::{
                    self, cublasLtEpilogue_t as Epilogue, cublasLtMatmulDescAttributes_t as Attribute,
                    cublasLtMatmulPreferenceAttributes_t as Preference,
                },
            },
        },
    };

    use crate::ops::cuda::launch::{self, Address, Launch};

    /// What NVIDIA advises for a Hopper; earlier cards want 4 MB.
    const WORKSPACE: usize = 32 << 20;
    /// Allocations begin at multiples of this; more is of no use to cuBLASLt.
    const MOST_ALIGNED: Address = 256;

    /// cuBLASLt on one device.
    struct Library {
        device: DeviceId,
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
        dtype: DType,
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

    /// See [`super::product_add`]; `None` where cuBLASLt has no kernel for it.
    pub fn product_add(
        device: &CudaDevice,
        x: &Tensor,
        w: &Tensor,
        bias: Option<&Tensor>,
        residual: Option<&Tensor>,
    ) -> Result<Option<Tensor>> {
        let ((rows, depth), (columns, _)) = (x.dims2()?, w.dims2()?);
        let (dtype, place) = (x.dtype(), x.device());
        if dtype == DType::F32 || rows * columns * depth == 0 {
            return Ok(None);
        }
        let (x, w) = (x.contiguous()?, w.contiguous()?);
        let [bias, residual] = [bias, residual].map(|of| of.map(Tensor::contiguous).transpose());
        let (bias, residual) = (bias?, residual?);
        let out = launch::uninitialised((rows, columns), DType::F32, place)?;
        let mut addresses = Launch::on(place);
        let [from_x, from_w] = [addresses.input(&x, dtype)?, addresses.input(&w, dtype)?];
        let added = addresses.optional(residual.as_ref(), DType::F32)?;
        let bias = addresses.optional(bias.as_ref(), DType::F32)?;
        let to = addresses.output(&out)?;
        let key = Key {
            dtype,
            rows,
            columns,
            depth,
            has_bias: bias != 0,
            alignment: 1 << (from_x | from_w | added | bias | to | MOST_ALIGNED).trailing_zeros(),
        };
        let mut libraries = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
        let library = match libraries.iter().position(|library| library.device == device.id()) {
            Some(index) => &mut libraries[index],
            None => {
                libraries.push(Library {
                    device: device.id(),
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
                device.cuda_stream().cu_stream().cast(),
            )
            .map_err(wrapped)?;
        }
        Ok(Some(out))
    }

    impl Plan {
        /// Chooses a kernel; the error is that there is none.
        fn new(handle: sys::cublasLtHandle_t, key: Key, bias: Address) -> Result<Self> {
            let float = sys::cudaDataType_t::CUDA_R_32F;
            let operand = match key.dtype {
                DType::F16 => sys::cudaDataType_t::CUDA_R_16F,
                _ => sys::cudaDataType_t::CUDA_R_16BF,
            };
            let description =
                result::create_matmul_desc(sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, float).map_err(wrapped)?;
            let layout = |of, lines: usize, length: usize| {
                result::create_matrix_layout(of, length as u64, lines as u64, length as i64).map_err(wrapped)
            };
            let layouts = [
                layout(operand, key.columns, key.depth)?,
                layout(operand, key.rows, key.depth)?,
                layout(float, key.rows, key.columns)?,
            ];
            // SAFETY: each attribute is given a value of its own type, and descriptors that live.
            unsafe {
                let transpose = cublasOperation_t::CUBLAS_OP_T;
                attribute(description, Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &transpose)?;
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
        Error::Msg(format!("cuBLASLt: {error:?}"))
    }
}
