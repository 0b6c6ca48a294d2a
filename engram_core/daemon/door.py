"""Where connections come in: who may, whether there is room, and a refusal at once where there is none.

Driven by `process`. The loop's own accept would make a task, a transport and a protocol before anyone could look, and
would run into a lack of descriptors a hundred times in a row. Here a connection beyond the limit costs one accept, one
read, one send and one close in the same turn of the loop; only a connection that is served becomes a `Connection`.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
import struct
import time

from engram_core.daemon.server import Connection, stopping
from engram_core.errors import Busy
from engram_core.protocol.lines import write_error
from engram_core.protocol.requests import read_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio

    from engram_core.daemon.server import Server
    from engram_core.errors import EngramError

__all__ = ["LOBBY", "Door"]

BURST = 64  # connections taken in one turn of the loop
LOBBY = 128  # connections beyond the limit whose first line is awaited
LOBBY_S = 0.05  # and for how long
FIRST = 1 << 16  # bytes of a first line that are awaited; what is reserved needs far fewer
KEPT = 16  # descriptors no client gets: for database, spool, log and what is loaded late
RETRY_S = 1.0  # when the system gives no descriptor at all
TOLD_S = 10.0  # between two lines in the log about the same lack

log = logging.getLogger("engram.daemon")


class Door:
    """Accept from one listening socket, from ``open`` to ``close``."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.server, self.sock, self.loop = server, sock, server.loop
        self._lobby: dict[socket.socket, tuple[asyncio.TimerHandle, bytes]] = {}  # and what they sent
        self._tasks: set[asyncio.Task[object]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._told = -TOLD_S

    def open(self) -> None:
        """Accept from now on."""
        self._retry = None
        self.loop.add_reader(self.sock.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more; who waits in the lobby is told to try again. Connections that are served stay."""
        if self._retry is not None:
            self._retry.cancel()
        elif self.sock.fileno() >= 0:
            self.loop.remove_reader(self.sock.fileno())
        self.sock.close()
        for sock in list(self._lobby):
            self._leave(sock)
            self._refuse(sock, _late())

    def _accept(self) -> None:
        for _ in range(BURST):
            try:
                sock = self.sock.accept()[0]
            except BlockingIOError:
                return
            except (InterruptedError, ConnectionAbortedError):
                continue
            except OSError as exc:
                if exc.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                self._complain(f"cannot accept connections: {exc.strerror}; tried again every {RETRY_S:g} s")
                self.loop.remove_reader(self.sock.fileno())
                self._retry = self.loop.call_later(RETRY_S, self.open)
                return
            sock.setblocking(False)
            try:
                self._look_at(sock)
            except OSError as exc:  # its own fault or the system's: no one else's connection suffers from it
                log.warning("a connection was lost before it was served: %s", exc.strerror)
                sock.close()

    def _look_at(self, sock: socket.socket) -> None:
        """Check who it is before any byte is read, then whether there is room."""
        server = self.server
        if not _is_ours(sock):
            log.warning("a connection of another user was refused")
            sock.close()
        elif server.draining:
            self._refuse(sock, stopping())
        elif sock.fileno() >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] - KEPT:
            self._complain("the descriptors are used up; new connections are refused")
            self._refuse(sock, Busy("the daemon has no free file descriptors", hint="try again; see ulimit -n"))
        elif server.full() is None:
            self._serve(sock, "served")
        else:
            self._ask(sock)

    def _complain(self, text: str) -> None:
        """Log what may go wrong with every connection, but not for each of them."""
        now = time.monotonic()
        if now - self._told > TOLD_S:
            log.error("%s", text)
            self._told = now

    def _serve(self, sock: socket.socket, place: str, first: bytes = b"") -> None:
        connection = Connection(self.server, first)
        self.server.seat(connection, place)  # now: until the transport is there others are looked at
        task = self.loop.create_task(self.loop.connect_accepted_socket(lambda: connection, sock))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._served(done, connection, sock))

    def _served(self, task: asyncio.Task[object], connection: Connection, sock: socket.socket) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.warning("a connection was lost before it was served: %s", exc)
            self.server.seat(connection, "")
            sock.close()

    # ---- beyond the limit

    def _ask(self, sock: socket.socket, data: bytes = b"") -> None:
        """Read what a connection beyond the limit asks; mostly its first line is there already."""
        try:
            piece = sock.recv(FIRST)
        except BlockingIOError:
            pass
        else:
            if not piece:
                sock.close()
                return
            data += piece
        if b"\n" in data:
            self._decide(sock, data)
        elif len(data) >= FIRST or len(self._lobby) >= LOBBY:
            self._refuse(sock, self.server.full() or _late())
        else:
            timer = self.loop.call_later(LOBBY_S, self._out_of_time, sock)
            self._lobby[sock] = (timer, data)
            self.loop.add_reader(sock.fileno(), self._heard, sock)

    def _decide(self, sock: socket.socket, data: bytes) -> None:
        """Serve one that asks what is reserved for it, or finds that a place has become free; refuse the others."""
        request = read_request(data[:data.index(b"\n")])
        place, refusal = self.server.place_for("" if request.error else request.method)
        if refusal is None:
            self._serve(sock, place, data)
        else:
            self._refuse(sock, refusal, request.id)

    def _heard(self, sock: socket.socket) -> None:
        data = self._leave(sock)
        try:
            self._ask(sock, data)
        except OSError:
            sock.close()

    def _out_of_time(self, sock: socket.socket) -> None:
        self._leave(sock)
        self._refuse(sock, self.server.full() or _late())

    def _leave(self, sock: socket.socket) -> bytes:
        timer, data = self._lobby.pop(sock)
        timer.cancel()
        self.loop.remove_reader(sock.fileno())
        return data

    def _refuse(self, sock: socket.socket, refusal: EngramError, id: bytes = b"null") -> None:
        self.server.note()
        self.server.counters["errors"] += 1
        try:
            sock.send(write_error(id, refusal))  # a fresh socket has room for it
        except OSError:
            pass  # it has gone
        sock.close()


def _late() -> Busy:
    return Busy("nothing was asked in time", hint="try again")


def _is_ours(sock: socket.socket) -> bool:
    """Tell whether the peer runs as our user; what cannot be found out counts as no."""
    try:
        if hasattr(socket, "SO_PEERCRED"):
            data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            uid = struct.unpack("3i", data)[1]
        else:  # macOS: struct xucred, unverified; SOL_LOCAL is 0, LOCAL_PEERCRED is 1
            data = sock.getsockopt(0, 1, 76)
            version, uid = struct.unpack_from("2I", data)
            if version != 0:
                return False
    except (OSError, struct.error):
        return False
    return bool(uid == os.geteuid())
