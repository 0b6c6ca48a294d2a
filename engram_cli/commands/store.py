"""Copy a whole store. Driven by main; it opens both databases itself, beside the daemon."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from engram_cli.call import Call
from engram_cli.options import command, family
from engram_cli.output import Progress, plural
from engram_core import settings
from engram_core.errors import BadInput

app = family("store", "Copy a whole store to another database.")


@command(app, "copy", scope=False, daemon=False, example="""
engram store copy --to postgresql://ada@db.example/engram --password-file ~/.config/engram/db-password
engram store copy --from mysql://ada@db.example/engram --to ~/engram.db
""")
def copy(
    call: Call, *,
    to: Annotated[str, typer.Option("--to", metavar="URL", envvar="ENGRAM_COPY_TO", show_default=False,
                                    help="Empty or new database: a path, or the URL of a PostgreSQL or MySQL one.")],
    from_: Annotated[str | None, typer.Option("--from", metavar="URL", envvar="ENGRAM_COPY_FROM", show_default=False,
                                              help="Store to copy; the configured one unless given.")] = None,
    password_file: Annotated[str | None, typer.Option(
        "--password-file", metavar="FILE", show_default=False,
        help="File of yours whose first line is the password of the target.")] = None,
    config: Annotated[str | None, typer.Option("--config", metavar="FILE", envvar="ENGRAM_CONFIG",
                                               help="Use this file in place of your own.")] = None,
) -> None:
    """Copy everything to an empty database and verify it; run again, it goes on where it was cut short.

    The source is not changed and may be in use: what is copied is its state at the start. Counts and digests of
    every table are compared at the end. To use the copy, set store.url to it and restart the daemon.
    """
    from engram_core.dsn import shown
    from engram_core.store.connection import Options
    from engram_core.store.copying import copy as run

    found = settings.load(env=os.environ, config=config)
    source = _url(from_, "--from") if from_ else settings.store_url(found, os.environ)
    target = _url(to, "--to")
    common = Options("full", found.get("store.busy_timeout_ms"), found.get("store.answer_timeout_ms"))
    progress = Progress("records copied", watched=True)

    def watch(done: int, total: int) -> None:
        progress.step(done, total)

    try:
        report = run(source, target, source=common._replace(password_file=found.get("store.password_file")),
                     target=common._replace(password_file=password_file or ""), watch=watch)
    finally:
        progress.end()
    if call.out.json:
        call.out.document("store-copy", {"from": shown(source), "to": shown(target), **report._asdict()})
        return
    before = f", {report.kept:,} of them by an earlier attempt" if report.kept else ""
    call.out.note(f"copied {plural(report.records, 'record')} of {plural(report.owners, 'owner')}{before}, and "
                  f"verified them: {report.digest}")


def _url(given: str, option: str) -> str:
    """Return what to open; a password is taken from the environment, never from the command line."""
    from engram_core.dsn import is_server, masked, secrets
    from engram_core.places import check_store

    if secrets(given) and any(given in word for word in sys.argv):
        variable = f"ENGRAM_COPY_{option.removeprefix('--').upper()}"
        raise BadInput(f"{option} {masked(given)} holds a password, and a command line can be read by others",
                       hint=f"leave it out and use --password-file, or put the URL into {variable}")
    if is_server(given) or "://" in given:
        return check_store(given, option)
    return os.path.abspath(os.path.expanduser(given))


__all__ = ["app"]
