"""The answers of MySQL to statements that return no rows, read as they come. Driven by its driver.

PyMySQL waits for each packet; here a part of an answer may come and be kept until the rest is there.
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Any

import pymysql

from engram_core.store.server import is_quiet

if TYPE_CHECKING:
    from pymysql.connections import Connection

__all__ = ["Answers", "size_of"]

_MORE = 8  # in the status of a packet: another one follows
_PIECE = 1 << 16
_LONG_NUMBERS = {0xfc: 3, 0xfd: 4, 0xfe: 9}


class Answers:
    """What has come on a connection and was not taken."""

    def __init__(self, raw: Connection[Any]) -> None:
        self._raw = raw
        self._data = b""

    def read(self, *, wait: bool) -> int:
        """Return how many bytes the first answer has, 0 when it is not complete and is not waited for."""
        while not (size := size_of(self._data)):
            try:
                piece = self._raw._sock.recv(_PIECE) if wait else self._piece()
            except BlockingIOError:
                break
            if not piece:
                raise pymysql.OperationalError(2013, "Lost connection to MySQL server during query")
            self._data += piece
        return size

    def take(self) -> None:
        """Wait for the first answer, and raise the error that it is."""
        size = self.read(wait=True)
        answer, self._data = self._data[:size], self._data[size:]
        at = 0
        while at < size:
            end = _end(answer, at)
            if answer[at + 4]:
                pymysql.err.raise_mysql_exception(answer[at + 4:end])
            at = end

    def _piece(self) -> bytes:
        """Return what is there, or raise BlockingIOError."""
        sock = self._raw._sock
        if not isinstance(sock, ssl.SSLSocket):
            return os.read(sock.fileno(), _PIECE)  # PyMySQL sets a timeout, so the descriptor does not block
        if not sock.pending() and is_quiet(sock.fileno()):
            raise BlockingIOError
        return sock.recv(_PIECE)


def size_of(data: bytes) -> int:
    """Return the size of the whole answer at the beginning of the data, 0 while more of it is to come.

    It is one packet for each statement: that it was done, or the error that ends them.
    """
    at = 0
    while len(data) >= at + 5:
        end = _end(data, at)
        if end > len(data):
            break
        if data[at + 4] or not data[_past_number(data, _past_number(data, at + 5))] & _MORE:
            return end
        at = end
    return 0


def _end(data: bytes, at: int) -> int:
    return at + 4 + int.from_bytes(data[at:at + 3], "little")


def _past_number(data: bytes, at: int) -> int:
    return at + _LONG_NUMBERS.get(data[at], 1)
