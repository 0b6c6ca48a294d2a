"""Likeness of vectors: the cosine as plain Python works it out, for any rows and any order of changes."""

from __future__ import annotations

from array import array
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_core.kernel.index import TextIndex
from engram_core.kernel.vectors import Vectors

ROWS = st.lists(st.integers(-127, 127), min_size=7, max_size=7).filter(any)


def packed(row: list[int]) -> bytes:
    return array("b", row).tobytes()


def cosine(one: list[int], other: list[int]) -> float:
    found = sum(a * b for a, b in zip(one, other, strict=True))
    return max(0.0, found / sqrt(sum(a * a for a in one)) / sqrt(sum(b * b for b in other)))


@given(st.lists(st.tuples(st.integers(0, 200), st.none() | ROWS), max_size=40), ROWS)
def test_it_equals_the_cosine_after_any_changes(changes: list[tuple[int, list[int] | None]],
                                                question: list[int]) -> None:
    vectors = Vectors()
    known: dict[int, list[int]] = {}
    for doc, row in changes:
        if row is None:
            vectors.drop(doc)
            known.pop(doc, None)
        else:
            vectors.put(doc, packed(row))
            known[doc] = row
    assert vectors.count == len(known)
    wanted = [cosine(known[doc], question) if doc in known else 0.0 for doc in range(150)]
    assert vectors.like(packed(question), 150) == pytest.approx(wanted, abs=1e-6)


def test_wide_vectors_do_not_overflow() -> None:
    vectors = Vectors()
    vectors.put(0, packed([127] * 100_000))
    vectors.put(1, packed([-127] * 100_000))
    assert vectors.like(packed([127] * 100_000), 2) == pytest.approx([1.0, 0.0], abs=1e-6)


@pytest.mark.parametrize("row", [b"", b"\0" * 7, b"\1" * 6])
def test_what_is_no_vector_is_refused_and_changes_nothing(row: bytes) -> None:
    vectors = Vectors()
    vectors.put(3, b"\1" * 7)
    with pytest.raises(ValueError, match="vector"):
        vectors.put(3, row)
    assert vectors.like(b"\1" * 7, 4) == pytest.approx([0, 0, 0, 1])
    assert vectors.like(b"\1" * 6, 4) == vectors.like(b"\0" * 7, 4) == [0, 0, 0, 0]


def test_a_score_grows_by_the_weighted_likeness_of_live_documents() -> None:
    index = TextIndex()
    for text in ("red paint", "green tea", "blue ink"):
        index.add(text, dialogue=False)
    index.vectors.put(1, packed([3, 4]))
    index.vectors.put(2, packed([4, 3]))
    plain = index.query("paint")
    found = index.query("paint", weights={"meaning": 0.5}, meaning=packed([3, 4]))
    assert [found.score(doc) - plain.score(doc) for doc in range(3)] == pytest.approx([0, 0.5, 0.48], abs=1e-6)
    assert found.parts(2) == pytest.approx({"meaning": 0.48}, abs=1e-6) and not found.empty
    assert index.query("paint", meaning=packed([3, 4])).score(1) == 0  # it weighs nothing unless a policy says so
    index.remove(1)
    assert index.query("", weights={"meaning": 0.5}, meaning=packed([3, 4])).score(1) == 0
    assert index.vectors.count == 1
