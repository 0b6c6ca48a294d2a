"""Values of channels on their way: what a serializer made of them as text of a request, large ones in pieces.

Driven by the saver; no socket, no clock. A text is ``r`` and base64 of the bytes, or ``z`` and base64 of their zlib
stream where that is shorter: a long conversation takes a third. A value of more than INLINE characters travels before
the request that names it, piece by piece under the digest of the whole, so that one last request commits it.
"""

from __future__ import annotations

import zlib
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

from engram.adapters.place import Steps
from engram_core.errors import BadInput, EngramError, StoreCorrupt

__all__ = ["Typed", "Values", "fetch", "unpack"]

Typed = tuple[str, bytes]
"""What ``dumps_typed`` returns."""
Wire = list[Any]
"""Type, text and number of pieces, as a request holds them."""
INLINE = 128 << 10
ROOM = 600 << 10
"""Characters of values in one request, which may have 1 MiB."""
PIECE = 512 << 10
MOST = 1 << 30
"""Characters of the largest value that is taken at all."""
_LEAST = 4096  # bytes from which on packing is worth its time: less takes as long as the rest of a checkpoint
_SAMPLE = 64 << 10
_LEVEL = 1
_ELSEWHERE = "restore a backup, or go on from an older checkpoint of the thread"


def pack(data: bytes) -> str:
    """Return bytes as text."""
    if len(data) >= _LEAST and (len(data) <= 2 * _SAMPLE or _shrinks(data[:_SAMPLE])):
        packed = zlib.compress(data, _LEVEL)
        if len(packed) < 0.9 * len(data):
            return "z" + b2a_base64(packed, newline=False).decode()
    return "r" + b2a_base64(data, newline=False).decode()


def _shrinks(sample: bytes) -> bool:
    return len(zlib.compress(sample, _LEVEL)) < 0.9 * len(sample)


def unpack(text: str, name: str) -> bytes:
    """Return the bytes of a text; raise StoreCorrupt naming the value when they cannot be had."""
    if text[:1] not in ("r", "z"):
        raise StoreCorrupt(f"the stored {name} is packed in a way this version does not know",
                           hint="install the newer Engram that wrote it")
    try:
        data = a2b_base64(text[1:], strict_mode=True)
        return data if text[0] == "r" else zlib.decompress(data)
    except (Error, ValueError, zlib.error) as error:
        raise StoreCorrupt(f"the stored {name} is damaged: {error}", hint=_ELSEWHERE) from error


class Values:
    """The values of one request: those that go with it, and the pieces that go before."""

    def __init__(self, space: dict[str, Any]) -> None:
        self._space = space
        self._room = ROOM
        self._ahead: list[tuple[str, str]] = []

    def add(self, name: str, typed: Typed) -> Wire:
        """Return a value as the request holds it; raise BadInput for one that is too large."""
        kind, text = typed[0], pack(typed[1])
        if len(text) <= INLINE and len(text) <= self._room:
            self._room -= len(text)
            return [kind, text, 0]
        if len(text) > MOST:
            raise BadInput(f"{name} has {len(typed[1])} bytes; {len(text)} of the {MOST} allowed as text",
                           hint="keep large data in a file and its name in the state")
        digest = _digest(kind, text)
        self._ahead.append((digest, text))
        return [kind, digest, -(-len(text) // PIECE)]

    def send(self) -> Steps[None]:
        """Send the pieces of large values."""
        for digest, text in self._ahead:
            for piece, start in enumerate(range(0, len(text), PIECE)):
                yield "put_checkpoint_piece", {**self._space, "digest": digest, "piece": piece,
                                               "data": text[start:start + PIECE]}


def fetch(space: dict[str, Any], name: str, wire: Sequence[Any], load: Callable[[Typed], Any]) -> Steps[Any]:
    """Return the value of what a reply holds, asking for its pieces when it is large."""
    kind, text, pieces = wire
    if pieces:
        digest, parts = text, list[str]()
        while len(parts) < pieces:
            found = yield "get_checkpoint_pieces", {**space, "digest": digest, "first": len(parts)}
            if not found["pieces"]:
                raise StoreCorrupt(f"the stored {name} lacks {pieces - len(parts)} of its {pieces} pieces",
                                   hint=_ELSEWHERE)
            parts += found["pieces"]
        text = "".join(parts)
        if _digest(kind, text) != digest:
            raise StoreCorrupt(f"the stored {name} is damaged: its digest is another one", hint=_ELSEWHERE)
    try:
        return load((kind, unpack(text, name)))
    except EngramError:
        raise
    except (NotImplementedError, TypeError):  # the serializer's own words for a type it does not know
        raise
    except Exception as error:
        raise StoreCorrupt(f"the stored {name} cannot be read by the serializer: {error}",
                           hint="use the serializer, and the key, that it was written with") from error


def _digest(kind: str, text: str) -> str:
    return blake2b(f"{kind}\0{text}".encode(), digest_size=16).hexdigest()
