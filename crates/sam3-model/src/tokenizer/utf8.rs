//! UTF-8 out of bytes that other programs have changed while they took them for another encoding.

use std::{str, sync::LazyLock};

use regex::bytes::{Captures, Regex};

fn pattern(alternatives: &[&str]) -> Regex {
    Regex::new(&format!("(?-u){}", alternatives.join("|"))).expect("a pattern that is constant")
}

/// Puts the byte 0xA0 back where it was taken for a no-break space and made a space, if that gives a likely character.
///
/// "Likely" is ftfy's: no Samaritan and no Mongolian, which two common letters and a space would give.
pub fn restore_no_break_spaces(bytes: &[u8]) -> Vec<u8> {
    static ALTERED: LazyLock<Regex> = LazyLock::new(|| {
        pattern(&[
            r"[\xc2\xc3\xc5\xce\xd0\xd9] ",
            r"[\xe2\xe3] [\x80-\x84\x86-\x9f\xa1-\xbf]",
            r"[\xe0-\xe3][\x80-\x84\x86-\x9f\xa1-\xbf] ",
            r"\xf0 [\x80-\xbf]{2}",
            r"\xf0[\x80-\xbf] [\x80-\xbf]",
            r"\xf0[\x80-\xbf]{2} ",
        ])
    });
    let restored = |found: &Captures| {
        found[0]
            .iter()
            .map(|&b| if b == b' ' { 0xa0 } else { b })
            .collect::<Vec<u8>>()
    };
    ALTERED.replace_all(&part_a_grave(bytes), restored).into_owned()
}

/// "à" before a space is a word of its own, whose second byte was merged with the space behind it. But not in
/// Portuguese, where "às" and "àquele" are one word.
fn part_a_grave(bytes: &[u8]) -> Vec<u8> {
    let same_word: [&[u8]; 5] = [b" ", b"quele", b"quela", b"quilo", b"s "];
    let mut parted = Vec::with_capacity(bytes.len());
    for (at, &byte) in bytes.iter().enumerate() {
        if byte == b' ' && bytes[..at].ends_with(b"\xc3") {
            let after = &bytes[at + 1..];
            if !same_word.iter().any(|beginning| after.starts_with(beginning)) {
                parted.push(0xa0);
            }
        }
        parted.push(byte);
    }
    parted
}

/// Replaces what has lost a byte, which [`LOST`] or once in a sequence `?` stands for, by U+FFFD.
///
/// [`LOST`]: super::code_pages::LOST
pub fn replace_lost(bytes: &[u8]) -> Vec<u8> {
    static LOSSY: LazyLock<Regex> = LazyLock::new(|| {
        pattern(&[
            r"[\xc2-\xdf]\x1a",
            r"[\xc2\xc3]\?",
            r"\xed[\xa0-\xaf][\x1a?]\xed[\xb0-\xbf][\x1a?\x80-\xbf]",
            r"\xed[\xa0-\xaf][\x1a?\x80-\xbf]\xed[\xb0-\xbf][\x1a?]",
            r"[\xe0-\xef][\x1a?][\x1a\x80-\xbf]",
            r"[\xe0-\xef][\x1a\x80-\xbf][\x1a?]",
            r"[\xf0-\xf4][\x1a?][\x1a\x80-\xbf]{2}",
            r"[\xf0-\xf4][\x1a\x80-\xbf][\x1a?][\x1a\x80-\xbf]",
            r"[\xf0-\xf4][\x1a\x80-\xbf]{2}[\x1a?]",
            r"\x1a",
        ])
    });
    LOSSY.replace_all(bytes, "\u{fffd}".as_bytes()).into_owned()
}

/// The text of UTF-8 in which a character may also be two surrogates of three bytes each (CESU-8), and NUL be two bytes
/// (Java's).
pub fn decode(mut bytes: &[u8]) -> Option<String> {
    let mut text = String::new();
    loop {
        let valid = match str::from_utf8(bytes) {
            Ok(rest) => return Some(text + rest),
            Err(error) => error.valid_up_to(),
        };
        let (decoded, rest) = bytes.split_at(valid);
        text += str::from_utf8(decoded).ok()?;
        let (variant, length) = variant(rest)?;
        text.push(variant);
        bytes = &rest[length..];
    }
}

/// A character that is not in UTF-8's own form at the beginning of `bytes`, and its length.
fn variant(bytes: &[u8]) -> Option<(char, usize)> {
    // ftfy's patterns take the line feed at the end of the text for a byte that is yet to come.
    let is_last = |byte: u8, length| (0x80..=0xbf).contains(&byte) || byte == b'\n' && bytes.len() == length;
    match *bytes {
        [0xc0, byte, ..] if byte == 0x80 || byte == b'\n' && bytes.len() == 2 => Some(('\0', 2)),
        [0xed, a @ 0xa0..=0xaf, b @ 0x80..=0xbf, 0xed, c @ 0xb0..=0xbf, d, ..] if is_last(d, 6) => {
            let bits = |byte: u8, mask: u8, shift: u32| u32::from(byte & mask) << shift;
            let number = 0x1_0000 + (bits(a, 0x0f, 16) | bits(b, 0x3f, 10) | bits(c, 0x0f, 6) | bits(d, 0x3f, 0));
            Some((char::from_u32(number)?, 6))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_of_utf8() {
        for (bytes, expected) in [
            (&b"caf\xc3\xa9"[..], Some("café")),
            (b"\xed\xa0\xbd\xed\xb2\xa9!", Some("💩!")),
            (b"a\xc0\x80b", Some("a\0b")),
            (b"\xed\x95\x9c", Some("한")),
            (b"\xed\xa0\xbd", None),
            (b"\xed\xb2\xa9\xed\xa0\xbd", None),
            (b"\xc0\x81", None),
            (b"\xc3", None),
        ] {
            assert_eq!(decode(bytes).as_deref(), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn spaces_that_were_bytes() {
        for (bytes, expected) in [
            (&b"\xc3 la carte"[..], "à la carte"),
            (b"voil\xc3 ", "voilà "),
            (b"\xc3 quele \xc3 s ", "àquele às "),
            (b"\xc5 koda", "Škoda"),
        ] {
            assert_eq!(decode(&restore_no_break_spaces(bytes)).as_deref(), Some(expected));
        }
    }

    #[test]
    fn sequences_that_lost_a_byte() {
        let replaced = replace_lost(b"\xe2\x80\x9clike\xe2\x80\x1a \xc3? \x1a \xe2?\x80 \xf0\x9f\x1a\x1a");
        assert_eq!(decode(&replaced).as_deref(), Some("“like� � � � �"));
    }
}
