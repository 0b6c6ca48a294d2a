"""Hold the cutting of texts into words to what searchers expect, in every script, and to the plain reference."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_core.kernel import english
from engram_core.kernel.analysis import Language, tokens
from engram_core.kernel.timewords import time_hints
from tests.kernel.reference_index import words_of


def cut(text: str, kind: str = "word") -> list[str]:
    return [word for word, found, _, _ in tokens(text) if found == kind]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, World!", ["hello", "world"]),
        ("don't don’t 'quoted' dogs'", ["don't", "don't", "quoted", "dogs"]),
        ("rock'n'roll", ["rock'n", "roll"]),
        ("3rd 2024 v2", ["3rd", "2024", "v2"]),
        ("ÉCOLE Straße İstanbul", ["école", "straße", "istanbul"]),
        ("ΟΔΟΣ οδος", ["οδοσ", "οδοσ"]),
        ("हिन्दी", ["हिन्दी"]),
        ("می\u200cخواهم", ["میخواهم"]),
        ("co\u00adoperate", ["cooperate"]),
        ("\u0301 alone", ["alone"]),
        ("a\0b", ["a", "b"]),
        ("\ud800x", ["\ud800x"]),
        ("x" * 100 + " y", ["x" * 64, "y"]),
        ("", []),
        ("?! … 🙂", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert cut(text) == words


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("getUserName", ["get", "user", "name"]),
        ("HTTPServer", ["http", "server"]),
        ("iPhone", ["phone"]),
        ("PCs IDs USA Hello", []),
        ("sha256Sum", ["sha256", "sum"]),
    ],
)
def test_pieces_of_camel_case(text: str, pieces: list[str]) -> None:
    assert cut(text, "part") == pieces
    assert cut(text)[0] == text.split(maxsplit=1)[0].lower()


@pytest.mark.parametrize(
    ("text", "wholes"),
    [
        ("foo_bar.py", ["foo_bar.py"]),
        ("on 2024-05-08 at 12:30.", ["2024-05-08", "12:30"]),
        ("see src/a/b.c, x@y.org", ["src/a/b.c", "x@y.org"]),
        ("one - two -- three_", []),
        ("it's-me", []),
        ("_".join("abcdefghijklmn"), []),
    ],
)
def test_what_words_make_together(text: str, wholes: list[str]) -> None:
    assert cut(text, "whole") == wholes


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("我去东京。好", ["我去", "去东", "东京", "好"]),
        ("東京タワー", ["東京", "京タ", "タワ", "ワー"]),
        ("안녕 하세요", ["안녕", "하세", "세요"]),
        ("ไทย", ["ไท", "ทย"]),
        ("iPhone手机", ["手机"]),
    ],
)
def test_scripts_without_spaces_give_neighbours(text: str, pairs: list[str]) -> None:
    assert cut(text, "unspaced") == pairs


def test_places_are_those_in_the_text() -> None:
    text = "Ask Anna-Lena's 東京 getName"
    for word, kind, start, end in tokens(text):
        if kind in ("word", "whole", "unspaced"):
            assert text[start:end].lower() == word


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.text("aB'_- \u0301\u200c東é7Σ.", max_size=40)))
def test_tokens_equal_the_reference(text: str) -> None:
    assert sorted(tokens(text)) == sorted((w.text, w.kind, w.start, w.end) for w in words_of(text))


def test_an_apostrophe_ends_a_word_where_the_language_elides() -> None:
    assert [word for word, *_ in tokens("l'amour d’Anne", elisions=True)] == ["l", "amour", "d", "anne"]
    assert Language("french").elisions and not Language("english").elisions


def test_languages_are_named_in_the_error() -> None:
    assert Language("none").stop == Language("german").stop == frozenset()
    assert Language("english").stop == english.STOP
    with pytest.raises(ValueError, match=r"language is 'English'; allowed are none, .*english"):
        Language("English")


def test_time_hints_name_the_groups_a_text_has_words_of() -> None:
    assert time_hints("my dog sleeps") == 0
    assert time_hints("in May") == english.IN | english.MONTH
    assert time_hints("YESTERDAY") == english.NOW
    assert time_hints("7th") == english.FIGURE
    assert time_hints("2024-05-08") == english.FIGURE | english.YEAR
    assert time_hints("two weeks ago") == english.UNIT | english.AGO
    assert time_hints("x" * 3000 + " may") == 0
