//! A compressed block that is literals alone: a Huffman tree, four streams, no sequences (RFC 8878, 3.1.1.3.1).

use super::fse;
use crate::archive::huffman::code_lengths;

/// The format's longest code.
const LIMIT: usize = 11;
const STREAMS: usize = 4;
/// Shorter blocks are not worth a tree.
const SHORTEST: usize = 64;

/// A symbol's code and its length.
#[derive(Clone, Copy, Default)]
struct Code {
    bits: u32,
    length: u32,
}

/// Appends the block's content, or returns false where a raw block is as good; what was appended then is for the caller
/// to drop.
pub fn compress(data: &[u8], out: &mut Vec<u8>) -> bool {
    if data.len() < SHORTEST {
        return false;
    }
    let counts = crate::archive::deflate::histogram(data);
    let lengths = code_lengths(&counts[..256], LIMIT);
    let payload: u64 = counts
        .iter()
        .zip(&lengths)
        .map(|(n, length)| u64::from(*n) * u64::from(*length))
        .sum();
    if payload / 8 + 32 >= data.len() as u64 {
        return false;
    }
    let header = out.len();
    out.extend([0; 5]);
    if !tree(&lengths, out) {
        return false;
    }
    let codes = codes(&lengths);
    let jumps = out.len();
    out.extend([0; 2 * (STREAMS - 1)]);
    for (index, part) in data.chunks(data.len().div_ceil(STREAMS)).enumerate() {
        let start = out.len();
        stream(part, &codes, out);
        if index < STREAMS - 1 {
            let size = (out.len() - start) as u16;
            out[jumps + 2 * index..][..2].copy_from_slice(&size.to_le_bytes());
        }
    }
    // Compressed literals in four streams, both sizes in 18 bits.
    let size = (out.len() - header - 5) as u64;
    let fields = 0b1110 | (data.len() as u64) << 4 | size << 22;
    out[header..header + 5].copy_from_slice(&fields.to_le_bytes()[..5]);
    out.push(0); // no sequences
    true
}

/// Sends the code lengths as weights, the last of which follows from the others.
fn tree(lengths: &[u8], out: &mut Vec<u8>) -> bool {
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let last = lengths.iter().rposition(|length| *length > 0).unwrap_or(0);
    let weights: Vec<u8> = lengths[..last]
        .iter()
        .map(|length| if *length == 0 { 0 } else { longest + 1 - length })
        .collect();
    let at = out.len();
    out.push(0);
    let is_coded = fse::compress(&weights, out);
    let size = out.len() - at - 1;
    if is_coded && size < 128 && (weights.len() > 128 || size < weights.len().div_ceil(2)) {
        out[at] = size as u8;
        return true;
    }
    out.truncate(at);
    if weights.len() > 128 {
        return false;
    }
    out.push(127 + weights.len() as u8);
    out.extend(
        weights
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair.get(1).copied().unwrap_or(0)),
    );
    true
}

/// Codes in order of falling length, then of the symbols, count up from zero (RFC 8878, 4.2.1.3).
fn codes(lengths: &[u8]) -> [Code; 256] {
    let mut codes = [Code::default(); 256];
    let mut next = 0;
    for length in (1..=LIMIT as u8).rev() {
        for (code, _) in codes.iter_mut().zip(lengths).filter(|(_, l)| **l == length) {
            *code = Code {
                bits: next,
                length: u32::from(length),
            };
            next += 1;
        }
        next >>= 1;
    }
    codes
}

/// Codes from the last byte to the first: decoders read backwards. A set bit ends it.
fn stream(data: &[u8], codes: &[Code; 256], out: &mut Vec<u8>) {
    let mut at = out.len();
    out.resize(at + data.len() * LIMIT / 8 + 16, 0);
    let (mut bits, mut count) = (0u64, 0u32);
    let (rest, quads) = data.as_rchunks::<4>();
    for quad in quads.iter().rev() {
        let [d, c, b, a] = quad.map(|byte| codes[usize::from(byte)]);
        let low = u64::from(a.bits) | u64::from(b.bits) << a.length;
        let high = u64::from(c.bits) | u64::from(d.bits) << c.length;
        let low_count = a.length + b.length;
        // 44 bits at most beside the 7 left over.
        bits |= (low | high << low_count) << count;
        count += low_count + c.length + d.length;
        out[at..at + 8].copy_from_slice(&bits.to_le_bytes());
        at += (count / 8) as usize;
        bits >>= count & !7;
        count &= 7;
    }
    for byte in rest.iter().rev() {
        let code = codes[usize::from(*byte)];
        bits |= u64::from(code.bits) << count;
        count += code.length;
    }
    bits |= 1 << count;
    count += 1;
    out[at..at + 8].copy_from_slice(&bits.to_le_bytes());
    out.truncate(at + count.div_ceil(8) as usize);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_block_that_is_coded() {
        let letters: Vec<u8> = (0..SHORTEST).map(|place| b"ab"[place % 2]).collect();
        assert!(compress(&letters, &mut Vec::new()));
        assert!(!compress(&letters[1..], &mut Vec::new()));
    }
}
