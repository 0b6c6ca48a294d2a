"""Back up and restore the configured database from the command line, without or beside a running daemon.

Driven by the command line's ``keep`` module. A backup reads beside whoever writes; a restore takes the lock that a
daemon would hold, so that neither runs under the other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from engram_core import settings as configuration
from engram_core.daemon import endpoint
from engram_core.dsn import is_server, shown
from engram_core.errors import BadInput, Busy
from engram_core.store import backup

__all__ = ["back_up", "database", "locked", "restore"]


def database(env: Mapping[str, str], config: str | None = None) -> str:
    """Return the configured database's path; raise BadInput for one on a server, which has its own tools."""
    settings = configuration.load(env=env, config=config)
    url = configuration.store_url(settings, env)
    if is_server(url):
        raise BadInput(f"the database {shown(url)} is on a server; backup and restore are for files",
                       hint="use the server's own tools, or copy it into a file: engram store copy --to FILE")
    return url


def back_up(path: str, target: str, *, progress: Callable[[int], None]) -> dict[str, Any]:
    """Copy the database at a path to a new file."""
    os.umask(0o077)
    return backup.back_up(path, os.path.abspath(target), progress)


def restore(source: str, path: str, *, progress: Callable[[int], None]) -> dict[str, Any]:
    """Put a backup in the place of the database at a path; the old one is kept beside it."""
    os.umask(0o077)
    held = locked(path)
    try:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside, number = f"{path}.before-{stamp}", 1
        while os.path.lexists(aside):
            number += 1
            aside = f"{path}.before-{stamp}-{number}"
        return backup.restore(os.path.abspath(source), path, aside=aside, progress=progress)
    finally:
        os.close(held)


def locked(path: str) -> int:
    """Take the database's lock, or say who has it."""
    held = endpoint.lock(path)
    if held is None:
        found = endpoint.record(path)
        at = f" at {found['socket']}" if found else ""
        raise Busy(f"a daemon serves {path}{at}", hint="stop it with: engram daemon stop")
    return held
