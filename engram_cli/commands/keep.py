"""Back up, restore, export and import the memories. Driven by main."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from engram_cli.call import Call
from engram_cli.options import NO_MARKUP, command
from engram_cli.output import Progress, plural
from engram_core.errors import UsageError

app = typer.Typer(**NO_MARKUP)
MIB = 1 << 20


def _watch(call: Call) -> Progress:
    return Progress("MiB copied", watched=not call.out.json)


@command(app, "backup", scope=False, daemon=False, example="""
engram backup memories-2026-01-31.db
""")
def backup(
    call: Call,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The new file; one that exists is left alone.",
                                        show_default=False)],
) -> None:
    """Copy the database into one file, while everything goes on.

    The copy holds everything that was acknowledged before the command began, is checked before it gets its name, and
    can be read by you alone. It holds what you may have forgotten since an older one was made.
    """
    from engram_core.daemon import keeping

    progress = _watch(call)
    try:
        found = keeping.back_up(keeping.database(os.environ), file, progress=lambda done: progress.step(done // MIB))
    finally:
        progress.end()
    _show(call, "backup", found, f"{found['file']}: {plural(found['changes'], 'change')}, checked")


@command(app, "restore", scope=False, daemon=False, example="""
engram restore memories-2026-01-31.db --yes
""")
def restore(
    call: Call,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file made by engram backup.", show_default=False)],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Put a backup in the place of the database, which is kept beside it under another name.

    The backup is checked first. A daemon must not run: stop it with engram daemon stop. Interrupted at any moment, the
    command can simply be repeated.
    """
    from engram_core.daemon import keeping

    path = keeping.database(os.environ)
    if not yes:
        if call.out.json or not os.isatty(0):
            raise UsageError(f"this replaces the memories in {path}", hint="repeat it with --yes")
        typer.confirm(f"Replace the memories in {path}?", abort=True, err=True)
    progress = _watch(call)
    try:
        found = keeping.restore(file, path, progress=lambda done: progress.step(done // MIB))
    finally:
        progress.end()
    kept = f"; the old one is {found['kept']}" if found["kept"] else ""
    _show(call, "restore", found, f"{found['database']}: {plural(found['changes'], 'change')}{kept}")


@command(app, "export", scope=False, daemon=False, example="""
engram export memories.ndjson
engram export --user ada --agent cli ada.ndjson
engram export --user ada --session s1 session.ndjson
engram export - | gzip > memories.ndjson.gz
""")
def export(
    call: Call,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The new file; - writes to stdout.", show_default=False)],
    *,
    tenant: Annotated[str | None, typer.Option("--tenant", metavar="ID", help="Only of this tenant.")] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="ID", help="Only of this user.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", metavar="ID", help="Only of this agent.")] = None,
    session: Annotated[str | None, typer.Option("--session", metavar="ID", help="Only of this session.")] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="ID", help="Only of this run.")] = None,
) -> None:
    """Write memories of every kind as lines of JSON, all of them or those of a tenant, user, agent, session or run.

    A session or run has its events, insights, states and packets; facts, episodes and procedures belong to the user and
    agent as a whole and go with them. The file holds one state of the database, whoever writes meanwhile, and can be
    read by you alone.
    """
    from engram_core.daemon import keeping

    given = {"tenant_id": tenant, "user_id": user, "agent_id": agent, "session_id": session, "run_id": run}
    progress = Progress("records", watched=file != "-" and not call.out.json)
    try:
        found = keeping.export(os.environ, file, {key: value for key, value in given.items() if value is not None},
                               progress=progress.step)
    finally:
        progress.end()
    if file == "-":
        call.out.note(f"{plural(found['records'], 'record')} of {plural(found['owners'], 'owner')}")
        return
    _show(call, "export", found, f"{found['file']}: {plural(found['records'], 'record')} of "
                                 f"{plural(found['owners'], 'owner')}")


@command(app, "import", scope=False, daemon=False, example="""
engram import memories.ndjson
engram import data/engram.db
""")
def import_(
    call: Call,
    file: Annotated[str, typer.Argument(
        metavar="FILE", help="A file made by engram export, or the earlier library's database.", show_default=False)],
) -> None:
    """Store what an export holds; what is there already stays, so it can be repeated.

    The SQLite file of the earlier library is read too, but for its stored packets, which were built by another ranking.
    The file is read through first: one that is foreign, newer, changed or cut short is refused whole. A daemon must not
    run: stop it with engram daemon stop.
    """
    from engram_core.daemon import keeping

    progress = Progress("records", watched=not call.out.json)
    try:
        found = keeping.load(os.environ, file, progress=progress.step)
    finally:
        progress.end()
    left = f", {plural(found['packets'], 'stored packet')} left out" if found.get("packets") else ""
    _show(call, "import", found, f"{plural(found['records'], 'record')} stored, {found['kept']:,} there already{left}")


def _confirm(call: Call, path: str) -> None:
    if sys.stdin is None or not sys.stdin.isatty() or call.out.json:
        raise UsageError(f"restore replaces the memories in {path}, and there is nobody to ask",
                         hint="repeat it with --yes")
    sys.stderr.write(f"Replace the memories in {path}? The old database is kept beside it. [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise typer.Abort


def _show(call: Call, name: str, found: dict[str, Any], text: str) -> None:
    if call.out.json or call.out.ndjson:
        call.out.document(name, found)
    else:
        call.out.line(text)
