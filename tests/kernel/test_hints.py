"""Hints against Python's ``in``."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_core.kernel.hints import Hints

WORDS = ("ab", "abcab", "é", "c-", "-----x")
HINTS = Hints(WORDS)
TEXTS = st.text(alphabet="abcé-x \0\ud800", max_size=20)


@given(TEXTS)
def test_a_word_is_found_where_it_is(text: str) -> None:
    assert HINTS.held(text) == any(word in text for word in WORDS)


@given(st.dictionaries(st.sampled_from(["id", "other"]), TEXTS | st.none() | st.lists(TEXTS | st.integers(), max_size=3)
                       | st.dictionaries(TEXTS, TEXTS | st.integers(), max_size=3)))
def test_fields_are_looked_at_by_name(value: dict[str, Any]) -> None:
    one = value.get("id")
    texts = [one] if isinstance(one, str) else one.values() if isinstance(one, dict) else one or []
    assert HINTS.held_in(value, frozenset(("id",))) == any(
        word in text for text in texts if isinstance(text, str) for word in WORDS)


@pytest.mark.parametrize("words", [["a"], ["ab"] * 33])
def test_what_does_not_fit_is_refused(words: list[str]) -> None:
    with pytest.raises(ValueError, match="at most 32 words"):
        Hints(words)
