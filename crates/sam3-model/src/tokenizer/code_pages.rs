//! The single-byte encodings as which UTF-8 is mistaken, in ftfy's order of trying.

use std::{collections::HashMap, sync::LazyLock};

/// An encoding whose first half is ASCII.
pub struct CodePage {
    pub kind: Kind,
    /// What the bytes from 0x80 on stand for.
    chars: Vec<char>,
    bytes: HashMap<char, u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Letters stand where ISO 8859-1 has letters.
    Latin1,
    /// The same, but what could not be decoded has become U+FFFD.
    Windows,
    MacRoman,
    Other,
}

impl CodePage {
    fn new(kind: Kind, half: &str) -> Self {
        // Programs take a byte that stands for nothing as ISO 8859-1 does.
        let chars: Vec<char> = (0x80..=0xff)
            .zip(half.chars())
            .map(|(byte, c)| if c == UNASSIGNED { char::from(byte) } else { c })
            .collect();
        let bytes = chars.iter().copied().zip(0x80..=0xff).collect();
        Self { kind, chars, bytes }
    }

    /// The bytes that were read as `text` by this encoding, if it can have been this one.
    ///
    /// U+FFFD, which a lost byte has become, gives [`LOST`].
    pub fn encode(&self, text: &str) -> Option<Vec<u8>> {
        let byte = |c: char| match c {
            char::REPLACEMENT_CHARACTER if self.kind == Kind::Windows => Some(LOST),
            _ if c == char::from(LOST) && self.kind == Kind::Windows => None,
            _ if c.is_ascii() => u8::try_from(c).ok(),
            _ => self.bytes.get(&c).copied(),
        };
        text.chars().map(byte).collect()
    }

    /// The characters that the bytes from 0x80 on are read as.
    pub fn upper_half(&self) -> impl Iterator<Item = (u8, char)> {
        (0x80..=0xff).zip(self.chars.iter().copied())
    }
}

/// The byte for a character that was lost: ASCII's SUBSTITUTE.
pub const LOST: u8 = 0x1a;

/// What a control character of 0x80 to 0x9f was before Windows-1252 was taken for ISO 8859-1; others as they are.
pub fn c1_as_windows_1252(c: char) -> char {
    match c {
        '\u{80}'..='\u{9f}' => CODE_PAGES[1].chars[c as usize - 0x80],
        _ => c,
    }
}

/// All of them.
pub static CODE_PAGES: LazyLock<[CodePage; 10]> = LazyLock::new(|| {
    let latin_1: String = ('\u{80}'..='\u{ff}').collect();
    [
        CodePage::new(Kind::Latin1, &latin_1),
        CodePage::new(Kind::Windows, WINDOWS_1252),
        CodePage::new(Kind::Windows, WINDOWS_1251),
        CodePage::new(Kind::Windows, WINDOWS_1250),
        CodePage::new(Kind::Windows, WINDOWS_1253),
        CodePage::new(Kind::Windows, WINDOWS_1254),
        CodePage::new(Kind::Windows, WINDOWS_1257),
        CodePage::new(Kind::Other, ISO_8859_2),
        CodePage::new(Kind::MacRoman, MAC_ROMAN),
        CodePage::new(Kind::Other, CODE_PAGE_437),
    ]
});

/// In the tables below, a byte that stands for nothing. None of them has the character itself.
const UNASSIGNED: char = char::REPLACEMENT_CHARACTER;

const WINDOWS_1252: &str = "\
    €�‚ƒ„…†‡ˆ‰Š‹Œ�Ž��‘’“”•–—˜™š›œ�žŸ\
    \u{a0}¡¢£¤¥¦§¨©ª«¬\u{ad}®¯°±²³´µ¶·¸¹º»¼½¾¿\
    ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞß\
    àáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ";

const WINDOWS_1251: &str = "\
    ЂЃ‚ѓ„…†‡€‰Љ‹ЊЌЋЏђ‘’“”•–—�™љ›њќћџ\
    \u{a0}ЎўЈ¤Ґ¦§Ё©Є«¬\u{ad}®Ї°±Ііґµ¶·ё№є»јЅѕї\
    АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ\
    абвгдежзийклмнопрстуфхцчшщъыьэюя";

const WINDOWS_1250: &str = "\
    €�‚�„…†‡�‰Š‹ŚŤŽŹ�‘’“”•–—�™š›śťžź\
    \u{a0}ˇ˘Ł¤Ą¦§¨©Ş«¬\u{ad}®Ż°±˛ł´µ¶·¸ąş»Ľ˝ľż\
    ŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢß\
    ŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙";

const WINDOWS_1253: &str = "\
    €�‚ƒ„…†‡�‰�‹�����‘’“”•–—�™�›����\
    \u{a0}΅Ά£¤¥¦§¨©ª«¬\u{ad}®―°±²³΄µ¶·ΈΉΊ»Ό½ΎΏ\
    ΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡÒΣΤΥΦΧΨΩΪΫάέήί\
    ΰαβγδεζηθικλμνξοπρςστυφχψωϊϋόύώÿ";

const WINDOWS_1254: &str = "\
    €�‚ƒ„…†‡ˆ‰Š‹Œ����‘’“”•–—˜™š›œ��Ÿ\
    \u{a0}¡¢£¤¥¦§¨©ª«¬\u{ad}®¯°±²³´µ¶·¸¹º»¼½¾¿\
    ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏĞÑÒÓÔÕÖ×ØÙÚÛÜİŞß\
    àáâãäåæçèéêëìíîïğñòóôõö÷øùúûüışÿ";

const WINDOWS_1257: &str = "\
    €�‚�„…†‡�‰�‹�¨ˇ¸�‘’“”•–—�™�›�¯˛�\
    \u{a0}¡¢£¤¥¦§Ø©Ŗ«¬\u{ad}®Æ°±²³´µ¶·ø¹ŗ»¼½¾æ\
    ĄĮĀĆÄÅĘĒČÉŹĖĢĶĪĻŠŃŅÓŌÕÖ×ŲŁŚŪÜŻŽß\
    ąįāćäåęēčéźėģķīļšńņóōõö÷ųłśūüżž˙";

const ISO_8859_2: &str = "\
    ��������������������������������\
    \u{a0}Ą˘Ł¤ĽŚ§¨ŠŞŤŹ\u{ad}ŽŻ°ą˛ł´ľśˇ¸šşťź˝žż\
    ŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢß\
    ŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙";

const MAC_ROMAN: &str = "\
    ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü\
    †°¢£§•¶ß®©™´¨≠ÆØ∞±≤≥¥µ∂∑∏π∫ªºΩæø\
    ¿¡¬√ƒ≈∆«»…\u{a0}ÀÃÕŒœ–—“”‘’÷◊ÿŸ⁄€‹›ﬁﬂ\
    ‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔ\u{f8ff}ÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ";

const CODE_PAGE_437: &str = "\
    ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒ\
    áíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
    └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀\
    αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_stands_for_one_character() {
        for page in &*CODE_PAGES {
            assert_eq!((page.chars.len(), page.bytes.len()), (128, 128));
            let text: String = page.chars.iter().collect();
            assert_eq!(page.encode(&text), Some((0x80..=0xff).collect()));
        }
    }

    #[test]
    fn lost_bytes_are_marked_in_windows_alone() {
        let encoded = CODE_PAGES.each_ref().map(|page| page.encode("a\u{fffd}"));
        assert_eq!(encoded.iter().flatten().count(), 6);
        assert_eq!(encoded[1], Some(vec![b'a', LOST]));
        assert_eq!(
            CODE_PAGES
                .each_ref()
                .map(|page| page.encode("a\u{1a}"))
                .iter()
                .flatten()
                .count(),
            4
        );
    }
}
