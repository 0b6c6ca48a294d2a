"""Named points at which a test makes the program die, stop or fail; nothing happens unless the environment names one.

``ENGRAM_FAILPOINT=commit.before=kill@3`` kills the process with SIGKILL when it passes that point the third time.
Actions are kill, stop (SIGSTOP), eio, enospc (raised as OSError from there) and sleep (one second); ``@3+`` acts from
the third time on, and ``@/path`` once that file exists. Several are separated by commas. A leaf: whoever commits,
renames or replies calls ``reach``; ``POINTS`` is the list of all of them, and a test holds it against the calls.
"""

from __future__ import annotations

import os

__all__ = ["POINTS", "reach"]

POINTS: dict[str, str] = {
    "commit.before": "a group of writes is complete, its transaction is open",
    "commit.after": "the transaction is on disk, nobody was told",
    "reply.before": "outcomes are known, no reply was sent",
    "reply.after": "replies were handed to the system",
    "migrate.statement": "before each statement of a migration",
    "migrate.before": "all steps are done, the migration is not committed",
    "migrate.after": "the migration is committed",
    "checkpoint.before": "the log is about to be moved into the database",
    "checkpoint.after": "the log was emptied",
    "publish.before": "the endpoint record is written under another name",
    "publish.after": "the endpoint record has its name",
    "spool.before": "the client's event is written and synced under another name",
    "spool.after": "the event has its name in the spool",
    "replay.before": "spooled events were read, nothing is stored",
    "replay.committed": "spooled events are committed, their files are still there",
    "replay.deleted": "one spooled file was deleted",
    "backup.before": "the copy is complete and checked under another name",
    "backup.after": "the copy has its name",
    "restore.checked": "the backup is copied and checked, the database untouched",
    "restore.kept": "the old database has a second name",
    "restore.before": "the old log is gone, the new database has not its name yet",
    "restore.after": "the new database has its name",
}

SPEC = os.environ.get("ENGRAM_FAILPOINT", "")


def reach(point: str) -> None:
    """Pass a point; without ENGRAM_FAILPOINT this is all there is."""


if SPEC:
    _armed: dict[str, tuple[str, int, bool, str]] = {}
    _passed: dict[str, int] = {}
    for _one in SPEC.split(","):
        _name, _, _act = _one.partition("=")
        _verb, _, _count = _act.partition("@")
        _file = _count if _count.startswith("/") else ""
        _armed[_name] = (_verb, 1 if _file else int(_count.rstrip("+") or 1), _count.endswith("+"), _file)

    def reach(point: str) -> None:
        """Pass a point, and do what the environment asks for there."""
        if point not in _armed:
            return
        action, at, on, file = _armed[point]
        if file and not os.path.exists(file):
            return
        _passed[point] = count = _passed.get(point, 0) + 1
        if count == at or (on and count > at):
            _act_now(action, point)

    def _act_now(action: str, point: str) -> None:
        import errno
        import signal
        import time

        if action in ("kill", "stop"):
            os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)
        elif action in ("eio", "enospc"):
            number = errno.EIO if action == "eio" else errno.ENOSPC
            raise OSError(number, os.strerror(number), point)
        elif action == "sleep":
            time.sleep(1)
