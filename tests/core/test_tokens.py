"""Tokenizers by name: what each counts, how it loads, what is refused and in which words."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_core import tokens
from engram_core.errors import BadInput, TokenizerError
from engram_core.vocab.pack import SOURCES, parse
from tests.reference_tokens import TEXTS, count, hostile_texts, packed_tokens

ROOT = Path(__file__).parent.parent.parent
EXACT = ["o200k_base", "cl100k_base"]
# What cl100k_base takes more tokens for than the estimate says; its docstring names them.
BEYOND_ESTIMATE = {"vietnamese", "greek", "georgian", "armenian", "hebrew", "burmese", "emoji"}


def test_names_begin_with_the_default() -> None:
    assert tokens.names() == ("o200k_base", "cl100k_base", "estimate", "bytes")
    assert tokens.names()[0] == tokens.DEFAULT
    for name in tokens.names():
        found = tokens.get(name)
        assert found.name == name
        assert found.exact == (name in EXACT)
        assert found is tokens.get(name)


@pytest.mark.parametrize("name", EXACT)
@given(text=hostile_texts())
def test_exact_tokenizers_count_as_tiktoken_does(name: str, text: str) -> None:
    assert tokens.get(name).count(text) == count(name, text) == tokens.get(name).count_bytes(text.encode())


@pytest.mark.parametrize("name", EXACT)
def test_shipped_vocabularies_are_the_published_ones(name: str) -> None:
    found = packed_tokens(name)
    text = b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(found))
    assert hashlib.sha256(text).hexdigest() == SOURCES[name]
    assert parse(text) == found


@pytest.mark.parametrize("text", [b"YQ== 0\nYg== 2\n", b"YQ== 0\nYQ== 1\n"])
def test_a_source_with_gaps_or_twins_is_not_packed(text: bytes) -> None:
    with pytest.raises(ValueError, match="gaps"):
        parse(text)


def test_special_tokens_are_ordinary_text() -> None:
    assert tokens.get("o200k_base").count("<|endoftext|>") == 7
    assert tokens.get("cl100k_base").count("<|endoftext|>") == 7


@given(text=hostile_texts())
def test_bytes_is_the_length_in_utf8_and_never_below_the_exact_counts(text: str) -> None:
    bound = tokens.get("bytes")
    assert bound.count(text) == bound.count_bytes(text.encode()) == len(text.encode())
    assert all(tokens.get(name).count(text) <= bound.count(text) for name in EXACT)


@pytest.mark.parametrize("kind", TEXTS)
def test_estimate_covers_the_older_vocabulary_where_it_says_so(kind: str) -> None:
    for text in (TEXTS[kind], TEXTS[kind] * 20, f"{TEXTS[kind]}\n" * 20):
        covered = count("cl100k_base", text) <= tokens.get("estimate").count(text)
        assert covered == (kind not in BEYOND_ESTIMATE)


@given(text=hostile_texts())
def test_estimate_keeps_its_margin(text: str) -> None:
    *lines, rest = text.split("\n")
    exact = [count("o200k_base", line) for line in (*(line + "\n" for line in lines), rest)]
    estimate = tokens.get("estimate").count(text)
    assert count("o200k_base", text) <= estimate
    assert 1.5 * sum(exact) <= estimate
    if text.isascii():
        assert estimate <= 1.5 * sum(exact) + len(exact) / 2


@pytest.mark.parametrize("name", tokens.names())
@given(lines=st.lists(hostile_texts(30), min_size=1, max_size=5))
def test_every_tokenizer_is_additive_over_lines(name: str, lines: list[str]) -> None:
    kept = [line + "\n" for line in lines if line and not line[0].isspace() and line[0] != "/"]
    assert tokens.get(name).count("".join(kept)) == sum(tokens.get(name).count(line) for line in kept)


@pytest.mark.parametrize("name", tokens.names())
def test_text_that_is_not_unicode_is_bad_input(name: str) -> None:
    with pytest.raises(BadInput, match=r"lone surrogate U\+D83D at character 2"):
        tokens.get(name).count("ab\ud83dc")
    with pytest.raises(BadInput, match=r"invalid byte 0xff at byte 1"):
        tokens.get(name).count_bytes(b"a\xff")


@pytest.mark.parametrize(
    ("name", "near"), [("o200k", "o200k_base"), ("cl100k-base", "cl100k_base"), ("byte", "bytes")]
)
def test_an_unknown_name_tells_the_allowed_ones_and_the_nearest(name: str, near: str) -> None:
    with pytest.raises(TokenizerError) as caught:
        tokens.get(name)
    assert name in str(caught.value)
    assert f"did you mean {near}?" in str(caught.value)
    assert all(allowed in str(caught.value) for allowed in tokens.names())
    assert caught.value.exit_code == 65


def test_names_that_resemble_nothing_or_name_a_file() -> None:
    with pytest.raises(TokenizerError, match="o200k_base is the default"):
        tokens.get("")
    with pytest.raises(TokenizerError, match=r"'file:mine\.json' is not available.*extra.*o200k_base"):
        tokens.get("file:mine.json")


def test_a_changed_or_missing_vocabulary_is_an_error_not_a_fallback(tmp_path: Path) -> None:
    changed = tmp_path / "changed.bpe"
    changed.write_bytes(b"EBPE1")
    for path in (changed, tmp_path / "missing.bpe"):
        broken = tokens.Packed("mine", "o200k", path=str(path), sha256="0" * 64)
        for _ in range(2):
            with pytest.raises(TokenizerError, match="tokenizer mine cannot be loaded") as caught:
                broken.count("a")
            assert str(path) in str(caught.value)


def test_a_vocabulary_loads_once_however_many_threads_count_first() -> None:
    path = str(Path(tokens.VOCABULARIES) / "o200k_base.bpe")
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    fresh = tokens.Packed("fresh", "o200k", path=path, sha256=digest)
    barrier = threading.Barrier(8)
    counted: list[tuple[int, int]] = []

    def work() -> None:
        barrier.wait()
        counted.append((fresh.count(TEXTS["english"]), id(fresh._counter)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted == [(count("o200k_base", TEXTS["english"]), id(fresh._counter))] * 8


def test_importing_loads_no_vocabulary_and_no_heavy_module() -> None:
    heavy = ["engram_core.kernel.bpe", "hashlib", "mmap", "json", "re", "typing", "threading", "difflib"]
    script = f"import sys, engram_core.tokens\nprint([name for name in {heavy} if name in sys.modules])"
    command = [sys.executable, "-S", "-c", script]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
