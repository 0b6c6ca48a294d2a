"""The daemon's log: lines for a person, JSON for a service manager, and a file that never outgrows its bound.

Driven by `process`. A daemon that a command started writes a file of at most 1 MiB and keeps the one before it; under a
service manager the journal keeps the time and the order, and each line is one JSON object.
"""

from __future__ import annotations

import json
import logging
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LogHandler", "set_up"]

LOG_BYTES = 1 << 20


class LogHandler(logging.Handler):
    """Write records to stderr, wherever that leads; once it leads to a file of ours, keep that small."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._json = as_json
        self._path = ""
        self._left = 0
        self._plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON, or as text with its time."""
        if not self._json:
            return self._plain.format(record)
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self._plain.formatException(record.exc_info)
        return json.dumps({"level": record.levelname.lower(), "logger": record.name, "message": text},
                          ensure_ascii=False)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a log that cannot be written is no reason to disturb anyone."""
        try:
            data = (self.format(record) + "\n").encode(errors="backslashreplace")
            if self._path and len(data) > self._left:
                self.to_file(self._path)
            self._left -= len(data)
            while data:
                data = data[os.write(2, data):]
        except OSError:
            pass
        except Exception:
            self.handleError(record)

    def to_file(self, path: str) -> None:
        """Make a file the place where stderr goes; the one before is kept once when it has grown large."""
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        try:
            size = os.stat(path).st_size
        except FileNotFoundError:
            size = 0
        if size >= LOG_BYTES or self._path:
            os.replace(path, path + ".1")
            size = 0
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.fchmod(fd, 0o600)  # it may be from a time or a program with other ideas
        os.dup2(fd, 2)
        os.close(fd)
        self._path, self._left = path, LOG_BYTES - size


def set_up(level: str, env: Mapping[str, str]) -> LogHandler:
    """Let our loggers write to stderr and nobody else do so for us; return their handler."""
    handler = LogHandler(as_json="JOURNAL_STREAM" in env or env.get("ENGRAM_SUPERVISED") == "1")
    for name in ("engram", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
    logging.getLogger("engram").setLevel(level.upper())
    logging.raiseExceptions = sys.flags.dev_mode
    return handler
