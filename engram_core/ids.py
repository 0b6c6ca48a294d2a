"""Ids that sort by their time. Driven by the client and the engine; loads nothing, for the start of a command."""

from __future__ import annotations

import os

__all__ = ["new_id"]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LETTERS = bytes(ord(_ALPHABET[byte & 31]) for byte in range(256))
_AT_ONCE = 64

_random: list[str] = []  # ends of ids that are not used yet: the system is asked for many at once
_last = (0, "0" * 10)  # milliseconds as they were written last
os.register_at_fork(after_in_child=_random.clear)


def new_id(prefix: str, now_ms: int) -> str:
    """Make an id that sorts by its time: the prefix, 10 characters of milliseconds, 12 random ones (60 bits)."""
    global _last
    ms, text = _last
    if ms != now_ms:
        text = "".join([_ALPHABET[now_ms >> shift & 31] for shift in range(45, -5, -5)])
        _last = now_ms, text
    try:
        return prefix + text + _random.pop()
    except IndexError:
        found = os.urandom(12 * _AT_ONCE).translate(_LETTERS).decode()
        _random.extend([found[at:at + 12] for at in range(12, 12 * _AT_ONCE, 12)])
        return prefix + text + found[:12]
