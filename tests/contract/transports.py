"""Every way to reach an engine, behind one blocking face, with the clock stopped so that results can be compared."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from engram import AsyncMemory, EngramError, Memory
from tests.daemon_fixture import RUN_DAEMON, Home

NOW = 4_000_000_000_000  # later than any real clock: what is written now is the newest there is
STOPPED = "from engram_core.daemon.handlers import Engine; "
STOPPED += f"Engine.now_ms = staticmethod(lambda: {NOW}); {RUN_DAEMON}"


class Awaited:
    """An AsyncMemory with a loop of its own, asked as if it were a Memory."""

    def __init__(self, memory: AsyncMemory) -> None:
        self.loop = asyncio.new_event_loop()
        self.memory = memory

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.memory, name)
        if inspect.isasyncgenfunction(found):
            return lambda *args, **named: iter(self._run(_all(found(*args, **named))))
        return lambda *args, **named: self._run(found(*args, **named))

    def _run(self, awaitable: Any) -> Any:
        return self.loop.run_until_complete(awaitable)

    def end(self) -> None:
        """Close both."""
        self._run(self.memory.close())
        self._run(self.loop.shutdown_default_executor())
        self.loop.close()


async def _all(items: Any) -> list[Any]:
    return [item async for item in items]


def _open(name: str, home: Home) -> Any:
    kind, _, place = name.partition("-")
    made: Callable[..., Any] = Memory if kind == "memory" else AsyncMemory
    if place == "socket":
        if not home.record():
            home.start(STOPPED)
        return made.connect(timeout=20)  # type: ignore[attr-defined]
    return made(in_memory=True) if place == "inside" else made(path=home.path / f"{name}.db")


TRANSPORTS = ("memory-socket", "memory-file", "memory-inside", "async-socket", "async-file", "async-inside")


@contextmanager
def opened(name: str, home: Home) -> Iterator[Any]:
    """Give one of TRANSPORTS over an empty database."""
    memory = _open(name, home)
    asked = Awaited(memory) if isinstance(memory, AsyncMemory) else memory
    try:
        yield asked
    finally:
        asked.end() if isinstance(asked, Awaited) else asked.close()


def outcome(memory: Any, method: str, args: tuple[Any, ...], named: dict[str, Any]) -> str:
    """Return what a call gives as JSON: its result, or its error with class, message and hint."""
    try:
        found = getattr(memory, method)(*args, **named)
    except EngramError as error:
        found = {"error": [type(error).__name__, error.message, error.hint, error.exit_code, error.retryable,
                           isinstance(error, ValueError)]}
    # Recalls are counted when it is quiet, at the time it is then, whatever clock a request goes by.
    return re.sub(r'"recalled_at": "[^"]*"', '"recalled_at": ""', json.dumps(found, ensure_ascii=False))
