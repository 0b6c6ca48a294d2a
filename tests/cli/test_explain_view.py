"""What a person sees of an explanation: on a terminal at any width, without colour, in a pipe."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from engram_cli import explain_parts as parts
from engram_cli.explain_view import plain, show
from engram_core.errors import NotFound
from tests.cli import explanations

GOLDENS = Path(__file__).parent / "goldens"
QUOTE = "e_01jcz8q4k2m7"
LONG_QUOTE = "e_01jb1w22c9ds"


def shown(explanation: dict[str, Any], *, width: int = 80, color: str | None = None, **options: Any) -> str:
    """Return what the view prints on a console of this width."""
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=color, force_terminal=color is not None)  # type: ignore[arg-type]
    show(explanation, console=console, **options)
    return out.getvalue()


def check_golden(name: str, text: str) -> None:
    """Compare with the golden; UPDATE_GOLDENS=1 writes it instead."""
    path = GOLDENS / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDENS"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


VIEWS: dict[str, tuple[str, dict[str, Any]]] = {
    "explain_full_80": ("full", {}),
    "explain_full_160": ("full", {"width": 160}),
    "explain_full_110": ("full", {"width": 110}),
    "explain_all_80": ("full", {"verbose": True}),
    "explain_no_query_80": ("no_query", {}),
    "explain_empty_80": ("empty", {}),
    "explain_filtered_80": ("filtered_out", {}),
    "explain_bare_80": ("bare", {}),
    "explain_memory_80": ("full", {"memory_id": QUOTE}),
    "explain_memory_degraded_80": ("full", {"memory_id": LONG_QUOTE}),
}
TEXTS: dict[str, tuple[str, dict[str, Any]]] = {
    "explain_plain_100": ("full", {}),
    "explain_plain_short_100": ("full", {"verbose": False}),
    "explain_plain_no_query": ("no_query", {}),
    "explain_plain_empty": ("empty", {}),
    "explain_plain_bare": ("bare", {}),
    "explain_plain_memory": ("full", {"memory_id": QUOTE}),
}


@pytest.mark.parametrize("name", VIEWS)
def test_view_without_colour_is_pinned(name: str) -> None:
    fixture, options = VIEWS[name]
    check_golden(name, shown(getattr(explanations, fixture)(), **options))


@pytest.mark.parametrize("name", TEXTS)
def test_plain_text_is_pinned(name: str) -> None:
    fixture, options = TEXTS[name]
    check_golden(name, plain(getattr(explanations, fixture)(), **options))


def test_colour_changes_no_letter() -> None:
    coloured = shown(explanations.full(), color="standard")
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == shown(explanations.full())


def test_colours_are_the_terminals_own_and_leave_the_background_alone() -> None:
    sequences = re.findall(r"\x1b\[([\d;]*)m", shown(explanations.full(), color="truecolor"))
    codes = set(";".join(sequences).split(";"))
    assert codes <= {"", "0", "1", "2", "3", "4", *(str(n) for n in range(31, 37))}


@pytest.mark.parametrize("fixture", ["full", "no_query", "empty", "filtered_out", "bare", "scripts"])
@pytest.mark.parametrize("width", [20, 40, 64, 80, 103, 104, 132, 160, 250])
def test_no_line_is_wider_than_the_terminal(fixture: str, width: int) -> None:
    for line in shown(getattr(explanations, fixture)(), width=width, verbose=True).splitlines():
        assert cell_len(line) <= width


def test_columns_stay_aligned_beside_wide_and_right_to_left_text() -> None:
    rows = [line for line in shown(explanations.scripts()).splitlines() if line.startswith("●  ")]
    assert len(rows) == 7
    starts = {cell_len(row[: re.search(r" 0\.\d{3} ", row).start()]) for row in rows}  # type: ignore[union-attr]
    assert len(starts) == 1


@pytest.mark.parametrize("memory_id", [None, "e_6"])
def test_escapes_in_memories_never_reach_the_terminal(memory_id: str | None) -> None:
    made = explanations.scripts()
    for text in (shown(made, memory_id=memory_id), plain(made, memory_id=memory_id)):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
        assert "owned" not in text
        assert "[bold]no marku" in text


def test_a_terminal_without_unicode_gets_signs_it_has() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    for made in (explanations.full(), explanations.scripts()):
        show(made, console=Console(file=file, width=80))
    show(explanations.full(), console=Console(file=file, width=80), memory_id=QUOTE)
    file.flush()
    text = raw.getvalue().decode("ascii")
    assert "+ 8 kept   ~ 3 degraded   - 15 omitted" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_outcomes_are_told_without_colour() -> None:
    text = shown(explanations.full(), width=160)
    assert re.search(r"● +1 e_01jcz8q4k2m7.*71 +kept$", text, re.MULTILINE)
    assert re.search(r"◐ +3 e_01jb1w22c9ds.*58/212 +sentences$", text, re.MULTILINE)
    assert re.search(r"○ +7 e_01j9x0d9ak3f.*45 +budget_total +\+7 tokens$", text, re.MULTILINE)


def test_long_lists_of_omitted_memories_are_cut_and_say_so() -> None:
    made = explanations.full()
    short, complete = shown(made), shown(made, verbose=True)
    assert "and 3 more (--all)" in short and "No invoices this week" not in short
    assert "more (--all)" not in complete and "No invoices this week" in complete
    assert "No invoices this week" in plain(made)


def test_plain_has_every_memory_on_a_line_of_its_own_with_its_whole_id() -> None:
    made = explanations.full()
    lines = plain(made).splitlines()
    for candidate in made["candidates"]:
        sign = {"kept": "+", "omitted": "-"}.get(candidate["outcome"], "~")
        start = rf"{re.escape(sign)} +{candidate['rank']} {re.escape(candidate['id'])} "
        found = [line for line in lines if re.match(start, line)]
        assert len(found) == 1
        assert candidate["reason"] in found[0]


def test_one_memorys_arithmetic_adds_up() -> None:
    text = plain(explanations.full(), memory_id=QUOTE)
    products = re.findall(r"^signal: .* ([\d.]+) x ([\d.]+) = ([\d.]+)$", text, re.MULTILINE)
    assert len(products) == 5
    for value, weight, adds in products:
        assert float(value) * float(weight) == pytest.approx(float(adds), abs=0.001)
    score = float(re.search(r"^score: +([\d.]+)$", text, re.MULTILINE)[1])  # type: ignore[index]
    assert sum(float(adds) for _, _, adds in products) == pytest.approx(score, abs=0.003)


def test_a_memory_is_found_by_the_only_id_that_begins_or_ends_so() -> None:
    made = explanations.full()
    assert "blue binder" in shown(made, memory_id="k2m7")
    assert "blue binder" in shown(made, memory_id="e_01jcz8q4")


@pytest.mark.parametrize(
    ("wanted", "words"), [("e_01", "could be any of"), ("nowhere", "not among"), ("", "not among")]
)
def test_an_unclear_or_unknown_memory_is_an_error(wanted: str, words: str) -> None:
    for view in (lambda made: shown(made, memory_id=wanted), lambda made: plain(made, memory_id=wanted)):
        with pytest.raises(NotFound, match=words):
            view(explanations.full())


def test_the_question_stands_before_the_figures_and_these_before_the_reasons() -> None:
    text = shown(explanations.full())
    order = ["Where do we keep", "795 of 800", "\nBudget", "\n●  1", "\n○  6"]
    order += ["\nWhy not", "\nConflicts", "\nMemories", "\ntook "]
    places = [text.index(word) for word in order]
    assert places == sorted(places)


def test_an_outcome_of_another_version_is_listed_with_the_omitted() -> None:
    made = {"candidates": [{"kind": "fact", "id": "f1", "outcome": "postponed", "text": "later"}]}
    assert re.search(r"○ +later +postponed", shown(made))
    assert re.search(r"^- +- f1 +- +- omitted postponed +later$", plain(made), re.MULTILINE)


def test_an_unknown_reason_is_shown_by_its_own_name() -> None:
    assert "too_dreamy" in shown(explanations.bare())
    assert parts.reason_meaning("max_facts") == "the policy's max_facts was reached"


def test_the_guide_tells_every_reason_code() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "explain.md").read_text(encoding="utf-8")
    for code, (_, meaning) in parts.REASONS.items():
        if code != "max_total":
            assert re.search(rf"^\| `{code}` \|.*\| {re.escape(meaning)} \|$", guide, re.MULTILINE)


@given(st.text(), st.integers(0, 60))
def test_fitted_text_has_exactly_its_width(text: str, width: int) -> None:
    assert cell_len(parts.fit(parts.clean(text), width)) == width


@given(st.text(st.characters(categories=["Cc", "Cf", "Cs", "L", "N", "P"])))
def test_cleaned_text_is_one_line_without_controls(text: str) -> None:
    cleaned = parts.clean("\x1b[31m" + text)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", cleaned)
    assert cleaned == parts.clean(cleaned)


VALUES = st.one_of(st.none(), st.floats(0, 1), st.integers(0, 10**7))
CANDIDATES = st.fixed_dictionaries(
    {"kind": st.sampled_from(["event", "fact"]), "id": st.text(max_size=40)},
    optional={
        "section": st.sampled_from(["facts", "key_quotes", "new_section"]),
        "rank": st.integers(1, 10**5),
        "score": st.floats(0, 10),
        "signals": st.dictionaries(
            st.sampled_from(["relevance", "cues", "surprise"]),
            st.fixed_dictionaries({"value": VALUES, "weight": VALUES}),
        ),
        "matched": st.lists(st.text(max_size=8), max_size=3),
        "tokens": st.dictionaries(st.sampled_from(["full", "short", "tiny"]), st.integers(0, 10**6)),
        "outcome": st.sampled_from(["kept", "degraded:short", "omitted", "odd"]),
        "reason": st.sampled_from(["", "budget_total", "max_facts", "new_reason"]),
        "miss": st.sampled_from(["", "would fit with 1,234 more tokens", "rank 31 of 30", "something else"]),
        "used_tokens": st.integers(0, 10**6),
        "text": st.text(max_size=200),
    },
)


@settings(deadline=None, max_examples=60)
@given(st.lists(CANDIDATES, max_size=12), st.integers(20, 170))
def test_every_explanation_can_be_shown_at_every_width(candidates: list[dict[str, Any]], width: int) -> None:
    made = {"candidates": candidates, "budget": {"max_tokens": 500, "used_tokens": 100}}
    text = shown(made, width=width, verbose=True)
    assert all(cell_len(line) <= width for line in text.splitlines())
    assert plain(made, width=width).endswith("\n")
