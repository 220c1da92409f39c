//! The first signal ends a run where it is, with all that was held back written; a second one ends it at once.

use std::{
    fs::File,
    io::{self, Read},
    ops::ControlFlow,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use sam3_video::{Owner, Switch};

use crate::{output::Output, signals};

static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// How long a signal may go unnoticed while nothing comes through a pipe.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// The program that frames may be waited for from.
static DECODER: Mutex<Option<Switch>> = Mutex::new(None);

/// From now on the first signal is answered by the run.
pub fn watch(output: &Output) {
    let output = *output;
    signals::at_first(move || {
        IS_INTERRUPTED.store(true, Ordering::SeqCst);
        if let Some(decoder) = &*decoder() {
            decoder.turn_off();
        }
        output.note("ending: what was followed until now is written; a second signal ends it at once");
    });
}

/// Lets a signal end this program, too, so that nobody waits for its frames.
pub fn ends(switch: Switch) {
    let mut decoder = decoder();
    if is_interrupted() {
        switch.turn_off();
    }
    *decoder = Some(switch);
}

/// Signals end a live source.
pub struct Signals;

impl Owner for Signals {
    fn opened(&self, switch: Switch) {
        ends(switch);
    }

    fn is_over(&self) -> bool {
        is_interrupted()
    }
}

fn decoder() -> MutexGuard<'static, Option<Switch>> {
    DECODER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a signal was there.
pub fn is_interrupted() -> bool {
    IS_INTERRUPTED.load(Ordering::SeqCst)
}

/// Whether the model goes on behind a layer.
pub fn go_on() -> ControlFlow<()> {
    match is_interrupted() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    }
}

/// A pipe that is at its end once a signal was there, though whoever writes into it may only be slow.
pub struct Pipe(pub File);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !is_interrupted() {
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&PATIENCE)) {
                Ok(0) | Err(Errno::INTR) => {}
                // Of what cannot be waited for, reading says why.
                _ => return self.0.read(buffer),
            }
        }
        Ok(0)
    }
}
