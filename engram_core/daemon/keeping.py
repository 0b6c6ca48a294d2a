"""Back up and restore the configured database from the command line, without or beside a running daemon.

Driven by the command line's ``keep`` module. A backup and an export read beside whoever writes; a restore and an import
take the lock that a daemon would hold, so that neither runs under the other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from engram_core import settings as configuration
from engram_core.daemon import earlier, endpoint
from engram_core.dsn import is_server, shown
from engram_core.errors import BadInput, Busy, NotFound, StoreError
from engram_core.store import backup, exporting
from engram_core.store.connection import Database, Options
from engram_core.store.store import Store, open_database

__all__ = ["back_up", "database", "export", "load", "locked", "restore"]


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


def export(env: Mapping[str, str], target: str, scope: dict[str, str], *,
           progress: Callable[[int], None]) -> dict[str, Any]:
    """Write the configured database's records, or those of a scope, to a new file, or to stdout for ``-``."""
    os.umask(0o077)
    settings = configuration.load(env=env)
    url = configuration.store_url(settings, env)
    if not is_server(url) and not os.path.exists(url):
        raise NotFound(f"there is no database at {url}", hint="append something first, or name it in store.url")
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    opened = open_database(url, _options(settings)._replace(writable=False))
    try:
        if target == "-":
            with os.fdopen(os.dup(1), "wb") as out:
                counts = exporting.export(opened.reader(), out.write, scope, made, progress)
        else:
            counts = _to_file(opened, os.path.abspath(target), scope, made, progress)
    finally:
        opened.close()
    return {"file": target, "owners": counts.owners, "records": counts.records}


def _to_file(opened: Database, target: str, scope: dict[str, str], made: str,
             progress: Callable[[int], None]) -> exporting.Counts:
    if os.path.lexists(target):
        raise BadInput(f"{target} exists, and an export writes over nothing", hint="name another file")
    part = f"{target}.part-{os.getpid()}"
    try:
        with open(part, "xb") as out:
            counts = exporting.export(opened.reader(), out.write, scope, made, progress)
            out.flush()
            os.fsync(out.fileno())
        os.link(part, target)
    except OSError as exc:
        raise StoreError(f"{target} cannot be written: {exc.strerror}", hint="free space there, or name another place"
                         ) from exc
    finally:
        if os.path.lexists(part):
            os.unlink(part)
    return counts


def load(env: Mapping[str, str], source: str, *, progress: Callable[[int], None]) -> dict[str, Any]:
    """Store an export, or the file of the earlier library, in the configured database, after it was read through."""
    os.umask(0o077)
    settings = configuration.load(env=env)
    with open(source, "rb") as file:
        if earlier.is_sqlite(file.read(16)):
            return _take_over(settings, env, source, progress)
        file.seek(0)
        exporting.check(file, source)
        held = locked(configuration.database_path(settings, env))
        try:
            store = Store(configuration.store_url(settings, env), busy_ms=settings.get("store.busy_timeout_ms"),
                          answer_ms=settings.get("store.answer_timeout_ms"),
                          password_file=settings.get("store.password_file"))
            try:
                file.seek(0)
                counts = exporting.load(file, store.database.writer(), source, progress)
            finally:
                store.close()
        finally:
            os.close(held)
    return {"file": source, "owners": counts.owners, "records": counts.records, "kept": counts.kept}


def _take_over(settings: configuration.Settings, env: Mapping[str, str], source: str,
               progress: Callable[[int], None]) -> dict[str, Any]:
    from engram_core.daemon.handlers import Engine  # late: no other command here needs one

    source = os.path.abspath(source)
    checking = Engine(settings, ":memory:")
    try:
        earlier.check(checking, source)
    finally:
        checking.close()
    held = locked(configuration.database_path(settings, env))
    try:
        engine = Engine(settings, configuration.store_url(settings, env))
        try:
            taken = earlier.load(engine, source, progress)
        finally:
            engine.close()
    finally:
        os.close(held)
    return {"file": source, **taken._asdict()}


def _options(settings: configuration.Settings) -> Options:
    return Options(busy_ms=settings.get("store.busy_timeout_ms"), answer_ms=settings.get("store.answer_timeout_ms"),
                   password_file=settings.get("store.password_file"))


def locked(path: str) -> int:
    """Take the database's lock, or say who has it."""
    held = endpoint.lock(path)
    if held is None:
        found = endpoint.record(path)
        at = f" at {found['socket']}" if found else ""
        raise Busy(f"a daemon serves {path}{at}", hint="stop it with: engram daemon stop")
    return held
