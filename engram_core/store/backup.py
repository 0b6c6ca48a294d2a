"""Copy a SQLite database while it is in use, and put a copy back in its place. Driven by the daemon's ``keeping``.

A copy is made under another name, checked, synced and only then given its own; nothing that exists is written over.
While a copy takes the database's place a marker lies beside it: a store does not open beside one, so that no moment of
a restore can look like an empty or a half database.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from engram_core.errors import BadInput, SchemaTooNew, StoreCorrupt, StoreError
from engram_core.failpoints import reach
from engram_core.store.migrations import check_schema
from engram_core.store.sqlite import SqliteConnection, check_file

PAGES = 2048  # of a step: 8 MiB
_PARTS = ("", "-wal", "-journal")

Progress = Callable[[int], None]


def back_up(database: str, target: str, progress: Progress) -> dict[str, Any]:
    """Copy a database, in use or not, to a new file that holds everything committed before; return what it holds."""
    _refuse_target(database, target)
    if not check_file(database):
        raise StoreError(f"there is no database at {database}", hint="append something first, or name it in store.url")
    part = f"{target}.part-{os.getpid()}"
    try:
        _copy(database, part, progress)
        found = look(part)
        _sync(part)
        reach("backup.before")
        _name(part, target)
        reach("backup.after")
    finally:
        _remove(part)
    return {"file": target, **found}


def look(path: str) -> dict[str, Any]:
    """Return what a database file holds; raise for one that is damaged, foreign, newer or cut short."""
    try:
        present = check_file(path)
    except StoreCorrupt as error:
        raise StoreCorrupt(error.message.replace("database ", "file ", 1), hint="name a file made by engram backup"
                           ) from error
    if not present:
        raise StoreError(f"file {path} is empty or not there", hint="name a file made by engram backup")
    try:
        connection = SqliteConnection(path, role="check")
        try:
            schema = check_schema(connection)
            if not schema:
                raise StoreCorrupt(f"file {path} is an empty database", hint="name a file made by engram backup")
            damage = connection.execute("PRAGMA integrity_check(1)")[0][0]
            if damage != "ok":
                raise StoreCorrupt(f"file {path} is damaged: {' '.join(str(damage).split())}",
                                   hint="try an older backup")
            rows = connection.execute("SELECT count(*), coalesce(sum(revision), 0) FROM owners")[0]
        finally:
            connection.close()
    except SchemaTooNew:
        raise
    except StoreCorrupt as error:
        raise StoreCorrupt(error.message.replace("database ", "file ", 1), hint=error.hint) from error
    return {"schema": schema, "bytes": os.stat(path).st_size, "owners": rows[0], "changes": rows[1]}


def restore(source: str, database: str, *, aside: str, progress: Progress) -> dict[str, Any]:
    """Put a checked copy of a file in the place of the database, which is kept under the name ``aside``.

    The caller holds the database's lock. Whatever moment this ends at, the old database is still there, and doing it
    again finishes it.
    """
    found = look(source)
    if os.path.exists(database) and os.path.samefile(source, database):
        raise BadInput(f"{source} is the database itself", hint="name a file made by engram backup")
    folder = os.path.dirname(database) or "."
    os.makedirs(folder, mode=0o700, exist_ok=True)
    fresh = f"{database}.restore"
    _remove(fresh)
    try:
        _copy(source, fresh, progress)
        look(fresh)
        _sync(fresh)
        reach("restore.checked")
        kept = _keep_aside(database, aside)
        reach("restore.kept")
        for part in ("-wal", "-shm", "-journal"):
            _unlink(database + part)
        reach("restore.before")
        os.rename(fresh, database)
        reach("restore.after")
        _sync(folder)
        _unlink(marker(database))
        _sync(folder)
    except OSError as error:
        raise StoreError(f"{error.filename or database}: {error.strerror}",
                         hint="the old database is kept; correct that and repeat the command") from error
    finally:
        _remove(fresh)
    return {"database": database, "kept": kept, **found}


def keep_before_migration(database: str, schema: int) -> None:
    """Keep a whole copy of a database before its schema becomes a newer one; there is one for each older schema."""
    kept = f"{database}.schema-{schema}"
    part = f"{kept}.part-{os.getpid()}"
    try:
        _copy(database, part, lambda done: None)
        _sync(part)
        os.replace(part, kept)
        _sync(os.path.dirname(database) or ".")
    finally:
        _remove(part)


def marker(database: str) -> str:
    """Return the file that lies beside a database while a restore is replacing it."""
    return database + ".restoring"


def refuse_half_restored(database: str) -> None:
    """Raise when a restore of the database was cut short: opening it now could lose what its log held."""
    if os.path.exists(marker(database)):
        raise StoreError(f"a restore of {database} was cut short",
                         hint="repeat it: engram restore FILE; the old database is kept beside it")


def _keep_aside(database: str, aside: str) -> str:
    """Give the old database and its log a second name, after writing down which; return it, "" when there is none."""
    path = marker(database)
    if os.path.exists(path):  # a restore that was cut short had kept it already, and may have removed its log since
        with open(path, "rb") as file:
            return str(json.loads(file.read())["kept"])
    kept = aside if any(os.path.exists(database + part) for part in _PARTS) else ""
    for part in _PARTS if kept else ():
        if os.path.exists(database + part):
            os.link(database + part, aside + part)
    fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, json.dumps({"kept": kept}).encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(path + ".new", path)
    _sync(os.path.dirname(database) or ".")
    return kept


def _refuse_target(database: str, target: str) -> None:
    if os.path.exists(target) and os.path.exists(database) and os.path.samefile(database, target):
        raise BadInput(f"{target} is the live database", hint="name another file for the backup")
    if os.path.lexists(target):
        raise BadInput(f"{target} exists, and a backup writes over nothing",
                       hint=f"name another file, or remove it: rm {target}")
    folder = os.path.dirname(target) or "."
    if not os.path.isdir(folder):
        raise BadInput(f"there is no folder {folder}", hint=f"make it first: mkdir -p {folder}")


def _copy(source: str, target: str, progress: Progress) -> None:
    """Copy page by page from one state of the source, whoever writes to it meanwhile."""
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(f"{target} cannot be made: {error.strerror}",
                         hint="name a file in a folder of yours") from error
    reader = SqliteConnection(source, role="copy")
    try:
        # Within one reading transaction of ours the copy never begins anew, however much is written beside it.
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master")
        reader.copy_to(target, PAGES, progress)
    finally:
        reader.close()


def _name(part: str, target: str) -> None:
    """Give a file its name unless something has come to lie there."""
    try:
        os.link(part, target)
    except FileExistsError as error:
        raise BadInput(f"{target} exists, and a backup writes over nothing", hint="name another file") from error
    except OSError as error:
        if error.errno not in (1, 95):  # a file system without links
            raise StoreError(f"{target} cannot be made: {error.strerror}", hint="name another file") from error
        os.rename(part, target)
    _unlink(part)
    _sync(os.path.dirname(target) or ".")


def _sync(path: str) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise StoreError(f"{path} cannot be brought to the disk: {error.strerror}", hint="look at the disk") from error


def _remove(path: str) -> None:
    for part in (*_PARTS, "-shm"):
        _unlink(path + part)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
