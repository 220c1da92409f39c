//! cuBLASLt: the few of its functions that are called here, under their names in `cublasLt.h`.

use std::{
    ffi::{c_int, c_void},
    sync::OnceLock,
};

use super::{
    GpuError,
    driver::Handle,
    library::{Wanted, functions},
};
use crate::{Error, Result};

type Status = c_int;

const CUBLAS_STATUS_ALLOC_FAILED: Status = 3;

/// Types of elements (`cudaDataType_t`).
#[derive(Clone, Copy)]
#[repr(i32)]
pub enum DataType {
    F32 = 0,
    F16 = 2,
    Bf16 = 14,
}

/// `CUBLAS_COMPUTE_32F`: sums in f32.
pub const COMPUTE_32F: c_int = 68;
/// `CUBLAS_OP_T`.
pub const TRANSPOSED: i32 = 1;
/// `CUBLASLT_EPILOGUE_BIAS`: a value for each column is added.
pub const EPILOGUE_BIAS: c_int = 4;

/// Attributes of a product (`cublasLtMatmulDescAttributes_t`), with their values' types.
#[derive(Clone, Copy)]
#[repr(i32)]
pub enum DescAttribute {
    /// i32.
    TransA = 3,
    /// i32.
    Epilogue = 7,
    /// An address.
    BiasPointer = 8,
}

/// Attributes of the search for a kernel (`cublasLtMatmulPreferenceAttributes_t`).
#[derive(Clone, Copy)]
#[repr(i32)]
pub enum PreferenceAttribute {
    /// u64.
    MaxWorkspaceBytes = 1,
    /// u32, as the next three.
    MinAlignmentA = 5,
    MinAlignmentB = 6,
    MinAlignmentC = 7,
    MinAlignmentD = 8,
}

impl PreferenceAttribute {
    /// Of both operands, the residual and the result.
    pub const ALIGNMENTS: [Self; 4] = [
        Self::MinAlignmentA,
        Self::MinAlignmentB,
        Self::MinAlignmentC,
        Self::MinAlignmentD,
    ];
}

/// A kernel and how it is run (`cublasLtMatmulAlgo_t`).
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Algorithm([u64; 8]);

/// What the search for a kernel found (`cublasLtMatmulHeuristicResult_t`).
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Found {
    pub algorithm: Algorithm,
    workspace: usize,
    state: Status,
    waves: f32,
    reserved: [c_int; 4],
}

const LIBRARY: Wanted = Wanted {
    names: &["libcublasLt.so.13", "libcublasLt.so.12"],
    folders: &["/usr/local/cuda/lib64"],
    package: "CUDA's libcublas installs it, for example `apt install libcublas-12-6`",
};

functions! {
    /// The functions.
    pub struct CublasLt -> Status {
        fn cublasLtCreate(*mut Handle);
        fn cublasLtMatrixLayoutCreate(*mut Handle, DataType, u64, u64, i64);
        fn cublasLtMatmulDescCreate(*mut Handle, c_int, DataType);
        fn cublasLtMatmulDescSetAttribute(Handle, DescAttribute, *const c_void, usize);
        fn cublasLtMatmulPreferenceCreate(*mut Handle);
        fn cublasLtMatmulPreferenceSetAttribute(Handle, PreferenceAttribute, *const c_void, usize);
        fn cublasLtMatmulPreferenceDestroy(Handle);
        fn cublasLtMatmulAlgoGetHeuristic(
            Handle, Handle, Handle, Handle, Handle, Handle, Handle, c_int, *mut Found, *mut c_int,
        );
        fn cublasLtMatmul(
            Handle, Handle, *const c_void, *const c_void, Handle, *const c_void, Handle, *const c_void, *const c_void, Handle,
            *mut c_void, Handle, *const Algorithm, *mut c_void, usize, Handle,
        );
    }
}

impl CublasLt {
    /// The library, opened once.
    ///
    /// # Errors
    /// When it is not there.
    pub fn get() -> Result<&'static Self, GpuError> {
        static LT: OnceLock<Result<CublasLt, GpuError>> = OnceLock::new();
        let library = LT.get_or_init(|| {
            Self::of(LIBRARY.open()?).map_err(|reason| GpuError::Driver(format!("{}: {reason}", LIBRARY.names[0])))
        });
        library.as_ref().map_err(GpuError::clone)
    }

    /// An error unless a function returned success.
    pub fn check(&self, status: Status) -> Result<()> {
        match status {
            0 => Ok(()),
            CUBLAS_STATUS_ALLOC_FAILED => Err(Error::OutOfGpuMemory),
            status => Err(Error::Device(format!("cuBLASLt: status {status}"))),
        }
    }
}
