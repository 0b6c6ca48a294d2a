"""When threads of a program let each other go first: how often they switch, and who waits for whose write.

Driven by the engine inside a program and by the daemon's writer.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from typing import Generic, TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engram_core.store.store import Store

__all__ = ["Company", "Inbox", "Turn", "yielding"]

T = TypeVar("T")

SWITCH_S = 0.0005
FIRST, RETURNING = "put_checkpoint_writes", "append_event"
COMPANY_S = 0.00025
"""How long a task's write waits for its checkpoint: less than a commit takes."""
MOST_S = 0.001
"""How long a write waits at most for clients to come back; never longer than the commit before it took."""
_NOTHING = 1 << 60


class Yielding:
    """Let threads switch often while several of them work here: else each waits 5 ms for every other one.

    The interval belongs to the whole interpreter, so it is what it was again as soon as no more than one works. An
    event loop counts as a thread that works.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._working = 0
        self._before = 0.0

    def begin(self, threads: int) -> None:
        """Note that so many threads more are at work."""
        with self._lock:
            before, self._working = self._working, self._working + threads
            if before < 2 <= self._working:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, SWITCH_S))

    def end(self, threads: int) -> None:
        """Note that they are done."""
        with self._lock:
            before, self._working = self._working, self._working - threads
            if self._working < 2 <= before:
                sys.setswitchinterval(self._before)


yielding = Yielding()


class Inbox(Generic[T]):
    """What others put for one thread, which sleeps until there is as much as it wants."""

    def __init__(self) -> None:
        self.items: deque[T] = deque()
        self._bell = threading.Lock()
        self._bell.acquire()
        self._wanted = _NOTHING

    def put(self, item: T) -> None:
        """Put something, from any thread."""
        self.items.append(item)
        self._ring()

    def _ring(self) -> None:
        if len(self.items) >= self._wanted:
            self._wanted = _NOTHING  # before the bell: whoever is awake says anew what it wants
            try:
                self._bell.release()
            except RuntimeError:
                pass  # somebody has rung already

    def put_first(self, item: T) -> None:
        """Put something before all that is there."""
        self.items.appendleft(item)
        self._ring()

    def wait(self, count: int, seconds: float | None) -> bool:
        """Sleep until there are so many things, or so long; tell whether there are."""
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            self._wanted = count
            if len(self.items) >= count:
                break
            left = -1.0 if until is None else until - time.monotonic()
            if until is not None and left <= 0:
                break
            self._bell.acquire(timeout=left)
        self._wanted = _NOTHING
        return len(self.items) >= count


class Turn:
    """Whose turn it is of two that use one thing: one of them waits for it, the other only takes it when it is free."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.wanted = False
        """Whether somebody waits."""

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self.wanted = True
            self._lock.acquire()
            self.wanted = False

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def take(self) -> bool:
        """Take the turn if nobody has it or waits for it."""
        return not self.wanted and self._lock.acquire(blocking=False)

    def give(self) -> None:
        """Give back what was taken."""
        self._lock.release()


class Company:
    """Tell for how many writes it pays to wait a moment before a commit, so that they share it.

    Clients that append one after the other come back as soon as they are answered: with half of them committed while
    the other half comes back there would be twice as many commits. A graph stores what a task wrote and the checkpoint
    after it from two threads, a moment apart, at every step: there the former waits for the latter. Nobody waits where
    commits do not wait for a disk. Who has no company, or waits in vain, waits less and less often: a single client or
    thread never does.
    """

    def __init__(self, store: Store) -> None:
        self._slow = store.durability == "full" and store.name != ":memory:"
        self._likely = 0  # commits for which others are still to be expected
        self._vain = self._skip = 0
        self._peers = 0  # writes of the last commit, and those that came meanwhile
        self._patience = 0.0

    def returning(self, waiting: int) -> tuple[int, float]:
        """Return for how many appends to wait before the next commit, with so many there, and how long."""
        return self._wanted(self._peers, waiting, self._patience)

    def following(self, method: str, waiting: int) -> tuple[int, float]:
        """Return likewise for how many writes the first one waits, with so many there."""
        return self._wanted(2 if method == FIRST and self._likely else 0, waiting, COMPANY_S)

    def _wanted(self, count: int, waiting: int, seconds: float) -> tuple[int, float]:
        if waiting >= count or not seconds or not self._slow:
            return 0, 0.0
        if self._skip:
            self._skip -= 1
            return 0, 0.0
        return count, seconds

    def waited(self, *, in_vain: bool) -> None:
        """Note whether they came."""
        self._vain = min(2 * self._vain + 1, 31) if in_vain else 0
        self._skip = self._vain

    def note(self, method: str, written: int, waiting: int, seconds: float = 0.0) -> None:
        """Note the first write of a commit, how many it had, how many came during it, and how long it took."""
        self._likely = 2 if written + waiting > 1 else max(0, self._likely - 1)
        self._peers = written + waiting if method == RETURNING and written + waiting > 1 else 0
        self._patience = min(seconds, MOST_S)
