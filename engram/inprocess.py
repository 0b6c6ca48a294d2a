"""The engine in this process: where its database is, and how request lines reach it. Driven by `memory` and `aio`.

What it imports of the engine is imported when a Memory is opened, because programs that talk to a daemon pay for none
of it.
"""

from __future__ import annotations

import os
import threading

from engram.calls import DEFAULT_PATH
from engram_core.errors import BadInput, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Protocol

    from engram_core.settings import Settings

    class Embedded(Protocol):
        """An engine that answers in the thread that asks."""

        def answer(self, line: bytes, timeout: float) -> bytes: ...
        def ask(self, method: str, params: dict[str, Any], timeout: float) -> Any: ...
        def stream(self, lines: Iterable[bytes], timeout: float) -> Iterator[bytes]: ...
        def close(self) -> None: ...

    class Queued(Protocol):
        """An engine that answers through a callback."""

        def may_be_short(self, line: bytes) -> bool: ...
        def at_once(self, line: bytes) -> bytes | None: ...
        def submit(self, line: bytes, timeout: float, done: Callable[[bytes], None]) -> None: ...
        def begin(self, method: str, params: dict[str, Any], timeout: float,
                  done: Callable[[Any], None]) -> None: ...
        def close(self) -> None: ...

__all__ = ["InProcess", "Inside", "inside"]

BACKENDS = {"sqlite": (), "postgres": ("postgresql", "postgres"), "mysql": ("mysql", "mariadb")}
"""The databases there are, and how a DSN of each begins."""


class Inside:
    """Name a database of this process and the configuration to open it with."""

    __slots__ = ("config", "in_memory", "url")

    def __init__(self, url: str, *, in_memory: bool, config: str | None) -> None:
        self.url, self.in_memory, self.config = url, in_memory, config

    def load(self) -> Settings:
        """Read the configuration; the database is the one asked for."""
        from engram_core import settings

        flags = {} if self.in_memory else {"store.url": self.url}
        return settings.load(env=os.environ, config=self.config, flags=flags)

    def database(self) -> str:
        """Return the database as the engine names it."""
        from engram_core import settings

        return ":memory:" if self.in_memory else settings.store_url(self.load(), os.environ)

    def open(self) -> Embedded:
        """Open the engine for calls that wait in their own thread."""
        from engram_core.daemon.embedded import Embedded

        return Embedded(self.load, self.database())

    def open_queued(self) -> Queued:
        """Open the engine for calls that are told when they are done."""
        from engram_core.daemon.embedded import Queued

        return Queued(self.load, self.database())

    def timeout(self) -> float:
        """Return how long a call may take that names no limit, in seconds."""
        limit: int = self.load().get("daemon.request_timeout_ms")
        return limit / 1000


def inside(path: Any, *, in_memory: bool, backend: str, dsn: str | None, database: str | None,
           config: str | None) -> Inside:
    """Return the database that a constructor's arguments name; raise BadInput when they contradict each other."""
    if backend not in BACKENDS:
        near = nearest(str(backend), list(BACKENDS))
        raise BadInput(f"backend is {str(backend)[:60]!r}; allowed are {', '.join(BACKENDS)}",
                       hint=f"did you mean {near}?" if near else "leave it out for sqlite")
    if backend == "sqlite":
        for name, value in (("dsn", dsn), ("database", database)):
            if value is not None:
                raise BadInput(f"{name} is {str(value)[:60]!r}, which backend sqlite does not take",
                               hint="name the file with path, or give backend postgres or mysql")
        if in_memory:
            return Inside("", in_memory=True, config=config)
        return Inside(_file(path), in_memory=False, config=config)
    if in_memory:
        raise BadInput(f"in_memory is True with backend {backend!r}; only sqlite can be in memory",
                       hint="leave one of them out")
    return Inside(_url(backend, dsn, database), in_memory=False, config=config)


def _file(path: Any) -> str:
    given = DEFAULT_PATH if path is None else path
    try:
        name = os.fsdecode(given)
    except TypeError:
        name = ""
    if not name or "\0" in name or name == ":memory:" or name.endswith("/"):
        raise BadInput(f"path is {str(given)[:60]!r}; allowed is the path of a file",
                       hint="give in_memory=True for a database in memory" if name == ":memory:" else
                       f"without it the database is {DEFAULT_PATH}")
    return os.path.abspath(name)


def _url(backend: str, dsn: str | None, database: str | None) -> str:
    """Return the DSN, with the name of the database in it when that is given apart."""
    schemes = BACKENDS[backend]
    scheme, _, rest = (dsn if isinstance(dsn, str) else "").partition("://")
    if scheme.partition("+")[0] not in schemes or not rest:
        raise BadInput(f"dsn is {_masked(dsn)}; backend {backend!r} takes {schemes[0]}://user:password@host/database",
                       hint="the database may be left out: it is engram then")
    if database is None:
        return f"{scheme}://{rest}"
    from urllib.parse import quote

    head, mark, options = rest.partition("?")
    return f"{scheme}://{head.partition('/')[0]}/{quote(database, safe='')}{mark}{options}"


def _masked(dsn: object) -> str:
    """Return what can be shown of a DSN: its password never."""
    if not isinstance(dsn, str):
        return str(dsn)[:40]
    scheme, mark, rest = dsn.partition("://")
    return repr(f"{scheme}{mark}{rest.rpartition('@')[2]}"[:60])


class InProcess:
    """Carry request lines of any number of threads to an engine in this process."""

    def __init__(self, place: Inside) -> None:
        self._place = place
        self._timeout = place.timeout()
        self._engine: Embedded | None = None
        self._pid = os.getpid()
        self._open()

    def exchange(self, line: bytes, *, timeout: float | None) -> bytes:
        """Return the reply line to a request line."""
        return self._ours().answer(line, timeout or self._timeout)

    def ask(self, method: str, params: dict[str, Any], *, timeout: float | None) -> Any:
        """Return the result of a request that is not written as a line, or raise its error."""
        return self._ours().ask(method, params, timeout or self._timeout)

    def stream(self, lines: Iterable[bytes], *, timeout: float | None) -> Iterator[bytes]:
        """Answer lines in order; writes that come while others are written share a commit."""
        return self._ours().stream(lines, timeout or self._timeout)

    def close(self) -> None:
        """Store what waits and close the database; in a child of the process that opened it there is nothing to do."""
        if self._engine is not None and self._pid == os.getpid():
            self._engine.close()

    def _ours(self) -> Embedded:
        if self._engine is None or self._pid != os.getpid():
            self._open()
        assert self._engine is not None
        return self._engine

    def _open(self) -> None:
        """Open the database, in a child of the process that did so anew: a connection must not cross a fork."""
        with _opening:
            if self._pid != os.getpid():
                if self._place.in_memory:
                    raise BadInput("this Memory lives in the memory of the process that opened it; a child has none "
                                   "of it", hint="open one with a path, or one in each process")
                _inherited.append(self._engine)  # closing it here could take the parent's locks away
                self._engine, self._pid = None, os.getpid()
            if self._engine is None:
                self._engine = self._place.open()


_inherited: list[Embedded | None] = []
_opening = threading.Lock()


def _in_child() -> None:
    global _opening
    _opening = threading.Lock()  # a thread of the parent may have held it


os.register_at_fork(after_in_child=_in_child)
