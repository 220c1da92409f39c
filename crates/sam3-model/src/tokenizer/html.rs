//! HTML's character references, as Python's `html.unescape` and ftfy read them.
//!
//! Unlike the HTML crates the first accepts entities without their semicolon, as browsers do.

use std::{borrow::Cow, sync::LazyLock};

use regex::{Captures, Regex};

use super::code_pages;

/// Python's `html.unescape`, that is HTML 5's character references.
pub fn unescape(text: &str) -> String {
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

/// ftfy's own decoding, which is made where a text does not look like HTML: whole references alone, their semicolon
/// included, but also the names of characters in upper case, as databases write them.
pub fn unescape_whole(text: &str) -> String {
    static REFERENCE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("&(#?[0-9A-Za-z]{1,24});").expect("a pattern that is constant"));
    REFERENCE
        .replace_all(text, |found: &Captures| {
            let (reference, name) = (&found[0], &found[1]);
            let decoded = if name.starts_with('#') {
                // What is left of a semicolon says that only a beginning was understood.
                Some(unescape(reference)).filter(|decoded| !decoded.contains(';'))
            } else {
                entity(name).or_else(|| upper_case_entity(name))
            };
            decoded.unwrap_or_else(|| reference.to_owned())
        })
        .into_owned()
}

/// References to `&` in a row, of which each is the beginning of the next: `&amp;amp;lt;`.
///
/// [`unescape_whole`] resolves one at a time, and its caller calls it until nothing changes: of a long row this would
/// be quadratic. More than a few have no other effect than those few.
pub fn shorten_rows(text: &str) -> Cow<'_, str> {
    static ROW: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new("&(?:(?:amp|AMP|#0{0,9}38|#[xX]0{0,9}26);){16,}").expect("a pattern that is constant")
    });
    ROW.replace_all(text, format!("&{}", "amp;".repeat(16)))
}

/// `NTILDE` is the upper case of what `ntilde` is, unless HTML reads it otherwise, if only its beginning.
fn upper_case_entity(name: &str) -> Option<String> {
    let reference = format!("&{name};");
    let is_unread = name == name.to_ascii_uppercase() && unescape(&reference) == reference;
    let lower = is_unread.then(|| entity(&name.to_ascii_lowercase()))??;
    Some(lower.to_uppercase())
}

/// The character of a numeric reference; none where HTML has it dropped.
fn character(number: u32) -> Option<char> {
    match number {
        0x80..=0x9f => char::from_u32(number).map(code_pages::c1_as_windows_1252),
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
    let mut text = html_escape::decode_html_entities(&reference).into_owned();
    if text == reference {
        return None;
    }
    let second = SECOND
        .iter()
        .find(|(_, names)| names.split(' ').any(|known| known == name));
    text.extend(second.map(|(second, _)| second));
    Some(text)
}

/// Names of two characters, by the second, which html-escape's table lacks.
const SECOND: [(char, &str); 8] = [
    ('j', "fjlig"),
    ('\u{200a}', "ThickSpace"),
    ('\u{331}', "race"),
    ('\u{333}', "acE"),
    ('\u{20e5}', "bne bnequiv nparsl"),
    (
        '\u{20d2}',
        "nang nGt nLt NotSubset NotSuperset nsubset nsupset nvap nvge nvgt nvle nvlt nvltrie nvrtrie nvsim vnsub \
         vnsup",
    ),
    (
        '\u{fe00}',
        "caps cups gesl gvertneqq gvnE lates lesg lvertneqq lvnE smtes sqcaps sqcups varsubsetneq varsubsetneqq \
         varsupsetneq varsupsetneqq vsubnE vsubne vsupnE vsupne",
    ),
    (
        '\u{338}',
        "napE napid nbump nbumpe ncongdot nedot nesim ngE ngeqq ngeqslant nges nGg nGtv nlE nleqq nleqslant nles \
         nLl nLtv NotEqualTilde NotGreaterFullEqual NotGreaterGreater NotGreaterSlantEqual NotHumpDownHump \
         NotHumpEqual notindot notinE NotLeftTriangleBar NotLessLess NotLessSlantEqual NotNestedGreaterGreater \
         NotNestedLessLess NotPrecedesEqual NotRightTriangleBar NotSquareSubset NotSquareSuperset NotSucceedsEqual \
         NotSucceedsTilde npart npre npreceq nrarrc nrarrw nsce nsubE nsubseteqq nsucceq nsupE nsupseteqq",
    ),
];

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
    fn names_of_two_characters_are_known() {
        let names = SECOND.iter().flat_map(|(_, names)| names.split(' '));
        let lengths: Vec<usize> = names.map(|name| entity(name).unwrap().chars().count()).collect();
        assert_eq!(lengths, [2; 93]);
    }

    #[test]
    fn references_as_python_reads_them() {
        for (text, expected) in [
            ("&amp;amp;", "&amp;"),
            ("&notit;", "¬it;"),
            ("&notin;", "∉"),
            ("&fjlig;&bne;&nvlt;", "fj=\u{20e5}<\u{20d2}"),
            ("&ampcat &bogus; &; &#;", "&cat &bogus; &; &#;"),
            ("&#x41;&#66&#x80;&#1;&#0;|&#x110000;", "AB€\u{fffd}|\u{fffd}"),
            ("&é&amp", "&é&"),
        ] {
            assert_eq!(unescape(text), expected, "{text}");
        }
    }

    #[test]
    fn whole_references_as_ftfy_reads_them() {
        for (text, expected) in [
            ("&eacute;&EACUTE;&Eacute;&eAcute;", "éÉÉ&eAcute;"),
            ("&szlig;&SZLIG;", "ßSS"),
            ("&amp &copycat &GTX; &#59;", "&amp &copycat &GTX; &#59;"),
            ("&#233;&#xe9;&#233x;", "éé&#233x;"),
        ] {
            assert_eq!(unescape_whole(text), expected, "{text}");
        }
    }
}
