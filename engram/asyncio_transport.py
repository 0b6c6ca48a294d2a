"""How request lines travel from an event loop: over Unix sockets, or to an engine in this process. Driven by `aio`.

Nothing here waits in the loop's thread: connecting, starting a daemon and opening a database happen in another one, the
engine works in two of its own.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from engram.transport import MAX_REPLY, PIECE, RETRY_S, UnixTransport, maybe_old, turned_away
from engram_core.errors import DeadlineExceeded, EngramError, NoDaemon
from engram_core.protocol.lines import LineBuffer, read_outcome

if TYPE_CHECKING:
    from engram.inprocess import Inside, Queued
    from engram.transport import Place

__all__ = ["AsyncInProcess", "AsyncTransport", "AsyncUnix"]

MOST = 8
"""Connections of one AsyncMemory; further calls wait for one."""
WINDOW = 256
"""Requests of a stream under way at once."""
T = TypeVar("T")


class AsyncTransport(Protocol):
    """What carries request lines to an engine and reply lines back."""

    async def exchange(self, line: bytes, *, timeout: float | None) -> bytes:
        """Return the reply line to a request line."""

    def stream(self, lines: Iterable[bytes], *, timeout: float | None) -> AsyncIterator[bytes]:
        """Yield the reply lines to request lines, in their order."""

    async def close(self) -> None:
        """Hang up."""


class _Connection(asyncio.BufferedProtocol):
    """One connection: replies come in the order of the requests, so one that nobody waits for any more is skipped."""

    def __init__(self, lost: Callable[[_Connection], None], free: Callable[[_Connection], None]) -> None:
        self._lost, self._free = lost, free
        self._lines = LineBuffer(MAX_REPLY)
        self._buffer = memoryview(bytearray(PIECE))  # asyncio's own would be new memory of the system for every reply
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._lines.feed(self._buffer[:nbytes])
        try:
            while (line := self._lines.take()) is not None:
                future = self._waiting.popleft()
                if not future.done():
                    future.set_result(line)
        except (EngramError, IndexError):  # too long, or a reply to nothing: not a daemon's
            self.transport.abort()
        if not self._waiting:
            self._free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_exception(ConnectionResetError())
        self._waiting.clear()
        self._lost(self)

    def send(self, line: bytes) -> asyncio.Future[bytes]:
        """Send a line and return what will hold its reply."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        if self.transport.is_closing():
            future.set_exception(ConnectionResetError())
        else:
            self._waiting.append(future)
            self.transport.write(line)
        return future


class AsyncUnix:
    """Carry request lines to the daemon on a few connections, one request on each at a time."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._queue: deque[asyncio.Future[None]] = deque()
        self._connecting = 0
        self._held: set[_Connection] = set()

    async def exchange(self, line: bytes, *, timeout: float | None) -> bytes:
        """Send one request line and return the reply line; try again what is safe to repeat until the deadline."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (timeout or self._place.timeout)
        renewed = False
        while True:
            connection = await self._take(deadline)
            try:
                reply = await _within(connection.send(line), deadline)
            except ConnectionResetError as exc:
                if loop.time() + RETRY_S > deadline:
                    raise NoDaemon("the daemon hung up before it answered",
                                   hint="repeat the call; see: engram daemon logs") from exc
            except DeadlineExceeded:
                connection.transport.abort()  # whatever it is stuck on, others are not to wait for it
                raise
            else:
                away = turned_away(reply) and loop.time() + RETRY_S < deadline
                if not away and not renewed and maybe_old(reply):
                    from engram.upgrade import renew

                    renewed = True
                    away = await asyncio.to_thread(renew, self._place)
                if not away:
                    return reply
                connection.transport.abort()
            await asyncio.sleep(RETRY_S)

    async def stream(self, lines: Iterable[bytes], *, timeout: float | None) -> AsyncIterator[bytes]:
        """Send request lines without waiting for each reply, and yield the replies in the same order."""
        limit = timeout or self._place.timeout
        loop = asyncio.get_running_loop()
        connection = await self._take(loop.time() + limit)
        self._held.add(connection)
        sent: deque[asyncio.Future[bytes]] = deque()
        try:
            for line in lines:
                sent.append(connection.send(line))
                if len(sent) >= WINDOW:
                    yield await _within(sent.popleft(), loop.time() + limit)
            while sent:
                yield await _within(sent.popleft(), loop.time() + limit)
        except ConnectionResetError as exc:
            raise NoDaemon("the daemon hung up in the middle of a stream",
                           hint="send what has no result again") from exc
        finally:
            self._held.discard(connection)
            if sent:
                connection.transport.abort()
            elif not connection.transport.is_closing():
                self._free(connection)

    async def close(self) -> None:
        """Hang up."""
        for connection in list(self._open):
            connection.transport.close()
        await asyncio.sleep(0)

    # ---- connections

    async def _take(self, deadline: float) -> _Connection:
        """Return a connection with nothing under way, a new one while there are few."""
        loop = asyncio.get_running_loop()
        while True:
            while self._idle:
                connection = self._idle.pop()
                if not connection.transport.is_closing():
                    return connection
            if len(self._open) + self._connecting < MOST:
                return await self._connect(deadline)
            turn = loop.create_future()
            self._queue.append(turn)
            try:
                await _within(turn, deadline)
            except BaseException:
                if turn.done() and not turn.cancelled():
                    self._next()  # somebody else may have it
                raise

    async def _connect(self, deadline: float) -> _Connection:
        loop = asyncio.get_running_loop()
        self._connecting += 1
        try:
            left = max(0.001, deadline - loop.time())
            raw = await asyncio.to_thread(lambda: UnixTransport(self._place).detach(left))
            sock = socket.socket(fileno=raw.detach())
            sock.setblocking(False)
            _, connection = await loop.create_unix_connection(lambda: _Connection(self._lost, self._free), sock=sock)
        finally:
            self._connecting -= 1
        self._open.add(connection)
        return connection

    def _free(self, connection: _Connection) -> None:
        if connection in self._open and connection not in self._held and connection not in self._idle:
            self._idle.append(connection)
            self._next()

    def _lost(self, connection: _Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._next()

    def _next(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return


async def _within(future: asyncio.Future[T], deadline: float) -> T:
    try:
        async with asyncio.timeout_at(deadline):
            return await future
    except TimeoutError as exc:
        raise DeadlineExceeded("the daemon did not answer in time",
                               hint="try again; a write repeated with the same id happens once") from exc


class AsyncInProcess:
    """Carry request lines to an engine in this process, which answers from threads of its own."""

    def __init__(self, place: Inside) -> None:
        self._place = place
        self._timeout = 0.0
        self._short = asyncio.Lock()
        self._opening: asyncio.Task[Queued] | None = None
        self._come: deque[tuple[asyncio.Future[Any], Any]] = deque()
        self._woken = False

    async def exchange(self, line: bytes, *, timeout: float | None) -> bytes:
        """Return the reply line to a request line."""
        engine = await self._engine()
        if engine.may_be_short(line):
            async with self._short:  # one at a time, and the loop turns in between
                reply = engine.at_once(line)
                if reply is not None:
                    await asyncio.sleep(0)
                    return reply
        return await self._begin(engine, line, timeout or self._timeout)

    async def ask(self, method: str, params: dict[str, Any], *, timeout: float | None) -> Any:
        """Return the result of a request that is not written as a line, or raise its error."""
        engine = await self._engine()
        future, done = self._awaited()
        engine.begin(method, params, timeout or self._timeout, done)
        return read_outcome(await future)

    async def stream(self, lines: Iterable[bytes], *, timeout: float | None) -> AsyncIterator[bytes]:
        """Begin requests without waiting for each, and yield the replies in the same order."""
        engine = await self._engine()
        begun: deque[asyncio.Future[bytes]] = deque()
        for line in lines:
            begun.append(self._begin(engine, line, timeout or self._timeout))
            if len(begun) >= WINDOW:
                yield await begun.popleft()
        while begun:
            yield await begun.popleft()

    async def close(self) -> None:
        """Store what waits and close the database."""
        if self._opening is not None:
            engine = await self._opening
            await asyncio.to_thread(engine.close)

    async def _engine(self) -> Queued:
        if self._opening is None:
            self._opening = asyncio.ensure_future(asyncio.to_thread(self._open))
        opening = self._opening
        try:
            return await asyncio.shield(opening)
        except BaseException:
            if opening.done() and self._opening is opening and (opening.cancelled() or opening.exception()):
                self._opening = None  # the next call tries again
            raise

    def _open(self) -> Queued:
        self._timeout = self._place.timeout()
        return self._place.open_queued()

    def _begin(self, engine: Queued, line: bytes, timeout: float) -> asyncio.Future[bytes]:
        """Hand a line to the engine; whoever is cancelled while waiting leaves it to finish."""
        future, done = self._awaited()
        engine.submit(line, timeout, done)
        return future

    def _awaited(self) -> tuple[asyncio.Future[Any], Callable[[Any], None]]:
        """Return a future and what another thread calls with its result.

        What comes while the loop is busy is taken together, for each waking of a loop costs a call of the system.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def done(outcome: Any) -> None:
            self._come.append((future, outcome))
            if self._woken:
                return  # the flag falls before what has come is taken, so this is among it
            self._woken = True
            try:
                loop.call_soon_threadsafe(self._take)
            except RuntimeError:
                pass  # the loop has ended; nobody is waiting

        return future, done

    def _take(self) -> None:
        self._woken = False
        while self._come:
            future, outcome = self._come.popleft()
            if not future.done():
                future.set_result(outcome)


