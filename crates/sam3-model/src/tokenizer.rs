//! The official prompt tokenizer: CLIP's byte pair encoding, cut and padded to 32 ids.
//!
//! Official means open_clip's `SimpleTokenizer`, which SAM 3 was trained with, and not transformers' `CLIPTokenizer`: the
//! text is mended first ([`clean`]), padding is id 0, and a prompt that is too long is cut.

mod clean;

use std::collections::HashMap;

use regex::Regex;

pub use clean::clean;

/// Number of ids the text encoder reads.
pub const CONTEXT_LENGTH: usize = 32;

const START_OF_TEXT: u32 = 49406;
const END_OF_TEXT: u32 = 49407;

/// What one prompt becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Start of text, the prompt, end of text, then zeros.
    pub ids: [u32; CONTEXT_LENGTH],
}

impl Tokens {
    /// True at each id that the model may attend to, which is each that is not 0.
    ///
    /// As officially, 0 is also the id of a `!` inside a run of punctuation (`!(`), which is then ignored like padding.
    pub fn mask(&self) -> [bool; CONTEXT_LENGTH] {
        self.ids.map(|id| id != 0)
    }
}

/// CLIP's vocabulary: the merges, as they are found by the pair they join.
pub struct Tokenizer {
    /// (left id, right id) → id of the joined token; a lower id is an earlier merge.
    merges: HashMap<(u16, u16), u16>,
    words: Regex,
}

impl Default for Tokenizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Tokenizer {
    /// Reads the embedded vocabulary: about 2 ms, so make one and keep it.
    pub fn new() -> Self {
        // 48 894 merges, two little-endian u16 each, written by tools/pack_vocabulary.py from OpenAI's file (MIT).
        let packed = include_bytes!("tokenizer/clip_merges.bin");
        let pair = |bytes: &[u8]| {
            (
                u16::from_le_bytes([bytes[0], bytes[1]]),
                u16::from_le_bytes([bytes[2], bytes[3]]),
            )
        };
        let merges = packed.chunks_exact(4).map(pair).zip(512..).collect();
        let words =
            Regex::new(r"(?i)<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+");
        Self {
            merges,
            words: words.expect("a pattern that is constant"),
        }
    }

    /// Cleans and encodes `text`.
    ///
    /// A text with nothing in it gives start and end of text only; whether that is a prompt is the caller's to say.
    pub fn encode(&self, text: &str) -> Tokens {
        let text = clean(text);
        let mut ids = vec![START_OF_TEXT];
        for word in self.words.find_iter(&text) {
            match word.as_str() {
                "<start_of_text>" => ids.push(START_OF_TEXT),
                "<end_of_text>" => ids.push(END_OF_TEXT),
                word => ids.extend(self.encode_word(word).into_iter().map(u32::from)),
            }
            if ids.len() >= CONTEXT_LENGTH {
                break;
            }
        }
        ids.truncate(CONTEXT_LENGTH - 1);
        ids.push(END_OF_TEXT);
        ids.resize(CONTEXT_LENGTH, 0);
        Tokens {
            ids: ids.try_into().expect("resized to the context length"),
        }
    }

    /// Byte pair encoding of one word: join the earliest merge everywhere, until none applies.
    fn encode_word(&self, word: &str) -> Vec<u16> {
        let mut ids: Vec<u16> = word.bytes().map(byte_id).collect();
        if let Some(last) = ids.last_mut() {
            *last += 256; // the same byte, ending a word
        }
        while let Some(&joined) = ids
            .windows(2)
            .filter_map(|pair| self.merges.get(&(pair[0], pair[1])))
            .min()
        {
            let mut kept = 0;
            let mut next = 0;
            while next < ids.len() {
                let pair = ids.get(next..next + 2).map(|pair| (pair[0], pair[1]));
                let joins = pair.is_some_and(|pair| self.merges.get(&pair) == Some(&joined));
                ids[kept] = if joins { joined } else { ids[next] };
                kept += 1;
                next += if joins { 2 } else { 1 };
            }
            ids.truncate(kept);
        }
        ids
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

    #[test]
    fn a_long_word_is_not_slow() {
        let tokens = Tokenizer::new().encode(&"na".repeat(100_000));
        assert_eq!(tokens.ids[31], END_OF_TEXT);
    }

    #[test]
    fn an_exclamation_mark_in_punctuation_is_masked() {
        let tokens = Tokenizer::new().encode("!(");
        assert_eq!((tokens.ids[1], tokens.mask()[1], tokens.mask()[2]), (0, false, true));
    }
}
