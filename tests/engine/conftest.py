"""A real engine over each database in turn, asked in the terms of the wire protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engram_core import settings
from engram_core.daemon.handlers import Engine
from engram_core.errors import EngramError
from engram_core.store.packed import unpack
from engram_core.store.tables import TABLES
from tests.servers import BACKENDS, databases

SCOPE = {"tenant_id": "t", "user_id": "ada", "agent_id": "bot", "session_id": "s1", "run_id": "r1"}


class Asked:
    """An engine, and short ways to ask it."""

    def __init__(self, url: str, **configured: Any) -> None:
        self.url = url
        self.release: Callable[[str], None] = lambda url: None
        self.clock = 0
        self._configured = {name.replace("__", "."): value for name, value in configured.items()}
        self.open()

    def done(self) -> None:
        """Close, and let the next engine of this test have the database."""
        self.engine.close()
        self.release(self.url)

    def open(self) -> None:
        """Open the database, again if need be."""
        found = settings.load(env={"HOME": "/nonexistent"}, flags=self._configured)
        self.engine = Engine(found, self.url)
        if self.clock:
            self.at(self.clock)

    def reopen(self) -> None:
        """Close and open, as a restart does."""
        self.engine.close()
        self.open()

    def at(self, ms: int) -> None:
        """Set the engine's clock."""
        self.clock = ms
        self.engine.now_ms = lambda: self.clock  # type: ignore[method-assign]

    def write(self, method: str, **params: Any) -> Any:
        """Write in the usual scope and return the result, or raise the error."""
        found = self.engine.write([(method, _scoped(method, params))])[0]
        if isinstance(found, EngramError):
            raise found
        return json.loads(found)

    def read(self, method: str, **params: Any) -> Any:
        """Read in the usual scope."""
        return json.loads(self.engine.read(method, {"scope": SCOPE, **params}))

    def event(self, text: Any = "hello", scope: dict[str, str] | None = None, **fields: Any) -> Any:
        """Append an event."""
        return self.write("append_event", event={"scope": scope or SCOPE, "payload": text, **fields})

    def fact(self, key: str, value: Any, on_conflict: str = "supersede", **fields: Any) -> Any:
        """Set a fact."""
        return self.write("upsert_fact", fact={"fact_key": key, "value": value, **fields}, on_conflict=on_conflict)

    def facts(self, **wanted: Any) -> list[dict[str, Any]]:
        """List facts."""
        return list(self.read("list_facts", fact_filter=wanted)["facts"])

    def packet(self, query: str = "", **request: Any) -> dict[str, Any]:
        """Build a packet."""
        asked = {"scope": SCOPE, "query": query, "purpose": "planner", **request}
        return dict(json.loads(self.engine.read("build_memory_packet", {"request": asked})))

    def stored(self) -> bytes:
        """Return everything that is stored: a file and its log, or a server's rows, and what is packed in them."""
        writer = self.engine.store.database.writer()
        rows = [row for table in TABLES for row in writer.execute(f"SELECT * FROM {table.name}")]
        values = [str(value) for row in rows for value in row]
        packed = "\n".join(unpack(value) for value in values if len(value) > 1000 and value.startswith("z")).encode()
        if self.engine.store.far:
            return "\n".join(values).encode() + packed
        files = [Path(self.url + end) for end in ("", "-wal")]
        return b"".join(file.read_bytes() for file in files if file.exists()) + packed

    def settle(self) -> None:
        """Let the engine do all that may wait."""
        for _ in range(200):
            if not self.engine.after_commit():
                return
        raise AssertionError("there is always more to do")


def _scoped(method: str, params: dict[str, Any]) -> dict[str, Any]:
    return params if method.startswith("append_event") else {"scope": SCOPE, **params}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Name each database in turn."""
    return str(request.param)


@pytest.fixture
def make(backend: str, tmp_path: Path) -> Iterator[Callable[..., Asked]]:
    """Return what opens an engine with settings, given as section__name."""
    opened: list[Asked] = []
    with databases(backend, tmp_path) as made:
        def make(**configured: Any) -> Asked:
            opened.append(Asked(made.fresh(), **configured))
            opened[-1].release = made.release
            return opened[-1]

        yield make
        for one in opened:
            one.engine.close()


@pytest.fixture
def memory(make: Callable[..., Asked]) -> Asked:
    """Return an engine with the shipped settings."""
    return make()
