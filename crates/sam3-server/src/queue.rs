//! Requests that wait for the model: a bounded queue that who goes away leaves.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// In the order of coming.
pub struct Queue<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
    capacity: usize,
}

struct State<J> {
    waiting: VecDeque<(Place, J)>,
    next: Place,
    closed: bool,
}

/// Unlike any other place in the queue.
pub type Place = u64;

/// Why nothing more is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As many wait as may.
    Full,
    /// The server is being stopped.
    Closed,
}

/// What who works on the queue finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<J> {
    Job(J),
    /// Nothing came for as long as was waited.
    Idle,
    Closed,
}

impl<J> Queue<J> {
    pub fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                next: 0,
                closed: false,
            }),
            changed: Condvar::new(),
            capacity,
        }
    }

    /// Puts a job behind the others.
    pub fn push(&self, job: J) -> Result<Place, Refused> {
        let mut state = self.state();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.waiting.len() >= self.capacity {
            return Err(Refused::Full);
        }
        let place = state.next;
        state.next += 1;
        state.waiting.push_back((place, job));
        self.changed.notify_one();
        Ok(place)
    }

    /// Takes a job out that still waits.
    pub fn leave(&self, place: Place) -> Option<J> {
        let mut state = self.state();
        let at = state.waiting.iter().position(|(own, _)| *own == place)?;
        state.waiting.remove(at).map(|(_, job)| job)
    }

    /// Waits for the next job, at most this long.
    pub fn next(&self, patience: Duration) -> Next<J> {
        let mut state = self.state();
        loop {
            if state.closed {
                return Next::Closed;
            }
            if let Some((_, job)) = state.waiting.pop_front() {
                return Next::Job(job);
            }
            let waited = self.changed.wait_timeout(state, patience);
            let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if timeout.timed_out() && state.waiting.is_empty() && !state.closed {
                return Next::Idle;
            }
        }
    }

    /// Takes nothing more, and drops what waits.
    pub fn close(&self) {
        let dropped = {
            let mut state = self.state();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        self.changed.notify_all();
        drop(dropped);
    }

    pub fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.state().waiting.len()
    }

    /// How many may wait.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    fn state(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_taken_in_order_and_those_that_leave_make_room() {
        let queue = Queue::new(2);
        let first = queue.push('a').unwrap();
        let second = queue.push('b').unwrap();
        assert_eq!(queue.push('c'), Err(Refused::Full));
        assert_eq!(queue.leave(first), Some('a'));
        assert_eq!(queue.leave(first), None);
        queue.push('d').unwrap();
        assert_eq!(queue.next(Duration::ZERO), Next::Job('b'));
        assert_eq!(queue.leave(second), None, "it is being worked on");
        assert_eq!(queue.next(Duration::ZERO), Next::Job('d'));
        assert_eq!(queue.next(Duration::ZERO), Next::Idle);
    }

    #[test]
    fn a_closed_queue_drops_what_waits() {
        let queue = Queue::new(2);
        let job = std::sync::Arc::new(());
        queue.push(job.clone()).unwrap();
        queue.close();
        assert_eq!(std::sync::Arc::strong_count(&job), 1);
        assert_eq!(queue.push(job), Err(Refused::Closed));
        assert_eq!(queue.next(Duration::from_secs(60)), Next::Closed);
    }
}
