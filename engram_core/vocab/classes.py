"""Write the character classes of the kernel's pre-tokenizer; run by hand, never at run time.

    python -m engram_core.vocab.classes

The classes are read off the regular expressions of the pinned tiktoken, whose Unicode version differs from
the running Python's: an encoding with a class as its pattern emits exactly the characters of that class.
tests/kernel/test_bpe.py asks the installed tiktoken the same for every code point.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import tiktoken

__all__ = ["CLASSES", "PINNED", "classes"]

PINNED = "0.14.0"
HEADER = Path(__file__).parent.parent / "kernel" / "unicode_classes.h"
# pattern -> flag in the kernel; a character may carry several flags
CLASSES = {
    r"[\p{Lu}\p{Lt}]": 1,
    r"\p{Ll}": 2,
    r"[\p{Lm}\p{Lo}]": 4,
    r"\p{M}": 8,
    r"\p{N}": 16,
    r"\s": 32,
    r"[\r\n]": 64,
}


def classes() -> list[int]:
    """Return the flags of every code point, surrogates having none."""
    flags = [0] * 0x110000
    scalars = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    single = {bytes([byte]): byte for byte in range(256)}
    for pattern, flag in CLASSES.items():
        encoding = tiktoken.Encoding(pattern, pat_str=pattern, mergeable_ranks=single, special_tokens={})
        for start in range(0, len(scalars), 1 << 14):
            text = "".join(scalars[start:start + (1 << 14)])
            for char in encoding.decode_bytes(encoding.encode_ordinary(text)).decode():
                flags[ord(char)] |= flag
    return flags


def header(flags: list[int]) -> str:
    """Return the C header: each entry is the first code point of a range << 8 | its flags."""
    starts = [code for code in range(len(flags)) if code == 0 or flags[code] != flags[code - 1]]
    entries = [f"{code << 8 | flags[code]:#x}," for code in starts]
    rows = [" ".join(entries[at:at + 11]) for at in range(0, len(entries), 11)]
    return "\n".join([
        f"/* Written by engram_core/vocab/classes.py from tiktoken {PINNED}, Unicode 16.0.",
        "   An entry is the first code point of a range << 8 | its flags: 1 Lu Lt, 2 Ll, 4 Lm Lo, 8 M, 16 N,",
        "   32 white space, 64 CR LF. */",
        f"#define CLASS_RANGE_COUNT {len(entries)}",
        "static const unsigned int CLASS_RANGES[CLASS_RANGE_COUNT] = {",
        *rows,
        "};",
        "",
    ])


if __name__ == "__main__":
    if version("tiktoken") != PINNED:
        raise SystemExit(f"needs tiktoken {PINNED}, found {version('tiktoken')}")
    HEADER.write_text(header(classes()), encoding="ascii")
    sys.stdout.write(f"{HEADER}\n")
