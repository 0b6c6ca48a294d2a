"""Keep the run's working state: show, set, patch, clear, slots one by one. Driven by main."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from engram_cli import views
from engram_cli.call import Call, parse_json, parse_object, text_from
from engram_cli.commands.fact import JsonValue
from engram_cli.commands.procedure import pairs
from engram_cli.feed import Item, Json, StdinJson, StdinNdjson, feed, lifted
from engram_cli.numbers import COUNT_MAX, number
from engram_cli.options import command, family
from engram_core.errors import UsageError

app = family("state", "Keep what the current run is working on.", default="show")
slot = family("slot", "Set or remove one slot.")
app.add_typer(slot)

Expected = Annotated[int | None, number("--expected-version", low=0, high=COUNT_MAX, data=True,
                                        help="Change it only if it still has this version.")]
EMPTY: Json = {"goal": "", "plan": [], "slots": {}, "constraints": {}, "tool_evidence": [], "decisions": [],
               "risks": [], "open_loops": []}


@command(app, "show", example="engram state show --json")
def show(call: Call) -> None:
    """Show the working state of this run."""
    state = call.ask("get_working_state").get("working_state")
    if call.out.json or call.out.ndjson:
        call.out.document("state", {"working_state": state})
    elif state is None:
        call.out.note('this run has no working state; begin with: engram state set --goal "..."')
    else:
        call.out.fields(_lines(state))


def _lines(state: Json) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in state.items():
        if isinstance(value, dict):
            found += [(f"{name}.{key}", views.text_of(one)) for key, one in value.items()]
        elif isinstance(value, list):
            found += [(name, views.text_of(one)) for one in value]
        elif value != "":
            found.append((name, views.text_of(value)))
    return found


def _patch(call: Call, patch: Json, **more: Any) -> None:
    reply = call.ask("patch_working_state", patch=patch, **more)
    if call.out.json or call.out.ndjson:
        call.out.document("state", reply)
    else:
        _show_version(call, reply)


def _show_version(call: Call, reply: Json) -> None:
    call.out.line(f"version {reply['working_state']['state_version']}")


@command(app, "set", example="""
engram state set --goal "ship 1.2" --plan "fix the tests" --plan "tag" --open-loop "ask Ada for the logo"
engram state set --stdin-json < state.json
""")
def set_(
    call: Call, *,
    goal: Annotated[str | None, typer.Option("--goal", metavar="TEXT", help="What this run is for.")] = None,
    plan: Annotated[list[str] | None, typer.Option(
        "--plan", metavar="STEP", help="A step; may be given again.")] = None,
    decision: Annotated[list[str] | None, typer.Option(
        "--decision", metavar="TEXT", help="Something decided; may be given again.")] = None,
    risk: Annotated[list[str] | None, typer.Option(
        "--risk", metavar="TEXT", help="Something that may go wrong; may be given again.")] = None,
    open_loop: Annotated[list[str] | None, typer.Option(
        "--open-loop", metavar="TEXT", help="Something still to do; may be given again.")] = None,
    constraint: Annotated[list[str] | None, typer.Option(
        "--constraint", metavar="NAME=VALUE", help="Something to keep to; may be given again.")] = None,
    expected_version: Expected = None,
    stdin_json: StdinJson = False,
    stdin_ndjson: StdinNdjson = False,
) -> int:
    """Set fields of the working state; a field that is given replaces the whole field.

    A JSON object on stdin has the fields that engram state show --json shows; its scope may name another run.
    """
    given = {"goal": goal, "plan": plan, "decisions": decision, "risks": risk, "open_loops": open_loop,
             "constraints": pairs(constraint, "--constraint") or None}

    def argument() -> Json:
        if all(value is None for value in given.values()):
            raise UsageError("nothing to set", hint='such as: engram state set --goal "..."')
        return {}

    def params(state: Json) -> Json:
        scope, fields = lifted(call, state)
        expected = {} if expected_version is None else {"expected_version": expected_version}
        return {"scope": scope, "patch": fields, **expected}

    item = Item("state", "patch_working_state", params, lambda reply: _show_version(call, reply))
    return feed(call, item, fields=given, argument=argument, stdin_json=stdin_json, stdin_ndjson=stdin_ndjson)


@command(app, "patch", example="""
engram state patch '{"goal":"ship 1.2","slots":{"branch":"main"}}'
engram state patch --expected-version 3 - < state.json
""")
def patch(
    call: Call,
    document: Annotated[str | None, typer.Argument(metavar="[JSON]", show_default=False,
                                                   help="The fields to replace; - or a pipe reads stdin.")] = None,
    *,
    expected_version: Expected = None,
) -> None:
    """Replace the fields a JSON object names, and leave the others."""
    _patch(call, parse_object(text_from(document, what="patch"), what="patch"), expected_version=expected_version)


@command(app, "clear", example="""
engram state clear --dry-run
engram state clear
""")
def clear(
    call: Call, *,
    expected_version: Expected = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be emptied.")] = False,
) -> None:
    """Empty every field."""
    if not dry_run:
        _patch(call, EMPTY, expected_version=expected_version)
        return
    if expected_version is not None:
        raise UsageError("--dry-run and --expected-version exclude each other", hint="choose one")
    state = call.ask("get_working_state").get("working_state") or {}
    full = {name: value for name, value in state.items() if value and name != "state_version"}
    if call.out.json or call.out.ndjson:
        call.out.document("state", {"dry_run": True, "would_clear": full})
    elif full:
        call.out.fields([("would clear", f"{name}: {value}") for name, value in _lines(full)])
    else:
        call.out.note("nothing to clear: every field of this run's working state is empty")


@command(slot, "set", example="""
engram state slot set branch main
engram state slot set retries 3 --json-value
""")
def slot_set(
    call: Call,
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False, help="The slot.")],
    value: Annotated[str | None, typer.Argument(metavar="[VALUE]", show_default=False,
                                                help="What it holds; - or a pipe reads stdin.")] = None,
    *,
    json_value: JsonValue = False,
    expected_version: Expected = None,
) -> None:
    """Set one slot and leave the others."""
    text = text_from(value, what="value", empty=not json_value)
    _patch(call, {}, merge_slots={name: parse_json(text, what="value") if json_value else text},
           expected_version=expected_version)


@command(slot, "remove", example="engram state slot remove branch")
def slot_remove(
    call: Call,
    name: Annotated[list[str], typer.Argument(metavar="NAME...", show_default=False, help="The slots.")],
    *,
    expected_version: Expected = None,
) -> None:
    """Remove slots."""
    _patch(call, {}, remove_slots=name, expected_version=expected_version)
