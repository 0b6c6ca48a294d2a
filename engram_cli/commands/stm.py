"""Keep the session's short-term state: show, set. Driven by main."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from engram_cli.call import Call, text_from
from engram_cli.feed import Item, Json, StdinJson, StdinNdjson, feed, lifted
from engram_cli.options import command, family
from engram_cli.output import plural
from engram_core.errors import UsageError

app = family("stm", "Keep the session's rolling summary and key quotes.", default="show")


@command(app, "show", example="engram stm show")
def show(call: Call) -> None:
    """Show the session's rolling summary and key quotes."""
    state = call.ask("get_stm").get("stm")
    if call.out.json or call.out.ndjson:
        call.out.document("stm", {"stm": state})
    elif state is None:
        call.out.note('this session has no summary; begin with: engram stm set --summary "..."')
    else:
        quotes = [(f"quote {one['evidence_id']}", f"{one.get('role', 'user')}: {one['quote']}")
                  for one in state.get("key_quotes", [])]
        call.out.fields([("rolling_summary", state.get("rolling_summary", "")), *quotes])


@command(app, "set", example="""
engram stm set --summary "Ada plans the move to Lyon; the flat is found, the date is open."
engram stm set --quote e_12="we decide on Friday"
engram stm set --stdin-json < stm.json
""")
def set_(
    call: Call, *,
    summary: Annotated[str | None, typer.Option(
        "--summary", metavar="TEXT", help="The rolling summary; - reads stdin.")] = None,
    quote: Annotated[list[str] | None, typer.Option(
        "--quote", metavar="EVENT=TEXT",
        help="Words worth keeping and the event they are from; may be given again.")] = None,
    stdin_json: StdinJson = False,
    stdin_ndjson: StdinNdjson = False,
) -> int:
    """Set the summary or the quotes; what is not given stays as it is.

    A JSON object on stdin replaces both, with the fields that engram stm show --json shows; its scope may name another
    session.
    """
    scope = call.scope

    def params(state: Json) -> Json:
        nonlocal scope
        scope, fields = lifted(call, state)
        return {"scope": scope, "stm_state": fields}

    if (stdin_json or stdin_ndjson) and (summary is not None or quote):
        raise UsageError("--summary or --quote and stdin are both given", hint="leave one of them out")
    item = Item("stm", "update_stm", params, lambda reply: _show_sizes(call, reply["stm"]),
                answer=lambda reply: {**call.memory.request("get_stm", {"scope": scope}), **reply})
    return feed(call, item, fields={}, stdin_json=stdin_json, stdin_ndjson=stdin_ndjson,
                argument=lambda: {**(call.ask("get_stm").get("stm") or {}), **_given(summary, quote)})


def _show_sizes(call: Call, state: Json) -> None:
    quotes = plural(len(state["key_quotes"]), "key quote")
    call.out.line(f"summary of {plural(len(state['rolling_summary']), 'character')}, {quotes}")


def _given(summary: str | None, quotes: list[str] | None) -> dict[str, Any]:
    if summary is None and not quotes:
        raise UsageError("nothing to set", hint='such as: engram stm set --summary "..."')
    found: dict[str, Any] = {}
    if summary is not None:
        found["rolling_summary"] = text_from(summary, what="summary", empty=True)
    if quotes:
        found["key_quotes"] = [_quote(word) for word in quotes]
    return found


def _quote(word: str) -> dict[str, str]:
    event, equals, text = word.partition("=")
    if not equals or not event or not text:
        raise UsageError(f"--quote is {word!r}, but must be EVENT=TEXT", hint="put the event's id before the =")
    return {"evidence_id": event, "quote": text}
