"""Resolve English expressions of time to intervals of days, relative to an anchor day.

Driven by the index's loader (a memory's text against its own day) and by questions (against `now`). Days are ordinals
as in `datetime.date.toordinal`. An expression that overlaps one found before is not taken again; the order of KINDS
decides. The kernel first tells which groups of words a text has, so most texts cost no search at all.
"""

from __future__ import annotations

from datetime import date, timedelta

from engram_core.kernel.english import (
    AGO,
    DAYTIME,
    FIGURE,
    IN,
    MONTH,
    NOW,
    ON,
    SEASON,
    UNIT,
    WEEKDAY,
    WHICH,
    YEAR,
)
from engram_core.kernel.timewords import time_hints

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself would take longer to import than all of this
    import re
    from collections.abc import Callable, Sequence

    Span = tuple[date, date]
    Groups = Sequence[str | None]

__all__ = ["resolve"]

LIMIT = 2000  # characters of a text that are searched

_MONTH_NAMES = "january february march april may june july august september october november december"
MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES.split(), 1)}
MONTHS |= {name[:3]: number for name, number in MONTHS.items()} | {"sept": 9}
_WEEKDAY_NAMES = "monday tuesday wednesday thursday friday saturday sunday"
WEEKDAYS = {name: number for number, name in enumerate(_WEEKDAY_NAMES.split())}
SEASONS = {"spring": (3, 5), "summer": (6, 8), "fall": (9, 11), "autumn": (9, 11), "winter": (12, 2)}
COUNTS = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "couple of": 2, "a couple of": 2, "few": 3, "a few": 3, "several": 4,
}  # fmt: skip
DAYS = {"yesterday": -1, "tomorrow": 1, "the other day": -3}
STEPS = {"next": 1, "coming": 1, "this": 0}
AHEAD = {"day": (1, 0), "week": (7, 3), "month": (30, 12), "year": (365, 180)}  # days of a unit, and how vague it is


def _around(day: date, days: int = 0) -> Span:
    return day - timedelta(days), day + timedelta(days)


def _month(year: int, month: int) -> Span:
    return date(year, month, 1), date(year + month // 12, month % 12 + 1, 1) - timedelta(1)


def _year(year: int) -> Span:
    return date(year, 1, 1), date(year, 12, 31)


def _count(word: str) -> int:
    return int(word) if word.isdecimal() else COUNTS[word]


def _day_of(year: str | None, month: int, day: str | None, anchor: date | None) -> Span | None:
    """Return the day; without a year the newest such day up to a month ahead of the anchor."""
    if year:
        return _around(date(int(year), month, int(day or 0)))
    if anchor is None:
        return None
    found = date(anchor.year, month, int(day or 0))
    if found > anchor + timedelta(31):
        found = date(anchor.year - 1, month, int(day or 0))
    return _around(found)


def _iso(groups: Groups, anchor: date | None) -> Span | None:
    return _day_of(groups[0], int(groups[1] or 0), groups[2], anchor)


def _day_month(groups: Groups, anchor: date | None) -> Span | None:
    return _day_of(groups[2], MONTHS[groups[1] or ""], groups[0], anchor)


def _month_day(groups: Groups, anchor: date | None) -> Span | None:
    return _day_of(groups[2], MONTHS[groups[0] or ""], groups[1], anchor)


def _slashed(groups: Groups, anchor: date | None) -> Span | None:
    return _day_of(groups[2], int(groups[0] or 0), groups[1], anchor)


def _month_year(groups: Groups, anchor: date | None) -> Span | None:
    return _month(int(groups[1] or 0), MONTHS[groups[0] or ""])


def _season(groups: Groups, anchor: date | None) -> Span | None:
    first, last = SEASONS[groups[1] or ""]
    if groups[2]:
        year = int(groups[2])
    elif anchor is not None and last < first:  # a winter is named by the year it begins in
        year = anchor.year - (anchor.month <= last) - (groups[0] == "last")
    elif anchor is not None:
        year = anchor.year - (groups[0] == "last" and anchor.month <= last)
    else:
        return None
    return date(year, first, 1), _month(year + (last < first), last)[1]


def _named_month(groups: Groups, anchor: date | None) -> Span | None:
    if anchor is None:
        return None
    month = MONTHS[groups[0] or ""]
    return _month(anchor.year - (month > anchor.month), month)


def _named_year(groups: Groups, anchor: date | None) -> Span | None:
    return _year(int(groups[0] or 0))


def _ago(groups: Groups, anchor: date | None) -> Span | None:
    if anchor is None:
        return None
    count, unit = _count(groups[0] or ""), groups[1]
    if unit == "day":
        return _around(anchor - timedelta(count))
    if unit == "month":
        return _around(anchor - timedelta(30 * count), 12)
    if unit == "year":
        return _year(anchor.year - count)
    return _around(anchor - timedelta(7 * count), 3)


def _in(groups: Groups, anchor: date | None) -> Span | None:
    if anchor is None:
        return None
    days, vague = AHEAD[groups[1] or ""]
    return _around(anchor + timedelta(days * _count(groups[0] or "")), vague)


def _relative(groups: Groups, anchor: date | None) -> Span | None:
    if anchor is None:
        return None
    step, unit = STEPS.get(groups[0] or "", -1), groups[1] or ""
    monday = anchor - timedelta(anchor.weekday())
    if unit == "week":
        return monday + timedelta(7 * step), monday + timedelta(7 * step + 6)
    if unit == "weekend":
        return monday + timedelta(5 + 7 * step), monday + timedelta(6 + 7 * step)
    if unit == "month":
        months = anchor.year * 12 + anchor.month - 1 + step
        return _month(months // 12, months % 12 + 1)
    if unit == "year":
        return _year(anchor.year + step)
    if unit == "night":
        return _around(anchor - timedelta(1))
    if step < 0:
        return _around(anchor - timedelta((anchor.weekday() - WEEKDAYS[unit]) % 7 or 7))
    return _around(anchor + timedelta((WEEKDAYS[unit] - anchor.weekday()) % 7))


def _near_day(groups: Groups, anchor: date | None) -> Span | None:
    return None if anchor is None else _around(anchor + timedelta(DAYS.get(groups[0] or "", 0)))


def _on_weekday(groups: Groups, anchor: date | None) -> Span | None:
    if anchor is None:
        return None
    return _around(anchor - timedelta((anchor.weekday() - WEEKDAYS[groups[0] or ""]) % 7))


_M = "|".join(sorted(MONTHS, key=len, reverse=True))
_W = "|".join(WEEKDAYS)
_N = r"\d+|" + "|".join(sorted(COUNTS, key=len, reverse=True))


class Kind:
    """A way to say a time: the groups of words it needs one of each, how it reads and what it means."""

    def __init__(
        self, needs: tuple[int, ...], pattern: str, meaning: Callable[[Groups, date | None], Span | None]
    ) -> None:
        self.needs, self.pattern, self.meaning = needs, pattern, meaning
        self._compiled: re.Pattern[str] | None = None

    @property
    def compiled(self) -> re.Pattern[str]:
        """The pattern, compiled when a text first needs it."""
        if self._compiled is None:
            import re

            self._compiled = re.compile(self.pattern)
        return self._compiled


KINDS = (
    Kind((YEAR,), r"\b(\d{4})-(\d{1,2})-(\d{1,2})\b", _iso),
    Kind((FIGURE, MONTH), rf"\b(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? ({_M})\b\.?,?(?: (\d{{4}}))?", _day_month),
    Kind((FIGURE, MONTH), rf"\b({_M})\b\.? (\d{{1,2}})(?:st|nd|rd|th)?\b(?:,? (\d{{4}}))?", _month_day),
    Kind((YEAR, MONTH), rf"\b({_M})\b\.?,?(?: of)? (\d{{4}})\b", _month_year),
    Kind((FIGURE,), r"\b(\d{1,2})/(\d{1,2})(?:/(\d{4}))?\b", _slashed),
    Kind((SEASON,), rf"\b(?:(last|this|next) )?({'|'.join(SEASONS)})(?: of)?(?: (\d{{4}}))?\b", _season),
    Kind((MONTH,), rf"\b(?:in|since|during|by|last|this|next|of|late|early|mid|mid-) ?({_M})\b", _named_month),
    Kind((YEAR,), r"\b(19[5-9]\d|20[0-4]\d)\b", _named_year),
    Kind((AGO, UNIT), rf"\b({_N}) (day|week|weekend|month|year)s? (?:ago|back|earlier)\b", _ago),
    Kind((IN, UNIT), rf"\bin ({_N}) (day|week|month|year)s?\b", _in),
    Kind(
        (WHICH, UNIT | DAYTIME | WEEKDAY),
        rf"\b(last|this past|past|this|next|coming) (week|weekend|month|year|night|{_W})\b",
        _relative,
    ),
    Kind(
        (NOW | WHICH, NOW | UNIT | DAYTIME),
        r"\b(yesterday|today|tonight|tomorrow|the other day|this morning|this afternoon)\b",
        _near_day,
    ),
    Kind((ON, WEEKDAY), rf"\bon ({_W})\b", _on_weekday),
)


def resolve(text: str, anchor_day: int | None) -> list[tuple[int, int]]:
    """Return the intervals of days a text speaks of, (first, last), in the order of KINDS.

    Without an anchor only expressions that name their year are resolved.
    """
    hints = time_hints(text, LIMIT)
    if not hints:
        return []
    anchor = None if anchor_day is None else date.fromordinal(anchor_day)
    lowered = text[:LIMIT].lower()
    found: list[tuple[int, int]] = []
    taken: list[tuple[int, int]] = []
    for kind in KINDS:
        if not all(hints & group for group in kind.needs):
            continue
        for match in kind.compiled.finditer(lowered):
            start, end = match.span()
            if any(start < last and first < end for first, last in taken):
                continue
            try:
                span = kind.meaning(match.groups(), anchor)
            except (ValueError, OverflowError, KeyError):  # 31 April, year 0, ten thousand years ago
                continue
            if span is not None:
                taken.append((start, end))
                found.append((span[0].toordinal(), span[1].toordinal()))
    return found
