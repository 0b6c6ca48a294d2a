"""Turn what went wrong into one line on stderr and the documented exit code. Driven by main.

With ``--json`` the line is one object: ``{"error": {kind, message, hint, exit}}``. The exit codes are part of the
interface: 0 done, 1 the asked-for thing is negative, 2 usage, 65 data, 69 no daemon, 70 defect, 74 input and output,
75 try again, 76 protocol, 77 permission, 78 configuration, 130, 141 and 143 signals.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

from engram_cli.output import clean, dumps, note
from engram_core.errors import EngramError

__all__ = ["EXIT_CODES", "failure", "report"]

EXIT_CODES: tuple[tuple[int, str], ...] = (
    (0, "done"),
    (1, "the asked-for thing is not there, or a check found something"),
    (2, "the command line cannot be understood"),
    (65, "the data given is not valid"),
    (69, "no daemon runs and none could be started"),
    (70, "a defect of Engram"),
    (74, "input or output failed: a full disk, a closed stream, the database"),
    (75, "try again: busy, or no answer within the deadline"),
    (76, "the other side does not speak this protocol"),
    (77, "not permitted"),
    (78, "a configuration or policy file is wrong"),
    (130, "interrupted"),
    (141, "the reader of the output went away"),
    (143, "terminated"),
)
_DENIED = (errno.EACCES, errno.EPERM)


def failure(exc: BaseException) -> dict[str, Any]:
    """Return kind, message, hint and exit code of anything a command may raise."""
    if isinstance(exc, EngramError):
        return _entry(exc.kind, exc.message, exc.hint, exc.exit_code)
    if isinstance(exc, OSError):
        where = f"{exc.filename}: " if exc.filename else ""
        text = exc.strerror or str(exc)
        if exc.errno in _DENIED:
            return _entry("access_denied", f"{where}{text}", "check its owner and permissions", 77)
        return _entry("io", f"{where}{text}", "", 74)
    name = type(exc).__name__
    return _entry("internal", f"defect in Engram: {name}: {exc}",
                  "set ENGRAM_DEBUG=1 and repeat it to see where; please report it", 70)


def _entry(kind: str, message: str, hint: str, code: int) -> dict[str, Any]:
    return {"kind": kind, "message": message, "hint": hint, "exit": code}


def report(exc: BaseException, *, as_json: bool) -> int:
    """Write the one line and return the exit code."""
    if os.environ.get("ENGRAM_DEBUG") and sys.stderr is not None:
        import traceback

        traceback.print_exception(exc)
    entry = failure(exc)
    if as_json:
        note(dumps({"error": entry}))
    else:
        text = f"engram: {entry['message']}" + (f"; {entry['hint']}" if entry["hint"] else "")
        note(" ".join(clean(text).split()))
    return int(entry["exit"])
