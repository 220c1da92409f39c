//! Sequences of characters that no text has on purpose, as ftfy counts them: signs of a wrong encoding.
//!
//! About 400 characters come out of UTF-8 that is misread. They are in kinds here, as in character classes of
//! [`regex`].

use std::sync::LazyLock;

use regex::Regex;

/// Found anywhere.
const COMMON: &str = "\u{a0}\u{ad}´·–—―’…";
const CONTROL: &str = "\u{80}-\u{9f}";
/// Nearly never meant.
const RARE: &str = "¤¦¨ª¬¯¸ºƒˆˇ˘˛˜†‡‰⌐◊\u{fffd}";
const LEGAL: &str = "§¶";
const MONEY: &str = "¢£¥₧€";
/// Punctuation, or what stands where it does; U+F8FF is the apple of Mac Roman.
const OPENING: &str = "¡©«¿΄΅‘‚“„•‹\u{f8ff}";
const CLOSING: &str = "®»˝”›™";
const NUMERIC: &str = "±²³µ¹¼½¾×÷⁄№∂∆∏∑√∞∩∫≈≠≡≤≥";
/// Letters that make faces, and so stand beside anything.
const FACES: &str = "°Ò-ÖÙ-Üò-öø-üŌŐŪŲ";
const UPPER: &str = "À-ÑØÜÝĀĂĄĆČĎĐĒĖĘĚĞĢĪİĶĹĻĽŁŃŅŇŒŘŚŞŠŢŤŮŰŸŹŻŽҐ";
const LOWER: &str = "ß-ñüāăąćčďđēėęěğģīįķĺļľłœŕśşšťźżžґﬁﬂ";
/// Letters of whole alphabets, which are likely beside each other.
const UPPER_ALPHABETS: &str = "ÞΆΈΉΊΌΎΏΑ-ΫЁ-Я";
const LOWER_ALPHABETS: &str = "ά-ωа-џ";
/// Without the horizontal line, of which faces are made.
const BOX: &str = "│┌┐┘├┤┬┼═-╬▀▄█▌▐-▓";

/// Whether there is such a sequence in `text`.
pub fn is_unlikely(text: &str) -> bool {
    static UNLIKELY: LazyLock<Regex> = LazyLock::new(|| {
        let rules = [kinds_side_by_side(), windows_1252(), other_encodings()].concat();
        Regex::new(&rules.join("|")).expect("a pattern that is constant")
    });
    !text.is_ascii() && UNLIKELY.is_match(text)
}

/// Neighbours by their kinds alone.
fn kinds_side_by_side() -> Vec<String> {
    let letters = format!("{LOWER}{UPPER}");
    let beside_rare = format!("{letters}{BOX}{OPENING}{CLOSING}{MONEY}{NUMERIC}{LEGAL}");
    // Python's white space has the four separators of ASCII too, and its \w no marks.
    let (space, word) = (r"[\s\x1c-\x1f]", r"[\p{L}\p{N}_]");
    vec![
        format!("[{CONTROL}]"),
        format!("[{RARE}{beside_rare}][{RARE}]"),
        format!("[{RARE}][{beside_rare}]"),
        format!("[a-zA-Z][{LOWER_ALPHABETS}{UPPER_ALPHABETS}][{RARE}]"),
        format!("[{LOWER}{LOWER_ALPHABETS}{BOX}{CLOSING}{MONEY}{NUMERIC}][{UPPER}]"),
        format!("[{BOX}{CLOSING}{MONEY}{NUMERIC}][{LOWER}]"),
        format!("[{LOWER}{BOX}{CLOSING}][{MONEY}]"),
        format!("{space}[{UPPER}][{MONEY}]"),
        format!("[{UPPER}{BOX}][{NUMERIC}{LEGAL}]"),
        format!("[{letters}{BOX}{MONEY}{CLOSING}][{OPENING}][{NUMERIC}]"),
        format!("[{letters}{MONEY}{NUMERIC}{BOX}{LEGAL}][{CLOSING}][{OPENING}]"),
        format!("[{MONEY}{NUMERIC}{BOX}][{OPENING}]"),
        format!("[a-z][{UPPER}][{OPENING}{MONEY}]"),
        format!("[{BOX}][{FACES}{CLOSING}]"),
        format!("[{letters}{MONEY}{NUMERIC}{OPENING}{CLOSING}{LEGAL}][{BOX}]"),
        format!("[{letters}][{OPENING}{CLOSING}]{word}"),
        // The ligature is followed by a Latin letter in any word, the degree sign by none after a capital.
        "[Œœ][^A-Za-z]".to_owned(),
        format!("[{UPPER}]°"),
    ]
}

/// What Windows-1252, the likeliest encoding by far, makes of common characters.
fn windows_1252() -> Vec<String> {
    let punctuation = format!("{OPENING}{CLOSING}");
    let arabic = format!("[ØÙ][{COMMON}{MONEY}{RARE}{NUMERIC}{OPENING}ŸŠ®°µ»]");
    vec![
        format!("[ÂÃÎÐ][€œŠš¢£Ÿž\u{a0}\u{ad}®©°·»{punctuation}–—´]"),
        "×[²³]".to_owned(),
        // Two such letters, as one alone is not that rare.
        format!("{arabic}{arabic}"),
        // Scripts of South Asia.
        "à[²µ¹¼½¾]".to_owned(),
        // "à", "á" and the no-break space, whose second half may have become a space.
        "Ã[\u{a0}¡]".to_owned(),
        r"[a-z][\s\x1c-\x1f]?[ÃÂ] ".to_owned(),
        "^[ÃÂ] ".to_owned(),
        // What is in Latin-1 itself stands behind an "Â".
        format!("[a-z.,?!{CLOSING}]Â[ {punctuation}]"),
    ]
}

/// What the others make of punctuation and of their own alphabets.
fn other_encodings() -> Vec<String> {
    let inside = format!("{CONTROL}{RARE}{OPENING}{CLOSING}{MONEY}°");
    vec![
        // Mac Roman.
        "√[±∂†≠®™´≤≥¥µø]".to_owned(),
        "≈[°¢]".to_owned(),
        "‚Ä[ìîïòôúùû†°¢π]".to_owned(),
        "‚[âó][àä°ê]".to_owned(),
        // Windows-1251. Three characters, as two of them are in words; the last is that of Latin-1 misread twice.
        "вЂ".to_owned(),
        format!("[ВГРС][{inside}µ][ВГРС]"),
        "ГўВЂВ.[A-Za-z ]".to_owned(),
        // Windows-1253.
        "β€[™\u{a0}Ά\u{ad}®°]".to_owned(),
        format!("[ΒΓΞΟ][{inside}][ΒΓΞΟ]"),
        // Windows-1257.
        "ā€".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unlikely() {
        for text in [
            "Ã©",
            "â€œ",
            "Ð¿Ñ€",
            "√©",
            "вЂњ",
            "╬ô",
            "\u{93}",
            "ā€",
            "l’Ã©tÃ©",
            "a\u{1c}Ã ",
            "œ ",
        ] {
            assert!(is_unlikely(text), "{text}");
        }
        for text in [
            "café",
            "L’œuvre",
            "5 £",
            "«Да»",
            "naïve",
            "ÅÄÖ",
            "Σίσυφος",
            "50 °C",
            "(╯°□°)╯",
            "½ µm",
            "猫",
        ] {
            assert!(!is_unlikely(text), "{text}");
        }
    }
}
