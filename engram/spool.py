"""Keep an append that no daemon could take, as a file beside the database, until the next daemon stores it.

Driven by the command line's ``append``, which loads it only when no daemon can be reached. Each event is one file:
written under another name, synced, renamed to the next number, and the folder synced, so that what was called spooled
survives a power cut and is never half there. The daemon stores the files in the order of their numbers and then
deletes them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time

from engram_core.errors import AccessDenied, Busy, StoreError
from engram_core.failpoints import reach
from engram_core.paths import spool_path

__all__ = ["MAX_BYTES", "MAX_EVENTS", "keep"]

MAX_EVENTS = 10_000
MAX_BYTES = 256 << 20
WAIT_S = 2.0  # for another command that is writing to the spool


def keep(database: str, line: bytes) -> str:
    """Write one request line to the database's spool and return its path; raise when that is not durable."""
    folder = spool_path(database)
    try:
        fd = _open_folder(folder)
        try:
            _lock(fd, folder)
            return _write(fd, folder, line)
        finally:
            os.close(fd)
    except OSError as exc:
        raise StoreError(f"the spool {folder} cannot be written: {exc.strerror}",
                         hint="the event is not stored; free space there or start the daemon") from exc


def _open_folder(folder: str) -> int:
    os.makedirs(os.path.dirname(folder), mode=0o700, exist_ok=True)
    try:
        os.mkdir(folder, 0o700)
        _sync(os.path.dirname(folder))
    except FileExistsError:
        pass
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise AccessDenied(f"the spool {folder} is no folder of its own", hint="move away what lies there") from exc
    found = os.fstat(fd)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        os.close(fd)
        raise AccessDenied(f"the spool {folder} is not ours alone (uid {found.st_uid}, mode "
                           f"{found.st_mode & 0o777:04o})", hint=f"chmod 700 {folder}, or move it away")
    return fd


def _lock(fd: int, folder: str) -> None:
    until = time.monotonic() + WAIT_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as exc:
            if time.monotonic() > until:
                raise Busy(f"another command is writing to the spool {folder}", hint="try again") from exc
        time.sleep(0.005)


def _write(fd: int, folder: str, line: bytes) -> str:
    last, count = 0, 0
    with os.scandir(fd) as entries:
        for entry in entries:
            if entry.name.isdigit():
                count += 1
                last = max(last, int(entry.name))
            elif entry.name.startswith(".new-"):
                os.unlink(entry.name, dir_fd=fd)  # whoever wrote it died: the lock is ours
    if count >= MAX_EVENTS or _bytes(fd, count) + len(line) > MAX_BYTES:
        raise Busy(f"the spool {folder} is full: {count} events wait for a daemon",
                   hint="start it with: engram daemon start")
    temporary, name = f".new-{os.getpid()}", f"{last + 1:020d}"
    out = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=fd)
    try:
        try:
            os.fchmod(out, 0o600)
            data = memoryview(line)
            while data:
                data = data[os.write(out, data):]
            os.fsync(out)
        finally:
            os.close(out)
        reach("spool.before")
        os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
    except BaseException:
        try:
            os.unlink(temporary, dir_fd=fd)
        except FileNotFoundError:
            pass
        raise
    reach("spool.after")
    os.fsync(fd)
    return f"{folder}/{name}"


def _bytes(fd: int, count: int) -> int:
    """Return what the spool takes; looked at exactly only when that many of the largest events could be too much."""
    if count << 20 < MAX_BYTES:
        return count << 20
    with os.scandir(fd) as entries:
        return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
