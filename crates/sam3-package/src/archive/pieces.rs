//! Compression by several threads: a file's pieces are compressed apart and joined in order.
//!
//! A thread takes the next piece, compresses it and waits only for its turn to learn its place in the file;
//! writing again needs no turn. The pieces are cut by position, so the bytes do not depend on the threads.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::Output;
use crate::{Error, Progress, Result};

/// Bytes of a file compressed at a time.
const PIECE: u64 = 1 << 20;

/// A format whose pieces can be made apart and joined.
pub(super) trait Codec {
    /// What the trailer needs to know of a piece.
    type Sum: Default + Send;
    /// What stands before the first piece.
    const HEADER: &'static [u8];
    /// Appends a piece.
    fn compress(piece: &[u8], out: &mut Vec<u8>) -> Self::Sum;
    /// Takes the next piece's sum into those before it.
    fn join(sum: &mut Self::Sum, next: &Self::Sum);
    /// What stands behind the last of `length` bytes.
    fn trailer(sum: Self::Sum, length: u64) -> Vec<u8>;
}

/// What to compress, in order.
#[derive(Default)]
pub(super) struct Pieces {
    list: Vec<Piece>,
    total: u64,
}

enum Piece {
    Bytes(Vec<u8>),
    Range { file: usize, offset: u64, length: u64 },
}

impl Pieces {
    pub fn bytes(&mut self, bytes: Vec<u8>) {
        self.total += bytes.len() as u64;
        self.list.push(Piece::Bytes(bytes));
    }

    /// The whole of file number `file`.
    pub fn file(&mut self, file: usize, size: u64) {
        for offset in (0..size).step_by(PIECE as usize) {
            self.list.push(Piece::Range {
                file,
                offset,
                length: PIECE.min(size - offset),
            });
        }
        self.total += size;
    }

    pub fn total(&self) -> u64 {
        self.total
    }
}

/// Who may place the next piece, and where.
struct Turn<S> {
    next: usize,
    offset: u64,
    sum: S,
    failed: bool,
}

/// Compresses the pieces into one file.
pub(super) fn compress<C: Codec>(
    pieces: &Pieces,
    files: &[(File, &Path)],
    out: &Output,
    progress: &dyn Progress,
) -> Result<()> {
    out.write_at(C::HEADER, 0)?;
    let start = Turn {
        next: 0,
        offset: C::HEADER.len() as u64,
        sum: C::Sum::default(),
        failed: false,
    };
    let (turn, changed, next) = (Mutex::new(start), Condvar::new(), AtomicUsize::new(0));
    let work = |_: rayon::BroadcastContext<'_>| -> Result<()> {
        let (mut input, mut output) = (Vec::new(), Vec::new());
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = pieces.list.get(index) else {
                return Ok(());
            };
            let bytes = match piece {
                Piece::Bytes(bytes) => Ok(&bytes[..]),
                Piece::Range { file, offset, length } => {
                    input.resize(*length as usize, 0);
                    let (file, path) = &files[*file];
                    file.read_exact_at(&mut input, *offset)
                        .map(|()| &input[..])
                        .map_err(|source| Error::io("read", path, source))
                }
            };
            output.clear();
            let sum = bytes
                .as_ref()
                .map(|bytes| C::compress(bytes, &mut output))
                .unwrap_or_default();
            let mut turn_now = turn.lock().expect("no thread panicked");
            while turn_now.next != index && !turn_now.failed {
                turn_now = changed.wait(turn_now).expect("no thread panicked");
            }
            if turn_now.failed {
                return Ok(());
            }
            turn_now.failed = bytes.is_err();
            let offset = turn_now.offset;
            turn_now.next += 1;
            turn_now.offset += output.len() as u64;
            C::join(&mut turn_now.sum, &sum);
            drop(turn_now);
            changed.notify_all();
            let length = bytes?.len() as u64;
            let written = out.write_at(&output, offset);
            if written.is_err() {
                turn.lock().expect("no thread panicked").failed = true;
                changed.notify_all();
            }
            written?;
            progress.advance(length);
        }
    };
    rayon::broadcast(work).into_iter().collect::<Result<()>>()?;
    let Turn { offset, sum, .. } = turn.into_inner().expect("no thread panicked");
    out.write_at(&C::trailer(sum, pieces.total), offset)
}
