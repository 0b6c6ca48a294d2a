"""Start a daemon for a client that found none, and wait until it serves or says why not.

Driven by `transport`. Many clients may arrive at once: a start lock lets one of them spawn, the others find its daemon.
The new process inherits no descriptor but the pipe it reports on, and belongs to no terminal.
"""

from __future__ import annotations

import errno
import os
import sys
import time

from engram_core.errors import AccessDenied, Busy, DeadlineExceeded, EngramError, NoDaemon, by_kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["allowed", "recorded_socket", "start"]

POLL_S = 0.005


def allowed(env: Mapping[str, str]) -> bool:
    """Tell whether a client may start a daemon here; under a supervisor only the supervisor does."""
    supervised = env.get("LISTEN_PID") == str(os.getpid()) and "LISTEN_FDS" in env
    return env.get("ENGRAM_AUTOSTART", "1") != "0" and env.get("ENGRAM_SUPERVISED", "0") != "1" and not supervised


def recorded_socket(database: str) -> str:
    """Return where the database's daemon said it listens, "" when there is no such record."""
    try:
        with open(database + ".endpoint", "rb") as file:
            data = file.read(4096)
    except OSError:
        return ""
    import json

    try:
        found = json.loads(data)
        return str(found["socket"])
    except (ValueError, TypeError, KeyError):
        return ""


def start(database: str, *, options: list[str], deadline: float, answers: Callable[[str], bool],
          socket_path: str) -> str:
    """Start the database's daemon unless someone just did; return the socket it serves."""
    if not sys.executable:
        raise NoDaemon("no daemon is running, and this program does not know its Python interpreter",
                       hint="start one with: engram daemon start")
    held = _start_lock(database, deadline)
    try:
        for path in (socket_path, recorded_socket(database)):
            if path and answers(path):
                return path
        return _spawn(options, deadline)
    finally:
        os.close(held)


def _start_lock(database: str, deadline: float) -> int:
    import fcntl

    try:
        os.makedirs(os.path.dirname(database), mode=0o700, exist_ok=True)
        fd = os.open(database + ".start", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise AccessDenied(f"{database}.start cannot be opened: {exc.strerror}",
                           hint="can you write there? store.url or XDG_DATA_HOME names another place") from exc
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except OSError as exc:
            if exc.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                os.close(fd)
                raise AccessDenied(f"{database}.start cannot be locked: {exc.strerror}",
                                   hint="keep the database on a local file system") from exc
        if time.monotonic() > deadline:
            os.close(fd)
            raise Busy("another command is still starting the daemon", hint="try again")
        time.sleep(POLL_S)


def _spawn(options: list[str], deadline: float) -> str:
    import engram_core

    program = os.path.join(os.path.dirname(os.path.abspath(engram_core.__file__)), "daemon", "__main__.py")
    ours, theirs = os.pipe()
    null = "/dev/null"
    try:
        pid = os.posix_spawn(
            sys.executable, [sys.executable, *_flags(), program, *options], os.environ, setsid=True,
            setsigmask=(), file_actions=[
                (os.POSIX_SPAWN_DUP2, theirs, 2), (os.POSIX_SPAWN_OPEN, 0, null, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, null, os.O_WRONLY, 0)])
    except OSError as exc:
        raise NoDaemon(f"the daemon cannot be started with {sys.executable}: {exc.strerror}",
                       hint="start one with: engram daemon start") from exc
    finally:
        os.close(theirs)
    import json  # noqa: F401 - its report will need it: better now, while the daemon starts

    try:
        return _outcome(_words(ours, deadline))
    finally:
        os.close(ours)
        os.waitpid(pid, 0)  # it has gone already: it forked and left


def _flags() -> list[str]:
    """Return the interpreter options that make it find what this one found."""
    flags = ["-P"]  # or the daemon's folder would come first on its path
    if sys.flags.isolated:
        flags.append("-I")
    elif sys.flags.ignore_environment:
        flags.append("-E")
    if sys.flags.no_user_site:
        flags.append("-s")
    return flags


def _words(pipe: int, deadline: float) -> bytes:
    """Read the daemon's report: until its line ends, it dies, or time is up."""
    import select

    data = b""
    while not data.endswith(b"}\n"):
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise DeadlineExceeded("the daemon is still starting", hint="try again in a moment")
        piece = os.read(pipe, 65536)
        if not piece:
            break
        data += piece
    return data


def _outcome(data: bytes) -> str:
    import json

    lines = data.decode(errors="replace").strip().splitlines()
    report = next((line for line in reversed(lines) if line.startswith('{"state"')), "")  # an interpreter may add words
    try:
        found = json.loads(report)
        state = found["state"]
    except (ValueError, KeyError, TypeError):
        raise NoDaemon("the daemon ended at its start" + (f": {lines[-1][:300]}" if lines else ""),
                       hint="see: engram daemon run") from None
    if state == "failed":
        raise _failure(found)
    return str(found["socket"])


def _failure(found: dict[str, str]) -> EngramError:
    return by_kind(found["kind"])(f"the daemon cannot start: {found['message']}", hint=found["hint"])
