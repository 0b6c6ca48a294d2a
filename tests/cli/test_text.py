"""Times as people type them, and text made safe for a terminal."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_cli.output import clean, dumps, one_line
from engram_cli.times import moment, span
from engram_core.errors import BadInput


@given(st.text())
def test_what_is_cleaned_holds_nothing_a_terminal_obeys(text: str) -> None:
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", clean(text))
    assert "\n" not in one_line(text) and "\t" not in one_line(text)


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs"])))
def test_ordinary_text_is_left_as_it_is(text: str) -> None:
    assert clean(text) == text


@given(st.recursive(st.none() | st.integers() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_is_read_back_equal_and_holds_no_control(value: object) -> None:
    written = dumps(value)
    assert json.loads(written) == value
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", written)


@given(st.integers(0, 10_000), st.sampled_from([("s", 1), ("m", 60), ("h", 3600), ("d", 86400), ("w", 604800)]))
def test_how_long_ago_is_counted_from_now(count: int, unit: tuple[str, int]) -> None:
    found = moment(f"{count}{unit[0]}", "--since")
    assert found is not None and found.endswith("Z")
    expected = datetime.now(UTC) - timedelta(seconds=count * unit[1])
    assert abs(datetime.fromisoformat(found) - expected) < timedelta(seconds=5)


@pytest.mark.parametrize(("zone", "first", "last"), [
    ("UTC", "2026-03-29T00:00:00.000Z", "2026-03-29T23:59:59.999Z"),
    ("Europe/Paris", "2026-03-28T23:00:00.000Z", "2026-03-29T21:59:59.999Z"),  # the day has 23 hours
    ("America/Los_Angeles", "2026-03-29T07:00:00.000Z", "2026-03-30T06:59:59.999Z")])
def test_a_date_is_the_day_where_the_person_is(zone: str, first: str, last: str,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    if zone != "UTC" and not Path("/usr/share/zoneinfo", zone).exists():
        pytest.skip("this system has no time zones")
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert (moment("2026-03-29", "--since"), moment("2026-03-29", "--until", end=True)) == (first, last)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_date_begins_at_local_midnight() -> None:
    found = moment("2026-05-01", "--since")
    assert found is not None and datetime.fromisoformat(found).astimezone().strftime("%F %T") == "2026-05-01 00:00:00"
    assert moment("2026-05-01T09:00:00+02:00", "--since") == "2026-05-01T09:00:00+02:00"
    last = datetime.fromisoformat(moment("2026-05-01", "--until", end=True))
    assert last.astimezone().strftime("%F %T.%f") == "2026-05-01 23:59:59.999000"
    assert span(None, None) == {} and span("a", None) == {"start": "a"}
    yesterday, today = moment("yesterday", "--since"), moment("today", "--since")
    assert yesterday is not None and today is not None and yesterday < today


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "2026-05-01T09:00:00", "5", "5y", "-2d", "99999999999d",
                                  "3 d ago"])
def test_what_is_no_time_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadInput, match=f"--since is {text!r}"):
        moment(text, "--since")
