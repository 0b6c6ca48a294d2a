"""Where an adapter's data is: a Memory, an AsyncMemory, or a path or DSN that one is opened for. Driven by them.

A framework calls the same object from threads and from event loops. What an adapter does is written once, as a
generator of requests; here is the waiting. A ``Memory`` is asked in the caller's thread, or from a loop in a thread of
the adapter's; an ``AsyncMemory`` in its own loop, which a blocking call hands its work to.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

from engram.aio import AsyncMemory
from engram.memory import Memory
from engram_core.dsn import DRIVERS
from engram_core.errors import BadInput, EngramError

__all__ = ["Closing", "Given", "Holder", "Place", "Steps", "owner_scope"]

T = TypeVar("T")
Steps = Generator[tuple[str, dict[str, Any]], Any, T]
"""What an adapter does, apart from waiting: it yields requests, is sent their results, and returns what came of it."""

Given = Memory | AsyncMemory | str | os.PathLike[str] | None
"""What an adapter takes: None is the daemon of this user."""
THREADS = 16
"""Requests from event loops under way at once; more wait for a thread."""


class Place:
    """One way to an engine for blocking and awaited callers."""

    def __init__(self, given: Given) -> None:
        self._owned = not isinstance(given, Memory | AsyncMemory)
        self.memory = _open(given) if not isinstance(given, Memory | AsyncMemory) else given
        self._threads: ThreadPoolExecutor | None = None

    def run(self, steps: Steps[T]) -> T:
        """Make the requests of a protocol one after the other, and return what it returns."""
        memory = self.memory
        if isinstance(memory, Memory):
            return _drive(memory, steps)
        loop = memory.loop
        if loop is None or not loop.is_running():
            raise BadInput("a blocking method was called on an AsyncMemory whose event loop does not run",
                           hint="await the method whose name begins with a, or give a Memory")
        if _running() is loop:
            raise BadInput("a blocking method was called in the event loop of its AsyncMemory, which it would hold up "
                           "for ever", hint="await the method whose name begins with a, or give a Memory")
        return asyncio.run_coroutine_threadsafe(_adrive(memory, steps), loop).result()

    async def arun(self, steps: Steps[T]) -> T:
        """Do the same awaiting, whatever loop this is; a ``Memory`` is asked in another thread."""
        memory = self.memory
        if isinstance(memory, Memory):
            if self._threads is None:
                self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="engram")
            return await asyncio.get_running_loop().run_in_executor(self._threads, _drive, memory, steps)
        if memory.loop is None or memory.loop is asyncio.get_running_loop():
            return await _adrive(memory, steps)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_adrive(memory, steps), memory.loop))

    def close(self) -> None:
        """Close what was opened here; a memory that was given stays open."""
        if self._owned and isinstance(self.memory, Memory):
            self.memory.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False)
            self._threads = None


class Closing:
    """What is closed at the end of a ``with``."""

    def close(self) -> None:
        """Give back what was opened here."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


class Holder(Closing):
    """What keeps its data at a place, for blocking and awaited callers."""

    _place: Place

    def close(self) -> None:
        """Close the database, if it was opened here."""
        self._place.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, exc: BaseException | None,
                        trace: TracebackType | None) -> None:
        self.close()


def _drive(memory: Memory, steps: Steps[T]) -> T:
    try:
        asked = next(steps)
        while True:
            try:
                result = memory.request(*asked)
            except EngramError as error:
                asked = steps.throw(error)
            else:
                asked = steps.send(result)
    except StopIteration as end:
        found: T = end.value
        return found


async def _adrive(memory: AsyncMemory, steps: Steps[T]) -> T:
    try:
        asked = next(steps)
        while True:
            try:
                result = await memory.request(*asked)
            except EngramError as error:
                asked = steps.throw(error)
            else:
                asked = steps.send(result)
    except StopIteration as end:
        found: T = end.value
        return found


def _open(given: str | os.PathLike[str] | None) -> Memory:
    if given is None:
        return Memory() if os.environ.get("ENGRAM_SOCKET") else Memory.connect()
    text = os.fspath(given)
    scheme, mark, _ = text.partition("://")
    if mark:
        backend = DRIVERS.get(scheme.partition("+")[0], "sqlite")
        if backend == "sqlite":
            raise BadInput(f"{scheme}:// is no database of Engram; known are postgresql://, mysql:// and a path",
                           hint="give the path of a file for SQLite")
        return Memory(backend=backend, dsn=text)
    return Memory(in_memory=True) if text == ":memory:" else Memory(text)


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def owner_scope(scope: Mapping[str, Any] | None, framework: str) -> dict[str, Any]:
    """Return the owner an adapter keeps its own data with: a user and an agent named after the framework by default."""
    given = dict(scope or {})
    return {"tenant_id": given.get("tenant_id", "default"), "user_id": given.get("user_id", framework),
            "agent_id": given.get("agent_id", framework)}
