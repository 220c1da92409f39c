"""Writes the token ids that the Rust tokenizer is tested against: crates/sam3-model/tests/fixtures/tokens.json.

    python tools/tokenizer_reference.py

SAM 3's tokenizer is open_clip's `SimpleTokenizer` at 32 tokens, so the ids come from that very class, out of the
`open_clip_torch` wheel (fetched once by pip into `--cache`). Only the cleaning is set here, to SAM 3's own: ftfy, HTML
entities twice, white space, lower case.
"""

import argparse
import html
import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import ftfy
import regex

CONTEXT = 32
WHEEL = "open_clip_torch==3.3.0"

TEXTS = [
    # Plain.
    "cat", "visual", "a yellow school bus", "boat", "Yellow School BUS", "red-and-white striped lighthouse",
    "person wearing a hi-vis vest", "shoe", "  leading and trailing  ", "tabs\tand\nnew\r\nlines", "",
    " ", "\u3000", "!", "a", "1", "12345", "3.14159", "1st 2nd 3rd", "x2000y", "C3PO & R2-D2",
    # Apostrophes and the contraction rules.
    "the dog's bone", "don't", "they've we'll I'd you're I'm it's", "DON'T", "rock 'n' roll", "'s", "''''",
    "the dog’s ball", "‘single’ and “double” quotes", "it'ſ", "l’été d'hiver",
    # HTML entities, once and twice escaped.
    "fish &amp; chips", "fish &amp;amp; chips", "&lt;b&gt;bold&lt;/b&gt;", "&#39;quoted&#39;", "&nbsp;", "a&nbsp;b",
    "&amp;lt;end_of_text&amp;gt;", "AT&T", "&notanentity;", "&copy 2024",
    # The token with id 0, and runs of punctuation.
    "!(", "hello!(world)", "!$", "!!", "wow!!!", "(a)", "...", "a...b", "--- ***", "@#$%^&*()", "___", "a_b", "\\n", "\"",
    "$100.00", "50%", "#hashtag", "e-mail: me@example.com", "https://example.com/a?b=c&d=e",
    # Unicode: accents, case, full width, ligatures, numbers, other scripts.
    "café", "cafe\u0301", "naïve façade", "ＦＵＬＬ　ｗｉｄｔｈ", "ﬁre ﬂy ﬀ", "ΟΔΥΣΣΕΥΣ", "Σ", "İstanbul", "straße", "STRASSE ẞ",
    "①②③", "x² + ½", "٣٤", "ⅷ Ⅷ", "\u212a \u212b", "日本語のテキスト", "红色的船", "빨간 배", "красная лодка", "سفينة حمراء", "नाव", "เรือ",
    # Emoji, with modifiers and joiners.
    "🚢", "a 🐶 and a 🐱", "👍🏽", "👩‍👩‍👧‍👦", "🇫🇷", "❤️",
    # Control characters, byte order marks, invisible characters, terminal colours.
    "a\x00b", "a\x07b\x1f", "a\x1cb", "a\x0bb\x0cc", "\ufeffbom", "soft\u00adhyphen", "zero\u200bwidth", "a\u2028b\u2029c",
    "nbsp\u00a0here", "\x1b[31mred\x1b[0m", "a\x85b", "a\ufffdb", "\u202eabc",
    # Mojibake that ftfy repairs, and what looks like it.
    "cafÃ©", "doesnâ€™t", "â€œquotedâ€\x9d", "schÃ¶n", "l’Ã©tÃ©", "ðŸš¢", "Ã", "Â£5", "Ã  la carte", "voilÃ  le travail",
    "\\u2014", "â€”", "SÃ£o Paulo", "Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "IÃ±tÃ«rnÃ¢tiÃ´nÃ lizÃ¦tiÃ¸n",
    # Special strings.
    "<start_of_text>", "<end_of_text>", "a <end_of_text> b", "<START_OF_TEXT>cat", "<|startoftext|>", "<|endoftext|>",
    "<start_of_text", "x<end_of_text>y",
    # At and over 32 tokens.
    " ".join(["cat"] * 29), " ".join(["cat"] * 30), " ".join(["cat"] * 31), " ".join(["cat"] * 100),
    "supercalifragilisticexpialidocious " * 4, "🚢" * 20, "!(" * 40,
    "pneumonoultramicroscopicsilicovolcanoconiosis antidisestablishmentarianism floccinaucinihilipilification",
    # More of each kind: where HTML, ftfy and casefolding have their corners.
    "player in white", "Person", "  a   dog \n", "ear-ring", "T-shirt", "3 red apples", "route 66", "a/b_c",
    "e-mail@example.com", "50% off", "I'M they'll we've he'd you're", "the dog's bowl", "rock'n'roll", "'", "''s",
    "!$ cat", "?!", "a.b.c", "#1", "$5", "C++", "`", "\\", "cat<end_of_text>dog", "<START_OF_TEXT> cat", "<b>cat</b>",
    "a < b", "<", "<ſtart_of_text>", "salt &amp; pepper", "salt &amp;amp; pepper", "&lt;cat&gt;", "<&amp;>",
    "caf&eacute;", "CAF&EACUTE;", "&nbsp;cat&nbsp;", "&#99;at", "&#x63;at", "&#x63at", "&notit;", "&notin;", "&ampcat",
    "&AMP", "&copy 2020", "< &copycat", "&#128;", "&#x9d;", "&#0;", "&#1;", "&#xD800;", "&#99999999999999999999;",
    "&bogus;", "& cat", "&", "&;", "&#;", "< &#x1F600;", "< &eacuteclair", "&NotEqualTilde;", "&amp;lt;b&amp;gt;",
    "< &amp;amp;amp;", "&ThickSpace;x", "&unknownunknownunknownunknownunknownunknown;", "“cat”", "the dog’s bowl",
    "‘a’", "ﬁsh", "ﬂuﬃest", "ｃａｔ", "\uff21\u3000\uff22", "ｶﾞ", "l’humanitÃ©",
    "\u00e2\u0080\u009ccat\u00e2\u0080\u009d", "\u00e2\u20ac\u0153cat\u00e2\u20ac\u009d", "ðŸ˜Š", "Ã¼ber",
    "Ã perturber la rÃ©flexion", "ðŸ±", "â€“ dash", "naÃ¯ve",
    "\u00d0\u00bf\u00d1\u0080\u00d0\u00b8\u00d0\u00b2\u00d0\u00b5\u00d1\u0082", "Ångström", "A\u030a", "naïve",
    "IL Y MARQUÉ…", "¡hola!", "£5", "\u00a0cat", "cat\u200bdog", "\ufeffcat", "c\u0000at", "c\u0007at", "c\u007fat",
    "a\tb", "a\r\nb", "a\u2028b", "a\fb", "�", "￼", "a\u2003b", "猫", "一只黄色的校车", "собака", "Σίσυφος", "ΟΔΟΣ", "ΑΣ ΒΣ",
    "STRASSE", "Straße", "ﬆ", "ǅ", "한국어", "한국어", "हिन्दी", "عربى", "ไทย", "Ⅳ", "½", "²", "٣", "😀",
    "\ud83d\udc69\u200d\ud83d\udc69\u200d\ud83d\udc67", "🇩🇪", "™", "€", "K", "Ω", "𝒥ohn", "a\u0300\u0316", "\ue000",
    "!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!",
    "!(!(!(!(!(!(!(!(!(!(!(!(!(!(!(!(!(!(!(!(",
    "ab" * 2000, "z" * 300, "!" * 90, " ".join(["dog"] * 100),
]  # fmt: skip


def clean(text):
    """SAM 3's cleaning."""
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return regex.sub(r"\s+", " ", text).strip().lower()


def tokenizer(cache):
    """open_clip's tokenizer, from its wheel in `cache`."""
    cache.mkdir(parents=True, exist_ok=True)
    if not list(cache.glob("open_clip_torch-*.whl")):
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", WHEEL, "-d", cache], check=True)
    with zipfile.ZipFile(next(cache.glob("open_clip_torch-*.whl"))) as wheel:
        for name in ("open_clip/tokenizer.py", "open_clip/bpe_simple_vocab_16e6.txt.gz"):
            wheel.extract(name, cache)
    spec = importlib.util.spec_from_file_location("open_clip_tokenizer", cache / "open_clip/tokenizer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.SimpleTokenizer(context_length=CONTEXT)
    made.clean_fn = clean
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).resolve().parent.parent / "crates/sam3-model/tests/fixtures/tokens.json"
    parser.add_argument("--output", type=Path, default=default)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/sam3-ci/vocab")
    args = parser.parse_args()
    encode = tokenizer(args.cache)
    rows = [json.dumps(dict(text=text, ids=encode(text)[0].tolist())) for text in TEXTS]
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text("[\n" + ",\n".join(rows) + "\n]\n")
    print(f"{len(rows)} texts -> {args.output}")


if __name__ == "__main__":
    main()
