//! What an archive is under: gzip or Zstandard over a tar, the tar alone, or one compressor over another.
//!
//! Browsers decompress a `.tar.gz` on the way and keep its name, and some people's tools compress one again. So what
//! a stream is, is decided by its first bytes, and decided again for what it decompresses to.

use std::{
    io::{self, Read},
    path::Path,
};

use super::{Compression, ahead::Ahead, gzip, tar, zstd};
use crate::regular;

/// Compressors over each other; each may take memory for a window of its own.
const MAX_LAYERS: usize = 2;

/// What a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Compressed(Compression),
    Tar,
}

impl Form {
    /// What a stream that begins so is; `head` has a block of a tar, where the stream has one.
    fn of(head: &[u8]) -> Option<Self> {
        if head.starts_with(&gzip::MAGIC) {
            Some(Self::Compressed(Compression::Gzip))
        } else if zstd::is_frame(head) {
            Some(Self::Compressed(Compression::Zstd))
        } else {
            tar::is_tar(head).then_some(Self::Tar)
        }
    }

    /// What a file is; `None` where it is no archive, or cannot be read.
    pub fn of_file(path: &Path) -> Option<Self> {
        Self::of(&regular::head(path, tar::BLOCK))
    }

    /// How such a file is named, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compressed(compression) => compression.suffix().trim_start_matches('.'),
            Self::Tar => "tar",
        }
    }
}

/// The tar in a stream.
pub(crate) fn tar_in<'a>(source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut stream: Ahead<Box<dyn Read + 'a>> = Ahead::new(Box::new(source));
    for _ in 0..MAX_LAYERS {
        stream = match Form::of(stream.peek(tar::BLOCK)?) {
            Some(Form::Compressed(Compression::Gzip)) => Ahead::new(Box::new(gzip::Members::new(stream))),
            Some(Form::Compressed(Compression::Zstd)) => Ahead::new(Box::new(zstd::Frames::new(stream))),
            Some(Form::Tar) | None => break,
        };
    }
    Ok(Box::new(stream))
}
