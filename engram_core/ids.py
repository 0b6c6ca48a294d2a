"""Ids that sort by their time. Driven by the client and the engine; loads nothing, for the start of a command."""

from __future__ import annotations

import os

__all__ = ["new_id"]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_SHIFTS = tuple(range(100, -10, -10))


def new_id(prefix: str, now_ms: int) -> str:
    """Make an id that sorts by its time: the prefix, 10 characters of milliseconds, 12 random ones (60 bits)."""
    number = (now_ms & ((1 << 50) - 1)) << 60 | int.from_bytes(os.urandom(8), "big") >> 4
    return prefix + "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])
