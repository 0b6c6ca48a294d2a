"""Emitted lines that are remembered beside an index, so that they are not read again. Driven by the index."""

from __future__ import annotations

_LINES_CHARS = 1 << 20


class Lines:
    """Emitted lines by document number in ``held``, the whole let go when it holds more than a megabyte."""

    def __init__(self) -> None:
        self.held: dict[int, str] = {}
        self._chars = 0

    def put(self, doc: int, line: str) -> None:
        """Remember a line."""
        if self._chars > _LINES_CHARS:
            self.held.clear()
            self._chars = 0
        self.held[doc] = line
        self._chars += len(line)

    def drop(self, doc: int) -> None:
        """Forget a line."""
        self.held.pop(doc, None)
