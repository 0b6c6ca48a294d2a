"""How a request travels: a blocking Unix socket with a deadline, and the start of a daemon when there is none.

Driven by `memory` and, when its own first attempt fails, by the command line's fast entry. It knows lines, not
methods; every error it raises is an EngramError.
"""

from __future__ import annotations

import _socket  # the C module: importing socket alone costs half a Python start
import errno
import os
import sys
from time import monotonic, sleep

from engram_core._version import PROTOCOL, __version__
from engram_core.errors import AccessDenied, Busy, DeadlineExceeded, EngramError, NoDaemon, ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from engram_core.settings import Settings

__all__ = ["Place", "UnixTransport", "connect_error", "error_in", "find", "maybe_old", "socket_error",
           "turned_away"]

RETRY_S = 0.02
MOST_S = 0.25  # between two tries of a client that is turned away again and again
SLACK_S = 0.02  # a deadline may be missed by this much
# What an older daemon may answer to something it does not know yet.
_OLD = (b'"kind":"method_not_found"', b'"kind":"unknown_field"', b'"kind":"protocol"', b'"kind":"internal"')
MAX_REPLY = 16 << 20
PIECE = 65_536  # bytes taken at once: for more, each call would ask the system for memory and return it
WINDOW = 512  # lines under way in a stream


class Place:
    """Name the daemon of an environment: its socket, its database and how to start it."""

    __slots__ = ("asked", "autostart", "database", "options", "socket", "timeout")

    def __init__(self, socket: str, database: str, *, options: list[str], autostart: bool, asked: bool,
                 timeout: float) -> None:
        self.socket, self.database = socket, database
        self.options, self.autostart, self.timeout = options, autostart, timeout
        self.asked = asked  # the socket was named by the user, so no other will do


def find(*, env: Mapping[str, str], socket: str | None = None, config: str | None = None,
         settings: Settings | None = None) -> Place:
    """Find the daemon's place from flags, environment and configuration."""
    from engram.autostart import allowed
    from engram_core import settings as configuration

    if settings is None:
        settings = configuration.load(env=env, config=config, flags={"daemon.socket": socket})
    database = configuration.database_path(settings, env)
    path = configuration.socket_path(env, settings, database)
    asked = bool(settings.get("daemon.socket"))
    options = ["--database", database]
    if configuration.store_url(settings, env) != database:  # its URL travels as it came: not by a command line
        options, config = [], config or env.get("ENGRAM_CONFIG")
    if asked:
        options += ["--socket", path]
    if config:
        options += ["--config", os.path.abspath(config)]
    return Place(path, database, options=options, autostart=allowed(env), asked=asked,
                 timeout=settings.get("daemon.request_timeout_ms") / 1000)


class UnixTransport:
    """Carry request lines to the daemon and reply lines back, one at a time or as a stream."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._sock: _socket.socket | None = None
        self._rest = b""
        self._within = 0.0  # what the system was told

    def close(self) -> None:
        """Hang up; the next request connects anew."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        self._rest = b""

    def exchange(self, line: bytes, *, timeout: float | None = None) -> bytes:
        """Send one request line and return the reply line; try again what is safe to repeat until the deadline.

        Every write carries an id made by the client, so a request whose reply was lost may be sent again.
        """
        deadline = monotonic() + (timeout or self.place.timeout)
        pause, renewed = RETRY_S, False
        while True:
            try:
                sock = self._sock or self._connect(deadline)
                self._limit(deadline)
                sock.sendall(line)
                self._limit(deadline)
                reply = sock.recv(PIECE)
                if not reply.endswith(b"\n"):
                    reply = self._whole(reply, deadline)
            except (ConnectionResetError, BrokenPipeError) as exc:
                self.close()
                if monotonic() + RETRY_S > deadline:
                    raise NoDaemon("the daemon hung up before it answered",
                                   hint="repeat the command; see: engram daemon logs") from exc
                pause = _rest(pause, deadline)
                continue
            except BlockingIOError as exc:
                self.close()  # a reply may still come; it must not answer the next request
                raise _slow() from exc
            except BaseException:
                self.close()
                raise
            if reply.find(b',"error":', 0, 400) < 0:
                return reply
            if turned_away(reply) and monotonic() + RETRY_S < deadline:
                self.close()
                pause = _rest(pause, deadline)
                continue
            if not renewed and maybe_old(reply):
                from engram.upgrade import renew

                renewed = True
                if renew(self.place):
                    self.close()
                    continue
            return reply

    def detach(self, timeout: float) -> _socket.socket:
        """Connect, starting a daemon if need be, and hand the socket over."""
        sock = self._sock or self._connect(monotonic() + timeout)
        self._sock = None
        return sock

    # ---- a stream of requests

    def stream(self, lines: Iterable[bytes], *, timeout: float | None = None) -> Iterator[bytes]:
        """Send request lines without waiting for each reply, and yield the replies in the same order.

        A second thread sends, so that a slow source of lines still gets each reply at once. The time limit is
        for the wait on each reply. A broken connection ends the stream with NoDaemon: the caller knows by the
        number of replies what was acknowledged, and may send the rest again.
        """
        from queue import SimpleQueue
        from threading import BoundedSemaphore, Thread

        limit = timeout or self.place.timeout
        if self._sock is None:
            self._connect(monotonic() + limit)
        sent: SimpleQueue[BaseException | bool] = SimpleQueue()
        room = BoundedSemaphore(WINDOW)
        stopped = False

        def send() -> None:
            try:
                for line in lines:
                    room.acquire()
                    if stopped:
                        return
                    sent.put(True)
                    self._send(line, monotonic() + limit)
                sent.put(False)
            except BaseException as exc:
                sent.put(exc)

        sender = Thread(target=send, name="engram-send", daemon=True)
        sender.start()
        try:
            while True:
                item = sent.get()
                if isinstance(item, BaseException):
                    raise item
                if not item:
                    return
                yield self._line(monotonic() + limit)
                room.release()
        except (ConnectionResetError, BrokenPipeError) as exc:
            raise NoDaemon("the daemon hung up in the middle of a stream",
                           hint="send the lines that have no result again") from exc
        finally:
            if sender.is_alive():
                stopped = True
                self.close()

    # ---- the socket

    def _connect(self, deadline: float) -> _socket.socket:
        self._rest = b""
        place = self.place
        sock, why = self._open(place.socket, deadline)
        if sock is None and not place.asked:
            from engram.autostart import recorded_socket

            other = recorded_socket(place.database)
            if other and other != place.socket:
                sock, _ = self._open(other, deadline)
        if sock is None:
            sock = self._start(why, deadline)
        sock.settimeout(None)
        self._sock, self._within = sock, 0.0
        if PROTOCOL[0] > 1:  # an older daemon takes everyone for a client of protocol 1
            self._greet(deadline)
        return sock

    def _greet(self, deadline: float) -> None:
        """Agree on a protocol before anything else; an older daemon that has none in common is replaced when idle."""
        hello = (b'{"jsonrpc":"2.0","id":0,"method":"hello","params":{"client":"engram","version":"%b",'
                 b'"protocol":[%d,%d]}}\n' % (__version__.encode(), *PROTOCOL))
        try:
            self._send(hello, deadline)
            reply = self._line(deadline)
        except BaseException:
            self.close()
            raise
        if b',"error":' not in reply[:400]:
            return
        self.close()
        from engram.upgrade import renew

        if turned_away(reply) or (b'"kind":"protocol"' in reply and renew(self.place)):
            raise ConnectionResetError  # which every caller repeats
        raise error_in(reply)

    def _start(self, why: str, deadline: float) -> _socket.socket:
        place = self.place
        if not place.autostart:
            raise NoDaemon(f"no daemon answers at {place.socket} ({why})", hint="start it with: engram daemon start")
        from engram.autostart import start

        served = start(place.database, options=place.options, deadline=deadline, socket_path=place.socket,
                       answers=lambda path: self._answers(path, deadline))
        if place.asked and served != place.socket:
            raise NoDaemon(f"the daemon of {place.database} serves {served or 'another socket'}, not {place.socket}",
                           hint=f"use --socket {served}, or name another database with ENGRAM_STORE_URL")
        sock, why = self._open(served, deadline)
        if sock is None:
            raise NoDaemon(f"the daemon started, but does not answer at {served} ({why})",
                           hint="see: engram daemon logs")
        return sock

    def _answers(self, path: str, deadline: float) -> bool:
        sock, _ = self._open(path, deadline)
        if sock is not None:
            sock.close()
        return sock is not None

    def _open(self, path: str, deadline: float) -> tuple[_socket.socket | None, str]:
        """Connect, or return why nobody listens there; anything else that goes wrong is raised."""
        pause = RETRY_S
        while True:
            try:
                sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            except OSError as exc:
                raise socket_error(exc, path) from exc
            try:
                sock.settimeout(_left(deadline))
                sock.connect(path)
                return sock, ""
            except OSError as exc:
                sock.close()
                if exc.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR):
                    return None, "no socket" if exc.errno == errno.ENOENT else "nobody listens"
                failure = connect_error(exc, path)
                if not isinstance(failure, Busy) or monotonic() + RETRY_S > deadline:
                    raise failure from exc
            except ValueError as exc:
                raise AccessDenied(f"the socket path {path!r} cannot be used: {exc}",
                                   hint="name another one with --socket") from exc
            pause = _rest(pause, deadline)

    def _send(self, line: bytes, deadline: float) -> None:
        assert self._sock is not None
        try:
            self._limit(deadline)
            self._sock.sendall(line)
        except BlockingIOError as exc:
            raise _slow() from exc

    def _line(self, deadline: float) -> bytes:
        """Return the next reply line of those under way."""
        data = self._rest or self._some(deadline)
        if b"\n" not in data:
            data = self._whole(data, deadline)
        end = data.index(b"\n") + 1
        self._rest = data[end:]
        return data[:end]

    def _whole(self, begun: bytes, deadline: float) -> bytes:
        """Return a line that has begun up to its end, and what came with that."""
        if not begun:
            raise ConnectionResetError
        pieces, size = [begun], len(begun)
        while b"\n" not in pieces[-1]:
            if size > MAX_REPLY:
                raise ProtocolError(f"the reply is longer than {MAX_REPLY} bytes", hint="is this Engram's socket?")
            pieces.append(self._some(deadline))
            size += len(pieces[-1])
        return b"".join(pieces)

    def _some(self, deadline: float) -> bytes:
        assert self._sock is not None
        try:
            self._limit(deadline)
            data = self._sock.recv(PIECE)
        except BlockingIOError as exc:
            raise _slow() from exc
        if not data:
            raise ConnectionResetError
        return data

    def _limit(self, deadline: float) -> None:
        """Have the system wait no longer than to the deadline.

        A timeout of Python's would make the socket a non-blocking one, at the price of four more calls of the system.
        """
        left = deadline - monotonic()
        if 0 <= self._within - left < SLACK_S < left:
            return
        if left <= 0:
            raise _slow()
        assert self._sock is not None
        self._within = left + SLACK_S / 2
        span = int(self._within).to_bytes(8, sys.byteorder) + int(self._within % 1 * 1e6).to_bytes(8, sys.byteorder)
        self._sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, span)
        self._sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, span)


def error_in(reply: bytes) -> EngramError:
    """Return the error that a reply without a result stands for."""
    from engram_core.protocol.lines import read_error  # late: only an error needs a JSON parser here

    return read_error(reply)


def _rest(pause: float, deadline: float) -> float:
    """Wait a little before another try, and return how long the next wait is: clients that came together part."""
    sleep(max(0.0, min(pause * (0.5 + os.urandom(1)[0] / 255), deadline - monotonic())))
    return min(2 * pause, MOST_S)


def _left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise _slow()
    return left


def _slow() -> DeadlineExceeded:
    return DeadlineExceeded("the daemon did not answer in time",
                            hint="try again; a write repeated with the same --id happens once")


def maybe_old(reply: bytes) -> bool:
    """Tell whether a reply is one that an older daemon gives to what it does not know."""
    return b',"error":' in reply[:400] and any(kind in reply for kind in _OLD)


def turned_away(reply: bytes) -> bool:
    """Tell whether the daemon refused before doing anything: full, or about to end."""
    return b',"error":' in reply[:400] and (b'"kind":"busy"' in reply)


def connect_error(exc: OSError, path: str) -> EngramError:
    """Return what a failed connect means; busy and forbidden are never a reason to start a daemon."""
    if exc.errno in (errno.EAGAIN, errno.ETIMEDOUT, errno.EINTR) or isinstance(exc, TimeoutError):
        return Busy(f"the daemon at {path} has no room for another connection", hint="try again")
    if exc.errno in (errno.EPERM, errno.EACCES):
        return AccessDenied(f"connecting to {path} is forbidden: {exc.strerror}", hint=_allow(path))
    return NoDaemon(f"{path} cannot be connected: {exc.strerror}",
                    hint="name another socket with --socket or ENGRAM_SOCKET")


def socket_error(exc: OSError, path: str) -> EngramError:
    """Return what it means that not even a socket can be made: a sandbox, or no descriptors left."""
    if exc.errno in (errno.EPERM, errno.EACCES, errno.EAFNOSUPPORT):
        return AccessDenied(f"Unix sockets are forbidden here: {exc.strerror}", hint=_allow(path))
    return Busy(f"no socket can be made: {exc.strerror}", hint="try again when less is open")


def _allow(path: str) -> str:
    return f'in a sandbox allow this Unix socket, for example with: "allowUnixSockets": ["{path}"], or add --direct'
