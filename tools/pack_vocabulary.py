"""Packs CLIP's merges into the file that the tokenizer embeds.

    python tools/pack_vocabulary.py bpe_simple_vocab_16e6.txt.gz crates/sam3-model/src/tokenizer/clip_merges.bin

The source is OpenAI's `bpe_simple_vocab_16e6.txt.gz` (MIT, (c) 2021 OpenAI; the PyPI wheel `open_clip_torch` carries
it). Of its lines, 1..48894 are used. Each becomes two little-endian u16: the ids of the two tokens it joins. Token ids:
256 bytes in CLIP's order, the same 256 as a word's last byte, then one id a merge.
"""

import gzip
import struct
import sys

MERGES = 49408 - 2 * 256 - 2


def byte_characters():
    """CLIP's printable stand-in for each byte, in vocabulary order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def main(source, target):
    lines = gzip.open(source, "rt", encoding="utf-8").read().split("\n")[1 : MERGES + 1]
    characters = byte_characters()
    words = characters + [c + "</w>" for c in characters]
    words += ["".join(line.split()) for line in lines]
    ids = {word: i for i, word in enumerate(words)}
    assert len(ids) == len(words) == 49406, "two merges make the same token: a rank would no longer be an id"
    pairs = [tuple(ids[part] for part in line.split()) for line in lines]
    with open(target, "wb") as f:
        for first, second in pairs:
            f.write(struct.pack("<HH", first, second))


if __name__ == "__main__":
    main(*sys.argv[1:])
