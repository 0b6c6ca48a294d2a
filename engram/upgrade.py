"""Give an older daemon's place to the installed version, when it could not do what a newer client asked.

Driven by `transport` after an error reply that an older version may explain. The daemon is asked to finish and go, and
the next connection starts the new one; never more than once within RESTART_S, whoever asks, and never under a
supervisor, who restarts it himself.
"""

from __future__ import annotations

import os
import time

from engram_core._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engram.transport import Place

__all__ = ["RESTART_S", "is_older", "renew"]

RESTART_S = 10.0
GONE_S = 3.0  # a daemon that was asked to end does so within two seconds
POLL_S = 0.01
_SHUTDOWN = b'{"jsonrpc":"2.0","id":1,"method":"shutdown","params":{}}\n'


def is_older(version: str) -> bool:
    """Tell whether a daemon's version is below ours; what cannot be compared is not."""
    try:
        return _numbers(version) < _numbers(__version__)
    except ValueError:
        return False


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int("".join(c for c in part if c.isdigit()) or "0") for part in version.split(".")[:3])


def renew(place: Place) -> bool:
    """End an older daemon of a place; True when it has gone and the next one may be started."""
    from engram.autostart import locked, recorded

    found = recorded(place.database)
    if not place.autostart or not is_older(str(found.get("version", ""))):
        return False
    with locked(place.database, time.monotonic() + GONE_S) as lock:
        if recorded(place.database).get("pid") != found.get("pid"):
            return True  # another command was faster
        if lock.since_renewal() < RESTART_S:
            return False
        lock.note_renewal()
        return _ask_to_end(str(found.get("socket", ""))) and _has_gone(place.database, found)


def _ask_to_end(path: str) -> bool:
    import _socket

    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.settimeout(GONE_S)
        sock.connect(path)
        sock.sendall(_SHUTDOWN)
        return b'"result"' in sock.recv(4096)
    except OSError:
        return False
    finally:
        sock.close()


def _has_gone(database: str, found: dict[str, object]) -> bool:
    from engram.autostart import recorded

    until = time.monotonic() + GONE_S
    while recorded(database).get("pid") == found.get("pid"):
        if time.monotonic() > until:
            return False
        time.sleep(POLL_S)
    return _unlocked(database, until)


def _unlocked(database: str, until: float) -> bool:
    """Wait until the lock is free: the record goes a moment before it."""
    import fcntl

    while True:
        fd = os.open(database + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > until:
                return False
        finally:
            os.close(fd)
        time.sleep(POLL_S)
