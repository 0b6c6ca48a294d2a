"""What the daemon looks after every half minute: that clients still find it, that its files are still its own.

Driven by `process` as a call of the event loop. A socket that is gone is made again under the lock; what belongs to
someone else by now - socket, lock, database - is a reason to finish and go, never to fight. The check also replays the
spool, warns of a log that cannot be emptied, and ends an idle daemon whose program was replaced by another version.
"""

from __future__ import annotations

import logging
import os
import socket
import time

from engram_core.daemon import endpoint
from engram_core.errors import EngramError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engram_core.daemon.process import Daemon

__all__ = ["CHECK_S", "SelfCheck"]

CHECK_S = 25.0  # with what the check itself takes a fault is seen within half a minute
WAL_WARN = 256 << 20
IDLE_S = 10.0  # nobody asked for so long: a moment to give way to a newer version

log = logging.getLogger("engram.daemon")


class SelfCheck:
    """Hold what the files looked like at the start, and compare."""

    def __init__(self, daemon: Daemon, *, lock: int) -> None:
        self.daemon, self.lock = daemon, lock
        self.last = time.monotonic()  # when it last ran through
        self.warnings: list[str] = []  # for status
        self._database = endpoint.identity(daemon.server.database)
        self._program = _program()
        self._probe: socket.socket | None = None

    def start(self) -> None:
        """Run every CHECK_S from now on."""
        self.daemon.loop.call_later(CHECK_S, self._run)

    def _run(self) -> None:
        if self.daemon.stopping:
            return
        try:
            why = self.look()
        except Exception as exc:  # the check must never be what brings the daemon down
            log.error("the self-check failed: %s: %s", type(exc).__name__, exc)
            why = ""
        self.last = time.monotonic()
        if why:
            log.error("%s; this daemon ends", why)
            self.daemon.stop()
        else:
            self.daemon.loop.call_later(CHECK_S, self._run)

    def look(self) -> str:
        """Mend what can be mended; return why the daemon has to go, "" when it can stay."""
        daemon = self.daemon
        database = daemon.server.database
        if self._database is None:
            self._database = endpoint.identity(database)
        if endpoint.identity(database) != self._database:
            return f"the database {database} was removed or replaced"
        if not self._keep_lock():
            return f"another process holds the lock of {database}"
        if daemon.bound.taken():
            return f"the socket {daemon.bound.path} was replaced by another one"
        if not daemon.bound.ours() or self._unanswered():
            log.warning("the socket %s is gone; it is made again", daemon.bound.path)
            try:
                daemon.bind_again()
            except EngramError as error:
                return error.message
        daemon.publish()
        self.warnings = self._warnings()
        daemon.server.replay_spool()
        idle = not daemon.server.busy() and time.monotonic() - daemon.server.writer.asked > IDLE_S
        if idle and self._program != _program():
            return "another version of Engram was installed"
        return ""

    def _keep_lock(self) -> bool:
        """Tell whether the lock file is still the one we hold; one that was deleted is taken anew."""
        path = self.daemon.server.database + ".lock"
        held = os.fstat(self.lock)
        found = endpoint.identity(path)
        if found == (held.st_dev, held.st_ino):
            return True
        fresh = endpoint.lock(self.daemon.server.database)
        if fresh is None:
            return False
        log.warning("the lock %s was deleted; it was taken again", path)
        os.dup2(fresh, self.lock, inheritable=False)
        os.close(fresh)
        return True

    def _unanswered(self) -> bool:
        """Tell whether a connection to our own socket is refused; whether it is served is seen by the next look."""
        if self._probe is not None:
            self._probe.close()
        self._probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._probe.setblocking(False)
        try:
            self._probe.connect(self.daemon.bound.path)
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except OSError:
            return False  # a full backlog is an answer
        finally:
            self._probe.close()
            self._probe = None
        return False

    def _warnings(self) -> list[str]:
        found = []
        store = self.daemon.engine.store
        wal = store.health().get("wal_bytes", 0)
        if wal > WAL_WARN:
            self.daemon.engine.shorten()
            found.append(f"the log of the database has {wal >> 20} MiB: a program that reads it keeps it from being "
                         "emptied")
        if not store.healthy:
            found.append("the last write to the database failed; the next one looks through it first")
        if self._program != _program():
            found.append("another version of Engram was installed; this daemon ends when it is idle")
        for text in found:
            log.warning("%s", text)
        return found


def _program() -> tuple[int, int] | None:
    """Return what tells one installed version from another."""
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return endpoint.identity(os.path.join(folder, "_version.py"))
