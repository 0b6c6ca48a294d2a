"""Forgetting: memories go with everything that repeats them, and the report says what went.

Driven by the handlers for what a caller selects and by retention for what is old. What is deleted is overwritten in the
database file (SQLite's secure_delete); the engine empties the log afterwards.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from engram_core.errors import BadInput
from engram_core.scope import SCOPE_LEVELS, Scope
from engram_core.store.packed import unpack
from engram_core.store.tables import (
    BUILDS,
    EVENTS,
    ID_COLUMN,
    MEMORIES,
    SHORT_TERMS,
    VECTORS,
    WORKING_STATES,
    Table,
)
from engram_core.values import dump_json, parse_time

if TYPE_CHECKING:
    from engram_core.models import Selector
    from engram_core.store.transaction import Owner, Transaction

_TIME = {"event": "ts", "fact": "created_at", "episode": "starts", "procedure": "created_at", "insight": "created_at"}
_RUN_KINDS = ("event", "insight")
_STATES = {"working_state": WORKING_STATES, "short_term": SHORT_TERMS}
_TEXTS = re.compile(r'"(?:[^"\\]|\\.)*"')
_FEW = 20
BACKUPS = "backups and exports made before may still hold it"


def check_selector(selector: Selector) -> None:
    """Raise BadInput for a selector that names nothing, so that nothing is forgotten by mistake."""
    if not (selector.ids or selector.session or selector.run or selector.before or selector.all or selector.kinds):
        raise BadInput("selector names nothing to forget", hint="give ids, kinds, session, run, before or all")


def forget(tx: Transaction, scope: Scope, selector: Selector, *, dry_run: bool) -> dict[str, Any]:
    """Delete what the selector names, and return the report.

    It reaches the scope's own owner, and by id also what is shared with it. An id means the memory of the run, else of
    the session, else the owner's, as it does where memories cite their sources.
    """
    deletion = Deletion(tx, scope, dry_run=dry_run)
    kinds: list[str] = [*selector.kinds] or [*MEMORIES, *_STATES]
    for kind in kinds:
        if kind in MEMORIES:
            _select(deletion, kind, selector)
    level = "session" if selector.session else "run" if selector.run else "owner"
    if not selector.ids and selector.before is None:
        for kind in kinds:
            if kind in _STATES and not (kind == "short_term" and level == "run"):
                deletion.state(kind, level)
        if "build" in kinds or (not selector.kinds and (selector.all or level != "owner")):
            deletion.builds_at(level)
    return deletion.finish()


def _select(deletion: Deletion, kind: str, selector: Selector) -> None:
    scope, ids = deletion.scope, selector.ids
    where = "1=1"
    values: dict[str, Any] = {}
    if selector.before is not None:  # a rule, and pinned memories are exempt from rules
        where = f"{_TIME[kind]} < {{before}} AND pinned=0"
        values["before"] = parse_time("before", selector.before)
    level = "session" if selector.session else "run" if selector.run else "owner"
    if kind not in _RUN_KINDS:
        if level == "owner":
            for name in SCOPE_LEVELS if ids else SCOPE_LEVELS[:1]:
                deletion.memories(kind, scope.layer(name), where, ids, **values)
    elif not ids or level != "owner":
        deletion.memories(kind, scope, where, ids, level=level, **values)
    else:
        left = ids
        for level in ("run", "session", "owner"):
            found = deletion.memories(kind, scope, where, left, level=level, newest=level == "owner", **values)
            left = [id_ for id_ in left if id_ not in found]
            if not left:
                break


class Deletion:
    """One act of forgetting inside a transaction: what goes, what goes with it, and the report about both."""

    def __init__(self, tx: Transaction, scope: Scope, *, dry_run: bool) -> None:
        self._tx, self.scope, self._dry = tx, scope, dry_run
        self._gone: dict[Owner, set[str]] = {}
        self._events: set[str] = set()
        self._builds: set[tuple[str, ...]] = set()
        self._report: dict[str, Any] = {
            "dry_run": dry_run, "rows": 0, "versions": 0, "index_entries": 0, "builds": 0, "quotes": 0, "kinds": {},
            "backups_note": BACKUPS}

    def memories(self, kind: str, place: Scope | Owner, where: str, ids: list[str], *, level: str = "owner",
                 newest: bool = False, limit: int | None = None, **values: Any) -> set[str]:
        """Delete memories of a place, those with the given ids or all, and return the ids deleted."""
        column, owner = ID_COLUMN[kind], (place[0], place[1], place[2])
        rows: list[tuple[Any, ...]] = []
        for at in range(0, max(1, len(ids)), 200):
            part = ids[at:at + 200]
            marks = ", ".join(f"{{i{number}}}" for number in range(len(part)))
            rows += self._tx.select(MEMORIES[kind], place, ("seq", column), level=level, order="seq DESC", limit=limit,
                                    where=f"{where} AND {column} IN ({marks})" if part else where,
                                    **values, **{f"i{number}": id_ for number, id_ in enumerate(part)})
        if newest:
            rows = list({id_: (seq, id_) for seq, id_ in reversed(rows)}.values())
        for seq, id_ in rows:
            if not self._dry:
                self._tx.delete(MEMORIES[kind], owner, where="seq={seq}", seq=seq)
                self._tx.changed(owner, self._tx.next_revision(owner), kind, seq, id_, "forget")
        if not self._dry:
            self._tx.delete_many(VECTORS, owner, [seq for seq, _ in rows])
        found = {id_ for _, id_ in rows}
        self._gone.setdefault(owner, set()).update(found)
        if kind == "event":
            self._events |= found
        self._count(kind, len(rows))
        self._report["index_entries"] += len(rows)
        self._report["versions"] += len(rows) if kind == "fact" else 0
        return found

    def state(self, kind: str, level: str) -> None:
        """Delete working states or short-term states, and the packets that were built with them."""
        tx, table = self._tx, _STATES[kind]
        columns = table.scope[3:]
        for ids in tx.select(table, self.scope, columns, level=level):
            place = Scope(*self.scope.owner, ids[0], ids[1] if len(ids) > 1 else "")
            self._count(kind, 1)
            self.builds_at("run" if len(ids) > 1 else "session", place)
            if not self._dry:
                tx.delete(table, place, level="run" if len(ids) > 1 else "session")
                self._changed(kind, place, ids[-1], "forget")

    def builds_at(self, level: str, place: Scope | None = None) -> None:
        """Delete all packets stored for the run, the session or the owner."""
        self._builds |= set(self._tx.select(BUILDS, place or self.scope, _BUILD, level=level))

    def finish(self) -> dict[str, Any]:
        """Delete what repeats the forgotten memories, packets that name them and quotes, and return the report."""
        for owner, gone in self._gone.items():
            if gone:
                self._builds |= self._naming(owner, gone)
        self._report["builds"] = len(self._builds)
        for key in self._builds:
            if not self._dry:
                self._tx.delete(BUILDS, Scope(*key[:5]), level="run", where="build_id={build_id}", build_id=key[5])
        for kind, field in (("short_term", "key_quotes"), ("working_state", "tool_evidence")):
            if self._events:
                self._quotes(kind, _STATES[kind], field)
        return self._report

    def _count(self, kind: str, rows: int) -> None:
        if rows:
            self._report["kinds"][kind] = self._report["kinds"].get(kind, 0) + rows
            self._report["rows"] += rows

    def _changed(self, kind: str, place: Scope, id_: str, op: str) -> None:
        self._tx.changed(place.owner, self._tx.next_revision(place.owner), kind, 0, id_, op, session=place.session_id,
                         run=place.run_id)

    def _naming(self, owner: Owner, gone: set[str]) -> set[tuple[str, ...]]:
        """Return the stored packets that name a memory; a shared one may be in packets of other users."""
        place = self.scope if owner == self.scope.owner else Scope(owner[0], "", owner[2], "", "")
        needles = {dump_json(id_) for id_ in gone}
        found = set()
        for key in self._tx.select(BUILDS, place, _BUILD, level="owner" if place is self.scope else "tenant"):
            if key in self._builds or (place is not self.scope and place.agent_id not in ("", key[2])):
                continue
            texts = self._tx.select(BUILDS, Scope(*key[:5]), ("packet", "explanation"), level="run",
                                    where="build_id={build_id}", build_id=key[5])[0]
            if any(_names(unpack(text), needles) for text in texts):
                found.add(key)
        return found

    def _quotes(self, kind: str, table: Table, field: str) -> None:
        """Take forgotten events out of what was quoted from them, unless the place has another event of that id."""
        tx, columns = self._tx, table.scope[3:]
        for row in tx.select(table, self.scope, ("body", *columns), level="owner"):
            state = json.loads(row[0])
            place = Scope(*self.scope.owner, row[1], row[2] if len(row) > 2 else "")
            level = "run" if len(row) > 2 else "session"
            kept = [one for one in state.get(field, ())
                    if one["evidence_id"] not in self._events or self._has_event(place, level, one["evidence_id"])]
            lost = len(state.get(field, ())) - len(kept)
            self._report["quotes"] += lost
            if lost and not self._dry:
                state[field] = kept
                new: dict[str, Any] = {"updated_at": tx.now_ms}
                if "state_version" in state:
                    state["state_version"] += 1
                    new["version"] = state["state_version"]
                tx.update(table, place, {**new, "body": dump_json(state)}, level=level, where="1=1")
                self._changed(kind, place, row[-1], "update")

    def _has_event(self, place: Scope, level: str, id_: str) -> bool:
        return not self._dry and bool(self._tx.select(EVENTS, place, ("seq",), level=level, where="event_id={id}",
                                                      limit=1, id=id_))


_BUILD = (*BUILDS.scope, "build_id")


def _names(text: str, needles: set[str]) -> bool:
    if len(needles) <= _FEW:
        return any(needle in text for needle in needles)
    return not needles.isdisjoint(_TEXTS.findall(text))


def forget_old(tx: Transaction, owner: Owner, kind: str, where: str, *, limit: int, **values: Any) -> int:
    """Delete up to ``limit`` memories that meet a rule of retention; pinned ones never do."""
    deletion = Deletion(tx, Scope(*owner, "", ""), dry_run=False)
    deletion.memories(kind, owner, f"pinned=0 AND {where}", [], limit=limit, **values)
    return int(deletion.finish()["rows"])
