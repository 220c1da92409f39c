//! The NVIDIA driver's library, opened when a GPU is first asked for and not when the program starts: where there is no driver, the same
//! program runs on the CPU.
//!
//! candle links with `libcuda.so.1`, without which the system would not start the program at all. So every function of `cuda.h` is defined
//! here, as a jump through a slot, and the linker wants nothing of that library any more. [`cuInit`], which must come before any other
//! function of the driver, opens it and fills the slots. Names and jumps are made by `build/driver.rs`.

use std::{
    arch::global_asm,
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    sync::{
        Once,
        atomic::{AtomicPtr, Ordering},
    },
};

/// `CUDA_ERROR_STUB_LIBRARY`: what a slot answers that nothing filled.
const NO_DRIVER: c_int = 34;

const NAMES: &[&CStr] = &include!(concat!(env!("OUT_DIR"), "/driver_names.rs"));

#[used]
#[unsafe(export_name = "sam3_driver_slots")]
static SLOTS: [AtomicPtr<c_void>; NAMES.len()] = [const { AtomicPtr::new(missing as *mut c_void) }; NAMES.len()];

global_asm!(include_str!(concat!(env!("OUT_DIR"), "/driver.s")), options(raw));

extern "C" fn missing() -> c_int {
    NO_DRIVER
}

unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// Opens the library, the first time, and leaves it open.
pub fn load() {
    const RTLD_NOW: c_int = 2;
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: a name that ends in a zero; whoever may start this program chose what that library is, as with every other.
        let library = unsafe { dlopen(c"libcuda.so.1".as_ptr(), RTLD_NOW) };
        if library.is_null() {
            return;
        }
        for (slot, name) in SLOTS.iter().zip(NAMES) {
            // SAFETY: an open library, and a name that ends in a zero.
            let function = unsafe { dlsym(library, name.as_ptr()) };
            if !function.is_null() {
                slot.store(function, Ordering::Release);
            }
        }
    });
}

/// The driver's own, behind [`load`].
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
unsafe extern "C" fn cuInit(flags: c_uint) -> c_int {
    load();
    let slot = NAMES
        .iter()
        .position(|name| *name == c"cuInit")
        .expect("build/driver.rs has it");
    let function = SLOTS[slot].load(Ordering::Acquire);
    // SAFETY: the driver's function of that name, or `missing`, which no argument harms.
    unsafe { std::mem::transmute::<*mut c_void, extern "C" fn(c_uint) -> c_int>(function)(flags) }
}
