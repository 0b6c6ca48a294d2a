"""Forget, pin and unpin memories. Driven by main."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from engram_cli.call import Call
from engram_cli.options import NO_MARKUP, command
from engram_cli.output import plural
from engram_cli.times import time
from engram_core.errors import UsageError

app = typer.Typer(**NO_MARKUP)

# What a memory leaves elsewhere: field of the report, and what a person calls one and several of them.
_MADE = {"versions": ("version", "versions"), "index_entries": ("index entry", "index entries"),
         "quotes": ("quote", "quotes"), "builds": ("stored packet", "stored packets")}
KINDS = "event|fact|episode|procedure|insight"
Kind = Annotated[str, typer.Argument(metavar="KIND", show_default=False, help=KINDS)]
Id = Annotated[str, typer.Argument(metavar="ID", show_default=False, help="The memory's id.")]


@command(app, "forget", example="""
engram forget --id e_06c5v0 --dry-run
engram forget --session s1 --yes
engram forget --kind event --before 90d --yes
engram forget --all --user ada --yes
""")
def forget(
    call: Call, *,
    id: Annotated[list[str] | None, typer.Option(
        "--id", metavar="ID", help="This memory; may be given again.")] = None,
    kind: Annotated[list[str] | None, typer.Option(
        "--kind", metavar=KINDS + "|working_state|short_term|build",
        help="Only of this kind; may be given again.")] = None,
    session_id: Annotated[str | None, typer.Option(
        "--session", metavar="ID", help="What belongs to this session; with --id only where it is.")] = None,
    run_id: Annotated[str | None, typer.Option(
        "--run", metavar="ID", help="What belongs to this run; with --id only where it is.")] = None,
    before: Annotated[str | None, time("--before", help="What is older: a time, a date, 90d.")] = None,
    all: Annotated[bool, typer.Option("--all", help="Everything of this user and agent.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int:
    """Delete memories for good, with everything made of them: index entries, stored packets, versions.

    Several options narrow each other. Ends with 1 when there was nothing to delete.
    """
    selector = {"ids": id, "kinds": kind, "session": not id and session_id is not None,
                "run": not id and run_id is not None, "before": before, "all": all}
    selector = {name: value for name, value in selector.items() if value}
    if not selector:
        raise UsageError("nothing selected", hint="name it with --id, --kind, --session, --run, --before or --all")
    if not dry_run and not yes:
        _confirm(call, selector)
    report = call.ask("forget", selector=selector, dry_run=dry_run)
    if call.out.json or call.out.ndjson:
        call.out.document("forget", report)
    else:
        call.out.fields(_lines(report))
        if report["rows"] and report.get("backups_note"):
            call.out.note(str(report["backups_note"]))
    return 0 if report["rows"] else 1


def _confirm(call: Call, selector: dict[str, Any]) -> None:
    if sys.stdin is None or not sys.stdin.isatty() or call.out.json:
        raise UsageError("forget asks before it deletes, and there is nobody to ask",
                         hint="look with --dry-run, then add --yes")
    for name, value in _lines(call.ask("forget", selector=selector, dry_run=True)):
        call.out.note(f"{name}: {value}")
    sys.stderr.write("Delete this for good? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise typer.Abort


def _lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    said = "would delete" if report.get("dry_run") else "deleted"
    if not report["rows"]:
        return [(said, "nothing, no memory matches")]
    kinds = ", ".join(f"{count:,} {name}" for name, count in (report.get("kinds") or {}).items() if count)
    made = ", ".join(plural(int(report[name]), word, words)
                     for name, (word, words) in _MADE.items() if report.get(name))
    found = [(said, plural(int(report["rows"]), "memory", "memories") + (f" ({kinds})" if kinds else ""))]
    return [*found, ("with them", made)] if made else found


@command(app, "pin", example="engram pin fact f_city")
def pin(call: Call, kind: Kind, id: Id) -> None:
    """Put a memory first in its section, and keep it from being forgotten by a rule."""
    _set(call, kind, id, pinned=True)


@command(app, "unpin", example="engram unpin fact f_city")
def unpin(call: Call, kind: Kind, id: Id) -> None:
    """Undo a pin."""
    _set(call, kind, id, pinned=False)


def _set(call: Call, kind: str, id: str, *, pinned: bool) -> None:
    reply = call.ask("set_pinned", kind=kind, id=id, pinned=pinned)
    if call.out.json or call.out.ndjson:
        call.out.document("pin", reply)
    else:
        call.out.line(f"{'pinned' if pinned else 'unpinned'} {kind} {id}")
