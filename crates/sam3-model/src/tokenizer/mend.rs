//! ftfy's `fix_text`, with its defaults: what its guesses make of a text that programs have damaged.
//!
//! Two things of it have nothing to do here: a `str` holds no surrogates, and the lines of a prompt need not be cut at
//! a million characters.

use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::UnicodeNormalization;

use super::{html, mojibake};

/// Mends the encoding of `text` and simplifies its characters, each line for itself.
pub fn mend(text: &str) -> String {
    let mut is_html = false;
    text.split_inclusive('\n')
        .map(|line| {
            // From the first tag on, references are left to who reads the HTML.
            is_html |= line.contains('<');
            mend_line(line, is_html)
        })
        .collect()
}

/// Each repair can uncover what another one finds, so they are made until nothing changes.
fn mend_line(line: &str, is_html: bool) -> String {
    let mut line = if is_html {
        line.to_owned()
    } else {
        html::shorten_rows(line).into_owned()
    };
    loop {
        let mended = if is_html {
            mojibake::mend(&line)
        } else {
            mojibake::mend(&html::unescape_whole(&line))
        };
        let mended = simplify(&mended);
        if mended == line {
            return line;
        }
        line = mended;
    }
}

/// Straight quotes, letters instead of ligatures, characters of normal width, `\n` for line breaks, nothing that does
/// not print, and characters composed (NFC).
fn simplify(text: &str) -> String {
    static TERMINAL_ESCAPE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\x1b\[[\d;]*[a-zA-Z]").expect("a pattern that is constant"));
    let mut simple = String::with_capacity(text.len());
    for c in text.replace("\r\n", "\n").chars() {
        match ligature(c) {
            Some(letters) => simple += letters,
            None => push_simplified(c, &mut simple),
        }
    }
    TERMINAL_ESCAPE
        .replace_all(&simple, "")
        .chars()
        .filter(|&c| !is_invisible(c))
        .nfc()
        .collect()
}

fn push_simplified(c: char, simple: &mut String) {
    match c {
        '\r' | '\u{2028}' | '\u{2029}' => simple.push('\n'),
        '\u{2bc}' | '\u{2018}'..='\u{201b}' => simple.push('\''),
        '\u{201c}'..='\u{201f}' => simple.push('"'),
        '\u{3000}' => simple.push(' '),
        // Half and full width: Latin letters, Katakana, Hangul and signs.
        '\u{ff01}'..='\u{ffef}' => simple.extend([c].into_iter().nfkc()),
        _ => simple.push(c),
    }
}

/// The letters of a Latin ligature, of which æ and œ are none.
fn ligature(c: char) -> Option<&'static str> {
    let letters = match c {
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'ŉ' => "'n",
        'Ǆ' => "DŽ",
        'ǅ' => "Dž",
        'ǆ' => "dž",
        'Ǉ' => "LJ",
        'ǈ' => "Lj",
        'ǉ' => "lj",
        'Ǌ' => "NJ",
        'ǋ' => "Nj",
        'ǌ' => "nj",
        'Ǳ' => "DZ",
        'ǲ' => "Dz",
        'ǳ' => "dz",
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' => "ſt",
        'ﬆ' => "st",
        _ => return None,
    };
    Some(letters)
}

/// Control characters that no program shows: those of ASCII but for white space, obsolete ones, annotations, the byte
/// order mark.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffc}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_mended_for_itself() {
        for (text, expected) in [
            ("l’Ã©tÃ©", "l'été"),
            ("ŉ ﬃ ǅ\u{2028}ｶﾞ\u{3000}￥\r\n", "'n ffi Dž\nガ ¥\n"),
            ("\u{1b}［1;31mred\u{1b}[0m\u{feff}", "red"),
            ("&eacute;\n<&eacute;\n&eacute;", "é\n<&eacute;\n&eacute;"),
            ("&amp;Atilde;&copy;", "é"),
            ("â€œlike this â€�", "\"like this �"),
            ("cafÃ©, 猫", "café, 猫"),
        ] {
            assert_eq!(mend(text), expected, "{text}");
        }
    }

    /// Each round resolves one reference; the test takes minutes where the rounds are as many as the references.
    #[test]
    fn rows_of_references_take_few_rounds() {
        for reference in ["amp;", "AMP;", "#38;", "#x26;"] {
            for count in [1, 15, 16, 17, 20_000] {
                let text = format!("caf&eacute; &{}lt; boat", reference.repeat(count));
                assert_eq!(mend(&text), "café < boat", "{count} of {reference}");
            }
        }
    }

    #[test]
    fn any_text_is_mended() {
        let letters: Vec<char> =
            "Ã¢â‚¬Å“Â Ðàãíð√≥╬║\u{80}\u{9f}\u{fffd}\u{1a}?\n\r<&amp;#x9;é\u{1b}[1mﬁ\u{feff}猫\u{301} a"
                .chars()
                .collect();
        let mut state = 7u32;
        for length in (1..40).cycle().take(5_000) {
            let mut letter = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                letters[(state >> 16) as usize % letters.len()]
            };
            let text: String = (0..length).map(|_| letter()).collect();
            assert!(!mend(&text).contains(is_invisible), "{text:?}");
        }
    }
}
