"""Read the times a person types: RFC 3339, a date, or how long ago. Driven by commands with --since and the like."""

from __future__ import annotations

import re
from typing import Any

from engram_core.errors import BadInput

_AGO = re.compile(r"(\d{1,9})\s*(s|m|min|h|d|w)", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def moment(text: str | None, flag: str) -> str | None:
    """Return a time as RFC 3339; a date begins at local midnight, ``2h`` and ``3d`` lie that long back."""
    if text is None:
        return None
    from datetime import UTC, datetime, timedelta

    word = text.strip()
    ago = _AGO.fullmatch(word)
    try:
        if ago:
            return _written(datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]]))
        if word in ("today", "yesterday"):
            day = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
            return _written(day - timedelta(days=word == "yesterday"))
        if _DATE.fullmatch(word):
            return _written(datetime.fromisoformat(word).astimezone())
        parsed = datetime.fromisoformat(word)
    except (ValueError, OverflowError) as exc:
        raise _refused(text, flag) from exc
    if parsed.tzinfo is None:
        raise BadInput(f"{flag} is {text!r}, a time without a time zone", hint=f"write {word}Z for UTC")
    return word


def _written(value: Any) -> str:
    from datetime import UTC

    return str(value.astimezone(UTC).isoformat(timespec="milliseconds")).replace("+00:00", "Z")


def _refused(text: str, flag: str) -> BadInput:
    return BadInput(f"{flag} is {text!r}, but must be a time such as 2026-05-01T09:00:00Z, 2026-05-01, 3d or 2h",
                    hint="correct it")


def time_range(since: str | None, until: str | None) -> dict[str, str] | None:
    """Return the time range of --since and --until, or None when neither is given."""
    found = {"start": moment(since, "--since"), "end": moment(until, "--until")}
    given = {key: value for key, value in found.items() if value is not None}
    return given or None
