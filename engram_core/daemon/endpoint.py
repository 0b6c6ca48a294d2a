"""One daemon per database: the lock, the endpoint record beside the database, and the socket with its folder.

Driven by `process` in its start order. Everything here refuses rather than repairs what it did not make: a stale
socket is removed only when it is a socket, ours, and answers no connection, and only under the lock.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import stat

from engram_core.daemon.filesystem import network_file_system
from engram_core.errors import AccessDenied, BadInput, Busy, StoreError
from engram_core.failpoints import reach
from engram_core.paths import MAX_SOCKET_PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Bound", "bind", "identity", "inherited", "lock", "private_folder", "publish", "record", "withdraw"]

BACKLOG = 1024  # a crowd's worth: asyncio's connect takes a full backlog for a connection, and fails when it writes


def private_folder(path: str) -> None:
    """Make a folder that is ours alone, or check that it is: no symlink, mode 0700."""
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        found = os.lstat(path)
    except OSError as exc:
        raise AccessDenied(f"the folder {path} cannot be made: {exc.strerror}",
                           hint="name another socket with --socket or ENGRAM_SOCKET") from exc
    why = ("is a symbolic link" if stat.S_ISLNK(found.st_mode) else
           "is no folder" if not stat.S_ISDIR(found.st_mode) else
           f"belongs to uid {found.st_uid}" if found.st_uid != os.geteuid() else
           f"can be entered by others (mode {found.st_mode & 0o777:04o})" if found.st_mode & 0o077 else "")
    if why:
        raise AccessDenied(f"the socket's folder {path} {why}",
                           hint=f"make it yours alone (chmod 700 {path}) or name another socket with --socket")


# ---- lock and record


def lock(database: str) -> int | None:
    """Take the database's lock for as long as the process lives; None when another daemon holds it."""
    folder = os.path.dirname(database)
    shared = network_file_system(database)
    if shared:
        raise StoreError(f"{database} lies on a network file system ({shared}), where neither locks nor the database's "
                         "log are safe", hint="name a local path in store.url, or use a database server")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        fd = os.open(database + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise StoreError(f"{database}.lock cannot be opened: {exc.strerror}",
                         hint=f"can you write in {folder}? store.url names another place") from exc
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(fd)
        if exc.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise StoreError(f"{database}.lock cannot be locked: {exc.strerror}",
                         hint="keep the database on a local file system") from exc
    return fd


def publish(database: str, found: dict[str, Any]) -> None:
    """Write the endpoint record by rename, so that a reader sees the old one or the new one, never a part."""
    path = database + ".endpoint"
    fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(fd, json.dumps(found).encode() + b"\n")
    finally:
        os.close(fd)
    reach("publish.before")
    os.rename(path + ".new", path)
    reach("publish.after")


def record(database: str) -> dict[str, Any]:
    """Return the endpoint record, {} when there is none; a hint where to look, never proof that someone lives."""
    try:
        with open(database + ".endpoint", "rb") as file:
            found = json.loads(file.read(4096))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("socket"), str) else {}


def withdraw(database: str) -> None:
    """Remove our endpoint record at the end, under the lock."""
    if record(database).get("pid") == os.getpid():
        os.unlink(database + ".endpoint")


# ---- the socket


class Bound:
    """Hold a listening socket and what is needed to know it again on the disk."""

    def __init__(self, sock: socket.socket, path: str, *, inherited: bool = False) -> None:
        self.sock, self.path, self.inherited = sock, path, inherited
        self._id = identity(path)

    def ours(self) -> bool:
        """Tell whether the socket at the path is still the one we made; the self-check asks this too."""
        return self._id is not None and identity(self.path) == self._id

    def taken(self) -> bool:
        """Tell whether something of someone else lies at the path."""
        return not self.ours() and os.path.lexists(self.path)

    def remove(self) -> None:
        """Remove the socket at the end, unless someone replaced it or a supervisor owns it."""
        if not self.inherited and self.ours():
            os.unlink(self.path)

    def close(self) -> None:
        """Stop listening; what lies at the path is left to whoever asks ``ours``."""
        self.sock.close()


def identity(path: str) -> tuple[int, int] | None:
    """Return what tells the file at a path from any other that may come to lie there, None when there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def bind(path: str) -> Bound:
    """Make the listening socket at a path, after a stale one is out of the way."""
    size = len(os.fsencode(path))
    if size > MAX_SOCKET_PATH:
        raise BadInput(f"the socket path {path} has {size} bytes; allowed are {MAX_SOCKET_PATH}",
                       hint="name a shorter one with --socket or ENGRAM_SOCKET")
    private_folder(os.path.dirname(path))
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        os.chmod(path, 0o600)
        sock.listen(BACKLOG)
    except OSError as exc:
        sock.close()
        raise AccessDenied(f"the socket {path} cannot be made: {exc.strerror}",
                           hint="name another one with --socket or ENGRAM_SOCKET") from exc
    sock.setblocking(False)
    return Bound(sock, path)


def _remove_stale(path: str) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        what = "folder" if stat.S_ISDIR(found.st_mode) else "link" if stat.S_ISLNK(found.st_mode) else "file"
        raise AccessDenied(f"at the socket path {path} there is a {what}, which is left as it is",
                           hint="move it away, or name another socket with --socket")
    if found.st_uid != os.geteuid():
        raise AccessDenied(f"the socket {path} belongs to uid {found.st_uid}",
                           hint="name another one with --socket")
    if _answers(path):
        raise Busy(f"the socket {path} is served by another program",
                   hint="stop that one, or name another socket with --socket")
    os.unlink(path)


def _answers(path: str) -> bool:
    """Tell whether anyone listens; a full backlog and everything unclear count as yes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def inherited() -> Bound | None:
    """Return the socket systemd listens on for us, if it does (LISTEN_FDS and a matching LISTEN_PID)."""
    count, pid = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit() or int(count) < 1:
        return None
    sock = socket.socket(fileno=3)
    os.set_inheritable(3, False)
    path = sock.getsockname()
    if sock.family != socket.AF_UNIX or not isinstance(path, str):
        raise BadInput("the socket handed over by the supervisor is no Unix socket with a path",
                       hint="use ListenStream=%t/engram/engram.sock in the socket unit")
    sock.setblocking(False)
    return Bound(sock, path, inherited=True)
