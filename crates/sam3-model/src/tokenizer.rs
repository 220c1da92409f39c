//! The official prompt tokenizer: CLIP's byte pair encoding, cut and padded to 32 ids.
//!
//! Official means open_clip's `SimpleTokenizer`, which SAM 3 was trained with, and not transformers' `CLIPTokenizer`:
//! the text is mended first ([`clean`]), padding is id 0, and a prompt that is too long is cut.

mod byte_pairs;
mod clean;
mod code_pages;
mod html;
mod mend;
mod mojibake;
mod unlikely;
mod utf8;

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
        let words =
            Regex::new(r"(?i)<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+");
        Self {
            merges: merges(),
            words: words.expect("a pattern that is constant"),
        }
    }

    /// Cleans and encodes `text`.
    ///
    /// A text with nothing in it gives start and end of text only; whether that is a prompt is the caller's to say.
    pub fn encode(&self, text: &str) -> Tokens {
        let (mut ids, _) = self.text_ids(&clean(text));
        ids.insert(0, START_OF_TEXT);
        ids.push(END_OF_TEXT);
        ids.resize(CONTEXT_LENGTH, 0);
        Tokens {
            ids: ids.try_into().expect("resized to the context length"),
        }
    }

    /// What the model reads of a text that is too long for it, [`clean`]ed; none for a text that is read whole.
    ///
    /// As officially, there is room for 30 tokens between start and end of text, and the rest of the text is ignored.
    /// The last word may be cut itself, as it can have several tokens.
    pub fn truncated(&self, text: &str) -> Option<String> {
        let text = clean(text);
        let mut end = self.text_ids(&text).1?;
        // A token may end within a character.
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Some(text[..end].to_owned())
    }

    /// The ids of a clean text, as many as there is room for, and where the last one ends where there are more.
    fn text_ids(&self, text: &str) -> (Vec<u32>, Option<usize>) {
        const ROOM: usize = CONTEXT_LENGTH - 2;
        let mut ids = Vec::with_capacity(CONTEXT_LENGTH);
        let mut end = 0;
        for word in self.words.find_iter(text) {
            for (id, length) in self.word_ids(word.as_str()) {
                if ids.len() == ROOM {
                    return (ids, Some(end));
                }
                ids.push(id);
                end = word.start() + length;
            }
        }
        (ids, None)
    }

    /// The ids of a word, and where each ends in it.
    fn word_ids(&self, word: &str) -> Vec<(u32, usize)> {
        match word {
            "<start_of_text>" => vec![(START_OF_TEXT, word.len())],
            "<end_of_text>" => vec![(END_OF_TEXT, word.len())],
            _ => byte_pairs::encode(word, |left, right| self.merges.get(&(left, right)).copied())
                .into_iter()
                .map(|piece| (u32::from(piece.id), piece.end))
                .collect(),
        }
    }
}

/// (left id, right id) → id of the joined token, of OpenAI's vocabulary.
fn merges() -> HashMap<(u16, u16), u16> {
    // 48 894 merges, two little-endian u16 each, written by tools/pack_vocabulary.py from OpenAI's file (MIT).
    let packed = include_bytes!("tokenizer/clip_merges.bin");
    let pair = |bytes: &[u8; 4]| {
        let [left, right] = [[bytes[0], bytes[1]], [bytes[2], bytes[3]]].map(u16::from_le_bytes);
        (left, right)
    };
    packed.as_chunks::<4>().0.iter().map(pair).zip(512..).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_behind_its_thirtieth_token() {
        let tokenizer = Tokenizer::new();
        let boats = |n: usize| vec!["Boat"; n].join(" ");
        let lower = |n: usize| boats(n).to_lowercase();
        assert_eq!(tokenizer.truncated(""), None);
        assert_eq!(tokenizer.truncated(&boats(30)), None);
        assert_eq!(tokenizer.truncated(&boats(31)), Some(lower(30)));
        assert_eq!(
            tokenizer.truncated(&format!("{}\n\n ", boats(30))),
            None,
            "spaces are no tokens"
        );
        assert_eq!(tokenizer.encode(&boats(30)), tokenizer.encode(&boats(31)));
        assert_ne!(tokenizer.encode(&boats(29)), tokenizer.encode(&boats(30)));

        for text in [
            boats(10) + " " + &"na".repeat(200),
            "🛶".repeat(40),
            "<end_of_text>".repeat(31),
        ] {
            let left = tokenizer
                .truncated(&text)
                .unwrap_or_else(|| panic!("{text} is read whole"));
            assert!(clean(&text).starts_with(&left) && left.len() < text.len(), "{left}");
            assert!(left.len() >= 30, "{left}");
        }
        let left = tokenizer.truncated(&"水".repeat(40)).expect("it is too long");
        assert!(left.chars().all(|c| c == '水') && !left.is_empty(), "{left}");
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
