"""Keep episodes: add, list. Driven by main."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from engram_cli import views
from engram_cli.call import Call, given, text_from
from engram_cli.commands.fact import Share, Sources
from engram_cli.feed import Item, Json, StdinJson, StdinNdjson, feed, lifted
from engram_cli.numbers import limit
from engram_cli.options import command, family
from engram_cli.times import now, span
from engram_cli.times import time as time_option
from engram_core.errors import UsageError
from engram_core.ids import new_id

app = family("episode", "Keep summaries of what happened in a stretch of time.", default="list")


@command(app, "add", example="""
engram episode add "Moved the blog to a new host" --start 2026-05-01 --end 2026-05-03 --tag blog
engram episode add --stdin-json < episode.json
""")
def add(
    call: Call,
    summary: Annotated[str | None, typer.Argument(metavar="[SUMMARY]", show_default=False,
                                                  help="What happened; - or a pipe reads stdin.")] = None,
    *,
    start: Annotated[str | None, time_option("--start", help="When it began; now by default.")] = None,
    end: Annotated[str | None, time_option("--end", end=True, help="When it ended.")] = None,
    highlight: Annotated[list[str] | None, typer.Option(
        "--highlight", metavar="TEXT", help="A detail worth keeping; may be given again.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="A tag; may be given again.")] = None,
    entity: Annotated[list[str] | None, typer.Option(
        "--entity", metavar="NAME", help="Someone or something it is about; may be given again.")] = None,
    source: Sources = None,
    level: Annotated[str | None, typer.Option(
        "--compression", metavar="raw|phase_summary|milestone|theme",
        help="How condensed it is; raw by default.")] = None,
    share: Share = None,
    id: Annotated[str | None, typer.Option(
        "--id", metavar="ID", help="The episode's id; a new one by default.")] = None,
    stdin_json: StdinJson = False,
    stdin_ndjson: StdinNdjson = False,
) -> int:
    """Keep a summary of what happened in a stretch of time.

    A JSON object on stdin has the fields that engram episode list --json shows; options fill in what it leaves out.
    """
    fields = {"highlights": highlight, "tags": tag, "entities": entity, "sources": source, "scope_level": share,
              "compression_level": level, "episode_id": id}
    if end is not None and start is None and not (stdin_json or stdin_ndjson):
        raise UsageError("--end is given without --start", hint="say when it began as well")
    times = span(start, end)

    def params(episode: Json) -> Json:
        when = episode.get("time_range") or {"start": now(), **times}
        made = {"episode_id": new_id("ep_", time.time_ns() // 1_000_000)}
        scope, rest = lifted(call, episode)
        return {"scope": scope, "episode": {**made, **rest, "time_range": when}}

    item = Item("episode", "append_episode", params, lambda reply: call.out.line(str(reply["episode_id"])))
    return feed(call, item, fields=fields, given=summary, stdin_json=stdin_json, stdin_ndjson=stdin_ndjson,
                argument=lambda: {"summary": text_from(summary, what="summary")})


@command(app, "list", stream=True, example="""
engram episode list --since 30d
engram episode list --tag blog --json
""")
def list_(
    call: Call,
    *,
    since: Annotated[str | None, time_option("--since", help="Those that go on at or after it.")] = None,
    until: Annotated[str | None, time_option("--until", end=True, help="Those that began at or before it.")] = None,
    tag: Annotated[list[str] | None, typer.Option(
        "--tag", metavar="TAG", help="Only with this tag; may be given again.")] = None,
    entity: Annotated[list[str] | None, typer.Option(
        "--entity", metavar="NAME", help="Only about it; may be given again.")] = None,
    limit: Annotated[int | None, limit("At most so many.")] = None,
) -> None:
    """List episodes."""
    wanted = given({"time_range": span(since, until), "tags": tag, "entities": entity, "limit": limit})
    call.out.listing("episodes", call.ask("list_episodes", episode_filter=wanted), "episodes", views.episodes)
