//! What the official tokenizer does to a prompt before it splits it into words.
//!
//! ftfy's repairs are the crate plsfix's, a port of it. Python's `html.unescape` is here: unlike the HTML crates it
//! accepts entities without their semicolon, as browsers do.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Mends, unescapes twice, squeezes white space and lowers `text`.
///
/// `ftfy.fix_text` → `html.unescape` twice → one space for each run of white space, none at the ends → lower case.
pub fn clean(text: &str) -> String {
    let text = unescape(&unescape(&fix_text(text)));
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// ftfy's `fix_text`, by plsfix, whose two slips are mended here: it takes ftfy's pattern for terminal escapes as
/// another one, and it decodes entities where a `<` says that the text is HTML and ftfy leaves them.
fn fix_text(text: &str) -> String {
    static TERMINAL_ESCAPE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("\x1b\\[[0-9;]*[a-zA-Z]").expect("a pattern that is constant"));
    // Longer lines it would cut between bytes, and panic.
    let config = plsfix::TextFixerConfig {
        max_decode_length: i32::MAX,
        ..plsfix::TextFixerConfig::default()
    };
    let text = TERMINAL_ESCAPE.replace_all(text, "");
    let mut is_html = false;
    let mut fixed = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        is_html |= line.contains('<');
        if is_html {
            // No entity begins with "&<>", and removing what was put after each & restores the line.
            let shielded = line.replace('&', "&<>");
            fixed += &plsfix::fix_text(&shielded, Some(&config)).replace("&<>", "&");
        } else {
            fixed += &plsfix::fix_text(line, Some(&config));
        }
    }
    fixed
}

/// Python's `html.unescape`, that is HTML 5's character references.
fn unescape(text: &str) -> String {
    static REFERENCE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"&(?:#([0-9]+);?|#[xX]([0-9a-fA-F]+);?|([^\t\n\x0c <&#;]{1,32};?))")
            .expect("a pattern that is constant")
    });
    REFERENCE
        .replace_all(text, |found: &Captures| {
            let number = |group, radix| {
                found.get(group).map(|digits| {
                    // Only a number too large for u32 fails, and no character is that far.
                    character(u32::from_str_radix(digits.as_str(), radix).unwrap_or(u32::MAX))
                })
            };
            match number(1, 10).or_else(|| number(2, 16)) {
                Some(character) => character.map(String::from).unwrap_or_default(),
                None => named(&found[3]),
            }
        })
        .into_owned()
}

/// The character of a numeric reference; none where HTML has it dropped.
fn character(number: u32) -> Option<char> {
    /// What `&#128;` to `&#159;` mean: the bytes of Windows-1252, holes left as they are.
    const WINDOWS_1252: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘',
        '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match number {
        0x80..=0x9f => Some(WINDOWS_1252[number as usize - 0x80]),
        0 => Some(char::REPLACEMENT_CHARACTER),
        0x01..=0x08 | 0x0b | 0x0e..=0x1f | 0x7f | 0xfdd0..=0xfdef => None,
        _ if number <= 0x10_ffff && number & 0xfffe == 0xfffe => None,
        _ => Some(char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER)),
    }
}

/// The text of a named reference, given without its `&`: the whole name, else its longest known beginning.
fn named(name: &str) -> String {
    if let Some(text) = name.strip_suffix(';').and_then(entity) {
        return text;
    }
    let beginnings = name.char_indices().skip(2).map(|(end, _)| end).chain([name.len()]);
    for end in beginnings.collect::<Vec<_>>().into_iter().rev() {
        if LEGACY.binary_search(&&name[..end]).is_ok() {
            let text = entity(&name[..end]).expect("legacy names are entities too");
            return text + &name[end..];
        }
    }
    format!("&{name}")
}

fn entity(name: &str) -> Option<String> {
    let reference = format!("&{name};");
    let text = html_escape::decode_html_entities(&reference);
    (text != reference).then(|| text.into_owned())
}

/// The names that HTML 5 accepts without a semicolon, sorted.
const LEGACY: [&str; 106] = [
    "AElig", "AMP", "Aacute", "Acirc", "Agrave", "Aring", "Atilde", "Auml", "COPY", "Ccedil", "ETH", "Eacute", "Ecirc",
    "Egrave", "Euml", "GT", "Iacute", "Icirc", "Igrave", "Iuml", "LT", "Ntilde", "Oacute", "Ocirc", "Ograve", "Oslash",
    "Otilde", "Ouml", "QUOT", "REG", "THORN", "Uacute", "Ucirc", "Ugrave", "Uuml", "Yacute", "aacute", "acirc",
    "acute", "aelig", "agrave", "amp", "aring", "atilde", "auml", "brvbar", "ccedil", "cedil", "cent", "copy",
    "curren", "deg", "divide", "eacute", "ecirc", "egrave", "eth", "euml", "frac12", "frac14", "frac34", "gt",
    "iacute", "icirc", "iexcl", "igrave", "iquest", "iuml", "laquo", "lt", "macr", "micro", "middot", "nbsp", "not",
    "ntilde", "oacute", "ocirc", "ograve", "ordf", "ordm", "oslash", "otilde", "ouml", "para", "plusmn", "pound",
    "quot", "raquo", "reg", "sect", "shy", "sup1", "sup2", "sup3", "szlig", "thorn", "times", "uacute", "ucirc",
    "ugrave", "uml", "uuml", "yacute", "yen", "yuml",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legacy_names_are_sorted_and_known() {
        assert!(LEGACY.is_sorted());
        assert!(LEGACY.iter().all(|name| entity(name).is_some()));
    }

    #[test]
    fn references_as_python_reads_them() {
        for (text, expected) in [
            ("&amp;amp;", "&amp;"),
            ("&notit;", "¬it;"),
            ("&notin;", "∉"),
            ("&ampcat &bogus; &; &#;", "&cat &bogus; &; &#;"),
            ("&#x41;&#66&#x80;&#1;&#0;|&#x110000;", "AB€\u{fffd}|\u{fffd}"),
            ("&é&amp", "&é&"),
        ] {
            assert_eq!(unescape(text), expected, "{text}");
        }
    }
}
