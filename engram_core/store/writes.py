"""What a write means for each kind of memory: identity, replacement, history. Pure rules over one transaction.

Each function takes the open transaction and checked input and returns what the caller is told.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from engram_core.errors import Conflict, NotFound
from engram_core.events import Event, event_json, turn_of
from engram_core.scope import Scope
from engram_core.store.tables import EVENTS, FACTS, ID_COLUMN, INSIGHTS, MEMORIES, PROCEDURES
from engram_core.store.transaction import Owner, Transaction
from engram_core.values import dump_json, format_time, parse_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from engram_core.models import Episode, Fact, Insight, Procedure



def quote_line(event: Event) -> str:
    """Write the event as a packet quotes it, "" when it says nothing."""
    turn = turn_of(event.kind, event.payload)
    if turn is None or not turn.text:
        return ""
    line = {"evidence_id": event.event_id, "quote": turn.text, "role": turn.role, "ts": format_time(event.ts_ms)}
    if turn.name:
        line["name"] = turn.name
    return dump_json(line, "event.payload")


def append_event(tx: Transaction, event: Event, count: Callable[[str], str | None]) -> tuple[int, bool]:
    """Add the event and return its seq and whether it was there already; raise Conflict for other content."""
    found = tx.select(EVENTS, event.scope, ("seq", "body", "ts"), level="run", where="event_id={event_id}",
                      event_id=event.event_id)
    if found:
        seq, body, ts_ms = found[0]
        old = json.loads(body)
        same = dump_json([old["kind"], old["payload"], old.get("tags", []), old.get("entities", [])]) == event.content()
        if same and (not event.timed or ts_ms == event.ts_ms):
            return seq, True
        what = "another time" if same else "other content"
        raise Conflict(f"event_id {event.event_id!r} is already used in this run with {what}",
                       hint="give the new event its own event_id, or none")
    body, line = event_json(event), quote_line(event)
    seq = tx.add_memory("event", event.scope, {"event_id": event.event_id, "kind": event.kind, "ts": event.ts_ms,
                        "line": line}, id_=event.event_id, body=body, tokens=count(line) if line else None)
    return seq, False


_FACT = ("seq", "fact_id", "version", "fact_key", "status", "body")


def upsert_fact(tx: Transaction, scope: Scope, fact: Fact, given: frozenset[str], count: Callable[[str], str | None], *,
                on_conflict: str) -> dict[str, Any]:
    """Make the fact's value the current one of its key; ``given`` are the fields the caller wrote.

    Another value replaces the active one (or disputes it), the same value refreshes it.
    """
    owner = scope.layer(fact.scope_level)
    named = tx.select(FACTS, owner, _FACT, where="fact_id={fact_id}", order="version DESC", limit=1, fact_id=fact.fact_id)
    if named and named[0][3] != fact.fact_key:
        raise Conflict(f"fact_id {fact.fact_id!r} already names the fact_key {named[0][3]!r}",
                       hint="leave fact_id out to have it derived from the key")
    current = tx.select(FACTS, owner, _FACT, where="fact_key={fact_key} AND status <> 'deprecated'",
                        order="seq DESC", fact_key=fact.fact_key)
    for row in current:
        if dump_json(json.loads(row[5])["value"]) == dump_json(fact.value):
            return _refresh(tx, owner, row, fact, given, count)
    version = named[0][2] + 1 if named else 1
    disputed = bool(current) and on_conflict == "dispute" and fact.status != "deprecated"
    if disputed:
        fact = fact.model_copy(update={"status": "disputed"})
    replaces = current[0][0] if current and fact.status != "deprecated" else None
    seq = _add_fact(tx, owner, fact, version, replaces, count)
    if replaces is None:
        return {"fact_id": fact.fact_id, "version": version, "outcome": "created", "superseded": None}
    for row in current:
        status = "disputed" if disputed else "deprecated"
        _end_fact(tx, owner, row, status, seq, parse_time("", fact.validity.valid_from) if fact.validity.valid_from
                  else tx.now_ms, count)
    return {"fact_id": fact.fact_id, "version": version, "outcome": "disputed" if disputed else "superseded",
            "superseded": f"{current[0][1]}#{current[0][2]}"}


def _times(fact: Fact) -> dict[str, int | None]:
    start, end = fact.validity.valid_from, fact.validity.valid_to
    return {"valid_from": None if start is None else parse_time("", start),
            "valid_to": None if end is None else parse_time("", end)}


def _add_fact(tx: Transaction, owner: Owner, fact: Fact, version: int, replaces: int | None,
              count: Callable[[str], str | None]) -> int:
    line = fact.line()
    return tx.add_memory("fact", owner, {
        "fact_id": fact.fact_id, "version": version, "fact_key": fact.fact_key, "status": fact.status, **_times(fact),
        "ended_at": tx.now_ms if fact.status == "deprecated" else None, "replaces": replaces, "replaced_by": None,
    }, id_=fact.fact_id, body=line, tokens=count(line))


def _refresh(tx: Transaction, owner: Owner, row: tuple[Any, ...], fact: Fact, given: frozenset[str],
             count: Callable[[str], str | None]) -> dict[str, Any]:
    """Merge a restated fact into its row: what the caller wrote wins, sources are united."""
    from engram_core.models import Fact as Model

    old = Model.model_validate(json.loads(row[5]))
    update: dict[str, Any] = {name: getattr(fact, name) for name in given & {"confidence", "validity", "notes", "status"}}
    update["sources"] = list(dict.fromkeys([*old.sources, *fact.sources]))
    new = old.model_copy(update=update)
    line = new.line()
    if line != row[5]:
        tx.change_memory("fact", owner, row[0], {
            "status": new.status, **_times(new), "body": line, "tokens": count(line),
            "ended_at": tx.now_ms if new.status == "deprecated" else None}, id_=row[1])
    return {"fact_id": row[1], "version": row[2], "outcome": "refreshed", "superseded": None}


def _end_fact(tx: Transaction, owner: Owner, row: tuple[Any, ...], status: str, by: int, at_ms: int,
              count: Callable[[str], str | None]) -> None:
    from engram_core.models import Fact as Model, Validity

    old = Model.model_validate(json.loads(row[5]))
    update: dict[str, Any] = {"status": status}
    if status == "deprecated":
        start = old.validity.valid_from
        if start is not None:
            at_ms = max(at_ms, parse_time("", start))
        if old.validity.valid_to is None or parse_time("", old.validity.valid_to) > at_ms:
            update["validity"] = Validity(valid_from=start, valid_to=format_time(at_ms))
    new = old.model_copy(update=update)
    line = new.line()
    tx.change_memory("fact", owner, row[0], {
        "status": status, **_times(new), "body": line, "tokens": count(line), "replaced_by": by,
        "ended_at": tx.now_ms if status == "deprecated" else None}, id_=row[1])


def append_episode(tx: Transaction, scope: Scope, episode: Episode, count: Callable[[str], str | None]) -> bool:
    """Add the episode and say whether it was there already."""
    owner = scope.layer(episode.scope_level)
    line = episode.line()
    if _is_repeated(tx, "episode", owner, episode.episode_id, line, "owner"):
        return True
    end = episode.time_range.end
    tx.add_memory("episode", owner, {
        "episode_id": episode.episode_id, "starts": parse_time("", episode.time_range.start),
        "ends": None if end is None else parse_time("", end)}, id_=episode.episode_id, body=line, tokens=count(line))
    return False


def _is_repeated(tx: Transaction, kind: str, scope: Scope | Owner, id_: str, line: str, level: str) -> bool:
    found = tx.select(MEMORIES[kind], scope, ("body",), level=level, where=ID_COLUMN[kind] + "={id}", id=id_)
    if not found:
        return False
    if found[0][0] == line:
        return True
    raise Conflict(f"{kind} {id_!r} already exists with other content", hint=f"give the new {kind} its own id")


def upsert_procedure(tx: Transaction, scope: Scope, procedure: Procedure, count: Callable[[str], str | None]) -> str:
    """Add the procedure or replace the one with its id; return created, updated or unchanged."""
    owner = scope.layer(procedure.scope_level)
    line = procedure.line()
    columns = {"task_type": procedure.task_type, "priority": procedure.priority}
    found = tx.select(PROCEDURES, owner, ("seq", "body"), where="procedure_id={id}", id=procedure.procedure_id)
    if not found:
        tx.add_memory("procedure", owner, {"procedure_id": procedure.procedure_id, **columns},
                      id_=procedure.procedure_id, body=line, tokens=count(line))
        return "created"
    if found[0][1] == line:
        return "unchanged"
    tx.change_memory("procedure", owner, found[0][0], {**columns, "body": line, "tokens": count(line)},
                     id_=procedure.procedure_id)
    return "updated"


def append_insight(tx: Transaction, scope: Scope, insight: Insight, count: Callable[[str], str | None]) -> bool:
    """Add the insight to its run and say whether it was there already."""
    line = insight.line()
    if _is_repeated(tx, "insight", scope, insight.id, line, "run"):
        return True
    tx.add_memory("insight", scope, {
        "id": insight.id, "validation_state": insight.validation_state, "expires": insight_expiry(insight), "ended": 0,
    }, id_=insight.id, body=line, tokens=count(line))
    return False


def insight_expiry(insight: Insight) -> int | None:
    """Return when the insight ends in milliseconds, None when its run's end ends it."""
    return None if insight.expires_at == "run_end" else parse_time("", insight.expires_at)


_NEXT_STATES = {"unvalidated": ("testing", "validated", "rejected"), "testing": ("validated", "rejected"),
                "validated": ("rejected",), "rejected": ("testing",)}


def update_insight(tx: Transaction, scope: Scope, id_: str, patch: dict[str, Any],
                   count: Callable[[str], str | None]) -> Insight:
    """Change the insight's fields; raise Conflict for a state that cannot follow its present one."""
    from engram_core.models import Insight as Model, build

    found = tx.select(INSIGHTS, scope, ("seq", "body"), level="run", where="id={id}", id=id_)
    if not found:
        raise NotFound(f"insight {id_!r} is not in run {scope.run_id!r}", hint="`engram insight list` shows what is there")
    old = json.loads(found[0][1])
    new = build(Model, {**old, **patch}, "insight", keep=True)
    before, after = old["validation_state"], new.validation_state
    if after != before and after not in _NEXT_STATES[before]:
        raise Conflict(f"insight {id_!r} is {before}; it can become {', '.join(_NEXT_STATES[before])}, not {after}",
                       hint="append a new insight instead")
    line = new.line()
    if line != found[0][1]:
        tx.change_memory("insight", scope.owner, found[0][0], {
            "validation_state": after, "expires": insight_expiry(new), "body": line, "tokens": count(line)}, id_=id_)
    return new


def end_run(tx: Transaction, scope: Scope) -> int:
    """Expire the run's insights that live until its end and return how many."""
    rows = tx.select(INSIGHTS, scope, ("seq", "id"), level="run", where="ended=0 AND expires IS NULL")
    for seq, id_ in rows:
        tx.change_memory("insight", scope.owner, seq, {"ended": 1}, id_=id_)
    return len(rows)


def set_pinned(tx: Transaction, scope: Scope, kind: str, id_: str, pinned: bool) -> None:
    """Pin or unpin the newest version of a memory in the narrowest layer that has it; raise NotFound without one."""
    table = MEMORIES[kind]
    levels = ("user",) if kind in ("event", "insight") else ("user", "agent", "tenant")
    for level in levels:
        owner = scope.layer(level)
        rows = tx.select(table, owner, ("seq", "pinned"), where=ID_COLUMN[kind] + "={id}", order="seq DESC", limit=1, id=id_)
        if rows:
            if bool(rows[0][1]) != pinned:
                tx.change_memory(kind, owner, rows[0][0], {"pinned": int(pinned)}, id_=id_)
            return
    raise NotFound(f"{kind} {id_!r} is not here", hint="`engram search` shows ids")


__all__ = ["append_episode", "append_event", "append_insight", "end_run", "quote_line", "set_pinned", "update_insight",
           "upsert_fact", "upsert_procedure"]
