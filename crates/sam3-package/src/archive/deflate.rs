//! DEFLATE (RFC 1951) for weights: Huffman codes over the bytes, and a search for repeats only where there are any.
//!
//! The bits of a trained weight's mantissa are noise, so its repeats are chance and searching for them is wasted; what
//! compresses is the exponent, which the byte's code length takes. That is ten times as fast as a general compressor
//! and no larger (`docs/adr/0002-deflate.md`). Blocks that do repeat (rotary tables, ones, text) go to one.

use flate2::{Compress, Compression, FlushCompress};

use super::{
    bits::BitWriter,
    huffman::{Code, code_lengths, codes, run_lengths},
};

/// Bytes under one set of codes: long enough to make its 100 bytes nothing, short enough to follow the tensors.
const BLOCK: usize = 64 << 10;
/// Longest literal code: four of them and seven leftover bits fit a 64-bit register.
const LITERAL_LIMIT: usize = 14;
const END_OF_BLOCK: usize = 256;
/// Literals and the end of block; lengths of repeats are never used.
const SYMBOLS: usize = 257;
/// The order in which the lengths of the length code are sent (RFC 1951, 3.2.7).
const LENGTH_ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Appends `data` as deflate blocks that end on a byte boundary and refer to nothing before them, so that pieces
/// compressed apart can be joined.
pub(super) fn compress(data: &[u8], out: &mut Vec<u8>) {
    let mut blocks = data.chunks(BLOCK).map(|block| (block, repeats(block))).peekable();
    let mut begin = 0;
    while let Some((block, repeating)) = blocks.next() {
        let mut end = begin + block.len();
        while let Some((block, _)) = blocks.next_if(|next| next.1 == repeating) {
            end += block.len();
        }
        let run = &data[begin..end];
        let start = out.len();
        code(run, out);
        if repeating {
            let searched = search(run);
            if searched.len() < out.len() - start {
                out.truncate(start);
                out.extend(searched);
            }
        }
        begin = end;
    }
}

/// Codes bytes as literals, then aligns.
fn code(data: &[u8], out: &mut Vec<u8>) {
    let mut writer = BitWriter::new(out);
    for block in data.chunks(BLOCK) {
        writer.block(block);
    }
    writer.empty_block();
}

/// True where one in sixteen aligned eight-byte words occurred shortly before: never in weights, often where a
/// search pays.
pub(super) fn repeats(block: &[u8]) -> bool {
    let mut last = [0u64; 2048];
    let words = block.as_chunks::<8>().0;
    let seen = words.iter().map(|word| {
        let word = u64::from_le_bytes(*word);
        let slot = &mut last[(word.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 53) as usize];
        usize::from(std::mem::replace(slot, word) == word)
    });
    seen.sum::<usize>() > words.len() / 16
}

/// zlib's own way, likewise ending on a byte boundary.
fn search(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() / 2 + 1024);
    let mut deflate = Compress::new(Compression::new(6), false);
    loop {
        let taken = deflate.total_in() as usize;
        out.reserve(64 << 10);
        deflate
            .compress_vec(&data[taken..], &mut out, FlushCompress::Sync)
            .expect("no dictionary, and every input is valid");
        if deflate.total_in() as usize == data.len() && out.len() < out.capacity() {
            return out;
        }
    }
}

impl BitWriter<'_> {
    /// One block, coded or, where that is no gain, stored.
    fn block(&mut self, data: &[u8]) {
        let mut counts = histogram(data);
        counts[END_OF_BLOCK] = 1;
        let lengths = code_lengths(&counts, LITERAL_LIMIT);
        let payload: u64 = counts
            .iter()
            .zip(&lengths)
            .map(|(n, length)| u64::from(*n) * u64::from(*length))
            .sum();
        // 5 bytes a stored block of 65,535; the codes take about 100.
        if payload / 8 + 100 >= data.len() as u64 {
            self.stored(data);
        } else {
            self.put(0b100, 3); // not the last, dynamic codes
            self.code_table(&lengths);
            self.literals(data, &codes(&lengths));
        }
    }

    fn stored(&mut self, data: &[u8]) {
        for chunk in data.chunks(usize::from(u16::MAX)) {
            self.put(0b000, 3);
            self.finish_byte();
            let length = chunk.len() as u16;
            self.out.extend(length.to_le_bytes());
            self.out.extend((!length).to_le_bytes());
            self.out.extend(chunk);
        }
    }

    /// The literals' code lengths, and two distance codes that are never used: some decoders want a complete set.
    fn code_table(&mut self, lengths: &[u8]) {
        let mut all = lengths.to_vec();
        all.extend([1, 1]);
        let runs = run_lengths(&all);
        let mut counts = [0u32; 19];
        runs.iter().for_each(|(symbol, ..)| counts[usize::from(*symbol)] += 1);
        let lengths = code_lengths(&counts, 7);
        let codes = codes(&lengths);
        let sent = LENGTH_ORDER
            .iter()
            .rposition(|symbol| lengths[*symbol] > 0)
            .map_or(4, |last| (last + 1).max(4));
        self.put(SYMBOLS as u64 - 257, 5);
        self.put(2 - 1, 5);
        self.put(sent as u64 - 4, 4);
        LENGTH_ORDER[..sent]
            .iter()
            .for_each(|symbol| self.put(u64::from(lengths[*symbol]), 3));
        for (symbol, extra, extra_bits) in runs {
            let code = codes[usize::from(symbol)];
            self.put(u64::from(code.bits), code.length);
            self.put(u64::from(extra), extra_bits);
        }
    }

    /// The hot loop: four codes into a register, then eight bytes out, of which the whole ones count.
    fn literals(&mut self, data: &[u8], codes: &[Code]) {
        let table: [Code; 256] = codes[..256].try_into().expect("256 literals come first");
        let mut at = self.out.len();
        self.out.resize(at + data.len() * LITERAL_LIMIT / 8 + 16, 0);
        let (mut bits, mut count) = (self.bits, self.count);
        let (quads, rest) = data.as_chunks::<4>();
        for quad in quads {
            let [a, b, c, d] = quad.map(|byte| table[usize::from(byte)]);
            let low = u64::from(a.bits) | u64::from(b.bits) << a.length;
            let high = u64::from(c.bits) | u64::from(d.bits) << c.length;
            let low_count = a.length + b.length;
            bits |= (low | high << low_count) << count;
            count += low_count + c.length + d.length;
            self.out[at..at + 8].copy_from_slice(&bits.to_le_bytes());
            at += (count / 8) as usize;
            // 63 bits at most, so the shift stays below 64.
            bits >>= count & !7;
            count &= 7;
        }
        self.out.truncate(at);
        (self.bits, self.count) = (bits, count);
        for symbol in rest.iter().map(|byte| usize::from(*byte)).chain([END_OF_BLOCK]) {
            self.put(u64::from(codes[symbol].bits), codes[symbol].length);
        }
    }

    /// An empty stored block brings the stream to a byte boundary.
    fn empty_block(&mut self) {
        self.put(0b000, 3);
        self.finish_byte();
        self.out.extend([0, 0, 0xff, 0xff]);
    }
}

pub(super) fn histogram(data: &[u8]) -> [u32; SYMBOLS] {
    // Four tables, so that equal neighbours do not wait for each other's increment.
    let mut tables = [[0u32; 256]; 4];
    let (quads, rest) = data.as_chunks::<4>();
    for quad in quads {
        for (table, byte) in tables.iter_mut().zip(quad) {
            table[usize::from(*byte)] += 1;
        }
    }
    rest.iter().for_each(|byte| tables[0][usize::from(*byte)] += 1);
    let mut counts = [0; SYMBOLS];
    for (symbol, count) in counts[..256].iter_mut().enumerate() {
        *count = tables.iter().map(|table| table[symbol]).sum();
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::DeflateDecoder;

    use super::*;
    use crate::archive::testing::noise;

    fn check(name: &str, data: &[u8]) -> usize {
        let mut coded = Vec::new();
        for piece in data.chunks(300_000) {
            compress(piece, &mut coded);
        }
        let size = coded.len();
        coded.extend([3, 0]); // the last block, empty
        let mut back = Vec::new();
        DeflateDecoder::new(&coded[..])
            .read_to_end(&mut back)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(back == data, "{name}: came back different");
        size
    }

    #[test]
    fn what_goes_in_comes_out() {
        for count in [0, 1, 7, 31, 33, BLOCK - 1, BLOCK, BLOCK + 1, 700_001] {
            check("noise", &noise(count, 1));
            check("zeros", &vec![0; count]);
            check(
                "skewed",
                &noise(count, 2)
                    .iter()
                    .map(|byte| byte.leading_zeros() as u8)
                    .collect::<Vec<_>>(),
            );
            check(
                "two values",
                &noise(count, 3).iter().map(|byte| byte & 128).collect::<Vec<_>>(),
            );
        }
    }

    /// Counts like Fibonacci's numbers make the deepest trees.
    #[test]
    fn skewed_counts_come_back() {
        let mut data = Vec::new();
        let (mut count, mut before) = (1usize, 1usize);
        for byte in 0..24 {
            data.extend(std::iter::repeat_n(byte, count));
            (count, before) = (count + before, count);
        }
        check("fibonacci", &data[..BLOCK]);
    }

    #[test]
    fn noise_costs_next_to_nothing_and_text_is_searched() {
        let size = 1 << 20;
        assert!(check("noise", &noise(size, 9)) < size + size / 1000);
        assert!(check("zeros", &vec![0; size]) < size / 500);
        let text = b"{\"name\":\"detector.backbone\",\"dtype\":\"F16\"},".repeat(1000);
        assert!(check("text", &text) < text.len() / 50);
    }
}
