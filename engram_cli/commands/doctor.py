"""Find out what keeps Engram from working well. Driven by main."""

from __future__ import annotations

import os

import typer

from engram_cli.call import Call
from engram_cli.options import NO_MARKUP, command

app = typer.Typer(**NO_MARKUP)
_STYLE = {"ok": "32", "note": "33", "wrong": "31"}


@command(app, "doctor", scope=False, daemon=False, stream=True, example="""
engram doctor
engram doctor --json
""")
def doctor(call: Call) -> int:
    """Check everything Engram needs, and say what to do where something is wrong.

    Looks at the configuration, paths and permissions, disk, daemon, database, spool, SQLite, clock, start-up and
    service files; changes nothing and starts nothing. Ends with 1 when something is wrong; a note is only worth
    knowing.
    """
    from engram_core.daemon.doctor import examine

    found = []
    for one in examine(os.environ):
        found.append(one._asdict())
        if call.out.ndjson:
            call.out.rows([found[-1]])
        elif not call.out.json:
            mark = one.state.ljust(5)
            call.out.write(f"\x1b[{_STYLE[one.state]}m{mark}\x1b[0m" if call.out.color else mark)
            call.out.line(f"  {one.check}: {one.found}")
            if one.fix:
                call.out.line(f"       -> {one.fix}")
        call.out.flush()
    wrong = sum(one["state"] == "wrong" for one in found)
    if call.out.json:
        call.out.document("doctor", {"wrong": wrong, "checks": found})
    return 1 if wrong else 0
