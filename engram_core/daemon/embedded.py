"""An engine inside a program that uses it: the same lines as over a socket, without a daemon or an event loop.

Driven by the in-process transport of ``engram``. ``Embedded`` answers in the caller's own thread: whoever comes first
writes for all that wait meanwhile, so threads share commits and a single one pays for no hand-over. ``Queued`` answers
through callbacks from the daemon's two threads, for callers that must not be held up. What may wait (builds, retention)
is done when it is quiet, by a thread that ends when there is nothing to do.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from engram_core._version import __version__
from engram_core.daemon.handlers import Engine
from engram_core.daemon.operations import hello, scope_of_a_caller
from engram_core.daemon.turns import Company, yielding
from engram_core.daemon.writer import BUSY_S, LAST_S, MAX_GROUP, QUIET_S, Reader, Writer, answer, write_all
from engram_core.errors import BadInput, Busy, DeadlineExceeded, EngramError
from engram_core.protocol.lines import dump, read_outcome, write_error, write_result
from engram_core.protocol.messages import READS, WRITES, check_params
from engram_core.protocol.requests import Request, read_request
from engram_core.settings import Settings

__all__ = ["Embedded", "Queued"]

PATIENCE_S = 0.1  # for another process's write; a call then looks at its own deadline and tries again
FEW = 50  # events that are listed in a moment
_SHORT = (b"build_memory_packet", b"get_", b"list_events")
_PLAIN = frozenset(("request", "scope", "cwd"))  # a tokenizer, say, may have to be loaded first
IDLE_S = 2.0  # the thread for what may wait ends after this long without work
Outcome = bytes | EngramError
Load = Callable[[], Settings]


class _Inside:
    """What both ways of asking share: the engine, its settings, the requests about the process itself."""

    def __init__(self, load: Load, database: str) -> None:
        self._load = load
        self.settings = load()
        self.database = database
        self.started = time.monotonic()
        self.engine = Engine(self.settings, database)
        if not self.engine.store.far:  # a server's store knows best when to try again
            self.engine.store.wait_at_most(PATIENCE_S)

    def _other(self, method: str, params: dict[str, Any]) -> Outcome:
        """Answer what neither reads nor writes, or say that nobody knows it."""
        try:
            check_params(method, params)
            return dump(_OTHERS[method](self, params))
        except EngramError as error:
            return error

    def hello(self, params: dict[str, Any]) -> dict[str, Any]:
        """Agree on a protocol version, with ourselves."""
        return hello(self, params)

    def status(self, params: dict[str, Any]) -> dict[str, Any]:
        """Describe the engine as a daemon describes itself."""
        engine = self.engine.status()
        engine["schema_version"] = engine.pop("schema", None)
        return {"version": __version__, "pid": os.getpid(), "uptime_s": round(time.monotonic() - self.started, 3),
                "socket": "", **engine, "config": list(self.settings.files),
                **scope_of_a_caller(self.settings, params)}

    def reload(self, params: dict[str, Any]) -> dict[str, Any]:
        """Read the configuration again."""
        fresh = self._load()
        changed = fresh.table() != self.settings.table()
        if changed:
            self.engine.reload(fresh)
            self.settings = fresh
        return {"config": ", ".join(fresh.files), "changed": changed}

    def shutdown(self, params: dict[str, Any]) -> dict[str, Any]:
        """Refuse: there is no daemon to end."""
        raise BadInput("this Memory runs the engine in this process; there is no daemon to shut down",
                       hint="call close() instead")


_OTHERS: dict[str, Callable[[_Inside, dict[str, Any]], dict[str, Any]]] = {
    "hello": _Inside.hello, "status": _Inside.status, "reload": _Inside.reload, "shutdown": _Inside.shutdown}


def _reply(request: Request, outcome: Outcome) -> bytes:
    return (write_error(request.id, outcome) if isinstance(outcome, EngramError)
            else write_result(request.id, outcome))


def closed() -> BadInput:
    """Return the error for a call that comes too late."""
    return BadInput("this Memory is closed; nothing was done", hint="open another one")


class _Job:
    __slots__ = ("method", "outcome", "params")

    def __init__(self, method: str, params: dict[str, Any]) -> None:
        self.method, self.params = method, params
        self.outcome: Outcome | None = None


class Embedded(_Inside):
    """Answer lines in the thread that asks."""

    def __init__(self, load: Load, database: str) -> None:
        super().__init__(load, database)
        self._turn = threading.Lock()  # whoever holds it writes
        self._jobs: deque[_Job] = deque()
        self._company = Company(self.engine.store)
        self._dirty = threading.Event()
        self._asked = 0.0
        self._upkeep: threading.Thread | None = None
        self._starting = threading.Lock()
        self._end = weakref.finalize(self, _end_embedded, self.engine, self._turn, os.getpid())

    def answer(self, line: bytes, timeout: float) -> bytes:
        """Return the reply line to a request line; a write is committed then."""
        yielding.begin(1)
        try:
            request = read_request(line)
            return _reply(request, request.error or self._outcome(
                request.method, request.params, time.monotonic() + timeout))
        finally:
            yielding.end(1)

    def ask(self, method: str, params: dict[str, Any], timeout: float) -> Any:
        """Return the result of a request whose parameters are of JSON's own types, or raise its error."""
        yielding.begin(1)
        try:
            return read_outcome(self._outcome(method, params, time.monotonic() + timeout))
        finally:
            yielding.end(1)

    def stream(self, lines: Iterable[bytes], timeout: float) -> Iterator[bytes]:
        """Answer lines in order; writes that have come meanwhile share a commit.

        Another thread takes the lines, so that a slow source does not keep back what it gave before.
        """
        given: SimpleQueue[bytes | BaseException | None] = SimpleQueue()
        room = threading.Semaphore(2 * MAX_GROUP)
        left = threading.Event()

        def take() -> None:
            try:
                for line in lines:
                    room.acquire()
                    if left.is_set():
                        return
                    given.put(line)
                given.put(None)
            except BaseException as exc:
                given.put(exc)

        threading.Thread(target=take, name="engram-take", daemon=True).start()
        try:
            for group in _groups(given):
                for reply in self._group(group, timeout):
                    room.release()
                    yield reply
        finally:
            left.set()
            room.release()

    def close(self) -> None:
        """Store what waits and close the database."""
        self._end()
        self._dirty.set()

    # ---- one request

    def _outcome(self, method: str, params: dict[str, Any], deadline: float) -> Outcome:
        if not self._end.alive:
            return closed()
        self._asked = time.monotonic()
        if method in WRITES:
            job = _Job(method, params)
            self._jobs.append(job)
            outcome = self._written(job, deadline)
        elif method in READS:
            outcome = answer(self.engine, method, params)
        else:
            return self._other(method, params)
        if not self._dirty.is_set():
            self._wake()
        return outcome

    def _written(self, job: _Job, deadline: float) -> Outcome:
        """Wait for one's turn, unless another thread has written the job with its own."""
        count, seconds = self._company.following(job.method, len(self._jobs))
        if count:
            time.sleep(seconds)
            self._company.waited(in_vain=job in self._jobs)
        while True:
            while job.outcome is None:
                self._lead(job, deadline)
            if type(job.outcome) is not Busy or time.monotonic() > deadline:
                return job.outcome
            job.outcome = None  # another process holds the database: nothing was done
            self._jobs.append(job)

    def _lead(self, job: _Job, deadline: float) -> None:
        held = self._turn.acquire(timeout=max(0.0, deadline - time.monotonic()))
        try:
            if not held:
                job.outcome = job.outcome or self._late(job)
            elif not self._end.alive:
                job.outcome = job.outcome or closed()
            elif job.outcome is None:
                self._commit()
        finally:
            if held:
                self._turn.release()

    def _late(self, job: _Job) -> DeadlineExceeded:
        try:
            self._jobs.remove(job)
            what = "nothing was done"
        except ValueError:
            what = "it may still be written"
        return DeadlineExceeded(f"{job.method} was still waiting at its deadline; {what}",
                                hint="try again; a write repeated with the same id happens once")

    def _commit(self) -> None:
        """Write the waiting jobs, or as many as go into one transaction."""
        group: list[_Job] = []
        while self._jobs and len(group) < MAX_GROUP:
            group.append(self._jobs.popleft())
        try:
            outcomes = write_all(self.engine, [(job.method, job.params) for job in group])
        except BaseException:  # an interrupt: the others' jobs wait for the next turn
            self._jobs.extendleft(reversed(group))
            raise
        for job, outcome in zip(group, outcomes, strict=True):
            job.outcome = outcome
        self._company.note(group[0].method, len(group), len(self._jobs))

    def _group(self, lines: list[bytes], timeout: float) -> Iterator[bytes]:
        """Answer lines in order, the writes among them in runs."""
        deadline = time.monotonic() + timeout
        requests = [read_request(line) for line in lines]
        waiting: list[tuple[Request, _Job]] = []
        for request in requests:
            if request.error is None and request.method in WRITES:
                job = _Job(request.method, request.params)
                waiting.append((request, job))
                self._jobs.append(job)
                continue
            yield from (_reply(one, self._written(job, deadline)) for one, job in waiting)
            waiting = []
            yield _reply(request, request.error or self._outcome(request.method, request.params, deadline))
        yield from (_reply(one, self._written(job, deadline)) for one, job in waiting)
        self._wake()

    # ---- what may wait

    def _wake(self) -> None:
        """See to it that builds and retention have their time."""
        with self._starting:
            self._dirty.set()
            if self._upkeep is None:
                self._upkeep = threading.Thread(target=_keep_up, args=(weakref.ref(self),), name="engram-upkeep",
                                                daemon=True)
                self._upkeep.start()

    def step(self) -> bool:
        """Do a little of what may wait when it is quiet; True when there is more."""
        with self._turn:
            return self.engine.after_commit() if self._end.alive else False

    def rest(self) -> bool:
        """Wait for work; tell the thread to end when there is none."""
        if self._dirty.wait(IDLE_S) and self._end.alive:
            return True
        with self._starting:
            if self._dirty.is_set() and self._end.alive:
                return True
            self._upkeep = None
            return False

    def is_quiet(self) -> bool:
        """Tell whether nobody has asked for a moment; from then on a request says so again."""
        if time.monotonic() - self._asked < QUIET_S:
            return False
        self._dirty.clear()
        return True


def _groups(given: SimpleQueue[bytes | BaseException | None]) -> Iterator[list[bytes]]:
    """Yield what has come, as much as goes into one transaction, until None."""
    item = given.get()
    while item is not None:
        if isinstance(item, BaseException):
            raise item
        group = [item]
        while len(group) < MAX_GROUP:
            try:
                item = given.get_nowait()
            except Empty:
                break
            if not isinstance(item, bytes):
                break
            group.append(item)
        yield group
        if isinstance(item, bytes):
            item = given.get()


def _end_embedded(engine: Engine, turn: threading.Lock, pid: int) -> None:
    """Store what waits and close, never in a child that inherited the connection."""
    if pid != os.getpid():
        return
    with turn:
        until = time.monotonic() + LAST_S
        try:
            while engine.after_commit() and time.monotonic() < until:
                pass
        except EngramError:
            pass  # what may be lost is lost
        engine.close()


def _keep_up(at: weakref.ref[Embedded]) -> None:
    """Do what may wait, a little at a time, as long as the engine is in use."""
    late = time.monotonic() + BUSY_S
    while (one := at()) is not None and one.rest():
        more = True
        while more:
            del one
            time.sleep(QUIET_S)
            one = at()
            if one is None:
                return
            quiet = one.is_quiet()
            if quiet or time.monotonic() > late:
                try:
                    more = one.step() or not quiet
                except EngramError:
                    more = False  # it may be lost; the next request tries again
                late = time.monotonic() + BUSY_S
        del one


class _Write(NamedTuple):
    method: str
    params: dict[str, Any]
    size: int
    deadline: float
    done: Callable[[Outcome], None]


class Queued(_Inside):
    """Take lines from one thread and answer each through a callback on another."""

    def __init__(self, load: Load, database: str) -> None:
        super().__init__(load, database)
        self._writer, self._reader = Writer(self.engine), Reader(self.engine)
        self._end = weakref.finalize(self, _end_queued, self.engine, self._writer, self._reader, os.getpid())

    def at_once(self, line: bytes) -> bytes | None:
        """Answer in the caller's thread what takes a millisecond, as the daemon's loop does; None for all else.

        A thread that computes beside an event loop keeps it from running for longer than that: they share a lock.
        """
        request = read_request(line)
        if request.error is not None or not self._is_short(request) or not self.engine.is_free():
            return None
        self._writer.asked = time.monotonic()
        reply = _reply(request, answer(self.engine, request.method, request.params))
        self._writer.wake()
        return reply

    @staticmethod
    def may_be_short(line: bytes) -> bool:
        """Tell whether ``at_once`` is worth a try, from the line's first bytes."""
        return line[:96].partition(b'"method":"')[2].startswith(_SHORT)

    def _is_short(self, request: Request) -> bool:
        if self.engine.store.far:  # a server may take its time
            return False
        if request.method == "list_events":
            limit = request.params.get("limit")
            return type(limit) is int and limit <= FEW
        return request.params.keys() <= _PLAIN and self.engine.fast(request.method, request.params)

    def submit(self, line: bytes, timeout: float, done: Callable[[bytes], None]) -> None:
        """Begin a request; ``done`` gets its reply line."""
        request = read_request(line)
        if request.error is not None:
            done(_reply(request, request.error))
        else:
            self.begin(request.method, request.params, timeout, lambda outcome: done(_reply(request, outcome)),
                       size=request.size)

    def begin(self, method: str, params: dict[str, Any], timeout: float, done: Callable[[Outcome], None], *,
              size: int = 0) -> None:
        """Begin a request whose parameters are of JSON's own types; ``done`` gets what came of it."""
        now = self._writer.asked = time.monotonic()
        if method in WRITES:
            yielding.begin(2)
            self._write(_Write(method, params, size, now + timeout, done))
        elif method in READS:
            def read(outcome: Outcome) -> None:
                self._writer.wake()
                yielding.end(2)
                done(outcome)
            yielding.begin(2)
            self._reader.submit(method, params, read, deadline=now + timeout)
        else:
            done(self._other(method, params))

    def _write(self, one: _Write) -> None:
        def written(outcome: Outcome) -> None:
            if type(outcome) is Busy and time.monotonic() < one.deadline:
                self._write(one)  # another process holds the database: nothing was done
            else:
                yielding.end(2)
                one.done(outcome)
        self._writer.submit(one.method, one.params, written, size=one.size, deadline=one.deadline)

    def close(self) -> None:
        """Finish what was begun and close the database."""
        self._end()


def _end_queued(engine: Engine, writer: Writer, reader: Reader, pid: int) -> None:
    if pid == os.getpid():
        try:
            reader.stop()
            writer.stop(True)
        except RuntimeError:  # the last to let go was one of the two threads
            return
        engine.close()
