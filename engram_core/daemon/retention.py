"""What is forgotten by rule: old events, insights that expired or were rejected, threads of graphs nobody writes to.

And what is over without one: items past their time, pieces of values that never became whole. Driven by the engine:
one small step at a time, when the writer has nothing else to do, from owner to owner; then nothing for an hour.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from engram_core.store.checkpoints import forget_lost_pieces, forget_old_threads
from engram_core.store.forget import forget_old
from engram_core.store.items import forget_expired
from engram_core.store.writes import end_stale_insights
from engram_core.values import format_time

if TYPE_CHECKING:
    from engram_core.settings import Settings
    from engram_core.store.store import Store
    from engram_core.store.transaction import Owner, Transaction

EVERY_S = 3600.0
OWNERS = 20
ROWS = 200
_DAY_MS = 86_400_000
_OLD_INSIGHT = ("((ended=1 AND updated_at < {before}) OR expires < {before} "
                "OR (validation_state='rejected' AND updated_at < {before}))")
_FIRST: Owner = ("", "", "")


class Retention:
    """The rounds over all owners and what they did."""

    def __init__(self) -> None:
        self._after = _FIRST
        self._due = 0.0
        self._finished: int | None = None
        self._done = {"events": 0, "insights": 0, "expired_insights": 0, "threads": 0, "lost_pieces": 0,
                      "expired_items": 0}

    def step(self, store: Store, settings: Settings, now_ms: int) -> tuple[bool, int]:
        """Do a little of a round that is due; return whether there is more to do and how many rows went."""
        if time.monotonic() < self._due:
            return False, 0
        days = [settings.get(f"retention.{name}_days") for name in ("events", "insights", "checkpoints")]
        before = sum(self._done.values())
        finished = store.group([lambda tx: self._some_owners(tx, *days)], now_ms)[0]
        if isinstance(finished, Exception):
            raise finished
        if finished:
            self._after, self._finished, self._due = _FIRST, now_ms, time.monotonic() + EVERY_S
        return not finished, sum(self._done.values()) - before

    def _some_owners(self, tx: Transaction, events_days: int, insights_days: int,
                     checkpoints_days: int) -> bool:
        """Look at the next owners; True when they were the last ones."""
        owners = tx.owners(self._after, OWNERS)
        for owner in owners:
            rows = 0
            if events_days:
                before = tx.now_ms - events_days * _DAY_MS
                rows = forget_old(tx, owner, "event", "ts < {before}", limit=ROWS, before=before)
                self._done["events"] += rows
            if insights_days and rows < ROWS:
                before = tx.now_ms - insights_days * _DAY_MS
                gone = forget_old(tx, owner, "insight", _OLD_INSIGHT, limit=ROWS, before=before)
                ended = end_stale_insights(tx, owner, before, ROWS)
                self._done["insights"] += gone
                self._done["expired_insights"] += ended
                rows = max(rows, gone, ended)
            if checkpoints_days and rows < ROWS:
                before = tx.now_ms - checkpoints_days * _DAY_MS
                gone = forget_old_threads(tx, owner, before, ROWS)
                self._done["threads"] += gone
                rows = max(rows, gone)
            self._done["lost_pieces"] += forget_lost_pieces(tx, owner)
            self._done["expired_items"] += forget_expired(tx, owner)
            if rows == ROWS:  # the owner has more
                return False
            self._after = owner
        return len(owners) < OWNERS

    def facts(self, settings: Settings) -> dict[str, Any]:
        """Return the rules, when all owners were last looked at, and what went since the start."""
        rules = {name: settings.get(f"retention.{name}") for name in (
            "events_days", "builds_per_run", "insights_days", "checkpoints_days")}
        last = "never" if self._finished is None else format_time(self._finished)
        return {**rules, "last_round": last, "forgotten": dict(self._done)}
