"""Store long texts that are seldom read compressed: packets, and explanations whose names and reasons repeat.

Driven by whoever writes or reads builds. A packed text is ``z`` and the base64 of its zlib stream, so that it is plain
text for every database; a text that does not begin so was stored as it is.
"""

from __future__ import annotations

_LEAST = 1024
_LEVEL = 3  # of zlib; a higher one takes several times as long for a few hundredths less


def pack(text: str) -> str:
    """Return what is stored for a JSON text."""
    if len(text) < _LEAST:
        return text
    from binascii import b2a_base64
    from zlib import compress

    return "z" + b2a_base64(compress(text.encode(), _LEVEL), newline=False).decode()


def unpack(stored: str) -> str:
    """Return the JSON text that was stored."""
    if not stored.startswith("z"):
        return stored
    from binascii import a2b_base64
    from zlib import decompress

    return decompress(a2b_base64(stored[1:])).decode()
