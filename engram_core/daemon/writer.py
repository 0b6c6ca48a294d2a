"""The two threads beside the event loop: one that writes in groups, one for the reads that take longer.

Driven by the server, which hands over requests and gets each outcome through ``done`` and a ``told`` after the last
one that there is just now, called on the worker's thread.
Plain threads and queues: a pool would cost its import on every start, and either kind of work allows one thread only.
"""

from __future__ import annotations

import logging
import threading
import time
from queue import SimpleQueue

from engram_core.daemon.turns import Company, Inbox, Turn
from engram_core.errors import Busy, DeadlineExceeded, EngramError, InputOutputError
from engram_core.protocol.lines import internal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    from engram_core.store.store import Store

    Outcome = bytes | EngramError
    Prepared = Callable[[Any], Any] | EngramError | None
    Done = Callable[[Outcome], None]

    class Engine(Protocol):
        """What the threads need of `handlers.Engine`."""

        def read(self, method: str, params: dict[str, Any]) -> bytes: ...
        def write(self, ops: list[tuple[str, dict[str, Any]]], prepared: Sequence[Prepared] = ...) -> list[Outcome]: ...
        def after_commit(self) -> bool: ...
        @property
        def store(self) -> Store: ...

__all__ = ["Reader", "Writer", "answer", "defect", "write_all"]

MAX_GROUP = 256
MAX_GROUP_BYTES = 8 << 20
QUIET_S = 0.03  # after this long without a request the writer turns to what may wait
BUSY_S = 1.0  # under steady load what may wait gets its turn this often
LAST_S = 0.3  # at the end, for what may be lost without harm

log = logging.getLogger("engram.daemon")


class _Job:
    __slots__ = ("deadline", "done", "method", "params", "prepared", "refused", "size")

    def __init__(self, method: str, params: dict[str, Any], done: Done, size: int, deadline: float,
                 refused: EngramError | None = None, prepared: Prepared = None) -> None:
        self.method, self.params, self.done, self.size, self.deadline = method, params, done, size, deadline
        self.refused, self.prepared = refused, prepared

    def refusal(self) -> EngramError | None:
        """Return why nothing of the job is done: it was refused before, or the client has stopped waiting."""
        if self.refused is not None:
            return self.refused
        if self.deadline and time.monotonic() > self.deadline:
            return DeadlineExceeded(f"{self.method} was still waiting at its deadline; nothing was done",
                                    hint="try again, or allow more time with --timeout")
        return None


def answer(engine: Engine, method: str, params: dict[str, Any]) -> Outcome:
    """Run one read and return its result or its error; a defect is logged and becomes an error too."""
    try:
        return engine.read(method, params)
    except EngramError as error:
        return error
    except Exception as exc:
        return defect(method, exc)


def defect(method: str, exc: Exception) -> EngramError:
    """Log where a defect happened; its message may quote a memory, so that stands at DEBUG only.

    What the system refused, such as one more open file, is none of ours and is said as what it is.
    """
    import traceback  # late: a daemon without defects does not need it

    frames = "".join(traceback.format_tb(exc.__traceback__))
    log.error("%s failed: %s\n%s", method, type(exc).__name__, frames.rstrip())
    log.debug("%s failed: %s", method, exc)
    if isinstance(exc, OSError):
        return InputOutputError(f"the system refused what {method} needs: {exc.strerror}",
                                hint="try again; engram doctor looks for what is missing")
    return internal(method)


def write_all(engine: Engine, ops: list[tuple[str, dict[str, Any]]],
              prepared: Sequence[Prepared] = ()) -> list[Outcome]:
    """Run writes as one transaction and return the outcome of each; a defect in one does not touch the others."""
    if not ops:
        return []
    try:
        return engine.write(ops, prepared)
    except EngramError as error:
        return [error] * len(ops)
    except Exception as exc:
        if len(ops) == 1:
            return [defect(ops[0][0], exc)]
    # One of them hit a defect before anything was committed: the others are not to suffer from it.
    return [outcome for op in ops for outcome in write_all(engine, [op])]


class Writer:
    """Commit writes in groups: everything that queued up during one transaction shares the next."""

    def __init__(self, engine: Engine, told: Callable[[], object] = int) -> None:
        self.engine = engine
        self._told = told
        self._company = Company(engine.store)
        self.waiting = 0  # writes accepted and not yet answered; changed by the loop's thread only
        self.beat = time.monotonic()  # when the thread last took something up or had nothing to do
        self.asked = 0.0  # when the last request of any kind came; set by the loop's thread
        self._inbox: Inbox[_Job | Callable[[], None] | None] = Inbox()
        self.turn = Turn()  # of who uses the connection that writes: this thread, or the loop for what flies
        self._dirty = False
        self._stopping = self._ended = False
        self._drain = True
        self._thread = threading.Thread(target=self._run, name="engram-writer", daemon=True)
        self._thread.start()

    def submit(self, method: str, params: dict[str, Any], done: Done, *, size: int = 0,
               deadline: float = 0.0, refused: EngramError | None = None, prepared: Prepared = None) -> None:
        """Queue one write; ``done`` gets its outcome on the writer's thread, after the commit.

        ``prepared`` is what the engine may have made of it already.
        One that is refused already is answered in its turn, so that replies keep the order of their requests.
        """
        self._inbox.put(_Job(method, params, done, size, deadline, refused, prepared))

    def first(self, task: Callable[[], None]) -> None:
        """Have something done before all that is queued."""
        self._inbox.put_first(task)

    def run(self, task: Callable[[], None]) -> None:
        """Queue something of the daemon's own that writes; it gets a transaction of its own."""
        self._inbox.put(task)

    def wake(self) -> None:
        """Say that a read left something to store; cheap enough to be called after every one."""
        if not self._dirty:
            self._dirty = True
            self._inbox.put(None)

    def stop(self, drain: bool, *, timeout: float | None = None) -> bool:
        """End the thread after what is queued is written (or, without drain, refused); False when time ran out."""
        self._drain = drain
        self._stopping = True
        self._inbox.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        late = time.monotonic() + BUSY_S
        while True:
            self._wait()
            with self.turn:
                late = self._step(late)
                if self._ended:
                    return

    def _step(self, late: float) -> float:
        """Write a group and, when it is time for that, do what may wait; return when the latter is late."""
        group = self._collect()
        if group:
            start = time.monotonic()
            self._commit(group)
            self._company.note(group[0].method, len(group), len(self._inbox.items), time.monotonic() - start)
            self._dirty = True
        now = self.beat = time.monotonic()
        if self._stopping and not self._inbox.items:
            while self._afterwards() and time.monotonic() < now + LAST_S:
                pass
            self._ended = True
        elif now > late or not (group or now - self.asked < QUIET_S):
            self._afterwards()
            late = time.monotonic() + BUSY_S
        return late

    def _wait(self) -> None:
        """Wait for work, or until it has become quiet."""
        inbox = self._inbox
        self._await(*self._company.returning(len(inbox.items)))
        if not inbox.items and not inbox.wait(1, QUIET_S if self._dirty else None):
            return
        first = inbox.items[0]
        if isinstance(first, _Job):
            self._await(*self._company.following(first.method, len(inbox.items)))

    def _collect(self) -> list[_Job]:
        """Return all waiting work that fits into one group; empty when it has become quiet."""
        group: list[_Job] = []
        size = 0
        inbox = self._inbox
        while inbox.items and len(group) < MAX_GROUP and size < MAX_GROUP_BYTES:
            job = inbox.items.popleft()
            if isinstance(job, _Job):
                group.append(job)
                size += job.size
            elif job is not None:
                _run_task(job)
            elif self._stopping:
                break
        return group

    def _await(self, count: int, seconds: float) -> None:
        if count:
            self._company.waited(in_vain=not self._inbox.wait(count, seconds))

    def _commit(self, group: list[_Job]) -> None:
        outcomes: list[Outcome | None] = [self._refusal(job) for job in group]
        live = [job for job, refused in zip(group, outcomes, strict=True) if refused is None]
        written = iter(write_all(self.engine, [(job.method, job.params) for job in live],
                                 [job.prepared for job in live]))
        for job, refused in zip(group, outcomes, strict=True):  # in order: a connection's replies keep it
            job.done(next(written) if refused is None else refused)
        self._told()

    def _refusal(self, job: _Job) -> EngramError | None:
        if self._stopping and not self._drain:
            return Busy("the daemon is stopping; nothing was done", hint="try again")
        return job.refusal()

    def _afterwards(self) -> bool:
        """Have the engine do a little of what may wait; True when there is more of it."""
        self._dirty = False
        try:
            more = self.engine.after_commit()
        except Exception as exc:  # what it does may be lost; the next commit tries again
            defect("after_commit", exc)
            return False
        self._dirty = self._dirty or more
        return more


class Reader:
    """Run the reads that would hold up the event loop, one after the other."""

    def __init__(self, engine: Engine, told: Callable[[], object] = int) -> None:
        self.engine = engine
        self._told = told
        self.waiting = 0  # reads accepted and not yet answered; changed by the loop's thread only
        self._queue: SimpleQueue[_Job | Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, method: str, params: dict[str, Any], done: Done, *, deadline: float = 0.0) -> None:
        """Queue one read; ``done`` gets its outcome on the reader's thread."""
        self._put(_Job(method, params, done, 0, deadline))

    def run(self, task: Callable[[], None]) -> None:
        """Queue something of the daemon's own that must not happen beside a read."""
        self._put(task)

    def stop(self, *, timeout: float | None = None) -> bool:
        """End the thread after what is queued; False when time ran out."""
        if self._thread is None:
            return True
        self._queue.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _put(self, job: _Job | Callable[[], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="engram-reader", daemon=True)
            self._thread.start()
        self._queue.put(job)

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            if isinstance(job, _Job):
                job.done(job.refusal() or answer(self.engine, job.method, job.params))
                self._told()
            else:
                _run_task(job)


def _run_task(task: Callable[[], None]) -> None:
    try:
        task()
    except Exception as exc:
        defect("a background task", exc)
