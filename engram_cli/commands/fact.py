"""Keep facts: set, get, list, history, dispute, retract. Driven by main."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from engram_cli import views
from engram_cli.call import Call, given, parse_json, text_from
from engram_cli.feed import Item, Json, StdinJson, StdinNdjson, feed, lifted
from engram_cli.numbers import limit, number
from engram_cli.options import command, family
from engram_cli.times import now, time
from engram_core.errors import NotFound, UsageError

app = family("fact", "Keep facts: one value per key, with its history.", default="list")

Key = Annotated[str, typer.Argument(metavar="KEY", show_default=False, help="What the fact is about.")]
Status = ("active", "disputed", "deprecated")
Share = Annotated[str | None, typer.Option("--share", metavar="user|agent|tenant",
                                           help="Who shares it: this user, every user of the agent, or all.")]
Sources = Annotated[list[str] | None, typer.Option(
    "--source", metavar="EVENT", help="Id of an event it comes from; may be given again.")]
Confidence = Annotated[float | None, number("--confidence", low=0, high=1, whole=False, data=True, metavar="0..1",
                                            help="How sure it is.")]
JsonValue = Annotated[bool, typer.Option("--json-value", help="Read VALUE as JSON instead of text.")]


@command(app, "set", example="""
engram fact set city Lyon
engram fact set pets '["a cat","two fish"]' --json-value --confidence 0.9
engram fact set --stdin-ndjson < facts.ndjson
""")
def set_(
    call: Call,
    key: Annotated[str | None, typer.Argument(metavar="[KEY]", show_default=False,
                                              help="What the fact is about.")] = None,
    value: Annotated[str | None, typer.Argument(metavar="[VALUE]", show_default=False,
                                                help="What holds; - or a pipe reads stdin.")] = None,
    *,
    json_value: JsonValue = False,
    confidence: Confidence = None,
    valid_from: Annotated[str | None, time("--from", help="Since when it holds.")] = None,
    valid_to: Annotated[str | None, time("--to", end=True, help="Until when it holds.")] = None,
    source: Sources = None,
    share: Share = None,
    notes: Annotated[str | None, typer.Option(
        "--notes", metavar="TEXT", help="Whatever else to keep with it.")] = None,
    id: Annotated[str | None, typer.Option(
        "--id", metavar="ID", help="The fact's id; made of the key by default.")] = None,
    stdin_json: StdinJson = False,
    stdin_ndjson: StdinNdjson = False,
) -> int:
    """Set the value of a key; the value before it is kept as its history.

    A JSON object on stdin has the fields that engram fact list --json shows; options fill in what it leaves out.
    """
    validity = {"valid_from": valid_from, "valid_to": valid_to}
    fields = {"fact_id": id, "confidence": confidence, "sources": source, "scope_level": share, "notes": notes,
              "validity": {name: at for name, at in validity.items() if at}}

    def argument() -> Json:
        if not key:
            raise UsageError("no key given", hint='name what the fact is about: engram fact set KEY "VALUE"')
        return {"fact_key": key, "value": _value(value, json_value)}

    def params(fact: Json) -> Json:
        scope, rest = lifted(call, fact)
        return {"scope": scope, "fact": rest}

    item = Item("fact", "upsert_fact", params, lambda reply: _show(call, key or str(reply["fact_id"]), reply))
    return feed(call, item, fields=fields, argument=argument, given=key, stdin_json=stdin_json,
                stdin_ndjson=stdin_ndjson)


def _value(text: str | None, json_value: bool) -> Any:
    given = text_from(text, what="value", empty=not json_value)
    return parse_json(given, what="value") if json_value else given


def _upsert(call: Call, fact: Json, *, dispute: bool = False) -> Json:
    return dict(call.ask("upsert_fact", fact=fact, on_conflict="dispute" if dispute else None))


def _show(call: Call, key: str, reply: Json) -> None:
    call.out.line(f"{reply['outcome']} {key}")


@command(app, "get", example="""
engram fact get city
engram fact get city --as-of 2026-01-31 --json
""")
def get(
    call: Call,
    key: Key,
    *,
    at: Annotated[str | None, time("--at", help="The value that held at this time.")] = None,
    as_of: Annotated[str | None, time("--as-of", help="The value known at this time.")] = None,
) -> None:
    """Write the value of a key; ends with 1 when there is none."""
    fact = _current(call, key, at=at, as_of=as_of)
    if call.out.json or call.out.ndjson:
        call.out.document("fact", {"fact": fact})
    else:
        call.out.line(views.text_of(fact["value"]))


def _current(call: Call, key: str, *, at: str | None = None, as_of: str | None = None) -> Json:
    found = _currents(call, key, at=at, as_of=as_of)
    for status in ("active", "disputed"):
        for fact in found:
            if fact.get("status") == status:
                return fact
    return found[-1]


def _currents(call: Call, key: str, *, at: str | None = None, as_of: str | None = None) -> list[Json]:
    """Return the active value of a key, or the disputed ones; those that held at a time."""
    found = _holding(call, {"fact_key": key, "valid_at": at, "as_of": as_of})
    if not found and (at or as_of):
        raise NotFound(f"there was no fact {key!r} at that time", hint=f"see: engram fact history {key}")
    if not found:
        raise NotFound(f"there is no fact {key!r}", hint=f'set it with: engram fact set {key} "VALUE"')
    return found


def _holding(call: Call, wanted: Json) -> list[Json]:
    """List what holds, or what held at a time: then also what has ended since, by another value or a retraction."""
    if wanted["valid_at"] is None:
        return _list(call, {**wanted, "status": ["active", "disputed"]})
    limit = wanted.get("limit")
    found = [fact for fact in _list(call, {**wanted, "status": list(Status), "limit": None})
             if fact["status"] != "deprecated" or fact["validity"]["valid_to"] is not None]
    return found if limit is None else found[-limit:]


def _list(call: Call, wanted: Json) -> list[Json]:
    return list(call.ask("list_facts", fact_filter=given(wanted))["facts"])


@command(app, "list", stream=True, example="""
engram fact list
engram fact list --status disputed --json
""")
def list_(
    call: Call,
    *,
    status: Annotated[list[str] | None, typer.Option(
        "--status", metavar="active|disputed|deprecated", help="Only these; active and disputed by default.")] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="KEY", help="Only of this key.")] = None,
    at: Annotated[str | None, time("--at", help="Those that held at this time.")] = None,
    as_of: Annotated[str | None, time("--as-of", help="Those known at this time.")] = None,
    limit: Annotated[int | None, limit("At most so many.")] = None,
) -> None:
    """List facts: what holds, and what is disputed."""
    wanted = {"fact_key": key, "valid_at": at, "as_of": as_of, "limit": limit}
    found = _list(call, {**wanted, "status": status}) if status else _holding(call, wanted)
    call.out.listing("facts", {"facts": found}, "facts", views.facts)


@command(app, "history", stream=True, example="engram fact history city")
def history(call: Call, key: Key) -> None:
    """List every value a key has had."""
    found = _list(call, {"fact_key": key, "status": list(Status)})
    if not found:
        raise NotFound(f"there is no fact {key!r}", hint="see engram fact list")
    call.out.listing("facts", {"facts": found}, "facts", views.facts)


@command(app, "dispute", example="""
engram fact dispute city Paris
engram fact dispute city
""")
def dispute(
    call: Call,
    key: Key,
    value: Annotated[str | None, typer.Argument(metavar="[VALUE]", show_default=False,
                                                help="Another value that may hold as well.")] = None,
    *,
    json_value: JsonValue = False,
    confidence: Confidence = None,
    source: Sources = None,
) -> None:
    """Mark a fact as disputed, with another value beside it if one is given."""
    if value is None:
        fact = _current(call, key)
        reply = _upsert(call, {**fact, "status": "disputed"})
    else:
        other = {"fact_key": key, "value": _value(value, json_value)}
        reply = _upsert(call, {**other, **given({"confidence": confidence, "sources": source})}, dispute=True)
    _answer(call, key, reply)


@command(app, "retract", example="engram fact retract city")
def retract(call: Call, key: Key) -> None:
    """Declare that a fact no longer holds; its history stays."""
    ended = now()
    reply: Json = {}
    for fact in _currents(call, key):
        validity = {**(fact.get("validity") or {}), "valid_to": ended}
        reply = _upsert(call, {**fact, "status": "deprecated", "validity": validity})
    _answer(call, key, {**reply, "outcome": "retracted"})


def _answer(call: Call, key: str, reply: Json) -> None:
    if call.out.json or call.out.ndjson:
        call.out.document("fact", reply)
    else:
        _show(call, key, reply)
