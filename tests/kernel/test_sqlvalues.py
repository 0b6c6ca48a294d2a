"""Values of statements as servers take them: what is written stands for the value again."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_core.kernel.sqlvalues import HasNul, filled, parameters

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
VALUES = TEXTS | st.none() | st.integers(-(1 << 70), 1 << 70)
BACK = {"0": "\0"}


def literal(text: str) -> Any:
    """Read a literal as a server does."""
    if text == "NULL":
        return None
    if not text.startswith("'"):
        return int(text)
    assert re.fullmatch(r"'(?:[^'\\]|\\.)*'", text, re.DOTALL)
    return re.sub(r"\\(.)", lambda found: BACK.get(found[1], found[1]), text[1:-1], flags=re.DOTALL)


@given(VALUES, VALUES)
def test_literals_are_the_values(one: Any, other: Any) -> None:
    found = filled(("<", "\x1f", ">é"), ("one", "other"), {"one": one, "other": other, "more": 1}).decode()
    assert found.startswith("<") and found.endswith(">é")
    if "\x1f" not in repr(one) + repr(other):
        first, second = (literal(part) for part in _halves(found[1:-2], one))
        assert (first, second) == (one, other)


def _halves(text: str, first: Any) -> tuple[str, str]:
    size = len(filled(("", ""), ("v",), {"v": first}).decode())
    assert text[size] == "\x1f"
    return text[:size], text[size + 1:]


@given(st.lists(st.fixed_dictionaries({"a": VALUES, "b": VALUES}), max_size=4))
def test_parameters_are_the_values_of_all_rows(rows: list[dict[str, Any]]) -> None:
    values = [row[name] for row in rows for name in ("b", "a", "b")]
    wanted = [None if value is None else str(value).encode() for value in values]
    if any(one and b"\0" in one for one in wanted):
        with pytest.raises(HasNul):
            parameters(list(rows), ("b", "a", "b"))
    else:
        assert parameters(list(rows), ("b", "a", "b")) == wanted


@pytest.mark.parametrize("value", [True, 1.5, b"x", [], {}])
def test_other_values_have_no_place(value: Any) -> None:
    for write in (lambda: parameters([{"v": value}], ("v",)), lambda: filled(("", ""), ("v",), {"v": value})):
        with pytest.raises(TypeError, match="no place in a statement"):
            write()


def test_half_a_surrogate_pair_and_a_missing_value_are_errors() -> None:
    for write in (lambda row: parameters([row], ("v",)), lambda row: filled(("", ""), ("v",), row)):
        with pytest.raises(UnicodeEncodeError):
            write({"v": "\ud800"})
        with pytest.raises(KeyError):
            write({})
