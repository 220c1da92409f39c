//! What the official tokenizer does to a prompt before it splits it into words.

use super::{html::unescape, mend::mend};

/// Mends, unescapes twice, squeezes white space and lowers `text`.
///
/// `ftfy.fix_text` → `html.unescape` twice → one space for each run of white space, none at the ends → lower case.
pub fn clean(text: &str) -> String {
    let text = unescape(&unescape(&mend(text)));
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}
