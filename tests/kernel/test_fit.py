"""Hold the compiled fit equal to the plain reference, and to what a reader of a packet may rely on."""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_core.kernel import fit
from tests.kernel.reference_fit import BUDGET, Item, ReferenceFit, Section

COSTS = st.one_of(st.integers(0, 12), st.integers(1, 60))
LIMITS = st.one_of(st.none(), st.integers(0, 120))
PLACES = st.one_of(st.none(), st.integers(0, 6))
MODEST = st.one_of(st.none(), st.integers(0, 60))
SECTIONS = st.builds(Section, st.floats(0, 1), LIMITS, PLACES, st.integers(0, 9), MODEST)


def unlimited(number: int | None) -> int:
    return -1 if number is None else number


@dataclass(frozen=True)
class Case:
    """One fitting task, with the forms that the policy does not allow kept apart."""

    sections: list[Section]
    items: list[Item]
    forbidden: list[list[int]]
    wrapper: int

    def kernel(self) -> fit.Fit:
        start, forms = [0], array("i")
        for item, extra in zip(self.items, self.forbidden, strict=True):
            forms.extend([*item.costs, *extra])
            start.append(len(forms))
        return fit.Fit(
            [(s.share, unlimited(s.limit), unlimited(s.max_items), s.open_cost, unlimited(s.modest))
             for s in self.sections],
            array("i", [item.section for item in self.items]),
            array("i", start),
            forms,
            array("i", [len(item.costs) - 1 for item in self.items]),
            wrapper=self.wrapper,
        )

    def reference(self) -> ReferenceFit:
        return ReferenceFit(self.sections, self.items, self.wrapper)


@st.composite
def cases(draw: st.DrawFn, sections: st.SearchStrategy[Section] = SECTIONS) -> Case:
    found = draw(st.lists(sections, min_size=1, max_size=4))
    item = st.builds(Item, st.integers(0, len(found) - 1), st.lists(COSTS, min_size=1, max_size=4).map(tuple))
    items = draw(st.lists(item, max_size=24))
    forbidden = draw(st.lists(st.lists(COSTS, max_size=2), min_size=len(items), max_size=len(items)))
    return Case(found, items, forbidden, draw(st.sampled_from([0, 0, 1, 7])))


BUDGETS = st.lists(st.integers(0, 400), min_size=1, max_size=3).map(sorted)


def fitted(case: Case, budgets: list[int]) -> fit.Fit:
    found = case.kernel()
    found.run(budgets[0])
    for budget in budgets[1:]:
        found.more(budget)
    return found


def stated(case: Case, found: fit.Fit, budget: int) -> ReferenceFit:
    """Return the kernel's outcome as a reference object, whose plain sums then judge it."""
    said = case.reference()
    said.budget = budget
    for i in range(len(case.items)):
        reason = found.reason(i)
        said.fate.append(found.form(i) if reason in (fit.KEPT, fit.DEGRADED) else
                         BUDGET if reason in (fit.BUDGET_SECTION, fit.BUDGET_TOTAL) else "no place left")
    return said


@settings(max_examples=600)
@given(cases(), BUDGETS)
def test_equals_the_plain_reference(case: Case, budgets: list[int]) -> None:
    found, expected = fitted(case, budgets), case.reference()
    expected.run(budgets[0])
    assert case_caps(case, budgets[0]) == fitted(case, budgets[:1]).section_caps
    for budget in budgets[1:]:
        expected.more(budget)
    assert stated(case, found, budgets[-1]).fate == expected.fate
    assert list(found.outcomes()) == [fate if isinstance(fate, int) else -1 for fate in expected.fate]
    assert found.used == expected.used
    assert found.section_used == [expected.section_used(s) for s in range(len(case.sections))]


def case_caps(case: Case, budget: int) -> list[int]:
    plain = case.reference()
    plain.budget = budget
    return [plain.cap(s) for s in range(len(case.sections))]


@settings(max_examples=300)
@given(cases(), BUDGETS)
def test_the_total_and_every_section_limit_hold(case: Case, budgets: list[int]) -> None:
    found = stated(case, fitted(case, budgets), budgets[-1])
    assert found.holds([section.limit for section in case.sections])


@settings(max_examples=300)
@given(cases(), BUDGETS)
def test_nothing_omitted_for_budget_would_have_fitted(case: Case, budgets: list[int]) -> None:
    found = stated(case, fitted(case, budgets), budgets[-1])
    limits = [section.limit for section in case.sections]
    for i, fate in enumerate(found.fate):
        if fate == BUDGET:
            shortest = case.items[i].costs.index(case.items[i].shortest)
            assert not found.would_hold({i: shortest}, limits)


@settings(max_examples=300)
@given(cases(), BUDGETS)
def test_nothing_is_dropped_for_budget_beside_a_lesser_item_as_long(case: Case, budgets: list[int]) -> None:
    found = stated(case, fitted(case, budgets), budgets[-1])
    for i, fate in enumerate(found.fate):
        if fate == BUDGET:
            lesser = [k for k in found.kept_in(case.items[i].section) if k > i]
            assert all(found.cost(k) < case.items[i].shortest for k in lesser)


@settings(max_examples=300)
@given(cases(), BUDGETS)
def test_max_items_drops_only_what_ranks_below_a_full_section(case: Case, budgets: list[int]) -> None:
    found = fitted(case, budgets)
    said = stated(case, found, budgets[-1])
    for i, item in enumerate(case.items):
        kept, most = said.kept_in(item.section), case.sections[item.section].max_items
        assert most is None or len(kept) <= most
        if found.reason(i) == fit.MAX_ITEMS:
            assert len(kept) == most
            assert all(k < i for k in kept)
            assert found.miss(i) > most
            assert found.miss(i) == sum(other.section == item.section for other in case.items[: i + 1])


@settings(max_examples=300)
@given(cases(), BUDGETS)
def test_every_item_has_one_outcome_that_agrees_with_itself(case: Case, budgets: list[int]) -> None:
    found = fitted(case, budgets)
    for i, item in enumerate(case.items):
        form, reason = found.form(i), found.reason(i)
        assert (form >= 0) == (reason in (fit.KEPT, fit.DEGRADED))
        assert form < len(item.costs), "a form the policy does not allow"
        assert (form == 0) == (reason == fit.KEPT)
        assert (found.miss(i) == 0) == (form >= 0)


@settings(max_examples=200)
@given(cases(), BUDGETS)
def test_the_miss_is_what_the_limit_it_names_lacks(case: Case, budgets: list[int]) -> None:
    found = fitted(case, budgets)
    said = stated(case, found, budgets[-1])
    for i, item in enumerate(case.items):
        if found.reason(i) not in (fit.BUDGET_SECTION, fit.BUDGET_TOTAL):
            continue
        before = said.section_used(item.section), said.used
        said.fate[i] = item.costs.index(item.shortest)
        limit = case.sections[item.section].limit
        over = {fit.BUDGET_TOTAL: said.used - budgets[-1]}
        if limit is not None:
            over[fit.BUDGET_SECTION] = said.section_used(item.section) - limit
        said.fate[i] = BUDGET
        assert before == (said.section_used(item.section), said.used)
        assert found.miss(i) == over[found.reason(i)] == max(over.values())


@settings(max_examples=200)
@given(cases(), BUDGETS)
def test_more_never_shortens_what_was_kept(case: Case, budgets: list[int]) -> None:
    first, last = fitted(case, budgets[:1]), fitted(case, budgets)
    for i in range(len(case.items)):
        if first.form(i) >= 0 and last.form(i) >= 0:
            assert last.form(i) <= first.form(i)
        if first.form(i) >= 0 and last.form(i) < 0:
            assert last.reason(i) == fit.MAX_ITEMS  # it gave its place to a better one
    assert last.used >= first.used


@settings(max_examples=100)
@given(cases(), st.integers(0, 400), st.integers(0, 400))
def test_run_forgets_the_run_before(case: Case, one: int, two: int) -> None:
    again, fresh = case.kernel(), case.kernel()
    again.run(one)
    again.run(two)
    fresh.run(two)
    assert again.outcomes() == fresh.outcomes()
    assert again.section_used == fresh.section_used


def test_an_ample_budget_keeps_everything_in_full() -> None:
    case = Case([Section(0.1, None, None, 3)] * 2, [Item(i % 2, (50, 20)) for i in range(40)], [[]] * 40, 5)
    found = fitted(case, [2011])
    assert set(found.outcomes()) == {0}
    assert found.used == 40 * 50 + 2 * 3 + 5 == 2011
    found = case.kernel()
    found.run(fit.UNLIMITED)
    assert found.used == 2011


def test_more_than_a_modest_form_is_taken_only_of_what_nothing_else_wants() -> None:
    sections = [Section(1.0, None, None, 0, 15)]
    items = [Item(0, (60, 30, 10)), Item(0, (40, 12)), Item(0, (14,))]
    assert [list(fitted(Case(sections, items, [[]] * 3, 0), [budget]).outcomes()) for budget in (36, 56, 113, 114)] == [
        [2, 1, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_a_better_item_takes_the_place_of_the_last_one() -> None:
    """The first item is too large for the section's share, yet fits into the whole budget."""
    sections = [Section(0.2, None, 1, 0), Section(0.2, None, None, 0)]
    case = Case(sections, [Item(0, (60,)), Item(0, (20,))], [[], []], 0)
    found = fitted(case, [100])
    assert list(found.outcomes()) == [0, -1]
    assert (found.reason(1), found.miss(1)) == (fit.MAX_ITEMS, 2)


def test_reasons_name_the_limit_that_is_missed_by_more() -> None:
    case = Case([Section(1.0, 10, None, 0), Section(1.0, None, None, 0)],
                [Item(0, (40,)), Item(1, (80,)), Item(1, (25, 22))], [[], [], []], 0)
    found = fitted(case, [100])
    assert [found.reason(i) for i in range(3)] == [fit.BUDGET_SECTION, fit.KEPT, fit.BUDGET_TOTAL]
    assert [found.miss(i) for i in range(3)] == [30, 0, 2]


def test_a_share_is_read_as_a_person_reads_it() -> None:
    found = fitted(Case([Section(0.29, None, None, 0), Section(0.57, 12, None, 0)], [], [], 0), [100])
    assert found.section_caps == [29, 12]


def test_budgets_are_filled_where_there_is_enough_to_fill_them() -> None:
    """Items of a few dozen tokens, budgets of 500 to 4000, shares and opening costs as policies have them."""
    chance = random.Random(20240511)
    fills = []
    for _ in range(300):
        shares = [chance.random() for _ in range(6)]
        sections = [Section(share / sum(shares), None, None, chance.randint(0, 8)) for share in shares]
        items = []
        for _ in range(400):
            full = min(120, max(6, round(chance.lognormvariate(3.4, 0.6))))
            forms = (full, max(4, full // 2)) if chance.random() < 0.5 else (full,)
            items.append(Item(chance.randrange(6), forms))
        budget = chance.randint(500, 4000)
        fills.append(fitted(Case(sections, items, [[]] * 400, 9), [budget]).used / budget)
    assert mean(fills) >= 0.95
    assert max(fills) <= 1.0


OK = {"sections": [(0.5, -1, -1, 0, -1)], "section": array("i", [0, 0]), "form_start": array("i", [0, 2, 3]),
      "forms": array("i", [9, 4, 7]), "last_form": array("i", [1, 0])}


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"sections": [(0.5, -1, -1)]}, r"sections\[0\]"),
        ({"sections": [(1.5, -1, -1, 0, -1)]}, r"share 1.5"),
        ({"sections": [(float("nan"), -1, -1, 0, -1)]}, r"share nan"),
        ({"sections": [(0.5, -2, -1, 0, -1)]}, r"sections\[0\] limit is -2"),
        ({"sections": [(0.5, 1.0, -1, 0, -1)]}, r"limit is 1.0"),
        ({"sections": [(0.5, -1, 1 << 70, 0, -1)]}, r"max_items"),
        ({"sections": [(0.5, -1, -1, -1, -1)]}, r"open_cost is -1"),
        ({"sections": [(0.5, -1, -1, 0, -2)]}, r"modest is -2"),
        ({"sections": []}, r"section\[0\] is 0"),
        ({"section": array("i", [0, 1])}, r"section\[1\] is 1"),
        ({"section": array("i", [-1, 0])}, r"section\[0\] is -1"),
        ({"section": [0, 0]}, r"section is a list"),
        ({"forms": array("l", [9, 4, 7])}, r"forms is a array"),
        ({"forms": array("i", [9, 4])}, r"form_start must run"),
        ({"forms": array("i", [9, -4, 7])}, r"forms\[1\] is -4"),
        ({"form_start": array("i", [0, 3])}, r"form_start needs 3 entries"),
        ({"form_start": array("i", [1, 2, 3])}, r"runs from 1"),
        ({"form_start": array("i", [0, 0, 3])}, r"every item needs a form"),
        ({"form_start": array("i", [0, 5, 3])}, r"form_start\[0:2\]"),
        ({"form_start": array("i", [0, -(1 << 31), 3])}, r"form_start\[0:2\]"),
        ({"last_form": array("i", [2, 0])}, r"last_form\[0\] is 2"),
        ({"last_form": array("i", [0, -1])}, r"last_form\[1\] is -1"),
        ({"last_form": array("i", [0])}, r"last_form 2"),
        ({"wrapper": -1}, r"wrapper is -1"),
        ({"wrapper": True}, r"wrapper is True"),
    ],
)
def test_wrong_arrays_are_refused_by_name(change: dict[str, object], names: str) -> None:
    with pytest.raises(ValueError, match=names):
        fit.Fit(**{**OK, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("budget", [-1, 1.5, True, "10", 1 << 61, None])
def test_wrong_budgets_are_refused(budget: object) -> None:
    with pytest.raises(ValueError, match="budget"):
        fit.Fit(**OK).run(budget)  # type: ignore[arg-type]


def test_calls_out_of_order_and_items_out_of_range_are_refused() -> None:
    found = fit.Fit(**OK)  # type: ignore[arg-type]
    for ask in (found.outcomes, lambda: found.form(0), lambda: found.more(5)):
        with pytest.raises(ValueError, match="run"):
            ask()
    found.run(20)
    with pytest.raises(ValueError, match="below the 20"):
        found.more(19)
    for i in (-1, 2):
        with pytest.raises(IndexError, match="no item"):
            found.reason(i)


def test_the_arrays_given_may_change_afterwards() -> None:
    given_forms = array("i", [9, 4, 7])
    found = fit.Fit(**{**OK, "forms": given_forms})  # type: ignore[arg-type]
    given_forms[:] = array("i")
    found.run(20)
    assert found.used == 16
