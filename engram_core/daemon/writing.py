"""The writing operations: from parameters to what happens in one transaction. Driven by the engine.

Each function checks its input at once and returns the operation to run inside the transaction, which returns the
result as a plain object.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from engram_core.errors import BadInput, Conflict, UnknownField, nearest
from engram_core.events import check_event
from engram_core.ids import new_id
from engram_core.scope import Scope
from engram_core.store import writes
from engram_core.store.tables import MEMORIES, SHORT_TERMS, WORKING_STATES
from engram_core.store.transaction import Transaction
from engram_core.values import (
    ID_MAX,
    INT_MAX,
    check_count,
    check_id,
    check_ms,
    check_names,
    derived_id,
    dump_json,
    format_time,
    same_json,
    show,
)

if TYPE_CHECKING:
    from engram_core.daemon.handlers import Engine
    from engram_core.models import Insight

Run = Callable[[Transaction], Any]
Params = dict[str, Any]


_EVENT_TEXTS = ("payload", "tags", "entities")


def _entry(engine: Engine, value: Any, params: Params) -> tuple[writes.Entry, int]:
    """Return an event as it is stored, and how many secrets were taken out of it."""
    count = 0
    if type(value) is dict:
        engine.redactor.check_ids(value, "event")
        if "cwd" in params:
            value = {**value, "scope": engine.scope_ids(value.get("scope"), params)}
        for name in _EVENT_TEXTS:
            if (given := value.get(name)) is not None:
                text, more = engine.redactor.value(given)
                if more:
                    value = {**value, name: text}
                    count += more
    at_ms = check_ms("at_ms", params["at_ms"]) if "at_ms" in params else engine.now_ms()
    made = new_id("e_", at_ms) if type(value) is dict and value.get("event_id") is None else ""
    return writes.entry_of(check_event(value, at_ms=at_ms, new_id=made), engine.count_line), count


def _appended(tx: Transaction, entry: writes.Entry, redacted: int) -> dict[str, Any]:
    seq, duplicate = writes.append_event(tx, entry)
    return {"event_id": entry.event.event_id, "duplicate": duplicate, "seq": seq, "redacted": redacted,
            "durability": "committed"}


class Append:
    """Appends events inside a transaction: one, or several all together or not at all."""

    __slots__ = ("_together", "entries")

    def __init__(self, entries: list[tuple[writes.Entry, int]], *, together: bool) -> None:
        self.entries, self._together = entries, together

    def __call__(self, tx: Transaction) -> dict[str, Any]:
        """Append them."""
        if not self._together:
            return _appended(tx, *self.entries[0])
        results = []
        with tx.operation():
            for at, (entry, redacted) in enumerate(self.entries):
                try:
                    results.append(_appended(tx, entry, redacted))
                except Conflict as error:
                    raise Conflict(f"events[{at}]: {error.message}; none of the events was appended",
                                   hint=error.hint) from None
        return {"results": results}


def append_event(engine: Engine, params: Params) -> Run:
    """Append one event."""
    return Append([_entry(engine, params["event"], params)], together=False)


def append_events(engine: Engine, params: Params) -> Run:
    """Append events all together or not at all."""
    if type(params["events"]) is not list:
        raise BadInput(f"events is {show(params['events'])}; allowed is a list of events")
    entries = []
    for at, one in enumerate(params["events"]):
        try:
            entries.append(_entry(engine, one, params))
        except BadInput as error:
            raise type(error)(f"events[{at}]: {error.message}", hint=error.hint) from None
    return Append(entries, together=True)


def appended(runs: list[Run]) -> list[tuple[Scope, str]]:
    """Return scope and id of each event when the operations do nothing but append events, else nothing."""
    found: list[tuple[Scope, str]] = []
    for run in runs:
        if not isinstance(run, Append):
            return []
        found += [(entry.event.scope, entry.event.event_id) for entry, _ in run.entries]
    return found


def _redacted(engine: Engine, value: Any, field: str) -> tuple[Any, int]:
    return engine.redactor.memory(value, field)


def patch_working_state(engine: Engine, params: Params) -> Run:
    """Replace the given fields of the run's working state, merge or remove single slots."""
    from engram_core.models import WorkingState, build

    scope = engine.scope(params)
    patch, redacted = _redacted(engine, params["patch"], "patch")
    build(WorkingState, patch, "patch")
    merge, more = engine.redactor.value(params.get("merge_slots") or {})
    if type(merge) is not dict:
        raise BadInput(f"merge_slots is {show(merge)}; allowed is an object of slots and their values")
    dump_json(merge, "merge_slots")
    remove = check_names("remove_slots", params.get("remove_slots") or [])
    expected = params.get("expected_version")
    if expected is not None:
        check_count("expected_version", expected)

    def run(tx: Transaction) -> Any:
        rows = tx.select(WORKING_STATES, scope, ("version", "body"), level="run")
        version, old = (rows[0][0], json.loads(rows[0][1])) if rows else (0, WorkingState().model_dump(mode="json"))
        if expected is not None and expected != version:
            raise Conflict(f"the working state is at version {version}, expected_version was {expected}",
                           hint="read it again with `engram state show` and repeat the change")
        new = {**old, **patch, "state_version": version}
        new["slots"] = {key: one for key, one in {**new["slots"], **merge}.items() if key not in remove}
        state = build(WorkingState, new, "working_state").model_dump(mode="json")
        changed = not same_json(state, old)
        state["state_version"] = patch.get("state_version", version + changed)
        if changed or state["state_version"] != version:
            if state["state_version"] > INT_MAX:
                raise BadInput(f"the working state is at version {version}, the last one there is",
                               hint="set state_version to a smaller number")
            tx.upsert(WORKING_STATES, scope, {"version": state["state_version"], "body": dump_json(state),
                                              "updated_at": tx.now_ms})
            tx.changed(scope.owner, tx.next_revision(scope.owner), "working_state", 0, scope.run_id, "update",
                       session=scope.session_id, run=scope.run_id)
        return {"working_state": state, "redacted": redacted + more}
    return run


def update_stm(engine: Engine, params: Params) -> Run:
    """Replace the session's short-term state."""
    from engram_core.models import ShortTerm, build

    scope = engine.scope(params)
    value, redacted = _redacted(engine, params["stm_state"], "stm_state")
    body = dump_json(build(ShortTerm, value, "stm_state").model_dump(mode="json", exclude_none=True))

    def run(tx: Transaction) -> Any:
        tx.upsert(SHORT_TERMS, scope, {"body": body, "updated_at": tx.now_ms})
        tx.changed(scope.owner, tx.next_revision(scope.owner), "short_term", 0, scope.session_id, "update",
                   session=scope.session_id)
        return {"redacted": redacted}
    return run


def upsert_fact(engine: Engine, params: Params) -> Run:
    """Make a value the current one of its key."""
    from engram_core.models import Fact, build

    scope = engine.scope(params)
    how = params.get("on_conflict", "supersede")
    if how not in ("supersede", "dispute"):
        raise BadInput(f"on_conflict is {show(how)}; allowed are supersede, dispute")
    value, redacted = _redacted(engine, params["fact"], "fact")
    fact = build(Fact, value, "fact", keep=True)
    given = frozenset(value)

    def run(tx: Transaction) -> Any:
        with tx.operation():
            done = writes.upsert_fact(tx, scope, fact, given, engine.count_line, on_conflict=how)
        return {**done, "redacted": redacted}
    return run


class _Added(NamedTuple):
    """How a kind is added: its model, its id and what one made here begins with, the write and what that returns."""

    model: str
    id_field: str
    prefix: str
    write: Callable[[Transaction, Scope, Any, Callable[[str], str | None]], Any]
    outcome: str


_ADDED = {
    "episode": _Added("Episode", "episode_id", "ep_", writes.append_episode, "duplicate"),
    "procedure": _Added("Procedure", "procedure_id", "p_", writes.upsert_procedure, "outcome"),
    "insight": _Added("Insight", "id", "in_", writes.append_insight, "duplicate"),
}


def _add(engine: Engine, params: Params, kind: str) -> Run:
    """Add a memory of a kind, with a new id when it has none."""
    from engram_core import models

    how, scope = _ADDED[kind], engine.scope(params)
    value, redacted = _redacted(engine, params[kind], kind)
    if type(value) is dict and value.get(how.id_field) is None:
        value = {**value, how.id_field: new_id(how.prefix, engine.now_ms())}
    memory: models.Model = models.build(getattr(models, how.model), value, kind, keep=True)
    return lambda tx: {how.id_field: getattr(memory, how.id_field), "redacted": redacted,
                       how.outcome: how.write(tx, scope, memory, engine.count_line)}


def append_episode(engine: Engine, params: Params) -> Run:
    """Add an episode."""
    return _add(engine, params, "episode")


def upsert_procedure(engine: Engine, params: Params) -> Run:
    """Add or replace a procedure."""
    return _add(engine, params, "procedure")


def append_insight(engine: Engine, params: Params) -> Run:
    """Add an insight to a run."""
    return _add(engine, params, "insight")


_PATCHED = ("validation_state", "confidence", "statement", "tests_suggested", "expires_at")


def update_insight(engine: Engine, params: Params) -> Run:
    """Change an insight, or promote a validated one into the memory given as ``promoted``."""
    scope, id_, kind = engine.scope(params), check_id("id", params["id"]), params.get("promote")
    patch, redacted = _redacted(engine, params.get("patch") or {}, "patch")
    given, more = _redacted(engine, params.get("promoted") or {}, "promoted")
    if type(patch) is not dict:
        raise BadInput(f"patch is {show(patch)}; allowed is an object with {', '.join(_PATCHED)}")
    for key in patch:
        if key not in _PATCHED:
            near = nearest(key, list(_PATCHED))
            raise UnknownField(f"patch has the unknown key {show(key)}; known are {', '.join(_PATCHED)}",
                               hint=f"did you mean {near}?" if near else "remove it")
    if kind is not None and kind not in _PROMOTED:
        raise BadInput(f"promote is {show(kind)}; allowed are {', '.join(_PROMOTED)}")
    if type(given) is not dict:
        raise BadInput(f"promoted is {show(given)}; allowed is an object with fields of the {kind or 'new memory'}")
    if given and kind is None:
        raise BadInput("promoted is given without promote", hint=f"set promote to one of {', '.join(_PROMOTED)}")

    def run(tx: Transaction) -> Any:
        made = None
        with tx.operation():
            insight, created = writes.update_insight(tx, scope, id_, patch, engine.count_line)
            if kind is not None:
                made = _promote(tx, engine, params, insight, kind, given, created)
        return {"insight": insight.model_dump(mode="json"), "promoted": made, "redacted": redacted + more}
    return run


def _promote(tx: Transaction, engine: Engine, params: Params, insight: Insight, kind: str, given: dict[str, Any],
             created: int) -> dict[str, str]:
    """Make a memory of the insight that cites it; the same promotion again makes the same memory."""
    if insight.validation_state != "validated":
        raise Conflict(f"insight {insight.id!r} is {insight.validation_state}; only a validated one is promoted",
                       hint=f"run `engram insight validate {insight.id}` first")
    sources = check_names("promoted.sources", given.get("sources") or [])
    text = insight.statement
    defaults: dict[str, dict[str, Any]] = {
        "fact": {"fact_key": _named("insight:", insight.id), "value": text, "confidence": insight.confidence},
        "procedure": {"procedure_id": _named("p_", insight.id), "task_type": "generic", "content": text},
        "episode": {"episode_id": _named("ep_", insight.id), "summary": text,
                    "time_range": {"start": format_time(created)}}}
    value = {**defaults[kind], **given, "sources": list(dict.fromkeys([*sources, *insight.sources, insight.id]))}
    operation, id_field = _PROMOTED[kind]
    common: Params = {name: params[name] for name in ("scope", "cwd") if name in params}
    try:
        done = operation(engine, {**common, kind: value})(tx)
    except BadInput as error:
        raise type(error)(error.message.replace(kind, "promoted", 1), hint=error.hint) from None
    return {"kind": kind, "id": done[id_field]}


def _named(prefix: str, id_: str) -> str:
    return prefix + id_ if len(prefix + id_) <= ID_MAX else derived_id(prefix, id_)


_PROMOTED: dict[str, tuple[Callable[[Engine, Params], Run], str]] = {
    "fact": (upsert_fact, "fact_id"), "procedure": (upsert_procedure, "procedure_id"),
    "episode": (append_episode, "episode_id")}


def set_pinned(engine: Engine, params: Params) -> Run:
    """Pin or unpin a memory."""
    scope, kind, id_ = engine.scope(params), params["kind"], check_id("id", params["id"])
    if type(kind) is not str or kind not in MEMORIES:
        raise BadInput(f"kind is {show(kind)}; allowed are {', '.join(MEMORIES)}")
    if type(params["pinned"]) is not bool:
        raise BadInput(f"pinned is {show(params['pinned'])}; allowed are true, false")

    def run(tx: Transaction) -> Any:
        writes.set_pinned(tx, scope, kind, id_, params["pinned"])
        return {"kind": kind, "id": id_, "pinned": params["pinned"]}
    return run


def end_run(engine: Engine, params: Params) -> Run:
    """End a run: its insights that live until then expire."""
    scope = engine.scope(params)
    return lambda tx: {"expired_insights": writes.end_run(tx, scope)}


def write_context_build(engine: Engine, params: Params) -> Run:
    """Store a packet that was built elsewhere."""
    from engram_core.daemon.builds import store_build

    scope = engine.scope(params)
    packet, redacted = params["packet"], 0
    if type(packet) is dict:
        engine.redactor.check_ids(packet.get("meta"), "packet.meta")
        packet, redacted = engine.redactor.value(packet)
    if type(packet) is not dict or type(packet.get("meta")) is not dict:
        raise BadInput(f"packet is {show(packet)}; allowed is a memory packet, an object with its meta")
    given = packet["meta"].get("build_id")
    build_id = new_id("b_", engine.now_ms()) if given is None else check_id("packet.meta.build_id", given)
    text = dump_json(packet, "packet")

    def run(tx: Transaction) -> Any:
        store_build(tx, scope, build_id, text, "", engine.settings.get("retention.builds_per_run"), at=tx.now_ms,
                    recalled={})
        return {"build_id": build_id, "redacted": redacted}
    return run


def forget(engine: Engine, params: Params) -> Run:
    """Forget memories and everything that repeats them."""
    from engram_core.models import Selector, build
    from engram_core.store.forget import check_selector
    from engram_core.store.forget import forget as forget_rows

    scope, dry = engine.scope(params), params.get("dry_run", False)
    if type(dry) is not bool:
        raise BadInput(f"dry_run is {show(dry)}; allowed are true, false")
    selector = build(Selector, params["selector"], "selector")
    check_selector(selector)

    def run(tx: Transaction) -> Any:
        with tx.operation():
            return forget_rows(tx, scope, selector, dry_run=dry)
    return run


HANDLERS: Mapping[str, Callable[[Engine, Params], Run]] = {
    "append_event": append_event, "append_events": append_events, "patch_working_state": patch_working_state,
    "update_stm": update_stm, "upsert_fact": upsert_fact, "append_episode": append_episode,
    "upsert_procedure": upsert_procedure, "append_insight": append_insight, "update_insight": update_insight,
    "set_pinned": set_pinned, "end_run": end_run, "write_context_build": write_context_build, "forget": forget,
}
