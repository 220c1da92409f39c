//! Finite state entropy coding of a Huffman tree's weights (RFC 8878, 4.1 and 4.2.1.2): the only way to send more than
//! 128 of them.

use crate::archive::bits::BitWriter;

/// States of a table; the most that weights may have.
const SIZE: usize = 64;
const SIZE_LOG: u32 = SIZE.ilog2();
/// Weights are 0 to 11.
const SYMBOLS: usize = 12;

/// Appends the table's description and the coded weights; false where they are too few or all the same, which this
/// coding cannot say.
pub fn compress(weights: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(shares) = shares(weights) else {
        return false;
    };
    describe(&shares, out);
    let places = places(&shares);
    // Two coders take turns. Decoders read backwards, so the last weight is coded first.
    let mut writer = BitWriter::new(out);
    let mut states = [None; 2];
    for (index, weight) in weights.iter().enumerate().rev() {
        let places = &places[usize::from(*weight)];
        let state = &mut states[index % 2];
        let next = match *state {
            // In a symbol's first state the decoder wants more bits than are left, which tells it that this is the end.
            None => places[0],
            Some(now) => {
                let mut shift = 0;
                while now >> shift >= 2 * places.len() {
                    shift += 1;
                }
                writer.put((now & ((1 << shift) - 1)) as u64, shift);
                places[(now >> shift) - places.len()]
            }
        };
        *state = Some(next + SIZE);
    }
    for state in states.into_iter().rev().flatten() {
        writer.put((state - SIZE) as u64, SIZE_LOG);
    }
    // A set bit, from which a decoder that reads backwards knows where to begin.
    writer.put(1, 1);
    writer.finish_byte();
    true
}

/// How many of the states each weight gets: in proportion, and at least one where it occurs.
fn shares(weights: &[u8]) -> Option<[usize; SYMBOLS]> {
    let mut counts = [0; SYMBOLS];
    weights.iter().for_each(|weight| counts[usize::from(*weight)] += 1);
    if weights.len() < 2 || counts.contains(&weights.len()) {
        return None;
    }
    let mut shares = counts.map(|count| match count {
        0 => 0,
        _ => ((count * SIZE + weights.len() / 2) / weights.len()).max(1),
    });
    // The largest share bears the rounding; with twelve symbols of 64 states it is never used up.
    let largest = (0..SYMBOLS).max_by_key(|symbol| shares[*symbol])?;
    let others: usize = shares.iter().sum::<usize>() - shares[largest];
    shares[largest] = SIZE.checked_sub(others).filter(|share| *share > 0)?;
    Some(shares)
}

/// Sends the shares, each in as many bits as what is left of the states needs (RFC 8878, 4.1.1).
fn describe(shares: &[usize; SYMBOLS], out: &mut Vec<u8>) {
    let mut writer = BitWriter::new(out);
    writer.put(u64::from(SIZE_LOG) - 5, 4);
    let (mut left, mut symbol) = (SIZE, 0);
    while left > 0 {
        let share = shares[symbol];
        // A value is a share plus one, 0 to left + 1; the low ones take a bit less.
        let (value, largest) = (share as u64 + 1, left as u64 + 1);
        let length = largest.ilog2() + 1;
        let short = (1 << length) - 1 - largest;
        if value < short {
            writer.put(value, length - 1);
        } else if value < 1 << (length - 1) {
            writer.put(value, length);
        } else {
            writer.put(value + short, length);
        }
        left -= share;
        symbol += 1;
        if share == 0 {
            let mut zeros = shares[symbol..].iter().take_while(|share| **share == 0).count();
            symbol += zeros;
            while zeros >= 3 {
                writer.put(3, 2);
                zeros -= 3;
            }
            writer.put(zeros as u64, 2);
        }
    }
    writer.finish_byte();
}

/// The states of each symbol, ascending (RFC 8878, 4.1.1, "spread").
fn places(shares: &[usize; SYMBOLS]) -> [Vec<usize>; SYMBOLS] {
    let mut places: [Vec<usize>; SYMBOLS] = Default::default();
    let step = (SIZE >> 1) + (SIZE >> 3) + 3;
    let mut at = 0;
    for (symbol, share) in shares.iter().enumerate() {
        for _ in 0..*share {
            places[symbol].push(at);
            at = (at + step) % SIZE;
        }
    }
    places.iter_mut().for_each(|places| places.sort_unstable());
    places
}
