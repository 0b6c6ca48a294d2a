"""Store what clients put into the spool while no daemon could be reached: insert, commit, then delete, in order.

Driven by the server: once before the first connection is accepted, and by the self-check. Every event carries the id
its client made, so that a replay that was cut short repeats nothing. What the daemon refuses for good is moved to a
folder ``refused`` with its reason beside it, where ``engram doctor`` finds it, and does not hold up the others.
"""

from __future__ import annotations

import logging
import os
import stat

from engram_core.errors import EngramError, ProtocolError
from engram_core.failpoints import reach
from engram_core.paths import spool_path
from engram_core.protocol.lines import MAX_REQUEST
from engram_core.protocol.requests import read_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engram_core.daemon.handlers import Engine

__all__ = ["Spool"]

GROUP = 256  # events of one commit
REFUSED = "refused"

log = logging.getLogger("engram.daemon")


class Spool:
    """The folder beside one database; ``replay`` runs on the thread that writes, ``facts`` anywhere."""

    def __init__(self, engine: Engine, database: str) -> None:
        self.engine = engine
        self.folder = spool_path(database)
        self._counted: tuple[tuple[int, ...], int, int] = ((), 0, 0)

    def waiting(self) -> int:
        """Return how many events wait."""
        return self._count()[0]

    def facts(self) -> dict[str, Any]:
        """Return what status shows."""
        waiting, refused = self._count()
        return {"waiting": waiting, "refused": refused, "folder": self.folder}

    def _count(self) -> tuple[int, int]:
        stamps = tuple(_mtime(path) for path in (self.folder, f"{self.folder}/{REFUSED}"))
        if stamps != self._counted[0]:
            self._counted = (stamps, len(self._names()), sum(
                1 for name in _listed(f"{self.folder}/{REFUSED}") if name.isdigit()))
        return self._counted[1:]

    def _names(self) -> list[str]:
        return sorted(name for name in _listed(self.folder) if name.isdigit())

    def replay(self) -> bool:
        """Store and delete the oldest GROUP of events; True when there are more.

        Raises what keeps the database from being written; the events stay then.
        """
        names = self._names()
        batch = names[:GROUP]
        if not batch:
            return False
        if _foreign(self.folder):
            log.error("the spool %s is not ours alone and was left as it is", self.folder)
            return False
        requests: list[tuple[str, dict[str, Any]]] = []
        sent: list[str] = []
        for name in batch:
            try:
                requests.append(self._read(name))
                sent.append(name)
            except EngramError as error:
                self._refuse(name, error)
        reach("replay.before")
        outcomes = self.engine.write(requests) if requests else []
        for outcome in outcomes:
            if isinstance(outcome, EngramError) and outcome.retryable:
                raise outcome
        reach("replay.committed")
        stored = 0
        for name, outcome in zip(sent, outcomes, strict=True):
            if isinstance(outcome, EngramError):
                self._refuse(name, outcome)
            else:
                os.unlink(f"{self.folder}/{name}")
                stored += 1
                reach("replay.deleted")
        log.info("%d spooled events were stored", stored)
        return len(names) > len(batch)

    def _read(self, name: str) -> tuple[str, dict[str, Any]]:
        """Return method and params of one file; raise for what no client of ours can have written."""
        try:
            fd = os.open(f"{self.folder}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as exc:
            raise ProtocolError(f"it cannot be read: {exc.strerror}") from exc
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
                raise ProtocolError("it is no file that is ours alone")
            if found.st_size > MAX_REQUEST + 1:
                raise ProtocolError(f"it has {found.st_size} bytes; allowed are {MAX_REQUEST}")
            data = b""
            while piece := os.read(fd, 1 << 20):
                data += piece
        finally:
            os.close(fd)
        request = read_request(data.rstrip(b"\n"))
        if request.error is not None:
            raise request.error
        if request.method not in ("append_event", "append_events"):
            raise ProtocolError(f"{request.method} is nothing that is spooled")
        return request.method, {key: value for key, value in request.params.items() if key != "render"}

    def _refuse(self, name: str, error: EngramError) -> None:
        """Put an event aside with the reason; its text is in its file only."""
        aside = f"{self.folder}/{REFUSED}"
        os.makedirs(aside, mode=0o700, exist_ok=True)
        to = name
        while os.path.lexists(f"{aside}/{to}"):
            to = f"{int(to) + 1:020d}"
        with open(f"{aside}/{to}.why", "w", encoding="utf-8") as file:
            file.write(f"{error}\n")
        os.rename(f"{self.folder}/{name}", f"{aside}/{to}")
        log.error("a spooled event was refused and put aside as %s/%s", aside, to)


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _mtime(path: str) -> int:
    try:
        return os.lstat(path).st_mtime_ns
    except OSError:
        return 0


def _foreign(folder: str) -> bool:
    found = os.lstat(folder)
    return not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or bool(found.st_mode & 0o022)
