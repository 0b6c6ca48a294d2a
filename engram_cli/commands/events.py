"""List and follow events. Driven by main."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from engram_cli import views
from engram_cli.call import Call
from engram_cli.numbers import COUNT_MAX, number
from engram_cli.numbers import limit as number_limit
from engram_cli.options import command, family
from engram_cli.output import one_line
from engram_cli.times import span
from engram_cli.times import time as time_option
from engram_core.errors import UsageError

app = family("events", "List what happened, newest last, or follow it.", default="list")
PAUSE = 0.25  # seconds between questions while following


@command(app, "list", stream=True, example="""
engram events --limit 20
engram events --since 2d --level owner --json
engram events --follow
""")
def list_(
    call: Call,
    *,
    limit: Annotated[int | None, number_limit("The newest N, in time order; 50 by default.", "-n",
                                              hint="leave it out for the newest 50")] = None,
    after: Annotated[int | None, number("--after", low=0, high=COUNT_MAX, metavar="SEQ",
                                        help="Only those after this sequence number.")] = None,
    since: Annotated[str | None, time_option("--since", help="From this time on: a time, a date, 2h, 3d.")] = None,
    until: Annotated[str | None, time_option("--until", end=True, help="Up to this time.")] = None,
    level: Annotated[str | None, typer.Option(
        "--level", metavar="run|session|owner",
        help="Of this run, this session, or every session; run by default.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep writing new events as they come.")] = False,
) -> None:
    """List what happened, newest last; --follow keeps writing."""
    if follow and until is not None:
        raise UsageError("--follow and --until exclude each other", hint="choose one")
    if follow and call.out.json:
        raise UsageError("--follow has no end, so it cannot be one JSON document", hint="use --ndjson")
    if limit is None and after is None and not follow and (since or until) is None:
        limit = 50
    if follow and limit is None and after is None and since is None:
        limit = 10
    found = collect(call, limit=limit, after=after, span=span(since, until) or None, level=level)
    if follow:
        _write(call, found)
        _follow(call, last=_last(call, found, after, level), level=level)
    else:
        call.out.listing("events", {"events": found}, "events", views.events)


def collect(call: Call, *, limit: int | None, after: int | None, span: Any, level: str | None) -> list[dict[str, Any]]:
    """Return the events asked for, page after page."""
    found: list[dict[str, Any]] = []
    while True:
        left = None if limit is None else limit - len(found)
        reply = call.ask("list_events", limit=left, after_seq=after, time_range=span, level=level)
        found += reply["events"]
        following = reply.get("next")
        if following is None or (limit is not None and len(found) >= limit):
            return found
        after = following


def _last(call: Call, found: list[dict[str, Any]], after: int | None, level: str | None) -> int:
    if found:
        return max(int(event["seq"]) for event in found)
    newest = call.ask("list_events", limit=1, level=level)["events"]
    return after if after is not None else int(newest[0]["seq"]) if newest else 0


def _follow(call: Call, *, last: int, level: str | None) -> None:
    while True:
        call.out.flush()
        time.sleep(PAUSE)
        found = collect(call, limit=None, after=last, span=None, level=level)
        if found:
            _write(call, found)
            last = max(int(event["seq"]) for event in found)


def _write(call: Call, found: list[dict[str, Any]]) -> None:
    """Write events one by one: columns cannot be fitted to what is still to come."""
    if call.out.ndjson:
        call.out.rows(found)
        return
    for row in views.events(found).rows:
        call.out.line(("  " if call.out.rich else "\t").join(one_line(cell) for cell in row))
