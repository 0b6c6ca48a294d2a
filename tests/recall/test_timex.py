"""Expressions of time mean the days a reader would think of."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_core.recall import timex

MONDAY = date(2023, 5, 8)


def days(text: str, anchor: date | None = MONDAY) -> list[str]:
    found = timex.resolve(text, None if anchor is None else anchor.toordinal())
    return ["..".join(sorted({date.fromordinal(first).isoformat(), date.fromordinal(last).isoformat()}))
            for first, last in found]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I went yesterday", "2023-05-07"),
        ("Tomorrow!", "2023-05-09"),
        ("the other day", "2023-05-05"),
        ("this morning", "2023-05-08"),
        ("on 7 May 2023", "2023-05-07"),
        ("the 3rd of July, 2022", "2022-07-03"),
        ("October 13, 2023", "2023-10-13"),
        ("Dec 24th", "2022-12-24"),
        ("on June 1", "2023-06-01"),
        ("2021-02-28", "2021-02-28"),
        ("3/22", "2023-03-22"),
        ("3/22/2020", "2020-03-22"),
        ("May 2023", "2023-05-01..2023-05-31"),
        ("december of 1999", "1999-12-01..1999-12-31"),
        ("in June", "2022-06-01..2022-06-30"),
        ("mid-March", "2023-03-01..2023-03-31"),
        ("in summer 2022", "2022-06-01..2022-08-31"),
        ("last winter", "2022-12-01..2023-02-28"),
        ("around 1984", "1984-01-01..1984-12-31"),
        ("two weeks ago", "2023-04-21..2023-04-27"),
        ("3 days back", "2023-05-05"),
        ("a couple of months ago", "2023-02-25..2023-03-21"),
        ("ten years ago", "2013-01-01..2013-12-31"),
        ("in a week", "2023-05-12..2023-05-18"),
        ("last week", "2023-05-01..2023-05-07"),
        ("next weekend", "2023-05-20..2023-05-21"),
        ("this month", "2023-05-01..2023-05-31"),
        ("last year", "2022-01-01..2022-12-31"),
        ("last night", "2023-05-07"),
        ("last Saturday", "2023-05-06"),
        ("last Monday", "2023-05-01"),
        ("next friday", "2023-05-12"),
        ("on Sunday", "2023-05-07"),
    ],
)
def test_one_expression(text: str, expected: str) -> None:
    assert days(text) == [expected]


@pytest.mark.parametrize("text", ["may I ask", "", "31 April", "February 30", "13/45", "99999999 years ago",
                                  "I run a lot", "0 May 0000"])  # fmt: skip
def test_no_time(text: str) -> None:
    assert days(text) == []


def test_without_an_anchor_the_year_must_be_said() -> None:
    assert days("yesterday, on 7 May, in June, last summer", None) == []
    assert days("7 May 2020 or 2021-01-01", None) == ["2021-01-01", "2020-05-07"]


def test_each_place_is_taken_once_and_only_the_beginning_is_read() -> None:
    assert days("on 7 May 2023") == ["2023-05-07"]
    assert len(days("yesterday and last week and 2019")) == 3
    assert days("." * 2000 + "yesterday") == []


_PIECES = (
    "in on last this next the other past mid- may May 7 31st 2023 1999-12-31 12/24 two a weeks day ago back year night "
    "monday Sunday summer of , . yesterday couple morning weekend coming several"
)
PIECES = st.sampled_from(_PIECES.split())


@settings(deadline=None)
@given(st.lists(PIECES, max_size=8).map(" ".join), st.one_of(st.none(), st.dates().map(date.toordinal)))
def test_the_hints_hide_nothing(text: str, anchor: int | None) -> None:
    found = timex.resolve(text, anchor)
    assert all(1 <= first <= last for first, last in found)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(timex, "time_hints", lambda text, limit: -1)
        assert timex.resolve(text, anchor) == found
