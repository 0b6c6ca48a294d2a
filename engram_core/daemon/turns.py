"""When threads of a program let each other go first: how often they switch, and who waits for whose write.

Driven by the engine inside a program and by the daemon's writer.
"""

from __future__ import annotations

import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engram_core.store.store import Store

__all__ = ["COMPANY_S", "Company", "yielding"]

SWITCH_S = 0.0005
FIRST = "put_checkpoint_writes"
COMPANY_S = 0.00025
"""How long a write waits for company: less than a commit takes."""


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


class Company:
    """Tell whether it pays to let a moment pass before a write, so that another one can share its commit.

    A graph stores what a task wrote and the checkpoint after it from two threads, a moment apart, at every step. So
    the former waits for the latter where commits wait for a disk. Who has no company, or waits in vain, waits less and
    less often: a single thread never does.
    """

    def __init__(self, store: Store) -> None:
        self._slow = store.durability == "full" and store.name != ":memory:"
        self._likely = 0  # commits for which others are still to be expected
        self._vain = self._skip = 0

    def is_likely(self, method: str, waiting: int) -> bool:
        """Tell whether to wait with the only write there is."""
        if waiting != 1 or method != FIRST or not self._likely or not self._slow:
            return False
        if self._skip:
            self._skip -= 1
            return False
        return True

    def waited(self, *, in_vain: bool) -> None:
        """Note whether somebody came."""
        self._vain = min(2 * self._vain + 1, 31) if in_vain else 0
        self._skip = self._vain

    def note(self, company: bool) -> None:
        """Note whether others wrote with a commit, or came during it."""
        self._likely = 2 if company else max(0, self._likely - 1)
