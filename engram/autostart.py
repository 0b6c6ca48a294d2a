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

__all__ = ["StartLock", "allowed", "locked", "recorded", "recorded_socket", "start"]

POLL_S = 0.005
ENDING_S = 0.05  # between two looks whether a daemon that ends has gone
STARTS, STARTS_S = 5, 10.0  # so many starts within so long, each after a daemon that fell, are enough


def allowed(env: Mapping[str, str]) -> bool:
    """Tell whether a client may start a daemon here; under a supervisor only the supervisor does."""
    supervised = env.get("LISTEN_PID") == str(os.getpid()) and "LISTEN_FDS" in env
    return env.get("ENGRAM_AUTOSTART", "1") != "0" and env.get("ENGRAM_SUPERVISED", "0") != "1" and not supervised


def recorded(database: str) -> dict[str, object]:
    """Return what the database's daemon wrote of itself, {} when there is no such record."""
    try:
        with open(database + ".endpoint", "rb") as file:
            data = file.read(4096)
    except OSError:
        return {}
    import json

    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def recorded_socket(database: str) -> str:
    """Return where the database's daemon said it listens, "" when there is no such record."""
    found = recorded(database).get("socket")
    return found if isinstance(found, str) else ""


def start(database: str, *, options: list[str], deadline: float, answers: Callable[[str], bool],
          socket_path: str) -> str:
    """Start the database's daemon unless someone just did; return the socket it serves."""
    if not sys.executable:
        raise NoDaemon("no daemon is running, and this program does not know its Python interpreter",
                       hint="start one with: engram daemon start")
    with locked(database, deadline) as lock:
        other = recorded_socket(database)
        for path in (socket_path, other):
            if path and answers(path):
                return path
        if other:  # a daemon that ends by itself takes its record away: the last one fell
            lock.count_start()
        while True:
            ready, served = _spawn(options, deadline)
            if ready or (served and answers(served)):
                return served
            if time.monotonic() + ENDING_S > deadline:
                raise Busy(f"another program holds {database}.lock and serves nobody",
                           hint="try again, or look for it with: engram doctor")
            time.sleep(ENDING_S)  # a daemon that ends listens no more some time before it lets go of the database


class StartLock:
    """The lock beside the database that lets one client at a time start or replace the daemon; remembers when."""

    def __init__(self, path: str, fd: int) -> None:
        self.path, self._fd = path, fd

    def __enter__(self) -> StartLock:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._fd)

    def count_start(self) -> None:
        """Note a start after a fall; raise NoDaemon when there were too many in a row."""
        now = time.time()
        starts = [at for at in self._times(b"start") if 0 <= now - at < STARTS_S]
        if len(starts) >= STARTS:
            raise NoDaemon(f"the daemon was started {len(starts)} times within {STARTS_S:g} s and fell each time",
                           hint="see: engram daemon logs, and engram doctor")
        self._write(starts=[*starts, now], renewals=self._times(b"renew"))

    def since_renewal(self) -> float:
        """Return the seconds since a client last replaced an older daemon."""
        gone = [time.time() - at for at in self._times(b"renew")]
        return min((s for s in gone if s >= 0), default=float("inf"))

    def note_renewal(self) -> None:
        """Note that an older daemon is being replaced."""
        self._write(starts=self._times(b"start"), renewals=[time.time()])

    def _times(self, what: bytes) -> list[float]:
        found = []
        for line in os.pread(self._fd, 4096, 0).splitlines():
            word, _, at = line.partition(b" ")
            if word == what:
                try:
                    found.append(float(at))
                except ValueError:
                    continue
        return found

    def _write(self, *, starts: list[float], renewals: list[float]) -> None:
        lines = [*(f"start {at:.3f}" for at in starts), *(f"renew {at:.3f}" for at in renewals)]
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, "".join(line + "\n" for line in lines).encode(), 0)


def locked(database: str, deadline: float) -> StartLock:
    """Take the start lock, waiting for whoever holds it."""
    import fcntl

    path = database + ".start"
    try:
        os.makedirs(os.path.dirname(database), mode=0o700, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise AccessDenied(f"{path} cannot be opened: {exc.strerror}",
                           hint="can you write there? store.url or XDG_DATA_HOME names another place") from exc
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return StartLock(path, fd)
        except OSError as exc:
            if exc.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                os.close(fd)
                raise AccessDenied(f"{path} cannot be locked: {exc.strerror}",
                                   hint="keep the database on a local file system") from exc
        if time.monotonic() > deadline:
            os.close(fd)
            raise Busy("another command is still starting the daemon", hint="try again")
        time.sleep(POLL_S)


def _spawn(options: list[str], deadline: float) -> tuple[bool, str]:
    """Return whether the daemon serves, false when another has its database, and the socket it or the other serves."""
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


def _outcome(data: bytes) -> tuple[bool, str]:
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
    return state == "ready", str(found["socket"])


def _failure(found: dict[str, str]) -> EngramError:
    return by_kind(found["kind"])(f"the daemon cannot start: {found['message']}", hint=found["hint"])
