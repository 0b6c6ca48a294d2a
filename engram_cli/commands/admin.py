"""Show status and version. Driven by main."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any

import typer

from engram_cli import views
from engram_cli.call import Call
from engram_cli.options import NO_MARKUP, command

app = typer.Typer(**NO_MARKUP)


@command(app, "status", example="""
engram status
engram status --json
""")
def status(call: Call) -> None:
    """Show whether the daemon runs, what it holds, and whose memories your commands use."""
    found = call.ask("status")
    if call.out.json or call.out.ndjson:
        call.out.document("status", found)
    else:
        show = views.status_at_a_glance if call.out.terminal else views.status
        call.out.fields(show(found, os.environ))
        if found["version"] != versions()["engram"]:
            call.out.note(f"the daemon is version {found['version']}, this command {versions()['engram']}; "
                          "the installed one is started by: engram daemon restart")


@command(app, "version", scope=False, daemon=False, example="engram version --json")
def version(call: Call) -> None:
    """Show the version, and whether the compiled kernel is in use."""
    found = versions()
    if call.out.json or call.out.ndjson:
        call.out.document("version", found)
    else:
        call.out.fields([(name, "yes" if value is True else "no" if value is False else str(value))
                         for name, value in found.items()])


def versions() -> dict[str, Any]:
    """Return the versions of Engram and what it runs on."""
    from engram_core import __version__

    return {"engram": __version__, "kernel_compiled": kernel_is_compiled(),
            "python": ".".join(map(str, sys.version_info[:3])), "program": sys.executable}


def kernel_is_compiled() -> bool:
    """Tell whether the kernel's modules are there as machine code; looks for the files, loads nothing."""
    found = [importlib.util.find_spec(f"engram_core.kernel.{name}") for name in ("bpe", "fit", "index")]
    return all(spec is not None and (spec.origin or "").endswith((".so", ".pyd")) for spec in found)
