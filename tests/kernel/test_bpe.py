"""The kernel's token counter against tiktoken: classes, counts, pieces, additivity, size, damaged files."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_core.kernel.bpe import Counter
from engram_core.kernel.pieces import char_class
from engram_core.vocab.classes import classes
from engram_core.vocab.pack import pack
from tests.reference_tokens import EDGES, TEXTS, VOCABULARIES, count, hostile_texts

NAMES = ["o200k_base", "cl100k_base"]
COUNTERS = {name: Counter(str(VOCABULARIES / f"{name}.bpe"), name.removesuffix("_base")) for name in NAMES}
MIB = 1 << 20

by_name = pytest.mark.parametrize("name", NAMES)


def test_every_code_point_has_the_class_tiktoken_sees() -> None:
    expected = classes()
    assert [code for code in range(0x110000) if char_class(code) != expected[code]] == []
    with pytest.raises(ValueError, match="code point"):
        char_class(0x110000)


@by_name
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_count_equals_tiktoken_on_known_texts(name: str, text: str) -> None:
    for variant in (text, text + "\n", " " + text, text.upper(), text.lower(), text * 7, text[::-1]):
        assert COUNTERS[name].count(variant) == count(name, variant)


@by_name
@given(text=hostile_texts())
def test_count_equals_tiktoken_on_hostile_texts(name: str, text: str) -> None:
    counter = COUNTERS[name]
    assert counter.count(text) == count(name, text) == counter.count_bytes(text.encode())


@by_name
@given(text=hostile_texts())
def test_pieces_join_to_the_text_and_count_as_much(name: str, text: str) -> None:
    counter = COUNTERS[name]
    pieces = counter.pieces(text)
    assert b"".join(pieces) == text.encode()
    assert all(pieces)
    assert sum(counter.count_bytes(piece) for piece in pieces) == counter.count(text)


@by_name
def test_every_pair_of_edge_characters_is_split_as_tiktoken_does(name: str) -> None:
    for first in EDGES:
        for second in EDGES:
            text = f"{first}{second}x {first}{first}{second}'{second}"
            assert COUNTERS[name].count(text) == count(name, text)


@by_name
@given(lines=st.lists(hostile_texts(30), min_size=1, max_size=5))
def test_lines_that_begin_with_neither_space_nor_slash_add_up(name: str, lines: list[str]) -> None:
    kept = [line + "\n" for line in lines if line and not line[0].isspace() and line[0] != "/"]
    assert COUNTERS[name].count("".join(kept)) == sum(COUNTERS[name].count(line) for line in kept)


@by_name
@pytest.mark.parametrize("length", [2, 3, 63, 64, 127, 128, 129, 130, 255, 256, 257, 1000, 65_537])
def test_long_pieces_equal_tiktoken_on_both_sides_of_the_heap(name: str, length: int) -> None:
    for unit in ("a", "A", "ab", "xqzjkw", " ", "=", "\u0301", "你好世界", "🙂", "Strasse", "/\\"):
        text = (unit * length)[:length]
        assert COUNTERS[name].count(text) == count(name, text)


@by_name
@pytest.mark.parametrize(
    "unit", ["a", "A", "aA", "word", " ", " \t", "\n", " \n", "\r\n", "!", "\u0301", "你", "1"]
)
def test_a_megabyte_of_one_thing_is_counted_in_linear_time(name: str, unit: str) -> None:
    data = unit.encode() * (MIB // len(unit.encode())) + b"x"
    start = time.perf_counter()
    assert COUNTERS[name].count_bytes(data) > 0
    # Takes 0.01 to 0.3 s; a quadratic step anywhere would take minutes.
    assert time.perf_counter() - start < 10


def test_large_texts_are_counted_while_other_threads_run() -> None:
    stamps: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(0.001):
            stamps.append(time.perf_counter())

    ticking = threading.Thread(target=tick)
    ticking.start()
    try:
        start = time.perf_counter()
        COUNTERS["o200k_base"].count("a" * 4 * MIB)
        end = time.perf_counter()
    finally:
        stop.set()
        ticking.join()
    assert [stamp for stamp in stamps if start + (end - start) / 4 < stamp < end - (end - start) / 4]


def with_one_byte_changed(text: str, at: int, byte: int) -> bytes:
    data = text.encode()
    return data[:at] + bytes([byte]) + data[at + 1:]


CHANGED = st.builds(with_one_byte_changed, st.text(max_size=20), st.integers(0, 60), st.integers(0, 255))


@given(data=st.one_of(st.binary(max_size=40), CHANGED))
def test_bytes_are_refused_exactly_when_they_are_not_utf8(data: bytes) -> None:
    counter = COUNTERS["o200k_base"]
    try:
        text = data.decode()
    except UnicodeDecodeError as expected:
        with pytest.raises(UnicodeDecodeError) as caught:
            counter.count_bytes(data)
        assert caught.value.start == expected.start
    else:
        assert counter.count_bytes(data) == counter.count(text)


def test_lone_surrogates_are_refused() -> None:
    for ask in (COUNTERS["o200k_base"].count, COUNTERS["o200k_base"].pieces):
        with pytest.raises(UnicodeEncodeError):
            ask("a\ud83d")


def test_tokens_of_a_vocabulary_of_our_own_are_merged_by_rank(tmp_path: Path) -> None:
    path = tmp_path / "small.bpe"
    path.write_bytes(pack([bytes([byte]) for byte in range(256)] + [b"bc", b"ab", b"abc", b"abcd"]))
    counter = Counter(str(path), "o200k")
    assert counter.nvocab == 260
    # "bc" is merged first, then "abc", then "abcd"; of "abab" both "ab" are.
    assert [counter.count(text) for text in ("abcd", "abcdx", "abab", "bcbc", "acb")] == [1, 2, 2, 2, 3]


def test_a_file_with_another_sha256_is_refused(tmp_path: Path) -> None:
    data = bytearray((VOCABULARIES / "cl100k_base.bpe").read_bytes())
    digest = hashlib.sha256(data).hexdigest()
    path = tmp_path / "changed.bpe"
    path.write_bytes(data)
    assert Counter(str(path), "cl100k", sha256=digest).nvocab == 100_256
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="another sha256"):
        Counter(str(path), "cl100k", sha256=digest)


@pytest.mark.parametrize("keep", [slice(1), slice(15), slice(16), slice(-1), slice(1000), slice(1, None)])
def test_a_damaged_file_is_refused_without_its_sha256_too(tmp_path: Path, keep: slice) -> None:
    path = tmp_path / "damaged.bpe"
    path.write_bytes((VOCABULARIES / "cl100k_base.bpe").read_bytes()[keep])
    with pytest.raises(ValueError, match=r"damaged|no packed vocabulary"):
        Counter(str(path), "cl100k")


def test_other_ways_to_open_a_counter_wrongly(tmp_path: Path) -> None:
    vocabulary = str(VOCABULARIES / "o200k_base.bpe")
    with pytest.raises(ValueError, match="use o200k or cl100k"):
        Counter(vocabulary, "r50k")
    with pytest.raises(FileNotFoundError):
        Counter(str(tmp_path / "missing.bpe"), "o200k")
    (tmp_path / "empty.bpe").touch()
    with pytest.raises(ValueError, match="empty"):
        Counter(str(tmp_path / "empty.bpe"), "o200k")
    (tmp_path / "empty token.bpe").write_bytes(pack([b"a", b"", b"b"]))
    with pytest.raises(ValueError, match="empty token"):
        Counter(str(tmp_path / "empty token.bpe"), "o200k")
    with pytest.raises(TypeError):
        COUNTERS["o200k_base"].count(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        COUNTERS["o200k_base"].count_bytes("text")  # type: ignore[arg-type]
