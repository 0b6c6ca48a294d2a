"""Read the times a person types: RFC 3339, a date, or how long ago. Driven by every option that takes a TIME.

One rule for all of them, which `TIMES` says in help and manual pages. What is sent is RFC 3339 with a time zone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import typer

from engram_core.errors import BadInput

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["TIMES", "moment", "now", "span", "time"]

TIMES = (
    "A TIME is written with its zone, as 2026-05-01T09:00:00Z or 2026-05-01T11:00:00+02:00; or as a date, which is "
    "that day where you are (TZ): its beginning, or its last moment where it ends something (--until, --to, --end); or "
    "as today, yesterday, or how long ago: 90s, 5m, 2h, 3d, 1w."
)
_AGO = re.compile(r"(\d{1,9})\s*(s|m|min|h|d|w)", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DAYS_AGO = {"today": 0, "yesterday": 1}


def time(flag: str, *, help: str, end: bool = False, word: str = "") -> Any:
    """Return an option that takes a time; with ``end`` a date is its last moment; ``word`` is taken as it is."""
    def read(given: str) -> str:
        return given if word and given == word else moment(given, flag, end=end)

    return typer.Option(flag, metavar=f"TIME|{word}" if word else "TIME", help=help, parser=read)


def now() -> str:
    """Return this moment as RFC 3339."""
    from datetime import UTC, datetime  # late, here and below: most commands read no time

    return _written(datetime.now(UTC))


def span(start: str | None, end: str | None) -> dict[str, str]:
    """Return the ends that are given as a time range."""
    found = {"start": start, "end": end}
    return {key: value for key, value in found.items() if value is not None}


def moment(text: str, flag: str, *, end: bool = False) -> str:
    """Return a time as RFC 3339; raise BadInput naming the option when it is none, or has no time zone."""
    from datetime import UTC, datetime, timedelta

    word = text.strip()
    ago = _AGO.fullmatch(word)
    try:
        if ago:
            return _written(datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]]))
        if word in _DAYS_AGO or _DATE.fullmatch(word):
            return _written(_day(word, end))
        parsed = datetime.fromisoformat(word)
    except (ValueError, OverflowError) as exc:
        raise BadInput(f"{flag} is {text[:60]!r}, but must be a time such as 2026-05-01T09:00:00Z, 2026-05-01, 3d or "
                       "2h", hint="correct it") from exc
    if parsed.tzinfo is None:
        raise BadInput(f"{flag} is {text!r}, a time without a time zone",
                       hint=f"write {word}Z for UTC, or an offset such as {word}+02:00")
    return word


def _day(word: str, end: bool) -> datetime:
    """Return the first or last moment of a day where the person is; some days have 23 or 25 hours."""
    from datetime import datetime, timedelta

    day = datetime.now() - timedelta(days=_DAYS_AGO[word]) if word in _DAYS_AGO else datetime.fromisoformat(word)
    first = day.replace(hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=1)).astimezone() - timedelta(milliseconds=1) if end else first.astimezone()


def _written(value: datetime) -> str:
    from datetime import UTC

    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
