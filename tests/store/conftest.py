"""The databases a store runs on. A further one is a further row of DRIVERS; every contract test then runs on it too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engram_core.events import check_event
from engram_core.models import Fact, build
from engram_core.scope import Scope
from engram_core.store import writes
from engram_core.store.store import Store
from engram_core.store.transaction import Transaction
from tests.servers import BACKENDS, databases

SCOPE = Scope("t", "ada", "bot", "s1", "r1")


class Driver(NamedTuple):
    """A database to test, and whether another store can open the same one."""

    name: str
    backend: str
    shared: bool


DRIVERS = [Driver("sqlite-memory", "", False), *(Driver(name, name, True) for name in BACKENDS)]


class Opened:
    """An open store and short ways to write to it."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def run(self, operation: Callable[[Transaction], Any], *, now_ms: int = 1000,
            appended: Sequence[tuple[Scope, str]] = ()) -> Any:
        """Run one operation in a transaction of its own and return its result or raise its error."""
        result = self.store.group([operation], now_ms, appended)[0]
        if isinstance(result, Exception):
            raise result
        return result

    def event(self, payload: Any, event_id: str, scope: Scope = SCOPE, **fields: Any) -> tuple[int, bool]:
        """Append an event, as a daemon does that knows what its writes are."""
        operation = appending(payload, event_id, scope, **fields)
        found: tuple[int, bool] = self.run(operation, appended=[(scope, event_id)])
        return found

    def fact(self, key: str, value: Any, scope: Scope = SCOPE, **fields: Any) -> dict[str, Any]:
        """Set a fact."""
        found: dict[str, Any] = self.run(setting(key, value, scope, **fields))
        return found

    def events(self, scope: Scope = SCOPE, level: str = "run") -> list[dict[str, Any]]:
        """List all events, page by page."""
        found: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            page, after = self.store.reads.list_events(scope, level=level, start=None, end=None, limit=None,
                                                       after_seq=after)
            found += page
        return found


def appending(payload: Any, event_id: str, scope: Scope = SCOPE, **fields: Any) -> Callable[[Transaction], Any]:
    """Return the operation that appends an event."""
    event = check_event({"scope": scope._asdict(), "payload": payload, "event_id": event_id, **fields}, at_ms=1)
    return lambda tx: writes.append_event(tx, writes.entry_of(event, lambda line: None))


def setting(key: str, value: Any, scope: Scope = SCOPE, **fields: Any) -> Callable[[Transaction], Any]:
    """Return the operation that sets a fact."""
    given = {"fact_key": key, "value": value, **fields}
    fact = build(Fact, given, "fact")
    return lambda tx: writes.upsert_fact(tx, scope, fact, frozenset(given), lambda line: None, on_conflict="supersede")


@pytest.fixture(params=DRIVERS, ids=lambda driver: driver.name)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """Give a fresh store on each database in turn."""
    if not request.param.backend:
        store = Store(":memory:")
        yield Opened(store)
        store.close()
        return
    with databases(request.param.backend, tmp_path) as made:
        store = Store(made.fresh())
        yield Opened(store)
        store.close()


@pytest.fixture(params=[driver for driver in DRIVERS if driver.shared], ids=lambda driver: driver.name)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Opened, Opened]]:
    """Give two stores on one database, as two processes have it."""
    with databases(request.param.backend, tmp_path) as made:
        url = made.fresh()
        one, other = Opened(Store(url)), Opened(Store(url))
        yield one, other
        one.store.close()
        other.store.close()
