//! UTF-8 that was read as another encoding, as ftfy finds and mends it.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use super::{
    code_pages::{CODE_PAGES, CodePage, Kind, c1_as_windows_1252},
    unlikely::is_unlikely,
    utf8,
};

/// Mends `text` as often as it was misread.
pub fn mend(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(mended) = mend_once(&text).filter(|mended| *mended != text) {
        text = mended;
    }
    text
}

fn mend_once(text: &str) -> Option<String> {
    if !is_unlikely(text) {
        return None;
    }
    if let Some(mended) = CODE_PAGES.iter().find_map(|page| reread(text, page)) {
        return Some(mended);
    }
    let mended = mend_embedded(text);
    if mended != text {
        return Some(mended);
    }
    Some(text.chars().map(c1_as_windows_1252).collect())
}

/// What `text` is if it is UTF-8 that was read by `page`.
fn reread(text: &str, page: &CodePage) -> Option<String> {
    let mut bytes = page.encode(text)?;
    // In Mac Roman the pattern is that of a dash and a space.
    if page.kind != Kind::MacRoman {
        bytes = utf8::restore_no_break_spaces(&bytes);
    }
    if page.kind == Kind::Windows {
        bytes = utf8::replace_lost(&bytes);
    }
    utf8::decode(&bytes)
}

/// Mends each run of characters that can be UTF-8, where the text as a whole cannot.
fn mend_embedded(text: &str) -> String {
    let mut mended = String::with_capacity(text.len());
    let mut rest = text;
    let mut previous = None;
    while let Some(first) = rest.chars().next() {
        // After a continuation byte, the run would be the end of a longer damaged sequence, and to mend a part of that
        // is worse than to leave it.
        let length = match previous {
            Some(previous) if LIKELY_BYTES.goes_on(previous) => 0,
            _ => LIKELY_BYTES.run(rest),
        };
        let (part, after) = rest.split_at(length.max(first.len_utf8()));
        // `mend` calls this of a run that is the whole text, so that to mend it here would never end.
        if length > 0 && part.len() < text.len() && is_unlikely(part) {
            mended += &mend(part);
        } else {
            mended += part;
        }
        previous = part.chars().next_back();
        rest = after;
    }
    mended
}

/// What bytes of UTF-8 are read as by an encoding that has its letters where ISO 8859-1 has them.
struct LikelyBytes {
    /// How many bytes a character has that begins so.
    lengths: HashMap<char, usize>,
    continuations: HashSet<char>,
}

static LIKELY_BYTES: LazyLock<LikelyBytes> = LazyLock::new(|| {
    let mut likely = LikelyBytes {
        lengths: HashMap::new(),
        continuations: HashSet::from([' ']), // it may have been a no-break space
    };
    let pages = CODE_PAGES
        .iter()
        .filter(|page| matches!(page.kind, Kind::Latin1 | Kind::Windows));
    for (byte, c) in pages.flat_map(CodePage::upper_half) {
        let length = match byte {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0 | 0xf3 => 4, // the others begin what is not assigned
            0x80..=0xbf => {
                likely.continuations.insert(c);
                continue;
            }
            _ => continue,
        };
        likely.lengths.insert(c, length);
    }
    likely
});

impl LikelyBytes {
    /// Whether `c` continues a character, and is no punctuation that stands for itself beside one.
    fn goes_on(&self, c: char) -> bool {
        self.continuations.contains(&c) && !" –—―‘’‚“”„•…".contains(c)
    }

    /// The length in bytes of the characters of UTF-8 at the beginning of `text`.
    fn run(&self, text: &str) -> usize {
        let mut end = 0;
        loop {
            let mut chars = text[end..].chars();
            let Some(&length) = chars.next().and_then(|first| self.lengths.get(&first)) else {
                return end;
            };
            for _ in 1..length {
                if !chars.next().is_some_and(|c| self.continuations.contains(&c)) {
                    return end;
                }
            }
            end = text.len() - chars.as_str().len();
        }
    }
}
