"""The packets built since the last quiet moment, waiting to be written with their explanations. Driven by the engine.

They are written after their replies, outside revisions, and may be lost in a crash. Only the newest of each run are
kept, in memory as on disk.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from engram_core.store.tables import BUILDS
from engram_core.values import dump_json

if TYPE_CHECKING:
    from engram_core.recall.compose import Composed
    from engram_core.scope import Scope
    from engram_core.store.store import Store
    from engram_core.store.transaction import Owner, Transaction

SLICE = 8
"""Builds written in one go, so that a packet asked for meanwhile never waits long."""


class Builds:
    """The waiting builds. ``add`` and ``find`` are called under the engine's reading lock, ``flush`` by the writer."""

    def __init__(self, store: Store, keep: int) -> None:
        self._store, self._keep = store, keep
        self._waiting: dict[Scope, deque[Composed]] = {}
        self._lock = threading.Lock()

    def add(self, packet: Composed) -> None:
        """Remember a packet; the oldest of its run beyond the limit is let go."""
        with self._lock:
            self._waiting.setdefault(packet.found.question.scope, deque(maxlen=self._keep)).append(packet)

    def find(self, scope: Scope, build_id: str | None) -> Composed | None:
        """Return the waiting build of the run, its newest one without an id."""
        with self._lock:
            queue = self._waiting.get(scope, ())
            return next((one for one in reversed(queue) if build_id in (None, one.build_id)), None)

    def drop(self, tenant: str) -> int:
        """Forget the tenant's waiting builds, because something in them is being forgotten."""
        with self._lock:
            gone = [scope for scope in self._waiting if scope.tenant_id == tenant]
            return sum(len(self._waiting.pop(scope)) for scope in gone)

    def flush(self, reading: threading.Lock) -> bool:
        """Write a few waiting builds and return whether there are more."""
        with self._lock:
            taken = [one for queue in self._waiting.values() for one in list(queue)[:SLICE]][:SLICE]
        if not taken:
            return False
        from engram_core.recall.account import explanation

        accounts = []
        for packet in taken:
            with reading:
                accounts.append(dump_json(explanation(packet, self._store.reads), "explanation"))
        now_ms = max(one.found.question.now_ms for one in taken)
        self._store.group([self._operation(packet, account) for packet, account in zip(taken, accounts, strict=True)], now_ms)
        with self._lock:
            for packet in taken:
                queue = self._waiting.get(packet.found.question.scope)
                if queue is not None and packet in queue:
                    queue.remove(packet)
                    if not queue:
                        del self._waiting[packet.found.question.scope]
            return bool(self._waiting)

    def _operation(self, packet: Composed, account: str) -> Callable[[Transaction], None]:
        text = packet.json().replace("\n", "")
        return lambda tx: store_build(tx, packet.found.question.scope, packet.build_id, text, account, self._keep,
                                      recalled=_recalled(packet))


def _recalled(packet: Composed) -> dict[tuple[str, Owner], list[int]]:
    found: dict[tuple[str, Owner], list[int]] = {}
    for one in packet.kept:
        if one.doc >= 0:
            found.setdefault((one.kind, packet.found.layers[one.layer][1].owner), []).append(one.seq)
    return found


def store_build(tx: Transaction, scope: Scope, build_id: str, packet: str, account: str, keep: int, *,
                recalled: dict[tuple[str, Owner], list[int]]) -> None:
    """Write a build, drop the run's oldest beyond ``keep``, and count the recalls."""
    tx.upsert(BUILDS, scope, {"build_id": build_id, "packet": packet, "explanation": account, "at": tx.now_ms})
    old = tx.select(BUILDS, scope, ("at", "build_id"), level="run", order="at DESC, build_id", limit=keep + 1)
    if len(old) > keep:
        tx.delete(BUILDS, scope, level="run", where="at < {at} OR build_id={gone}", at=old[keep][0], gone=old[keep][1])
    for (kind, owner), seqs in recalled.items():
        tx.recalled(kind, owner, seqs)
