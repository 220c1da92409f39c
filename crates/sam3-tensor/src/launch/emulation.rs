//! The kernels' own sources on the CPU, for tests: compiled by the machine's C++ compiler, see `kernels/emulation.h`.

use std::{
    cell::Cell,
    ffi::{CStr, CString, c_char, c_int, c_void},
    path::PathBuf,
    process::Command,
    sync::{Mutex, OnceLock},
};

use super::{Address, Args};
use crate::{Result, Tensor};

thread_local! {
    static EMULATING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in [`emulated`].
pub fn emulating() -> bool {
    EMULATING.get()
}

/// Runs kernels for tensors in main memory, rather than the twins.
pub fn emulated<T>(run: impl FnOnce() -> T) -> T {
    EMULATING.set(true);
    let result = run();
    EMULATING.set(false);
    result
}

/// All bits set, NaN in floats, so that what a kernel leaves out shows.
pub fn poisoned(x: Tensor) -> Result<Tensor> {
    let bytes = vec![u8::MAX; x.elem_count() * x.dtype().size_in_bytes()];
    Tensor::from_bytes(&bytes, x.dtype(), x.dims(), x.device())
}

#[repr(C)]
struct Buffer {
    start: Address,
    bytes: u64,
    is_output: u64,
}

type Emulate = unsafe extern "C" fn(*const c_char, *const u64, u64, *const Buffer, u64, *const u32, u32) -> c_int;

unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

/// Runs a kernel with `args` that point into `buffers`: address, bytes, whether it is written.
///
/// # Panics
/// When there is no such kernel, and when there is no C++ compiler.
pub fn run<A: Args>(kernel: &str, args: &A, buffers: &[(Address, usize, bool)], blocks: [u32; 3], threads: u32) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    static EMULATE: OnceLock<Emulate> = OnceLock::new();
    let emulate = EMULATE.get_or_init(compile);
    let _lock = ONE_AT_A_TIME.lock();
    let buffers: Vec<Buffer> = buffers
        .iter()
        .map(|&(start, bytes, is_output)| Buffer {
            start,
            bytes: bytes as u64,
            is_output: is_output.into(),
        })
        .collect();
    assert_eq!(size_of::<A>() % 8, 0);
    let name = CString::new(kernel).unwrap();
    // SAFETY: `args` is read as the words that it is made of, each buffer is a live tensor, and only tensors nobody
    // else has yet are written.
    let found = unsafe {
        emulate(
            name.as_ptr(),
            std::ptr::from_ref(args).cast(),
            (size_of::<A>() / 8) as u64,
            buffers.as_ptr(),
            buffers.len() as u64,
            blocks.as_ptr(),
            threads,
        )
    };
    assert_eq!(found, 1, "kernels/ has no {kernel}");
}

/// The kernels' folder: beside that of the crate whose tests run, as cargo or a script says, for they may run on
/// another machine than compiled them.
fn kernels() -> PathBuf {
    let tested =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    tested.with_file_name("sam3-tensor").join("kernels")
}

/// `SAM3_EMULATION_FLAGS` is more for the compiler: `-fsanitize=thread -DREAL_THREADS` looks for races, see
/// `kernels/emulation.cpp`.
fn compile() -> Emulate {
    let source = kernels().join("emulation.cpp");
    let library = std::env::temp_dir().join(format!("sam3-kernels-{}.so", std::process::id()));
    let extra = std::env::var("SAM3_EMULATION_FLAGS").unwrap_or_default();
    let output = Command::new(std::env::var("CXX").unwrap_or("c++".to_owned()))
        .args("-std=c++17 -O2 -fPIC -shared -pthread -fno-strict-aliasing -ffp-contract=off".split(' '))
        .args("-Wall -Wextra -Werror -Wno-unknown-pragmas".split(' '))
        .args(extra.split_whitespace())
        .arg("-o")
        .args([&library, &source])
        .output()
        .expect("a C++ compiler, c++ or what CXX names");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = CString::new(library.to_str().unwrap()).unwrap();
    const NOW: c_int = 2;
    // SAFETY: plain calls of the C library; the symbol is the function that `kernels/emulation.cpp` declares so.
    unsafe {
        let handle = dlopen(path.as_ptr(), NOW);
        assert!(!handle.is_null(), "{}", CStr::from_ptr(dlerror()).to_string_lossy());
        std::fs::remove_file(&library).unwrap();
        let symbol = dlsym(handle, c"emulate".as_ptr());
        assert!(!symbol.is_null());
        std::mem::transmute::<*mut c_void, Emulate>(symbol)
    }
}
