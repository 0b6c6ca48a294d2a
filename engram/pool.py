"""A connection for each call under way, so that nobody waits for another thread's stalled call. Driven by `memory`."""

from __future__ import annotations

import os
import threading
from _queue import Empty, SimpleQueue  # the C module under queue

from engram.transport import UnixTransport
from engram_core.errors import DeadlineExceeded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from engram.transport import Place

__all__ = ["UnixPool"]

MOST = 16
"""Connections of one Memory; the daemon serves 64 to everybody, and more threads than this take turns."""


class UnixPool:
    """Carry request lines of any number of threads to the daemon."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._renew()

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._idle: SimpleQueue[UnixTransport] = SimpleQueue()
        self._made = 0
        self._making = threading.Lock()
        self._open = True

    def exchange(self, line: bytes, *, timeout: float | None) -> bytes:
        """Send one request line on a free connection and return the reply line."""
        one = self._take(timeout)
        try:
            return one.exchange(line, timeout=timeout)
        finally:
            self._give(one)

    def stream(self, lines: Iterable[bytes], *, timeout: float | None) -> Iterator[bytes]:
        """Send request lines without waiting for each reply, on a connection of their own."""
        one = self._take(timeout)
        try:
            yield from one.stream(lines, timeout=timeout)
        finally:
            self._give(one)

    def close(self) -> None:
        """Hang up; calls under way end as they would have."""
        self._open = False
        while not self._idle.empty():
            self._idle.get_nowait().close()

    def _take(self, timeout: float | None) -> UnixTransport:
        if self._pid != os.getpid():  # a child: the parent's threads, who hold connections, are not in it
            self._renew()
        try:
            return self._idle.get_nowait()
        except Empty:
            pass
        with self._making:
            if self._made < MOST:
                self._made += 1
                return UnixTransport(self._place)
        try:
            return self._idle.get(timeout=timeout or self._place.timeout)
        except Empty:
            raise DeadlineExceeded(f"{MOST} calls of other threads were under way until the deadline; nothing was done",
                                   hint="try again, or allow more time") from None

    def _give(self, one: UnixTransport) -> None:
        if not self._open:
            one.close()
        self._idle.put(one)
