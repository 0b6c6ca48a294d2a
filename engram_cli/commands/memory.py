"""Append events and search memories. Driven by main."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from engram_cli import views
from engram_cli.call import Call, text_from, working_directory
from engram_cli.feed import Item, Json, StdinJson, StdinNdjson, feed, lifted
from engram_cli.numbers import TOKENS_MAX, number
from engram_cli.numbers import limit as number_limit
from engram_cli.options import NO_MARKUP, command
from engram_cli.times import time
from engram_core.errors import NoDaemon, UsageError

app = typer.Typer(**NO_MARKUP)


@command(app, "append", example="""
engram append "Ada moved to Lyon in May"
engram append --role assistant --session s1 "Noted: Lyon."
git log -1 --format=%B | engram append --tag commit -
engram append --stdin-ndjson < events.ndjson
""")
def append(
    call: Call,
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="What happened; - or a pipe reads stdin.",
                                               show_default=False)] = None,
    *,
    role: Annotated[str | None, typer.Option("--role", metavar="user|assistant|tool|system",
                                             help="Who said it; user by default.")] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="The speaker's name.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", metavar="message|tool_result|state_patch|system",
                                             help="Kind of event; message by default.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="A tag; may be given again.")] = None,
    entity: Annotated[list[str] | None, typer.Option(
        "--entity", metavar="NAME", help="Someone or something it is about; may be given again.")] = None,
    id: Annotated[str | None, typer.Option(
        "--id", metavar="ID", help="The event's id; the same id with the same text is stored once.")] = None,
    ts: Annotated[str | None, time("--ts", help="When it happened; now by default.")] = None,
    require_commit: Annotated[bool, typer.Option(
        "--require-commit", help="Fail with 75 instead of spooling it when no daemon can be reached.")] = False,
    stdin_json: StdinJson = False,
    stdin_ndjson: StdinNdjson = False,
) -> int:
    """Remember a message, a tool result or another event.

    Ends when the daemon has committed it, and writes the event's id. When no daemon can be reached the event is kept in
    a spool beside the database, for the next one to store, and stderr says so. A JSON object on stdin has the fields
    of an event: payload, kind, event_id, ts, tags, entities, scope; options fill in what it leaves out.
    """
    def payload() -> Json:
        said = text_from(text, what="text")
        if role is None and name is None:
            return {"payload": said}
        return {"payload": {"role": role or "user", "content": said, **({"name": name} if name else {})}}

    def params(event: Json) -> Json:
        scope, rest = lifted(call, event)
        return {"event": {**rest, "scope": scope}}

    def spool(params: Json, gone: NoDaemon, quiet: bool) -> Json:
        from engram_cli.spooled import spool_event  # late: only who finds no daemon needs it

        return spool_event(params, gone, cwd=working_directory(), socket=call.socket, required=require_commit,
                           quiet=quiet)

    if (role or name) and (stdin_json or stdin_ndjson):
        raise UsageError("--role and --name belong to a text", hint='put them into the payload: {"payload":{"role":…}}')
    fields = {"event_id": id, "kind": kind, "ts": ts, "tags": tag, "entities": entity}
    item = Item("append", "append_event", params, lambda reply: call.out.line(str(reply["event_id"])), spool=spool)
    return feed(call, item, fields=fields, argument=payload, stdin_json=stdin_json, stdin_ndjson=stdin_ndjson,
                given=text)


@command(app, "search", stream=True, example="""
engram search "where does Ada live"
engram search "deploy failed" --kind event --limit 5 --json
""")
def search(
    call: Call,
    query: Annotated[str | None, typer.Argument(metavar="[QUERY]", show_default=False,
                                                help="Words or a question; - or a pipe reads stdin.")] = None,
    *,
    kind: Annotated[list[str] | None, typer.Option(
        "--kind", metavar="event|fact|episode|procedure|insight", help="Only this kind; may be given again.")] = None,
    limit: Annotated[int | None, number_limit("At most so many; 20 by default.", hint="leave it out for 20")] = None,
    now: Annotated[str | None, time("--now", help="What 'now' means for last week, yesterday.")] = None,
    max_tokens: Annotated[int | None, number("--max-tokens", low=1, high=TOKENS_MAX,
                                             help="As many of the best as fit into this budget.")] = None,
) -> None:
    """Find memories by what they say, the best first.

    Searches events of every session of this user and agent, facts, episodes, procedures and insights.
    """
    reply: dict[str, Any] = call.ask("search", query=text_from(query, what="query"), kinds=kind, limit=limit,
                                     now=now, max_tokens=max_tokens)
    empty = f"nothing found that fits into {max_tokens} tokens; see: engram search --help" if max_tokens else ""
    call.out.listing("search", reply, "hits", lambda hits: views.hits(hits, empty=empty))
