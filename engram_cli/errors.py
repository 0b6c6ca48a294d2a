"""Turn what went wrong into one line on stderr and the documented exit code. Driven by main.

With ``--json`` the line is one object: ``{"error": {kind, message, hint, exit}}``. A check that finds several
things wrong tells each on a line of its own, and all but the first as ``more`` in the object. The exit codes are part
of the interface: 0 done, 1 the asked-for thing is negative, 2 usage, 65 data, 69 no daemon, 70 defect, 74 input and
output, 75 try again, 76 protocol, 77 permission, 78 configuration, 130, 141 and 143 signals.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

from engram_cli.output import STDOUT, clean, dumps, note
from engram_core.errors import AccessDenied, ConfigError, EngramError, InputOutputError, InternalError

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
    error = exc if isinstance(exc, EngramError) else _of_ours(exc)
    found = {"kind": error.kind, "message": error.message, "hint": error.hint, "exit": error.exit_code}
    if isinstance(error, ConfigError) and error.more:
        found["more"] = [{"message": one.message, "hint": one.hint} for one in error.more]
    return found


def _of_ours(exc: BaseException) -> EngramError:
    """Return the error of our tree that a foreign one stands for."""
    if not isinstance(exc, OSError):
        return InternalError(f"defect in Engram: {type(exc).__name__}: {exc}",
                             hint="set ENGRAM_DEBUG=1 and repeat it to see where; please report it")
    why = exc.strerror or str(exc)
    if exc.filename == STDOUT:
        return InputOutputError(f"stdout cannot be written: {'it is closed' if exc.errno == errno.EBADF else why}",
                                hint="what was stored stays; send the output elsewhere")
    text = (f"{exc.filename}: " if exc.filename else "") + why
    if exc.errno in _DENIED:
        return AccessDenied(text, hint="check its owner and permissions")
    return InputOutputError(text)


def report(exc: BaseException, *, as_json: bool) -> int:
    """Write the one line and return the exit code."""
    if os.environ.get("ENGRAM_DEBUG") and sys.stderr is not None:
        import traceback

        traceback.print_exception(exc)
    entry = failure(exc)
    if as_json:
        note(dumps({"error": entry}))
    else:
        for one in (entry, *entry.get("more", ())):
            text = f"engram: {one['message']}" + (f"; {one['hint']}" if one["hint"] else "")
            note(" ".join(clean(text).split()))
    return int(entry["exit"])
