//! Memory: how the C library's allocator treats the model's large buffers, and what happens when there is no more.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::Write as _,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::failure::ENVIRONMENT;

/// The C library's allocator, which remembers the size of the last buffer that it had no room for.
///
/// Who asks with `try_reserve`, as for tensors and pictures, makes an error of it. For everybody else the standard
/// library aborts, and [`end_for_want_of_memory`] turns that into a message and exit code 3.
pub struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

// SAFETY: the C library's own, which is only asked whether it had room.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise; as for those below.
        let at = there(unsafe { System.alloc(layout) }, layout.size());
        if layout.size() >= LARGE && !at.is_null() {
            in_huge_pages(at, layout.size());
        }
        at
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: see `alloc`.
        there(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: see `alloc`.
        there(unsafe { System.realloc(at, layout, size) }, size)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: see `alloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

/// The smallest buffer that huge pages are asked for: wherever it begins, it holds a whole one of 2 MB.
const LARGE: usize = 4 << 20;

/// Asks for huge pages behind a buffer, which most kernels give only to those who ask: an activation of 98 MB then
/// takes 47 page faults and entries of the TLB instead of 24,000. On two Zen 3 cores the image encoder's MLP took some
/// 4 % less, its attention in windows a tenth, by glibc's switch for it, which takes smaller buffers too.
fn in_huge_pages(at: *mut u8, size: usize) {
    #[cfg(target_os = "linux")]
    {
        use rustix::mm::{Advice, madvise};
        const PAGE: usize = 2 << 20;
        let before = at.align_offset(PAGE);
        let len = size.saturating_sub(before) / PAGE * PAGE;
        // SAFETY: whole pages of a buffer that nobody has yet; what is in it stays as it is.
        let _ = unsafe { madvise(at.wrapping_add(before).cast(), len, Advice::LinuxHugepage) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (at, size);
}

/// The size of the last buffer that could not be had; 0 while all could.
static REFUSED: AtomicUsize = AtomicUsize::new(0);

#[inline(always)]
fn there(at: *mut u8, size: usize) -> *mut u8 {
    if at.is_null() {
        REFUSED.store(size, Ordering::Relaxed);
    }
    at
}

/// In an abort: where memory had run out, says so and leaves, with nothing that allocates. What was half-written has no
/// name yet, and the next run removes it.
pub fn end_for_want_of_memory() {
    let size = REFUSED.load(Ordering::Relaxed);
    if size == 0 {
        return;
    }
    let mut text = [0u8; 256];
    let room = text.len();
    let mut rest = &mut text[..];
    let _ = write!(
        rest,
        "error: out of memory: {size} bytes more were not to be had\n\
         hint: end other programs, or raise the limit (`ulimit -d`, a cgroup's memory.max); segmenting takes some 0.6 GB at SAM 3's size\n"
    );
    let len = room - rest.len();
    let _ = rustix::io::write(rustix::stdio::stderr(), &text[..len]);
    signal_hook::low_level::exit(ENVIRONMENT.into())
}

/// Lets the allocator keep freed buffers for the next ones of their size. By default it returns each one beyond 32 MB
/// to the kernel, and the next one costs a page fault and a page of zeros every 4 kB: 158 instead of 125 ms for the
/// widest linear layer of the image encoder in bf16.
pub fn keep_buffers() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: two numbers to an allocator that locks itself; it may ignore them.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}

/// Gives the system the buffers back that [`keep_buffers`] keeps: for a server that has nothing to do.
#[cfg(feature = "serve")]
pub fn release_buffers() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: a number to an allocator that locks itself; what is in use stays.
    unsafe {
        libc::malloc_trim(0);
    }
}
