"""Every way to a saver or a store: each database, each transport, each kind of caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from engram import AsyncMemory, Memory
from tests.daemon_fixture import Home
from tests.servers import BACKENDS, databases

WAYS = tuple((backend, way) for backend in BACKENDS for way in ("memory", "async", "socket", "async-socket"))


@asynccontextmanager
async def reached(backend: str, way: str, home: Home, folder: Path) -> AsyncIterator[Memory | AsyncMemory]:
    """Open an empty database in one of WAYS."""
    with databases(backend, folder) as made:
        url = made.fresh()
        if way.endswith("socket"):
            if backend != "sqlite":
                home.use(url)
            await asyncio.to_thread(home.start)
        given = located(backend, url)
        memory: Memory | AsyncMemory
        if way.startswith("async"):
            memory = AsyncMemory.connect(timeout=20) if way.endswith("socket") else AsyncMemory(**given)
        else:
            memory = Memory.connect(timeout=20) if way.endswith("socket") else Memory(**given)
        try:
            yield memory
        finally:
            if isinstance(memory, AsyncMemory):
                await memory.close()
            else:
                memory.close()
            with suppress(ProcessLookupError):
                home.stop()


def located(backend: str, url: str) -> dict[str, Any]:
    """Return the arguments of a Memory over a database."""
    return {"path": url} if backend == "sqlite" else {
        "backend": {"postgresql": "postgres", "mariadb": "mysql"}[backend], "dsn": url}
