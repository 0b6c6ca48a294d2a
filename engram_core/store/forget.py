"""Forgetting: memories go with everything that repeats them, and the report says what went. Driven by the handlers.

What is deleted is overwritten in the database file (SQLite's secure_delete); the engine shortens the log afterwards.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from engram_core.errors import BadInput
from engram_core.scope import Scope
from engram_core.store.tables import BUILDS, ID_COLUMN, MEMORIES, SHORT_TERMS, WORKING_STATES
from engram_core.values import dump_json, parse_time

if TYPE_CHECKING:
    from engram_core.models import Selector
    from engram_core.store.transaction import Owner, Transaction

_TIME = {"event": "ts", "fact": "created_at", "episode": "starts", "procedure": "created_at", "insight": "created_at"}
_RUN_KINDS = ("event", "insight")
BACKUPS = "backups and exports made before may still hold it"


def check_selector(selector: Selector) -> None:
    """Raise BadInput for a selector that names nothing, so that nothing is forgotten by mistake."""
    if not (selector.ids or selector.session or selector.run or selector.before or selector.all or selector.kinds):
        raise BadInput("selector names nothing to forget", hint="give ids, kinds, session, run, before or all")


def forget(tx: Transaction, scope: Scope, selector: Selector, *, dry_run: bool) -> dict[str, Any]:
    """Delete what the selector names within the scope's own owner and return the report."""
    report: dict[str, Any] = {"dry_run": dry_run, "rows": 0, "versions": 0, "index_entries": 0, "builds": 0, "quotes": 0,
                              "kinds": {}, "backups_note": BACKUPS}
    kinds: list[str] = [*selector.kinds] or [*MEMORIES, "working_state", "short_term"]
    gone: set[str] = set()
    for kind in kinds:
        if kind in MEMORIES:
            gone |= _memories(tx, scope, kind, selector, report, dry_run)
        elif kind != "build" and not selector.ids and selector.before is None:
            _state(tx, scope, kind, selector, report, dry_run)
    report["builds"] = _builds(tx, scope, gone, "build" in kinds or not selector.ids, dry_run)
    if gone and not dry_run:
        report["quotes"] = _quotes(tx, scope, gone)
    return report


def _memories(tx: Transaction, scope: Scope, kind: str, selector: Selector, report: dict[str, Any], dry: bool) -> set[str]:
    level = "owner"
    if selector.run or selector.session:
        if kind not in _RUN_KINDS and not selector.ids:
            return set()
        if kind in _RUN_KINDS:
            level = "run" if selector.run or kind == "insight" else "session"
    column, where = ID_COLUMN[kind], ["1=1"]
    values: dict[str, Any] = {}
    if selector.before is not None:
        where.append(f"{_TIME[kind]} < {{before}} AND pinned=0")
        values["before"] = parse_time("before", selector.before)
    layers: list[Scope | Owner] = [scope]
    if selector.ids and kind not in _RUN_KINDS:
        layers = [scope, scope.layer("agent"), scope.layer("tenant")]
    gone: set[str] = set()
    wanted = set(selector.ids)
    for layer in layers:
        owner: Owner = (layer[0], layer[1], layer[2])
        rows = tx.select(MEMORIES[kind], layer, ("seq", column), level=level, where=" AND ".join(where), **values)
        rows = [row for row in rows if not wanted or row[1] in wanted]
        for seq, id_ in rows:
            if not dry:
                tx.delete(MEMORIES[kind], owner, where="seq={seq}", seq=seq)
                tx.changed(owner, tx.next_revision(owner), kind, seq, id_, "forget")
        gone |= {id_ for _, id_ in rows}
        if rows:
            report["kinds"][kind] = report["kinds"].get(kind, 0) + len(rows)
            report["rows"] += len(rows)
            report["index_entries"] += len(rows)
            if kind == "fact":
                report["versions"] += len(rows)
    return gone


def _state(tx: Transaction, scope: Scope, kind: str, selector: Selector, report: dict[str, Any], dry: bool) -> None:
    table = WORKING_STATES if kind == "working_state" else SHORT_TERMS
    level = "owner" if selector.all else "run" if selector.run and table is WORKING_STATES else "session"
    if selector.run and table is SHORT_TERMS and not selector.session and not selector.all:
        return
    found = len(tx.select(table, scope, ("updated_at",), level=level))
    if found:
        report["kinds"][kind] = found
        report["rows"] += found
        if not dry:
            tx.delete(table, scope, level=level)


def _builds(tx: Transaction, scope: Scope, gone: set[str], whole: bool, dry: bool) -> int:
    """Delete the tenant's stored packets that name a forgotten memory: a shared one may be in other users' packets."""
    count = 0
    for row in tx.select(BUILDS, scope, ("user_id", "agent_id", "session_id", "run_id", "build_id", "packet", "explanation"),
                         level="tenant"):
        own = row[:2] == scope[1:3]
        if (own and whole and gone) or any(f'"{id_}"' in row[5] or f'"{id_}"' in row[6] for id_ in gone):
            count += 1
            if not dry:
                run = Scope(scope.tenant_id, *row[:4])
                tx.delete(BUILDS, run, level="run", where="build_id={build_id}", build_id=row[4])
    return count


def _quotes(tx: Transaction, scope: Scope, gone: set[str]) -> int:
    """Take forgotten events out of what was quoted from them in short-term and working states."""
    count = 0
    for table, field, columns in ((SHORT_TERMS, "key_quotes", ("session_id",)),
                                  (WORKING_STATES, "tool_evidence", ("session_id", "run_id"))):
        for row in tx.select(table, scope, ("body", *columns), level="owner"):
            state = json.loads(row[0])
            kept = [one for one in state.get(field, ()) if one.get("evidence_id") not in gone]
            if len(kept) != len(state.get(field, ())):
                count += len(state[field]) - len(kept)
                state[field] = kept
                level = "session" if table is SHORT_TERMS else "run"
                place = Scope(*scope.owner, row[1], row[2] if len(row) > 2 else "")
                tx.update(table, place, {"body": dump_json(state)}, level=level, where="1=1")
    return count
