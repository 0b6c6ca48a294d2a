"""What a write means for each kind of memory: identity, replacement, history. Pure rules over one transaction.

Each function takes the open transaction and checked input and returns what the caller is told.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from engram_core.errors import Conflict, NotFound
from engram_core.events import Event, event_json, turn_of
from engram_core.scope import SCOPE_LEVELS, Scope
from engram_core.store.tables import FACTS, ID_COLUMN, INSIGHTS, MEMORIES, PROCEDURES
from engram_core.store.transaction import Owner, Transaction
from engram_core.values import dump_json, format_time, parse_time, same_json

if TYPE_CHECKING:
    from engram_core.models import Episode, Fact, Insight, Procedure

Count = Callable[[str], str | None]


def digest(text: str) -> str:
    """Return what tells one text from another."""
    from _blake2 import blake2b  # hashlib would load OpenSSL, and the first append wait for it

    return blake2b(text.encode(), digest_size=16).hexdigest()


def quote_line(event: Event) -> str:
    """Write the event as a packet quotes it, "" when it says nothing."""
    turn = turn_of(event.kind, event.payload)
    if turn is None or not turn.text:
        return ""
    name = f',"name":{dump_json(turn.name, "event.payload")}' if turn.name else ""
    quote = event.json if turn.text is event.payload else dump_json(turn.text, "event.payload")
    return (f'{{"evidence_id":{dump_json(event.event_id)},"quote":{quote},'
            f'"role":"{turn.role}","ts":"{format_time(event.ts_ms)}"{name}}}')


class Entry(NamedTuple):
    """An event as it is stored: its JSON, the line that packets quote and that line's tokens."""

    event: Event
    body: str
    line: str
    tokens: str | None


def entry_of(event: Event, count: Count) -> Entry:
    """Write the event as it is stored."""
    line = quote_line(event)
    return Entry(event, event_json(event), line, count(line) if line else None)


def append_event(tx: Transaction, entry: Entry) -> tuple[int, bool]:
    """Add the event and return its seq and whether it was there already; raise Conflict for other content."""
    event = entry.event
    found = tx.event(event.scope, event.event_id)
    if found is not None:
        seq, body, ts_ms = found
        same = event.says(json.loads(body))
        if same and (not event.timed or ts_ms == event.ts_ms):
            return seq, True
        what = f"another time, {format_time(ts_ms)}" if same else "other content"
        raise Conflict(f"event_id {event.event_id!r} is already used in this run with {what}",
                       hint="give the new event its own event_id, or none")
    seq = tx.add_memory("event", event.scope, {"event_id": event.event_id, "kind": event.kind, "ts": event.ts_ms,
                        "line": entry.line}, id_=event.event_id, body=entry.body, tokens=entry.tokens)
    tx.added(event.scope, event.event_id, (seq, entry.body, event.ts_ms))
    return seq, False


_FACT = ("seq", "fact_id", "version", "fact_key", "status", "body", "past", "pinned")


def upsert_fact(tx: Transaction, scope: Scope, fact: Fact, given: frozenset[str], count: Count, *,
                on_conflict: str) -> dict[str, Any]:
    """Make the fact's value the current one of its key; ``given`` are the fields the caller wrote.

    Another value replaces the active one (or disputes it), the same value refreshes it.
    """
    owner = scope.layer(fact.scope_level)
    named = tx.select(FACTS, owner, _FACT, where="fact_id={fact_id}", order="version DESC", limit=1,
                      fact_id=fact.fact_id)
    if named and named[0][3] != fact.fact_key:
        raise Conflict(f"fact_id {fact.fact_id!r} already names the fact_key {named[0][3]!r}",
                       hint="leave fact_id out to have it derived from the key")
    current = tx.select(FACTS, owner, _FACT, where="fact_key={fact_key} AND status <> 'deprecated'",
                        order="seq DESC", fact_key=fact.fact_key)
    for row in current:
        if same_json(json.loads(row[5])["value"], fact.value):
            return _restate(tx, owner, row, [one for one in current if one is not row], fact, given, count)
    version = named[0][2] + 1 if named else 1
    if fact.status == "deprecated":  # the record of something past; what holds now stays
        known = _known_past(tx, owner, fact)
        if known is None:
            _add_fact(tx, owner, fact, version, None, False, count)
        return {"fact_id": fact.fact_id, "version": known or version, "outcome": "refreshed" if known else "created",
                "superseded": None}
    disputed = bool(current) and (on_conflict == "dispute" or fact.status == "disputed")
    if disputed:
        fact = fact.model_copy(update={"status": "disputed"})
    pinned = any(row[7] for row in current if row[1] == fact.fact_id)  # whoever pinned it meant the fact, not a value
    seq = _add_fact(tx, owner, fact, version, current[0][0] if current else None, pinned, count)
    since = tx.now_ms if fact.validity.valid_from is None else parse_time("valid_from", fact.validity.valid_from)
    for row in current:
        _end_fact(tx, owner, row, "disputed" if disputed else "deprecated", seq, since, count)
    outcome = "created" if not current else "disputed" if disputed else "superseded"
    return {"fact_id": fact.fact_id, "version": version, "outcome": outcome,
            "superseded": f"{current[0][1]}#{current[0][2]}" if current else None}


def _known_past(tx: Transaction, owner: Owner, fact: Fact) -> int | None:
    """Return the version that says the same of the past already, so that a history can be sent again."""
    line = json.loads(fact.line())
    rows = tx.select(FACTS, owner, ("version", "body"), where="fact_id={fact_id} AND status='deprecated'",
                     fact_id=fact.fact_id)
    return next((version for version, body in rows if same_json(json.loads(body), line)), None)


def _times(fact: Fact) -> dict[str, int | None]:
    start, end = fact.validity.valid_from, fact.validity.valid_to
    return {"valid_from": None if start is None else parse_time("valid_from", start),
            "valid_to": None if end is None else parse_time("valid_to", end)}


def _add_fact(tx: Transaction, owner: Owner, fact: Fact, version: int, replaces: int | None, pinned: bool,
              count: Count) -> int:
    line = fact.line()
    return tx.add_memory("fact", owner, {
        "fact_id": fact.fact_id, "version": version, "fact_key": fact.fact_key, "status": fact.status, **_times(fact),
        "replaces": replaces, "replaced_by": None, "past": None,
    }, id_=fact.fact_id, body=line, tokens=count(line), pinned=pinned)


def _restate(tx: Transaction, owner: Owner, row: tuple[Any, ...], others: list[tuple[Any, ...]], fact: Fact,
             given: frozenset[str], count: Count) -> dict[str, Any]:
    """Merge a restated fact into its row: what the caller wrote wins, sources are united.

    One of several disputed values that is expressly called active settles the dispute.
    """
    old = _read(row)
    stated = given & {"confidence", "validity", "notes", "status"}
    update: dict[str, Any] = {name: getattr(fact, name) for name in stated}
    update["sources"] = list(dict.fromkeys([*old.sources, *fact.sources]))
    _change_fact(tx, owner, row, old, old.model_copy(update=update), {}, count)
    settled = others if update.get("status") == "active" else []
    for other in settled:
        _end_fact(tx, owner, other, "deprecated", row[0], tx.now_ms, count)
    return {"fact_id": row[1], "version": row[2], "outcome": "superseded" if settled else "refreshed",
            "superseded": f"{settled[0][1]}#{settled[0][2]}" if settled else None}


def _read(row: tuple[Any, ...]) -> Fact:
    from engram_core.models import Fact as Model

    return Model.model_validate(json.loads(row[5]))


def _end_fact(tx: Transaction, owner: Owner, row: tuple[Any, ...], status: str, by: int, at_ms: int,
              count: Count) -> None:
    from engram_core.models import Validity

    old = _read(row)
    update: dict[str, Any] = {"status": status}
    if status == "deprecated":
        start, end = old.validity.valid_from, old.validity.valid_to
        if start is not None:
            at_ms = max(at_ms, parse_time("valid_from", start))
        if end is None or parse_time("valid_to", end) > at_ms:
            update["validity"] = Validity(valid_from=start, valid_to=format_time(at_ms))
    _change_fact(tx, owner, row, old, old.model_copy(update=update), {"replaced_by": by}, count)


def _change_fact(tx: Transaction, owner: Owner, row: tuple[Any, ...], old: Fact, new: Fact, columns: dict[str, Any],
                 count: Count) -> None:
    """Change a fact's row, and keep what it was while its status or validity was another."""
    line = new.line()
    if line == row[5]:
        return
    if (old.status, old.validity) != (new.status, new.validity):
        past = [*json.loads(row[6] or "[]"), [tx.now_ms, json.loads(row[5])]]
        columns = {**columns, "past": dump_json(past)}
    tx.change_memory("fact", owner, row[0], {
        "status": new.status, **_times(new), "body": line, "tokens": count(line), **columns}, id_=row[1])


def append_episode(tx: Transaction, scope: Scope, episode: Episode, count: Count) -> bool:
    """Add the episode and say whether it was there already."""
    owner = scope.layer(episode.scope_level)
    line = episode.line()
    if _is_repeated(tx, "episode", owner, episode.episode_id, line):
        return True
    end = episode.time_range.end
    tx.add_memory("episode", owner, {
        "episode_id": episode.episode_id, "starts": parse_time("start", episode.time_range.start),
        "ends": None if end is None else parse_time("end", end)}, id_=episode.episode_id, body=line, tokens=count(line))
    return False


def _is_repeated(tx: Transaction, kind: str, scope: Scope | Owner, id_: str, line: str) -> bool:
    """Tell whether the memory is there already; raise Conflict when something else has its id.

    An insight may have changed since; it is also known by what it was at first.
    """
    insight = kind == "insight"
    found = tx.select(MEMORIES[kind], scope, ("body", "digest") if insight else ("body",), id=id_,
                      level="run" if insight else "owner", where=ID_COLUMN[kind] + "={id}")
    if not found:
        return False
    if same_json(json.loads(found[0][0]), json.loads(line)) or (insight and found[0][1] == digest(line)):
        return True
    raise Conflict(f"{kind} {id_!r} already exists with other content", hint=f"give the new {kind} its own id")


def upsert_procedure(tx: Transaction, scope: Scope, procedure: Procedure, count: Count) -> str:
    """Add the procedure or replace the one with its id; return created, updated or unchanged."""
    owner = scope.layer(procedure.scope_level)
    line = procedure.line()
    columns = {"task_type": procedure.task_type, "priority": procedure.priority}
    found = tx.select(PROCEDURES, owner, ("seq", "body"), where="procedure_id={id}", id=procedure.procedure_id)
    if not found:
        tx.add_memory("procedure", owner, {"procedure_id": procedure.procedure_id, **columns},
                      id_=procedure.procedure_id, body=line, tokens=count(line))
        return "created"
    if same_json(json.loads(found[0][1]), json.loads(line)):
        return "unchanged"
    tx.change_memory("procedure", owner, found[0][0], {**columns, "body": line, "tokens": count(line)},
                     id_=procedure.procedure_id)
    return "updated"


def append_insight(tx: Transaction, scope: Scope, insight: Insight, count: Count) -> bool:
    """Add the insight to its run and say whether it was there already."""
    line = insight.line()
    if _is_repeated(tx, "insight", scope, insight.id, line):
        return True
    tx.add_memory("insight", scope, {
        "id": insight.id, "validation_state": insight.validation_state, "expires": insight_expiry(insight), "ended": 0,
        "digest": digest(line)}, id_=insight.id, body=line, tokens=count(line))
    return False


def insight_expiry(insight: Insight) -> int | None:
    """Return when the insight ends in milliseconds, None when its run's end ends it."""
    return None if insight.expires_at == "run_end" else parse_time("expires_at", insight.expires_at)


_NEXT_STATES = {"unvalidated": ("testing", "validated", "rejected"), "testing": ("validated", "rejected"),
                "validated": ("rejected",), "rejected": ("testing",)}


def update_insight(tx: Transaction, scope: Scope, id_: str, patch: dict[str, Any],
                   count: Count) -> tuple[Insight, int]:
    """Change the insight's fields and return it with the time it was made.

    Raises Conflict for a state that cannot follow its present one.
    """
    from engram_core.models import Insight as Model
    from engram_core.models import build

    found = tx.select(INSIGHTS, scope, ("seq", "body", "created_at"), level="run", where="id={id}", id=id_)
    if not found:
        raise NotFound(f"insight {id_!r} is not in run {scope.run_id!r}",
                       hint="`engram insight list` shows what is there")
    old = json.loads(found[0][1])
    new = build(Model, {**old, **patch}, "insight", keep=True)
    before, after = old["validation_state"], new.validation_state
    if after != before and after not in _NEXT_STATES[before]:
        raise Conflict(f"insight {id_!r} is {before}; it can become {', '.join(_NEXT_STATES[before])}, not {after}",
                       hint=f"make it {_NEXT_STATES[before][0]} first, or append a new insight")
    line = new.line()
    if line != found[0][1]:
        tx.change_memory("insight", scope.owner, found[0][0], {
            "validation_state": after, "expires": insight_expiry(new), "body": line, "tokens": count(line)}, id_=id_)
    return new, found[0][2]


def end_stale_insights(tx: Transaction, owner: Owner, before: int, limit: int) -> int:
    """Expire insights of runs that were never ended, untouched since a time; return how many."""
    rows = tx.select(INSIGHTS, owner, ("seq", "id"), limit=limit, before=before,
                     where="ended=0 AND expires IS NULL AND pinned=0 AND updated_at < {before}")
    for seq, id_ in rows:
        tx.change_memory("insight", owner, seq, {"ended": 1}, id_=id_)
    return len(rows)


def end_run(tx: Transaction, scope: Scope) -> int:
    """Expire the run's insights that live until its end and return how many."""
    rows = tx.select(INSIGHTS, scope, ("seq", "id"), level="run", where="ended=0 AND expires IS NULL")
    for seq, id_ in rows:
        tx.change_memory("insight", scope.owner, seq, {"ended": 1}, id_=id_)
    return len(rows)


def set_pinned(tx: Transaction, scope: Scope, kind: str, id_: str, pinned: bool) -> None:
    """Pin or unpin a memory: the run's own before the session's and the owner's, the narrowest layer, all versions.

    Raises NotFound when the scope has no such memory.
    """
    where, columns = ID_COLUMN[kind] + "={id}", ("seq", "pinned")
    places: list[tuple[Scope | Owner, str]] = [(scope.layer(level), "owner") for level in SCOPE_LEVELS]
    if kind in ("event", "insight"):
        places = [(scope, level) for level in (("run", "session", "owner") if kind == "event" else ("run",))]
    for place, level in places:
        rows = tx.select(MEMORIES[kind], place, columns, level=level, where=where, order="seq DESC", id=id_)
        for seq, was in rows[:1] if kind == "event" else rows:
            if bool(was) != pinned:
                tx.change_memory(kind, (place[0], place[1], place[2]), seq, {"pinned": int(pinned)}, id_=id_)
        if rows:
            return
    raise NotFound(f"{kind} {id_!r} is not here", hint="`engram search` shows ids")


__all__ = ["Entry", "append_episode", "append_event", "append_insight", "end_run", "end_stale_insights", "entry_of",
           "quote_line", "set_pinned", "update_insight", "upsert_fact", "upsert_procedure"]
