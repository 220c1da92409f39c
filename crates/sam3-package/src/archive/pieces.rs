//! Compression by several threads: a file's pieces are compressed apart and joined in order.
//!
//! A thread takes the next piece, compresses it and waits only for its turn to learn its place in the file;
//! writing again needs no turn. The pieces are cut by position, so the bytes do not depend on the threads.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
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

    /// Bytes of any number, to be compressed by several threads.
    pub fn copied(&mut self, bytes: &[u8]) {
        bytes
            .chunks(PIECE as usize)
            .for_each(|piece| self.bytes(piece.to_vec()));
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

/// What the threads share.
struct Work<'a, C: Codec> {
    pieces: &'a Pieces,
    files: &'a [(File, &'a Path)],
    out: &'a Output,
    progress: &'a dyn Progress,
    next: AtomicUsize,
    turn: Mutex<Turn<C::Sum>>,
    changed: Condvar,
}

/// Compresses the pieces into one file.
pub(super) fn compress<C: Codec>(
    pieces: &Pieces,
    files: &[(File, &Path)],
    out: &Output,
    progress: &dyn Progress,
) -> Result<()> {
    out.write_at(C::HEADER, 0)?;
    let work = Work::<C> {
        pieces,
        files,
        out,
        progress,
        next: AtomicUsize::new(0),
        turn: Mutex::new(Turn {
            next: 0,
            offset: C::HEADER.len() as u64,
            sum: C::Sum::default(),
            failed: false,
        }),
        changed: Condvar::new(),
    };
    rayon::broadcast(|_| work.run()).into_iter().collect::<Result<()>>()?;
    let turn = work.turn.into_inner().unwrap_or_else(PoisonError::into_inner);
    out.write_at(&C::trailer(turn.sum, pieces.total), turn.offset)
}

impl<C: Codec> Work<'_, C> {
    /// Compresses pieces until none is left or one fails, here or elsewhere.
    fn run(&self) -> Result<()> {
        // A thread that only panicked would leave the others waiting for its turn to end.
        let done = panic::catch_unwind(AssertUnwindSafe(|| self.pieces()));
        let done = done.unwrap_or_else(|_| {
            let source = io::Error::other("a thread panicked, its message is above; please report it");
            Err(Error::io("compress", self.out.target(), source))
        });
        if done.is_err() {
            self.lock().failed = true;
            self.changed.notify_all();
        }
        done
    }

    fn pieces(&self) -> Result<()> {
        let (mut input, mut output) = (Vec::new(), Vec::new());
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = self.pieces.list.get(index) else {
                return Ok(());
            };
            let bytes = self.read(piece, &mut input)?;
            output.clear();
            let sum = C::compress(bytes, &mut output);
            let Some(offset) = self.place(index, output.len() as u64, &sum) else {
                return Ok(());
            };
            self.out.write_at(&output, offset)?;
            self.progress.advance(bytes.len() as u64);
        }
    }

    fn read<'b>(&'b self, piece: &'b Piece, input: &'b mut Vec<u8>) -> Result<&'b [u8]> {
        match piece {
            Piece::Bytes(bytes) => Ok(bytes),
            Piece::Range { file, offset, length } => {
                input.resize(*length as usize, 0);
                let (file, path) = &self.files[*file];
                file.read_exact_at(input, *offset)
                    .map_err(|source| Error::io("read", path, source))?;
                Ok(input)
            }
        }
    }

    /// Waits for the piece's turn and returns its place in the file; `None` where another piece failed.
    fn place(&self, index: usize, length: u64, sum: &C::Sum) -> Option<u64> {
        let mut turn = self.lock();
        while turn.next != index && !turn.failed {
            turn = self.changed.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        if turn.failed {
            return None;
        }
        let offset = turn.offset;
        turn.next += 1;
        turn.offset += length;
        C::join(&mut turn.sum, sum);
        drop(turn);
        self.changed.notify_all();
        Some(offset)
    }

    fn lock(&self) -> MutexGuard<'_, Turn<C::Sum>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Compression, *};

    /// Copies, but panics on a piece of one length.
    struct Panics;

    impl Codec for Panics {
        type Sum = ();
        const HEADER: &'static [u8] = b"<";

        fn compress(piece: &[u8], out: &mut Vec<u8>) {
            assert_ne!(piece.len(), 7, "this piece panics, as the test wants");
            out.extend(piece);
        }

        fn join((): &mut (), (): &()) {}

        fn trailer((): (), _: u64) -> Vec<u8> {
            b">".to_vec()
        }
    }

    #[test]
    fn a_panic_ends_the_work_with_an_error() {
        let folder = std::env::temp_dir().join(format!("sam3-pieces-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for panics in [None, Some(0), Some(40), Some(99)] {
            let mut pieces = Pieces::default();
            (0..100).for_each(|number| pieces.bytes(vec![b'x'; if Some(number) == panics { 7 } else { 3 }]));
            let out = Output::create(&folder.join("x.tar.gz"), Compression::Gzip, None, false).unwrap();
            let done = compress::<Panics>(&pieces, &[], &out, &());
            match panics {
                None => done.unwrap(),
                Some(_) => {
                    let error = done.unwrap_err().to_string();
                    assert!(error.contains("x.tar.gz") && error.contains("panicked"), "{error}");
                }
            }
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
