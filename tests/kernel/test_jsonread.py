"""The strict reader of JSON against Python's own: the same values, or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_core.kernel.jsonread import Unread, read

DEPTH = 64
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(1 << 64), 1 << 64)
    | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=20)
PIECES = st.sampled_from([*'{}[]:,"\\ \t\n', "0", "1", "-", ".5", "e9", "1e400", "true", "false", "null", "NaN",
                          "\\u0041", "\\ud83d", "\\ude00", "\\n", "\\x", "é", "\x01", '"a"', '"a":1',
                          "12345678901234567890"])


def refused(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("twice")
    return found


def number(text: str) -> float:
    if float(text) - float(text) != 0:
        raise ValueError("too large")
    return float(text)


def constant(name: str) -> Any:
    raise ValueError(name)


def by_python(text: str) -> Any:
    found = json.loads(text, object_pairs_hook=refused, parse_float=number, parse_constant=constant)
    json.dumps(found, ensure_ascii=False).encode()  # no half of a surrogate pair
    return found


@given(VALUES, st.booleans(), st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r")]))
def test_what_is_written_is_read(value: Any, ascii: bool, separators: tuple[str, str]) -> None:
    text = json.dumps(value, ensure_ascii=ascii, separators=separators)
    assert repr(read(text.encode(), DEPTH)) == repr(by_python(text))


@given(st.lists(PIECES, max_size=14).map("".join))
def test_what_is_read_is_what_python_reads(text: str) -> None:
    try:
        found = read(text.encode(), DEPTH)
    except (ValueError, OverflowError):
        with pytest.raises(ValueError):
            by_python(text)
    else:
        assert repr(found) == repr(by_python(text))


@given(st.binary(max_size=30))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        found = read(data, DEPTH)
    except (ValueError, OverflowError):
        return
    assert repr(found) == repr(by_python(data.decode()))


def test_depth_is_limited() -> None:
    assert read(b"[" * 3 + b"]" * 3, 3) == [[[]]]
    for text in (b"[" * 4 + b"]" * 4, b'{"a":' * 4 + b"1" + b"}" * 4, b"[" * 1_000_000):
        with pytest.raises(Unread):
            read(text, 3)


@pytest.mark.parametrize("text", [b'"\xff"', b'"\xed\xa0\x80"', b'"' + b"\\" * 7, b'"\\', b'"\\u12', b"-", b"1.", b"01",
                                  b"tru", b""])
def test_what_breaks_off_or_is_no_utf8_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        read(text, DEPTH)


def test_a_number_of_many_digits_is_left_to_python() -> None:
    with pytest.raises(Unread):
        read(b"1" * 500, DEPTH)
    assert read(b"1" * 300, DEPTH) == int("1" * 300)
