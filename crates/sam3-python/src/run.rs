//! Long calls: without the GIL, and ended by Ctrl-C.

use std::{
    ops::ControlFlow,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use pyo3::prelude::*;
use sam3_model::{Progress, Watch};

use crate::errors;

/// How often Python is asked for signals.
const SIGNALS: Duration = Duration::from_millis(50);

/// Runs `work` beside Python's thread, which lets other threads run and looks for signals; one ends the work at the
/// model's next layer.
///
/// # Errors
/// What the work failed for; `KeyboardInterrupt`, and whatever else a signal's handler raises.
pub fn interruptible<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&mut Watch<'_>) -> sam3_model::Result<T> + Send,
) -> PyResult<T> {
    let stop = AtomicBool::new(false);
    let done = py.detach(|| {
        thread::scope(|scope| {
            let (sender, receiver) = channel();
            let stop = &stop;
            scope.spawn(move || {
                let mut watch = |_: Progress| match stop.load(Ordering::Relaxed) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                };
                // Nobody else waits for it.
                let _ = sender.send(work(&mut watch));
            });
            let mut signal = None;
            loop {
                match receiver.recv_timeout(SIGNALS) {
                    Ok(done) => return Some((done, signal)),
                    Err(RecvTimeoutError::Timeout) if signal.is_none() => {
                        signal = Python::attach(|py| py.check_signals()).err();
                        stop.store(signal.is_some(), Ordering::Relaxed);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    // The thread panicked, and the scope tells so.
                    Err(RecvTimeoutError::Disconnected) => return None,
                }
            }
        })
    });
    match done {
        Some((_, Some(signal))) => Err(signal),
        Some((done, None)) => done.map_err(errors::of_model),
        None => unreachable!("the scope passes the panic on"),
    }
}
