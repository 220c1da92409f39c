//! What happens when a run is interrupted, or when the drive under a mapped file goes away.

use std::{
    ffi::{c_int, c_void},
    mem,
    ops::ControlFlow,
    ptr::null_mut,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use signal_hook::{
    consts::{SIGBUS, SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
    low_level,
};

use crate::{failure::ENVIRONMENT, memory};

/// The handler that was there before: Rust's own, which reports a stack that overflowed.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();
/// True once a thread tells of a fault: others fault at the same time.
static TOLD: AtomicBool = AtomicBool::new(false);

/// True once a signal ends the run.
static STOPPING: AtomicBool = AtomicBool::new(false);
/// Calls of the model that end at the next layer then, and results that are being written.
static STOPPABLE: AtomicUsize = AtomicUsize::new(0);
/// How long a signal waits for them: a layer takes less, where the machine is not very slow.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a first signal does in place of ending the run.
static INSTEAD: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();
/// The signal that did it; 0 before.
static FIRST: AtomicI32 = AtomicI32::new(0);

/// Lets the first signal do this, once: a run finishes what it has, and ends by itself. The next one ends the run as
/// ever.
pub fn at_first(stop: impl Fn() + Send + Sync + 'static) {
    let _ = INSTEAD.set(Box::new(stop));
}

/// Ends the process as the first signal would have, so that a shell sees it. Without one, it does nothing.
pub fn end_as_signalled() {
    sam3_package::discard_staged();
    let _ = low_level::emulate_default_handler(FIRST.load(Ordering::SeqCst));
}

/// While it lives, a signal waits for the next layer.
pub struct Stoppable(());

impl Stoppable {
    pub fn new() -> Self {
        STOPPABLE.fetch_add(1, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        STOPPABLE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// While what it returns lives, a signal waits, so that files that are only of use together are all written.
pub fn uninterrupted() -> Stoppable {
    let guard = Stoppable::new();
    if STOPPING.load(Ordering::SeqCst) {
        drop(guard);
        wait_for_the_end();
        return Stoppable::new();
    }
    guard
}

/// Whether a call of the model goes on behind a layer.
pub fn go_on() -> ControlFlow<()> {
    match STOPPING.load(Ordering::SeqCst) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    }
}

/// Waits for the end, where a signal ends the process: what failed for that reason is nobody's fault.
pub fn wait_for_the_end() {
    while STOPPING.load(Ordering::SeqCst) {
        thread::park();
    }
}

/// Removes temporary files on Ctrl-C and its like, and turns a failing read of a mapped file, and a write beyond the
/// limit on a file's size, and an abort for want of memory, into exit code 3.
///
/// What cannot be installed is left to the system: the run then ends without a word, and the next one cleans up.
pub fn install() {
    let wanted = [SIGINT, SIGTERM, SIGHUP]
        .into_iter()
        .filter(|signal| !is_ignored(*signal));
    if let Ok(mut signals) = Signals::new(wanted) {
        let _ = thread::Builder::new().spawn(move || {
            let mut is_first = true;
            for signal in signals.forever() {
                if let (true, Some(stop)) = (is_first, INSTEAD.get()) {
                    is_first = false;
                    FIRST.store(signal, Ordering::SeqCst);
                    stop();
                    continue;
                }
                STOPPING.store(true, Ordering::SeqCst);
                let end = Instant::now() + PATIENCE;
                while STOPPABLE.load(Ordering::SeqCst) > 0 && Instant::now() < end {
                    thread::sleep(Duration::from_millis(5));
                }
                sam3_package::discard_staged();
                // Ends the process as the signal would have, so that a shell sees it.
                let _ = low_level::emulate_default_handler(signal);
            }
        });
    }
    if let Some(mut action) = action_of(libc::SIGABRT) {
        action.sa_sigaction = aborted as extern "C" fn(_) as usize;
        // SAFETY: the handler loads an atomic, writes to a file descriptor and exits, which a signal handler may do.
        unsafe { libc::sigaction(libc::SIGABRT, &raw const action, null_mut()) };
    }
    // The write then gives an error of its own.
    // SAFETY: ignoring a signal runs no code.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    if let Some(previous) = action_of(SIGBUS) {
        let _ = PREVIOUS.set(previous);
        let mut action = previous;
        action.sa_sigaction = unreadable as extern "C" fn(_, _, _) as usize;
        // On the stack for signals, as the usual one may have overflowed.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: the handler loads atomics, writes to a file descriptor and exits, which a signal handler may do.
        unsafe { libc::sigaction(SIGBUS, &raw const action, null_mut()) };
    }
}

/// True where whoever started this process asked it to outlive a signal, as `nohup` does.
fn is_ignored(signal: c_int) -> bool {
    action_of(signal).is_some_and(|action| action.sa_sigaction == libc::SIG_IGN)
}

fn action_of(signal: c_int) -> Option<libc::sigaction> {
    // SAFETY: a struct of integers, for which zeros are values, and which the system fills in.
    unsafe {
        let mut action = mem::zeroed();
        (libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0).then_some(action)
    }
}

/// Tells why, where it is known; behind the handler `abort` ends the process.
extern "C" fn aborted(_: c_int) {
    memory::end_for_want_of_memory();
}

/// Names the file whose map cannot be read; any other fault is left to the handler that was there before.
extern "C" fn unreadable(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the system hands over what it says of the fault.
    let address = unsafe { (*info).si_addr() } as usize;
    let Some(name) = sam3_package::mapped_file(address) else {
        if let Some(previous) = PREVIOUS.get() {
            // SAFETY: what was installed before. The instruction runs again after this, and faults again.
            unsafe { libc::sigaction(SIGBUS, previous, null_mut()) };
        }
        return;
    };
    if TOLD.swap(true, Ordering::Relaxed) {
        // The thread that was first ends the process.
        loop {
            // SAFETY: waits for a signal, and touches no memory.
            unsafe { libc::pause() };
        }
    }
    for text in [
        "error: ",
        name,
        ": it can no longer be read: its drive is gone, or it became shorter while it was in use\n\
         hint: connect the drive again, check the file's size and run the command again; no output got its final \
         name\n",
    ] {
        // Nothing can be done where even this fails.
        let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
    }
    low_level::exit(ENVIRONMENT.into());
}
