"""The connections the daemon serves: requests in their order, limits, and what the loop answers itself.

Driven by `door`, which accepts, and by `process`, which owns the life cycle. No request gets a task: a cheap read is
answered inside ``buffer_updated``; the others go to the reader's or the writer's thread, whose outcomes come back in
batches. On one connection everything happens in the order of its lines: writes may follow each other without waiting
(and share a commit), everything else waits until the line before it has been answered.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections import deque

from engram_core._version import PROTOCOL, __version__
from engram_core.daemon.flights import Flights
from engram_core.daemon.operations import LOOP_METHODS, loop_answer
from engram_core.daemon.writer import Reader, Writer, answer
from engram_core.errors import Busy, DeadlineExceeded, EngramError, MethodNotFound, ProtocolError
from engram_core.failpoints import reach
from engram_core.protocol.lines import MAX_REQUEST, LineBuffer, write_error, write_result
from engram_core.protocol.messages import READS, WRITES, check_params
from engram_core.protocol.requests import Request, read_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from engram_core.daemon.handlers import Engine
    from engram_core.daemon.selfcheck import SelfCheck
    from engram_core.daemon.writer import Outcome, Prepared
    from engram_core.settings import Settings

__all__ = ["Connection", "Server", "stopping"]

PIECE = 1 << 16  # bytes read from a connection at once
LINE_S = 5.0  # a started line must be complete
REPLY_S = 5.0  # a reply must be taken
MAX_WRITES = 256  # of one connection under way at once
MAX_QUEUED = 64 << 20  # bytes of all writes that wait; more are told to retry
MAX_UNSENT = 128 << 20  # bytes of replies that clients do not take; reads are told to retry meanwhile
RESERVED = 4  # connections beyond the limit that may ask hello and status
IDLE_S = 2.0  # without work for so long the daemon tidies up

log = logging.getLogger("engram.daemon")


class Server:
    """Hold what all connections share: the engine, the two threads, the limits and the counters."""

    def __init__(self, engine: Engine, settings: Settings, *, loop: asyncio.AbstractEventLoop, socket_path: str,
                 database: str, stop: Callable[[], None], reload: Callable[[], dict[str, Any]]) -> None:
        self.engine, self.settings, self.loop = engine, settings, loop
        self.socket_path, self.database = socket_path, database
        self.stop, self.reload = stop, reload
        self._finished: deque[tuple[Connection, Request, Outcome]] = deque()
        self._awake = False
        self.writer, self.reader = Writer(engine, self._told), Reader(engine, self._told)
        self.flights = Flights(self)
        self.reads, self.writes = READS, WRITES
        self.connections: set[Connection] = set()  # all that are open, each at its place
        self.places = {"served": 0, "reserved": 0}
        self.slow: set[Connection] = set()  # those that do not take their replies
        self.queued = 0  # bytes of the writes that wait
        self.draining = False
        self.buffer = memoryview(bytearray(PIECE))  # of all connections: each takes what it was lent for at once
        self.started = time.monotonic()
        self.counters = {"appends": 0, "packets": 0, "errors": 0, "requests": 0}
        self._tidy_set = False
        self.check: SelfCheck | None = None
        self.give_back: Callable[[], object] = int  # freed memory, to the system

    # ---- room

    def full(self) -> Busy | None:
        """Return the refusal of a connection beyond the limit, None while there is room."""
        limit = self.settings.get("daemon.max_connections")
        if self.places["served"] < limit:
            return None
        return Busy(f"all {limit} connections are in use", hint="try again; daemon.max_connections sets the limit")

    def seat(self, connection: Connection, place: str) -> None:
        """Give a connection its place: served, reserved, or none."""
        if connection.place:
            self.places[connection.place] -= 1
        connection.place = place
        if place:
            self.places[place] += 1
            self.connections.add(connection)
        else:
            self.connections.discard(connection)
            self.slow.discard(connection)

    def place_for(self, method: str, held: str = "") -> tuple[str, Busy | None]:
        """Return the place of a connection that asks for a method and is not served yet, or why there is none."""
        refusal = self.full()
        if refusal is None:
            return "served", None
        if method in ("hello", "status") and (held == "reserved" or self.places["reserved"] < RESERVED):
            return "reserved", None
        return "", refusal

    # ---- work

    def unknown(self, method: str) -> EngramError:
        """Return the error for a method nobody knows."""
        try:
            check_params(method[:80], {})
        except EngramError as error:
            return error
        return MethodNotFound(f"{method} is not served by this daemon")

    def write(self, connection: Connection, request: Request) -> None:
        """Queue a write of a connection; when too much waits already it is refused, in its turn."""
        refused = prepared = None
        if self.queued > MAX_QUEUED:
            refused = Busy(f"writes of {self.queued >> 20} MiB are waiting for the disk; nothing was done",
                           hint="try again in a moment")
            request.params, request.size = {}, 0
        else:
            prepared = self.engine.prepare(request.method, request.params, request.size)
        self.queued += request.size
        self.writer.waiting += 1
        if refused is not None or not self.flights.take(connection, request, prepared):
            self.submit(connection, request, refused, prepared)

    def submit(self, connection: Connection, request: Request, refused: EngramError | None,
               prepared: Prepared) -> None:
        """Queue a write for the writer."""
        self.writer.submit(request.method, request.params, self._report(connection, request),
                           size=request.size, deadline=self._deadline(request), refused=refused,
                           prepared=prepared)

    def read(self, connection: Connection, request: Request) -> Outcome | None:
        """Answer a read here when it is cheap, or queue it and return None."""
        if self.slow and sum(one.transport.get_write_buffer_size() for one in self.slow) > MAX_UNSENT:
            return Busy(f"replies of more than {MAX_UNSENT >> 20} MiB were not taken by their clients",
                        hint="try again in a moment")
        if not self.reader.waiting and self.engine.fast(request.method, request.params):
            outcome = answer(self.engine, request.method, request.params)
            self.writer.wake()
            return outcome
        self.reader.waiting += 1
        self.reader.submit(request.method, request.params, self._report(connection, request),
                           deadline=self._deadline(request))
        return None

    def count(self, request: Request, outcome: Outcome) -> bytes:
        """Count an outcome and return its reply line."""
        counters = self.counters
        if isinstance(outcome, EngramError):
            counters["errors"] += 1
            return write_error(request.id, outcome)
        if request.method == "build_memory_packet":
            counters["packets"] += 1
        elif request.method == "append_event":
            counters["appends"] += 1
        elif request.method == "append_events":
            counters["appends"] += len(request.params.get("events", ()))
        return write_result(request.id, outcome)

    def replay_spool(self, *, now: bool = False) -> None:
        """Have the writer store what clients spooled while no daemon ran; with ``now`` before anyone can ask."""
        if self.engine.spool.waiting():
            if now:  # the first client then finds it stored; a long spool is stored beside the first requests
                self._replay()
            else:
                self.writer.run(self._replay)

    def _replay(self) -> None:
        try:
            if self.engine.spool.replay():
                self.writer.run(self._replay)
        except EngramError as error:  # the events stay; the next self-check tries again
            log.error("the spool cannot be stored: %s", error)

    def _deadline(self, request: Request) -> float:
        return time.monotonic() + (request.timeout_ms or self.settings.get("daemon.request_timeout_ms")) / 1000

    def _report(self, connection: Connection, request: Request) -> Callable[[Outcome], None]:
        return lambda outcome: self._finished.append((connection, request, outcome))

    def deliver(self, answers: Iterable[tuple[Connection, Request, Outcome]]) -> None:
        """Send replies to writes, behind those that the threads have finished."""
        self._finished.extend(answers)
        self._deliver()

    def finish(self, answers: Iterable[tuple[Connection, Request, Outcome]]) -> None:
        """Have the loop deliver replies, from the writer's thread."""
        self._finished.extend(answers)
        self._told()

    def _told(self) -> None:
        if not self._awake:  # set by a worker, cleared by the loop before it looks: a wake is never lost
            self._awake = True
            self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._awake = False
        replies: dict[Connection, list[bytes]] = {}
        while self._finished:
            connection, request, outcome = self._finished.popleft()
            if request.method in self.writes:
                self.writer.waiting -= 1
                self.queued -= request.size
            else:
                self.reader.waiting -= 1
                self.writer.wake()
            replies.setdefault(connection, []).append(self.count(request, outcome))
        reach("reply.before")
        for connection, lines in replies.items():
            connection.answered(lines)
        reach("reply.after")

    # ---- quiet times

    def note(self) -> None:
        """Count a request and see to it that the next quiet moment is used."""
        self.counters["requests"] += 1
        self.writer.asked = time.monotonic()
        if not self._tidy_set:
            self._tidy_set = True
            self.loop.call_later(IDLE_S, self._tidy)

    def _tidy(self) -> None:
        """Collect cyclic garbage once nobody is waiting; automatic collection would fall into a request."""
        idle = time.monotonic() - self.writer.asked
        if idle < IDLE_S and not self.draining:
            self.loop.call_later(IDLE_S - idle + 0.05, self._tidy)
            if self.counters["requests"] % 64 == 0:
                gc.collect(0)
            return
        self._tidy_set = False
        gc.collect()
        self.give_back()

    # ---- the end

    def drain(self) -> None:
        """Refuse new work from now on; what was accepted is finished."""
        self.draining = True
        for connection in list(self.connections):
            connection.advance()

    def busy(self) -> bool:
        """Tell whether an accepted request is still unanswered or a reply not yet sent."""
        return bool(self.writer.waiting or self.reader.waiting or
                    any(c.unsent() for c in self.connections))


class Connection(asyncio.BufferedProtocol):
    """Serve one client: cut its bytes into requests and answer them in their order. ``open`` means: has a transport."""

    def __init__(self, server: Server, first: bytes) -> None:
        self.server, self._first = server, first
        self.lines = LineBuffer(MAX_REQUEST)
        self.transport: asyncio.Transport
        self.open = False
        self.place = ""  # in the server's table
        self.protocol = 1  # until hello names another
        self._writes = 0  # under way
        self._reading = False  # a read is under way
        self._held: Request | None = None  # read, but it has to wait for what is under way
        self._full = False  # the client does not take its replies
        self._paused = False
        self._line_timer: asyncio.TimerHandle | None = None
        self._reply_timer: asyncio.TimerHandle | None = None

    # ---- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve, with what was read before it was known that there is a place."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=0)
        self.open = True
        if self._first:
            self.lines.feed(self._first)
            self._first = b""
            self.advance()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client; what it asked for and was accepted is still done."""
        self.open = False
        self.server.seat(self, "")
        self._stop_timers()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend the server's buffer: asyncio's own would be new memory of the system for every request."""
        return self.server.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take the next bytes."""
        if self.open:
            self.lines.feed(self.server.buffer[:nbytes])
            self.advance()

    def pause_writing(self) -> None:
        """Give the client its time to take what is already written."""
        self._full = True
        self.server.slow.add(self)
        self._reply_timer = self.server.loop.call_later(REPLY_S, self._drop, "its reply was not taken")

    def resume_writing(self) -> None:
        """Go on with the client's next line."""
        self._full = False
        self.server.slow.discard(self)
        if self._reply_timer is not None:
            self._reply_timer.cancel()
            self._reply_timer = None
        self.advance()

    # ---- requests

    def advance(self) -> None:
        """Serve complete lines until one has to wait, then look after the flow of bytes."""
        while self.open and not self._waits():
            request = self._held or self._next()
            if request is None:
                break
            if self._writes and not self._joins(request):
                self._held = request
                break
            self._held = None
            self._serve(request)
        if self.open:
            self._look_after()

    def answered(self, lines: list[bytes]) -> None:
        """Send replies that come from the threads: one of a read, or any number of writes."""
        if self._reading:
            self._reading = False
        else:
            self._writes -= len(lines)
        if self.open:
            self.transport.write(b"".join(lines))
            self.advance()

    def unsent(self) -> bool:
        """Tell whether replies are still in the buffer."""
        return self.open and self.transport.get_write_buffer_size() > 0

    def _waits(self) -> bool:
        return self._reading or self._full or self._writes >= MAX_WRITES

    def _joins(self, request: Request) -> bool:
        """Tell whether a request may start while writes are under way: only another write may."""
        return request.error is None and request.method in self.server.writes and not self.server.draining

    def _next(self) -> Request | None:
        try:
            line = self.lines.take()
            while line is not None and not line.strip():
                line = self.lines.take()
        except ProtocolError as error:
            self._refuse(error)
            return None
        return None if line is None else read_request(line)

    def hang_up(self) -> None:
        """Close it, at the end of the daemon."""
        if self.open:
            self.transport.close()

    def _refuse(self, error: EngramError, id: bytes = b"null") -> None:
        """Answer and hang up: there is no place, or it is not known where the next line begins."""
        self.server.counters["errors"] += 1
        self.transport.write(write_error(id, error))
        self.open = False
        self.server.seat(self, "")
        self._stop_timers()
        self.transport.close()
        self.server.loop.call_later(REPLY_S, self.transport.abort)

    def _serve(self, request: Request) -> None:
        server = self.server
        server.note()
        if self.place != "served":
            place, refusal = server.place_for(request.method, self.place)
            if refusal is not None:
                self._refuse(refusal, request.id)
                return
            server.seat(self, place)
        outcome: Outcome | None = request.error
        if outcome is None and server.draining:
            outcome = stopping()
        if outcome is None and self.protocol < PROTOCOL[0]:
            outcome = self._foreign(request)
        if outcome is None:
            if request.method in server.writes:
                self._writes += 1
                server.write(self, request)
                return
            if request.method in server.reads:
                outcome = server.read(self, request)
                self._reading = outcome is None
                if outcome is None:
                    return
            elif request.method in LOOP_METHODS:
                outcome = loop_answer(server, request.method, request.params)
            else:
                outcome = server.unknown(request.method)
        self.transport.write(server.count(request, outcome))

    def _foreign(self, request: Request) -> ProtocolError | None:
        """Return why a client that has not agreed on a protocol is not served; hello is how it agrees."""
        if request.method != "hello":
            return ProtocolError(f"the client speaks protocol {self.protocol}, this daemon {__version__} speaks "
                                 f"{PROTOCOL[0]} to {PROTOCOL[1]}", hint="upgrade the program that asks")
        asked = request.params.get("protocol")
        if isinstance(asked, list) and len(asked) == 2 and type(asked[1]) is int:
            self.protocol = min(asked[1], PROTOCOL[1])
        return None

    # ---- patience

    def _look_after(self) -> None:
        """Read on only when there is room for it, and time the line that has begun."""
        waits = self._waits() or self._held is not None
        if waits != self._paused:
            self._paused = waits
            if waits:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()
        if waits or not len(self.lines):
            if self._line_timer is not None:
                self._line_timer.cancel()
                self._line_timer = None
        elif self._line_timer is None:
            self._line_timer = self.server.loop.call_later(LINE_S, self._late)

    def _late(self) -> None:
        self._line_timer = None
        self._refuse(DeadlineExceeded(f"the line was not complete after {LINE_S:g} s",
                                      hint="send each request at once, with a line end"))

    def _drop(self, why: str) -> None:
        log.info("a connection was closed: %s within %g s", why, REPLY_S)
        self.transport.abort()

    def _stop_timers(self) -> None:
        for timer in (self._line_timer, self._reply_timer):
            if timer is not None:
                timer.cancel()
        self._line_timer = self._reply_timer = None


def stopping() -> Busy:
    """Return the refusal of whatever comes while the daemon ends."""
    return Busy("the daemon is stopping; nothing was done", hint="try again: the next command starts a new one")
