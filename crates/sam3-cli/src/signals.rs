//! What happens when a run is interrupted, or when the drive under a mapped file goes away.

use std::{
    path::Path,
    sync::atomic::{AtomicPtr, Ordering},
};

use signal_hook::{
    consts::{SIGBUS, SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
    low_level,
};

use crate::failure::ENVIRONMENT;

/// What to say when a read of a mapped file fails; leaked, as a signal may come at any time.
static MESSAGE: AtomicPtr<String> = AtomicPtr::new(std::ptr::null_mut());

/// Removes temporary files on Ctrl-C and its like, and turns a failing read of a mapped file into exit code 3.
///
/// What cannot be installed is left to the system: the run then ends without a word, and the next one cleans up.
pub fn install() {
    if let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) {
        std::thread::spawn(move || {
            for signal in signals.forever() {
                sam3_package::discard_staged();
                // Ends the process as the signal would have, so that a shell sees it.
                let _ = low_level::emulate_default_handler(signal);
            }
        });
    }
    // SAFETY: the handler loads an atomic, writes to a file descriptor and exits: all of it may be done in a signal handler.
    let _ = unsafe { low_level::register(SIGBUS, unreadable) };
}

/// Names the file that is about to be read through a map.
pub fn reading(path: &Path) {
    let message = Box::leak(Box::new(format!(
        "error: {}: it can no longer be read: its drive is gone, or it became shorter while it was in use\n\
         hint: connect the drive again, check the file's size and run the command again; no output got its final name\n",
        path.display()
    )));
    MESSAGE.store(message, Ordering::Release);
}

fn unreadable() {
    // SAFETY: null, or leaked by `reading` and never changed.
    let message = unsafe { MESSAGE.load(Ordering::Acquire).as_ref() };
    let text = message.map_or("error: a mapped file can no longer be read\n", String::as_str);
    // Nothing can be done where even this fails.
    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
    low_level::exit(ENVIRONMENT.into());
}
