"""Ids, times and JSON text: what is accepted, and how the rest is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_core.errors import BadInput
from engram_core.ids import new_id
from engram_core.values import (
    check_count,
    check_id,
    check_ms,
    check_names,
    check_text,
    day_of,
    derived_id,
    dump_json,
    format_time,
    parse_time,
    same_json,
)

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
                    | st.text(), lambda inner: st.lists(inner, max_size=4)
                    | st.dictionaries(st.text(), inner, max_size=4))
MOMENTS = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30),
                       timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)),
                                                  timezone(-timedelta(hours=11))]))


@given(MOMENTS)
def test_times_keep_their_milliseconds(moment: datetime) -> None:
    ms = parse_time("t", moment.isoformat())
    assert ms == int((moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1))
    assert parse_time("t", format_time(ms)) == ms
    assert day_of(ms) == moment.astimezone(UTC).date().toordinal()


@pytest.mark.parametrize(("text", "written"), [
    ("2026-01-31T09:30:00Z", "2026-01-31T09:30:00Z"), ("2026-01-31T09:30:00.5+02:00", "2026-01-31T07:30:00.500Z"),
    ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"), ("2026-01-31 09:30:00z", "2026-01-31T09:30:00Z"),
    ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z")])
def test_times_are_written_in_utc(text: str, written: str) -> None:
    assert format_time(parse_time("t", text.upper())) == written


@pytest.mark.parametrize(("value", "said"), [
    ("2026-01-31T09:30:00", "has no time zone; write 2026-01-31T09:30:00Z or give an offset"),
    ("2026-01-31", "write 2026-01-31T00:00:00Z"), ("2026-01-31 09:30", "write 2026-01-31 09:30Z"),
    ("tomorrow", "event.ts is 'tomorrow'; allowed is a time like 2026-01-31T09:30:00Z"), ("", "event.ts is ''"),
    ("2026-02-30T00:00:00Z", "allowed is a time"), (1767225600, "event.ts is 1767225600"), (None, "event.ts is null"),
    ("0001-01-01T00:00:00+14:00", "allowed are the years 1 to 9999"),
    ("9999-12-31T23:59:59-14:00", "allowed are the years 1 to 9999"),
])
def test_other_times_are_refused(value: object, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        parse_time("event.ts", value)


@pytest.mark.parametrize("value", [True, 1.0, "1", None, 10**20, -10**20])
def test_milliseconds_are_whole_numbers_in_range(value: object) -> None:
    with pytest.raises(BadInput, match=r"ms is .*; allowed are whole milliseconds"):
        check_ms("ms", value)


@pytest.mark.parametrize("value", ["a", "x" * 110, "é", "日本" * 55, "a b", "\U0001f600", "'\"\\;--", "%_", "Bob"])
def test_ids_are_any_short_text(value: str) -> None:
    assert check_id("id", value) == value


@pytest.mark.parametrize(("value", "said"), [
    ("", "id is empty; allowed is text of 1 to 110 characters"), ("x" * 111, "id is 111 characters long"),
    (5, "id is 5"), (None, "id is null"), ("a\0", "control characters are not allowed"), ("a\n", "control characters"),
    ("\x7f", "control characters"), ("\ud800", "lone surrogate"), (["a"], r"id is \['a'\]")])
def test_other_ids_are_refused(value: object, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        check_id("id", value)


@given(JSON)
def test_json_is_written_and_read_back(value: Any) -> None:
    try:
        text = dump_json(value)
    except BadInput as error:
        assert "surrogate" in error.message
    else:
        assert json.loads(text) == value
        assert "\n" not in text


@pytest.mark.parametrize(("value", "said"), [
    ({"a": [1, {"b": float("nan")}]}, r"fact.a\[1\].b is nan; allowed are finite numbers"),
    ([float("-inf")], r"fact\[0\] is -inf"), ({"a": "x\udfff"}, "fact.a holds a lone surrogate"),
    ({"\ud800": 1}, "fact.* holds a lone surrogate"), ({"a": b"x"}, "fact.a is b'x'; allowed are texts, numbers"),
    ({"a b": {1, 2}}, r"fact.'a b' is \{1, 2\}")])
def test_what_is_no_json_is_named(value: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        dump_json(value, "fact")


def test_a_circle_and_a_deep_value_are_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    for value in (circle, deep):
        with pytest.raises(BadInput, match="value"):
            dump_json(value)


@given(JSON, JSON)
def test_values_are_the_same_when_their_sorted_text_is(one: Any, other: Any) -> None:
    text = [json.dumps(value, sort_keys=True) for value in (one, other)]
    assert same_json(one, other) is (text[0] == text[1])


def test_order_of_keys_does_not_matter_but_of_lists_does() -> None:
    assert same_json({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1})
    assert not same_json([1, 2], [2, 1])
    assert not same_json(1, True)


def test_counts_and_names() -> None:
    assert check_count("n", 0) == 0
    for bad in (-1, True, 1.0, "1", 1 << 60):
        with pytest.raises(BadInput, match=r"n is .*; allowed is a whole number from 0 to"):
            check_count("n", bad)
    assert check_names("tags", ["", "a"]) == ["", "a"]
    with pytest.raises(BadInput, match=r"tags\[1\] is 5; allowed is text"):
        check_names("tags", ["a", 5])
    for other in ("a", ("a",), {"a": 1}, None):
        with pytest.raises(BadInput, match=r"tags is .*; allowed is a list of texts"):
            check_names("tags", other)
    with pytest.raises(BadInput, match="t is 5; allowed is text"):
        check_text("t", 5)


@given(st.lists(st.integers(min_value=0, max_value=1 << 49), min_size=2, max_size=2, unique=True))
def test_made_ids_sort_by_time_and_are_ids(times: list[int]) -> None:
    early, late = sorted(times)
    assert new_id("e_", early) < new_id("e_", late)
    assert new_id("e_", early) != new_id("e_", early)
    assert check_id("id", new_id("e_", early)) and len(new_id("e_", early)) == 24


def test_derived_ids_follow_from_the_text() -> None:
    assert derived_id("f_", "city") == derived_id("f_", "city") != derived_id("f_", "City")
