//! Zstandard (RFC 8878): a frame a piece, whose blocks are Huffman-coded literals without a search for repeats.
//!
//! As with [`deflate`](super::deflate), weights have no repeats worth finding, and coding alone is what a compressor's
//! levels end up with (`docs/adr/0002-deflate.md`). What the format buys is decoding by
//! the `zstd` tool: four streams a block, a sixth of gzip's time.

mod fse;
mod literals;

use std::{
    hash::Hasher,
    io::{self, Read},
};

use ruzstd::{
    decoding::{
        BlockDecodingStrategy, FrameDecoder,
        errors::{FrameDecoderError, ReadFrameHeaderError},
    },
    encoding::{CompressionLevel, compress_to_vec},
};
use twox_hash::XxHash64;

use super::{ahead::Ahead, deflate::repeats, pieces::Codec};

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Of the frames that decoders skip, the first kind.
pub(super) const SKIPPABLE: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
/// Content size in four bytes, a single segment, a checksum at the end.
const DESCRIPTOR: u8 = 0b1010_0100;
/// Bytes under one set of codes, as in deflate.
const BLOCK: usize = 64 << 10;
/// The largest window that is decoded: what `zstd -d` takes by default, `--long=27` and `--ultra -22` write. The
/// decoder takes twice that in memory (275 MB were measured) for such a frame; for ours, of 1 MiB, next to nothing.
const MAX_WINDOW: u64 = 128 << 20;
/// Bytes decoded at a time.
const DECODED: usize = 128 << 10;

/// `tar --zstd -x` reads it.
pub(super) struct Zstd;

impl Codec for Zstd {
    type Sum = ();
    const HEADER: &'static [u8] = &[];

    fn compress(piece: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        frame(piece, out);
        if piece.chunks(BLOCK).any(repeats) {
            let searched = compress_to_vec(piece, CompressionLevel::Fastest);
            if searched.len() < out.len() - start {
                out.truncate(start);
                out.extend(searched);
            }
        }
    }

    fn join((): &mut (), (): &()) {}

    fn trailer((): (), _: u64) -> Vec<u8> {
        Vec::new()
    }
}

/// Appends `data` as a frame of its own.
fn frame(data: &[u8], out: &mut Vec<u8>) {
    out.extend(MAGIC);
    out.push(DESCRIPTOR);
    out.extend((data.len() as u32).to_le_bytes());
    let mut blocks = data.chunks(BLOCK).peekable();
    if blocks.peek().is_none() {
        block_header(true, Block::Raw, 0, out);
    }
    while let Some(block) = blocks.next() {
        let is_last = blocks.peek().is_none();
        let header = out.len();
        block_header(is_last, Block::Compressed, 0, out);
        let body = out.len();
        let coded = literals::compress(block, out);
        if coded && out.len() - body < block.len() {
            let size = out.len() - body;
            patch(header, is_last, Block::Compressed, size, out);
        } else {
            out.truncate(body);
            out.extend(block);
            patch(header, is_last, Block::Raw, block.len(), out);
        }
    }
    let mut checksum = XxHash64::with_seed(0);
    checksum.write(data);
    out.extend((checksum.finish() as u32).to_le_bytes());
}

#[derive(Clone, Copy)]
enum Block {
    Raw = 0,
    Compressed = 2,
}

fn block_header(is_last: bool, kind: Block, size: usize, out: &mut Vec<u8>) {
    let header = u32::from(is_last) | (kind as u32) << 1 | (size as u32) << 3;
    out.extend(&header.to_le_bytes()[..3]);
}

/// Writes a block's header once its size is known.
fn patch(at: usize, is_last: bool, kind: Block, size: usize, out: &mut [u8]) {
    let mut header = Vec::with_capacity(3);
    block_header(is_last, kind, size, &mut header);
    out[at..at + 3].copy_from_slice(&header);
}

/// True for the head of a frame, also of one that decoders skip.
pub(super) fn is_frame(head: &[u8]) -> bool {
    head.starts_with(&MAGIC) || matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// Bytes of a frame's header, at most.
const LONGEST_HEADER: usize = 18;

/// The bytes that a frame refers back to, by its header; of one that is a single segment, its content. `None` where
/// that is not all there, or is not such a frame.
fn window_of(header: &[u8]) -> Option<u64> {
    let (descriptor, rest) = header.strip_prefix(&MAGIC)?.split_first()?;
    if descriptor & 0b10_0000 == 0 {
        let exponent = rest.first()? >> 3;
        let base = 1u64 << (10 + exponent);
        return Some(base + base / 8 * u64::from(rest[0] & 7));
    }
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let (bytes, least) = [(1, 0), (2, 256), (4, 0), (8, 0)][usize::from(descriptor >> 6)];
    let mut size = [0; 8];
    size[..bytes].copy_from_slice(rest.get(dictionary..dictionary + bytes)?);
    u64::from_le_bytes(size).checked_add(least)
}

/// Decodes frame after frame, checks their checksums and skips what is skippable.
pub(super) struct Frames<R> {
    source: Ahead<R>,
    decoder: FrameDecoder,
    is_inside: bool,
    /// The largest window that there was room for.
    window: u64,
}

impl<R: Read> Frames<R> {
    pub fn new(source: Ahead<R>) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        Self {
            source,
            decoder,
            is_inside: false,
            window: 0,
        }
    }

    /// Goes to the next frame; false at the end of the source.
    fn next_frame(&mut self) -> io::Result<bool> {
        while is_frame(self.source.peek(4)?) || self.source.goes_on(&[&MAGIC])? {
            self.make_room()?;
            match self.decoder.reset(&mut self.source) {
                Ok(()) => {
                    self.is_inside = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let length = u64::from(length);
                    let skipped = io::copy(&mut (&mut self.source).take(length), &mut io::sink())?;
                    if skipped < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(FrameDecoderError::WindowSizeTooBig { requested, .. }) => {
                    let reason = format!(
                        "decoding it takes a window of {requested} bytes, at most {MAX_WINDOW} are given: run \
                         `zstd -d --long=31` on it and take the .tar that it writes, or compress again with --long=27"
                    );
                    return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
                }
                Err(error) => return Err(damaged(&error)),
            }
        }
        Ok(false)
    }

    /// Asks for the memory that the decoder is about to take, which panics where there is none: its buffer grows to
    /// twice the window while the old one is still there.
    fn make_room(&mut self) -> io::Result<()> {
        let window = window_of(self.source.peek(LONGEST_HEADER)?).unwrap_or(0);
        if window > self.window && window <= MAX_WINDOW {
            Vec::<u8>::new()
                .try_reserve_exact(3 * window as usize)
                .map_err(|_| io::ErrorKind::OutOfMemory)?;
            self.window = window;
        }
        Ok(())
    }

    fn end_frame(&mut self) -> io::Result<()> {
        self.is_inside = false;
        match (
            self.decoder.get_checksum_from_data(),
            self.decoder.get_calculated_checksum(),
        ) {
            (Some(expected), Some(found)) if expected != found => {
                let reason = format!("checksum of a frame: expected {expected:08x}, found {found:08x}");
                Err(io::Error::new(io::ErrorKind::InvalidData, reason))
            }
            _ => Ok(()),
        }
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.is_inside {
                if self.decoder.can_collect() > 0 {
                    return self.decoder.read(buffer);
                }
                if !self.decoder.is_finished() {
                    let strategy = BlockDecodingStrategy::UptoBytes(DECODED);
                    self.decoder
                        .decode_blocks(&mut self.source, strategy)
                        .map_err(|error| damaged(&error))?;
                    continue;
                }
                self.end_frame()?;
            }
            if !self.next_frame()? {
                return Ok(0);
            }
        }
    }
}

/// The decoder's error as one of reading; a source that ends early keeps its kind.
fn damaged(error: &(dyn std::error::Error + 'static)) -> io::Error {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io::Error::new(io.kind(), io.to_string());
        }
        cause = error.source();
    }
    // The decoder's own words are those of its types.
    io::Error::new(io::ErrorKind::InvalidData, "its Zstandard data cannot be decoded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{ahead::Trailing, testing::noise};

    fn decode(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Frames::new(Ahead::new(bytes)).read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn the_window_of_each_kind_of_header() {
        for (header, window) in [
            (&[0x00, 0x88][..], Some(128 << 20)),
            (&[0x00, 0x03], Some(1408)),
            (&[0x20, 7], Some(7)),
            (&[0x61, 9, 1, 2], Some(0x201 + 256)),
            (&[0xa3, 9, 9, 9, 9, 4, 3, 2, 1], Some(0x0102_0304)),
            (&[0xe0, 0, 0, 0, 0, 1, 0, 0, 0], Some(1 << 32)),
            (&[0xa0, 1, 2, 3], None),
            (&[0x00], None),
            (&[], None),
        ] {
            assert_eq!(window_of(&[&MAGIC[..], header].concat()), window, "{header:x?}");
        }
        assert_eq!(window_of(&SKIPPABLE), None);
    }

    fn check(name: &str, data: &[u8]) -> usize {
        let mut coded = Vec::new();
        for piece in data.chunks(300_000) {
            Zstd::compress(piece, &mut coded);
        }
        assert!(decode(&coded).unwrap() == data, "{name}: came back different");
        coded.len()
    }

    #[test]
    fn what_goes_in_comes_out() {
        for count in [0, 1, 2, 7, 31, 255, 256, 1000, BLOCK - 1, BLOCK, BLOCK + 1, 700_001] {
            check("noise", &noise(count, 1));
            check("zeros", &vec![0; count]);
            let skewed = |seed, map: fn(&u8) -> u8| noise(count, seed).iter().map(map).collect::<Vec<_>>();
            check("few values", &skewed(2, |byte| byte.leading_zeros() as u8));
            check("two values", &skewed(3, |byte| byte & 128));
            check("many of one kind", &skewed(4, |byte| byte & (byte >> 1) & (byte << 1)));
            check(
                "exponents",
                &skewed(5, |byte| if byte % 3 == 0 { *byte } else { 120 + byte % 7 }),
            );
        }
    }

    /// Counts like Fibonacci's numbers make the deepest trees; alphabets of each size make every tree description.
    #[test]
    fn every_alphabet_comes_back() {
        let mut data = Vec::new();
        let (mut count, mut before) = (1usize, 1usize);
        for byte in 0..22 {
            data.extend(std::iter::repeat_n(byte, count));
            (count, before) = (count + before, count);
        }
        check("fibonacci", &data);
        for symbols in 2..=256usize {
            let data: Vec<u8> = noise(5000, symbols as u64)
                .iter()
                .enumerate()
                .map(|(i, byte)| {
                    if i % 4 == 0 {
                        (usize::from(*byte) * symbols / 256) as u8
                    } else {
                        (symbols - 1) as u8
                    }
                })
                .collect();
            check(&format!("{symbols} symbols"), &data);
        }
    }

    #[test]
    fn skewed_bytes_shrink_to_their_entropy_and_noise_costs_next_to_nothing() {
        let size = 1 << 20;
        assert!(check("noise", &noise(size, 9)) < size + size / 1000);
        let skewed: Vec<u8> = noise(size, 2).iter().map(|byte| byte.leading_zeros() as u8).collect();
        assert!(check("skewed", &skewed) < size / 4 + size / 500); // 1.99 bits a byte
        assert!(check("zeros", &vec![0; size]) < size / 500);
    }

    #[test]
    fn damage_is_seen_and_what_is_skippable_skipped() {
        let data: Vec<u8> = noise(100_000, 4).iter().map(|byte| byte & 0x1f).collect();
        let mut coded = Vec::new();
        Zstd::compress(&data, &mut coded);
        let mut with_list = coded.clone();
        with_list.extend(SKIPPABLE);
        with_list.extend(5u32.to_le_bytes());
        with_list.extend(b"a\nlis");
        assert!(decode(&with_list).unwrap() == data);
        with_list.pop();
        assert_eq!(decode(&with_list).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(decode(&[&coded, &b"\0\0\n"[..]].concat()).unwrap() == data);
        let error = decode(&[&coded, &b"else"[..]].concat()).unwrap_err();
        assert_eq!(Trailing::of(&error).unwrap().at, coded.len() as u64);
        for length in [1, 3, 8, 20, coded.len() / 2, coded.len() - 1] {
            let error = decode(&coded[..length]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{length}: {error}");
        }
        for at in (9..coded.len()).step_by(997) {
            let mut damaged = coded.clone();
            damaged[at] ^= 4;
            assert!(decode(&damaged).is_err(), "byte {at}");
        }
    }

    /// A frame without content size whose descriptor asks for a window of 2^`log` bytes.
    fn with_window(log: u8, data: &[u8]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend([0, (log - 10) << 3]);
        block_header(true, Block::Raw, data.len(), &mut out);
        out.extend(data);
        out
    }

    /// `zstd --long=27 -19` of noise, 20 MiB of zeros and the same noise, which is a match from beyond 16 MiB.
    #[test]
    fn matches_from_afar_are_found() {
        let noise = noise(4096, 7);
        let data = [&noise[..], &vec![0; 20 << 20], &noise].concat();
        let coded = include_bytes!("../../fixtures/far_match.zst");
        assert!(coded.len() < noise.len() * 3 / 2, "the second noise is not a match");
        assert!(decode(coded).unwrap() == data);
    }

    #[test]
    fn windows_are_decoded_up_to_those_of_long_27() {
        assert_eq!(decode(&with_window(27, b"far")).unwrap(), b"far");
        let error = decode(&with_window(28, b"far")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        let error = error.to_string();
        assert!(
            error.contains("268435456 bytes") && error.contains("zstd -d --long=31"),
            "{error}"
        );
    }
    /// The decoder's errors are named by their types; none of these reaches a user.
    #[test]
    fn damage_is_told_in_plain_words() {
        let mut coded = Vec::new();
        Zstd::compress(&noise(3000, 9), &mut coded);
        let mut refused = 0;
        for at in 0..coded.len().min(64) {
            for bit in [1, 16, 128] {
                let mut damaged = coded.clone();
                damaged[at] ^= bit;
                if let Err(error) = decode(&damaged) {
                    refused += 1;
                    let words = error.to_string();
                    assert!(
                        !words.contains(['(', '{', '_']) && !words.contains("Err"),
                        "byte {at}: {words}"
                    );
                }
            }
        }
        assert!(refused > 0);
    }
}
