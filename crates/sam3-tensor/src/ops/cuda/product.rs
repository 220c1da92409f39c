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

/// `residual + x wᵀ + bias` in f32: `x` is `[rows, depth]`, `w` `[columns, depth]`, both f16 or bf16; `bias` is f32
/// `[columns]`, `residual` f32 `[rows, columns]`.
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
        ffi::{c_int, c_void},
        ptr,
        sync::{Mutex, PoisonError},
    };

    use crate::{
        DType, Error, Result, Tensor,
        gpu::{
            Gpu, Handle,
            cublaslt::{
                Algorithm, COMPUTE_32F, CublasLt, DataType, DescAttribute, EPILOGUE_BIAS, Found, PreferenceAttribute,
                TRANSPOSED,
            },
        },
        launch::{self, Address, Launch},
    };

    /// What NVIDIA advises: 32 MB from a Hopper on, 4 MB for earlier cards.
    fn workspace(gpu: &Gpu) -> usize {
        if gpu.capability() < 90 { 4 << 20 } else { 32 << 20 }
    }
    /// Allocations begin at multiples of this; more is of no use to cuBLASLt.
    const MOST_ALIGNED: Address = 256;

    /// cuBLASLt on one device.
    struct Library {
        gpu: Gpu,
        handle: Handle,
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
        description: Handle,
        /// cuBLASLt counts columns first: `w`, `x`, and both the sum's and the residual's.
        layouts: [Handle; 3],
        algorithm: Algorithm,
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
        let lt = CublasLt::get().map_err(|error| Error::Device(error.to_string()))?;
        let stream = gpu.stream()?;
        let mut libraries = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
        let library = match libraries.iter().position(|library| library.gpu.is(gpu)) {
            Some(index) => &mut libraries[index],
            None => {
                let mut handle = ptr::null_mut();
                // SAFETY: a handle is written, of the device whose context is current.
                lt.check(unsafe { (lt.cublasLtCreate)(&raw mut handle) })?;
                libraries.push(Library {
                    gpu: gpu.clone(),
                    handle,
                    workspace: launch::uninitialised(workspace(gpu), DType::U8, place)?,
                    plans: HashMap::new(),
                });
                libraries.last_mut().expect("one was pushed")
            }
        };
        let (handle, bytes) = (library.handle, library.workspace.elem_count());
        let plan = library
            .plans
            .entry(key)
            .or_insert_with(|| Plan::new(lt, handle, key, bias, bytes).ok().flatten());
        let Some(plan) = plan else { return Ok(None) };
        let workspace = Launch::on(place).input(&library.workspace, DType::U8)?;
        let (one, share) = (1f32, if added == 0 { 0f32 } else { 1f32 });
        let pointer = |address: Address| address as *const c_void;
        // SAFETY: the descriptors are those of the tensors, which were checked to be contiguous and stay borrowed; all
        // work on them is in order on this stream. Without a residual, where its share is 0, its place is not read.
        unsafe {
            if key.has_bias {
                describe(lt, plan.description, DescAttribute::BiasPointer, &bias)?;
            }
            lt.check((lt.cublasLtMatmul)(
                handle,
                plan.description,
                (&raw const one).cast(),
                pointer(from_w),
                plan.layouts[0],
                pointer(from_x),
                plan.layouts[1],
                (&raw const share).cast(),
                pointer(if added == 0 { to } else { added }),
                plan.layouts[2],
                pointer(to).cast_mut(),
                plan.layouts[2],
                &raw const plan.algorithm,
                pointer(workspace).cast_mut(),
                bytes,
                stream,
            ))?;
        }
        Ok(Some(sums))
    }

    impl Plan {
        /// Chooses a kernel that does with so many bytes of `workspace`; `None` where there is none.
        fn new(lt: &CublasLt, handle: Handle, key: Key, bias: Address, workspace: usize) -> Result<Option<Self>> {
            let data_type = |dtype| match dtype {
                DType::F16 => DataType::F16,
                DType::BF16 => DataType::Bf16,
                _ => DataType::F32,
            };
            let (operand, out) = (data_type(key.operands), data_type(key.out));
            let layout = |of, lines: usize, length: usize| {
                let mut layout = ptr::null_mut();
                // SAFETY: a handle is written.
                let status = unsafe {
                    (lt.cublasLtMatrixLayoutCreate)(&raw mut layout, of, length as u64, lines as u64, length as i64)
                };
                lt.check(status).map(|()| layout)
            };
            let layouts = [
                layout(operand, key.columns, key.depth)?,
                layout(operand, key.rows, key.depth)?,
                layout(out, key.rows, key.columns)?,
            ];
            let (mut description, mut preferences) = (ptr::null_mut(), ptr::null_mut());
            let (mut found, mut count): (Found, c_int) = (Found::default(), 0);
            // SAFETY: each attribute is given a value of its own type, and descriptors that live; one result is asked
            // for.
            unsafe {
                lt.check((lt.cublasLtMatmulDescCreate)(
                    &raw mut description,
                    COMPUTE_32F,
                    DataType::F32,
                ))?;
                describe(lt, description, DescAttribute::TransA, &TRANSPOSED)?;
                if key.has_bias {
                    describe(lt, description, DescAttribute::Epilogue, &EPILOGUE_BIAS)?;
                    describe(lt, description, DescAttribute::BiasPointer, &bias)?;
                }
                lt.check((lt.cublasLtMatmulPreferenceCreate)(&raw mut preferences))?;
                prefer(
                    lt,
                    preferences,
                    PreferenceAttribute::MaxWorkspaceBytes,
                    &(workspace as u64),
                )?;
                for attribute in PreferenceAttribute::ALIGNMENTS {
                    prefer(lt, preferences, attribute, &key.alignment)?;
                }
                let [w, x, sum] = layouts;
                let (found, count) = (&raw mut found, &raw mut count);
                let search = lt.cublasLtMatmulAlgoGetHeuristic;
                let status = search(handle, description, w, x, sum, sum, preferences, 1, found, count);
                lt.check((lt.cublasLtMatmulPreferenceDestroy)(preferences))?;
                lt.check(status)?;
            }
            Ok((count > 0).then_some(Self {
                description,
                layouts,
                algorithm: found.algorithm,
            }))
        }
    }

    /// # Safety
    /// `value` is of the attribute's type.
    unsafe fn describe<T>(lt: &CublasLt, description: Handle, name: DescAttribute, value: &T) -> Result<()> {
        let value: *const T = value;
        // SAFETY: the caller's; the library copies the value.
        lt.check(unsafe { (lt.cublasLtMatmulDescSetAttribute)(description, name, value.cast(), size_of::<T>()) })
    }

    /// # Safety
    /// As of `describe`.
    unsafe fn prefer<T>(lt: &CublasLt, preferences: Handle, name: PreferenceAttribute, value: &T) -> Result<()> {
        let value: *const T = value;
        // SAFETY: the caller's; the library copies the value.
        lt.check(unsafe { (lt.cublasLtMatmulPreferenceSetAttribute)(preferences, name, value.cast(), size_of::<T>()) })
    }
}
