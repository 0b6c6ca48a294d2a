"""Which regular expressions may be added to redaction: every one that is let through must end soon on every text."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engram_core.patterns import problem, slowness
from engram_core.redact import Redactor

FAST = [
    r"BADGE-[0-9]{6}", r"TICKET-[0-9]{4,}", r"secret=\S+", r"secret: .*", r"(password|token)\s*[=:]\s*\S+",
    r"\b\w+@corp", r"(?i)key\s*=\s*\w+", r"\w{1,64}@\w{1,64}\.com", r"\b(?:\d[ -]?){13,16}\b",
    r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}",
    r"(?<![a-w])[a-w]+x", r"(?<=id=)\d{4,}", r"(?i)(x)y\1", r"\bTOK-\w+\b", r"b[^b]*b",
    r"BEGIN SECRET[\s\S]{0,900}?END SECRET",
]
SLOW = [
    r"(a+)+b", r"(a|a)*b", r"x(\w+\s?)*$", r"([a-zA-Z]+)*x", r"(x+x+)+y", r"(?:a?){30}a{30}", r"a{0,1000}a{0,1000}b",
    r"\w+@corp", r".*secret", r"[^a]*a", r"(?=.*x)y", r"-+\b", r"(?<![a-z])[a-z]+x", r"x(a*)*", r"(?:\W++\W?){5,}",
    r"(a)?(?(1)b|c)d", r"x(?:){100000000}",
    r"(?:" * 300 + "a" + ")" * 300 + "*b",
]
ATOMS = st.sampled_from(["a", "b", "[ab]", "[^a]", ".", r"\w", r"\W", r"\b", "-"])
TIMES = st.sampled_from(["", "", "+", "*", "?", "{2}", "{0,9}", "{3,30}", "{5,}", "*?", "++"])
PIECES = st.recursive(ATOMS, lambda inner: st.lists(
    st.tuples(inner, TIMES).map("".join), min_size=1, max_size=3).flatmap(lambda parts: st.sampled_from([
        f"(?:{''.join(parts)})", f"(?:{'|'.join(parts)})", f"(?={''.join(parts)})"])), max_leaves=5)
GENERATED = st.lists(st.tuples(PIECES, TIMES).map("".join), min_size=1, max_size=4).map("".join)
TEXTS = ("a" * 30_000, "b" * 30_000, "ab" * 15_000, "-a" * 15_000, "aab-" * 8_000, "-" * 30_000, "b" + "a" * 30_000)


@pytest.fixture
def _interrupted() -> Iterator[None]:
    """Cut a search short that a wrong check let through; `re` looks at signals on the main thread."""
    def stop(*_: object) -> None:
        raise TimeoutError("the search does not end")

    before = signal.signal(signal.SIGALRM, stop)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def took(pattern: str, text: str) -> float:
    signal.setitimer(signal.ITIMER_REAL, 60)
    start = time.process_time()
    Redactor({"x": pattern}).value(text)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return time.process_time() - start


@pytest.mark.parametrize("pattern", FAST)
def test_what_a_person_would_write_is_allowed(pattern: str) -> None:
    assert problem(pattern) is None


@pytest.mark.parametrize("pattern", SLOW)
def test_what_could_hold_the_daemon_is_refused_with_the_reason(pattern: str) -> None:
    found = problem(pattern)
    assert found is not None and "for ever" in found[0] and "upper limit" in found[1]


@pytest.mark.usefixtures("_interrupted")
@settings(deadline=None)
@given(GENERATED)
def test_whatever_is_allowed_ends_soon_on_every_text(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error:
        assume(False)
    assume(not slowness(pattern))
    for text in TEXTS:
        assert took(pattern, text) < 3, (pattern, text[:9])


@pytest.mark.usefixtures("_interrupted")
def test_a_pattern_at_the_limit_takes_seconds_for_the_longest_text() -> None:
    pattern = "a{0,20}a{0,20}b"
    assert not slowness(pattern) and slowness("a{0,30}a{0,30}b")
    assert took(pattern, "a" * (1 << 20)) < 30


def test_many_matches_of_a_large_text_are_replaced_at_once() -> None:
    start = time.process_time()
    text, count = Redactor({"digits": "[0-9]{4}"}).value("1234 " * 200_000)
    assert count == 200_000 and text.startswith("[redacted:digits] [redacted:digits] ")
    assert time.process_time() - start < 3


@pytest.mark.parametrize("pattern", ["(?:(?:(?:a){200}){200}){200}", "(?:(?:(?:a{1,2}){1,200}){1,200}){1,200}",
                                     "(" * 90 + "a" + "){2}" * 90, "x" + "(?:a|b|c){0,900}" * 50])
def test_the_check_itself_ends_soon(pattern: str) -> None:
    start = time.process_time()
    assert problem(pattern) is not None
    assert time.process_time() - start < 3
