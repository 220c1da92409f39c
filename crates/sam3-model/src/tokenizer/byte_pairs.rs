//! Byte pair encoding of one word: the earliest merge is made wherever it applies, until none does.

use std::{cmp::Reverse, collections::BinaryHeap};

/// A token of a word.
pub struct Piece {
    /// Its id.
    pub id: u16,
    /// Where it ends in the word, in bytes.
    pub end: usize,
}

/// The tokens of `word`, where `merge` gives the id of what two neighbouring tokens are joined to.
///
/// The merges wait in a queue, as a pass over the whole word for each would make a long word take minutes. Their order
/// is that of such passes: a lower id is an earlier merge, equal ones are made from left to right, and joining two
/// tokens makes new pairs of later merges only, as a token is numbered after its parts.
pub fn encode(word: &str, merge: impl FnMut(u16, u16) -> Option<u16>) -> Vec<Piece> {
    let mut tokens = Tokens::of_bytes(word, merge);
    let mut queue = BinaryHeap::new();
    for at in 0..word.len() {
        queue.extend(tokens.merge_at(at).map(|id| Reverse((id, at))));
    }
    while let Some(Reverse((id, at))) = queue.pop() {
        // A pair whose left or right token was joined with another one in the meantime is skipped.
        if tokens.merge_at(at) == Some(id) {
            tokens.join(at, id);
            for at in tokens.previous[at].into_iter().chain([at]) {
                queue.extend(tokens.merge_at(at).map(|id| Reverse((id, at))));
            }
        }
    }
    tokens.pieces()
}

/// The tokens so far, a linked list over the word's bytes.
struct Tokens<F> {
    merge: F,
    /// The id of the token that begins at a byte; none inside a token.
    ids: Vec<Option<u16>>,
    /// Where the token that begins at a byte ends, which is where the next one begins.
    ends: Vec<usize>,
    /// Where the token before it begins.
    previous: Vec<Option<usize>>,
}

impl<F: FnMut(u16, u16) -> Option<u16>> Tokens<F> {
    fn of_bytes(word: &str, merge: F) -> Self {
        let mut ids: Vec<_> = word.bytes().map(|byte| Some(byte_id(byte))).collect();
        if let Some(Some(last)) = ids.last_mut() {
            *last += 256; // the same byte, ending a word
        }
        Self {
            merge,
            ids,
            ends: (1..=word.len()).collect(),
            previous: (0..word.len()).map(|at| at.checked_sub(1)).collect(),
        }
    }

    /// What the token at `at` and the next one are joined to, if there are two and they are.
    fn merge_at(&mut self, at: usize) -> Option<u16> {
        let left = self.ids[at]?;
        let right = (*self.ids.get(self.ends[at])?)?;
        (self.merge)(left, right)
    }

    /// Replaces the token at `at` and the next one by the token `id`.
    fn join(&mut self, at: usize, id: u16) {
        let right = self.ends[at];
        self.ids[at] = Some(id);
        self.ids[right] = None;
        self.ends[at] = self.ends[right];
        if let Some(previous) = self.previous.get_mut(self.ends[at]) {
            *previous = Some(at);
        }
    }

    fn pieces(&self) -> Vec<Piece> {
        let pieces = self.ids.iter().zip(&self.ends);
        pieces
            .filter_map(|(id, &end)| Some(Piece { id: (*id)?, end }))
            .collect()
    }
}

/// CLIP numbers the bytes that print first, then the others, each group in order.
fn byte_id(byte: u8) -> u16 {
    let byte = u16::from(byte);
    match byte {
        0x21..=0x7e => byte - 0x21,
        0xa1..=0xac => byte - 0xa1 + 94,
        0xae..=0xff => byte - 0xae + 106,
        0x00..=0x20 => byte + 188,
        0x7f..=0xa0 => byte - 0x7f + 221,
        _ => 255, // 0xad, the soft hyphen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_256_ids() {
        let mut ids: Vec<u16> = (0..=255).map(byte_id).collect();
        ids.sort_unstable();
        assert!(ids.into_iter().eq(0..256));
    }

    /// By its definition: pass after pass over the word.
    fn encode_by_passes(word: &str, merge: impl Fn(u16, u16) -> Option<u16>) -> Vec<u16> {
        let mut ids: Vec<u16> = encode(word, |_, _| None).iter().map(|piece| piece.id).collect();
        while let Some(earliest) = ids.windows(2).filter_map(|pair| merge(pair[0], pair[1])).min() {
            let mut at = 0;
            while at + 1 < ids.len() {
                if merge(ids[at], ids[at + 1]) == Some(earliest) {
                    ids.splice(at..at + 2, [earliest]);
                }
                at += 1;
            }
        }
        ids
    }

    #[test]
    fn tokens_are_those_of_whole_passes() {
        let merges = crate::tokenizer::merges();
        let merge = |left, right| merges.get(&(left, right)).copied();
        for (&(left, right), &joined) in &merges {
            assert!(
                joined > left.max(right),
                "{joined} is numbered before its parts {left} and {right}"
            );
        }
        let mut state = 7u32;
        // Few letters make many equal pairs, many letters many different ones.
        for (letters, length) in [
            ("ab", 40),
            ("aaab", 60),
            ("nabsheotr", 300),
            ("abcdefghijklmnopqrstuvwxyzé水", 300),
        ] {
            let letters: Vec<char> = letters.chars().collect();
            for _ in 0..20 {
                let mut letter = || {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    letters[(state >> 16) as usize % letters.len()]
                };
                let word: String = (0..length).map(|_| letter()).collect();
                let pieces = encode(&word, merge);
                let ids: Vec<u16> = pieces.iter().map(|piece| piece.id).collect();
                assert_eq!(ids, encode_by_passes(&word, merge), "{word}");
                assert!(pieces.is_sorted_by_key(|piece| piece.end), "{word}");
                assert_eq!(pieces.last().map(|piece| piece.end), Some(word.len()), "{word}");
            }
        }
    }

    #[test]
    fn the_work_grows_with_the_length_alone() {
        let merges = crate::tokenizer::merges();
        let mut state = 7u32;
        for length in [1_000, 100_000] {
            let mut letter = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                char::from(b'a' + ((state >> 16) % 26) as u8)
            };
            let word: String = (0..length).map(|_| letter()).collect();
            let mut looked_up = 0;
            encode(&word, |left, right| {
                looked_up += 1;
                merges.get(&(left, right)).copied()
            });
            // Each byte's pair at first; at most two pairs a merge; and each of these again when the queue gives it
            // back.
            assert!(
                looked_up < 6 * length,
                "{looked_up} pairs were looked up for {length} letters"
            );
        }
    }
}
