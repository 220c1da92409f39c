//! gzip by several threads: pieces are compressed apart and joined into one standard member, in order.
//!
//! A thread takes the next piece, compresses it and waits only for its turn to learn its place in the file;
//! writing again needs no turn. The pieces are cut by position, so the bytes do not depend on the threads.

use std::{
    fs::File,
    path::Path,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Output, deflate};
use crate::{Error, Progress, Result, positioned};

/// Bytes of a file compressed at a time.
const PIECE: u64 = 1 << 20;
/// Magic, deflate, no flags, no time, no level, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// An empty last block.
const LAST_BLOCK: [u8; 2] = [3, 0];

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
struct Turn {
    next: usize,
    offset: u64,
    crc: crc32fast::Hasher,
    failed: bool,
}

/// Compresses the pieces into one gzip member.
pub(super) fn compress(pieces: &Pieces, files: &[(File, &Path)], out: &Output, progress: &dyn Progress) -> Result<()> {
    out.write_at(&HEADER, 0)?;
    let start = Turn {
        next: 0,
        offset: HEADER.len() as u64,
        crc: crc32fast::Hasher::new(),
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
                    positioned::read_exact_at(file, &mut input, *offset)
                        .map(|()| &input[..])
                        .map_err(|source| Error::io("read", path, source))
                }
            };
            let mut crc = crc32fast::Hasher::new();
            if let Ok(bytes) = bytes {
                crc.update(bytes);
                output.clear();
                deflate::compress(bytes, &mut output);
            }
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
            turn_now.crc.combine(&crc);
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
    let Turn { offset, crc, .. } = turn.into_inner().expect("no thread panicked");
    let mut trailer = LAST_BLOCK.to_vec();
    trailer.extend(crc.finalize().to_le_bytes());
    trailer.extend((pieces.total as u32).to_le_bytes()); // modulo 2^32, as the format says
    out.write_at(&trailer, offset)
}
