"""Fit items into a budget the slow, obvious way: every sum is taken anew at every step.

Driven by test_fit.py, which holds the compiled kernel equal to it. Written from the rules in the kernel's
docstring.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

BUDGET = "omitted for budget"
PLACES = "no place left"


@dataclass(frozen=True)
class Section:
    """What a section may hold; None stands for no limit."""

    share: float
    limit: int | None
    max_items: int | None
    open_cost: int
    modest: int | None = None


@dataclass(frozen=True)
class Item:
    """A memory's section and the costs of its allowed forms, the full one first."""

    section: int
    costs: tuple[int, ...]

    @property
    def shortest(self) -> int:
        return min(self.costs)


@dataclass
class ReferenceFit:
    """Hold what became of each item: the number of its form, BUDGET or PLACES."""

    sections: list[Section]
    items: list[Item]
    wrapper: int = 0
    budget: int = 0
    fate: list[int | str] = field(default_factory=list)

    def run(self, budget: int) -> None:
        self.budget = budget
        self.fate = [BUDGET] * len(self.items)
        for i in range(len(self.items)):
            self._fill(i)
        self._spread()

    def more(self, budget: int) -> None:
        self.budget = budget
        self._spread()

    def kept_in(self, section: int) -> list[int]:
        there = [i for i, item in enumerate(self.items) if item.section == section]
        return [i for i in there if isinstance(self.fate[i], int)]

    def cost(self, i: int) -> int:
        form = self.fate[i]
        return self.items[i].costs[form] if isinstance(form, int) else 0

    def section_used(self, section: int) -> int:
        kept = self.kept_in(section)
        return sum(self.cost(i) for i in kept) + (self.sections[section].open_cost if kept else 0)

    @property
    def used(self) -> int:
        used = sum(self.section_used(s) for s in range(len(self.sections)))
        return used + (self.wrapper if any(isinstance(fate, int) for fate in self.fate) else 0)

    def cap(self, section: int) -> int:
        share = math.floor(self.sections[section].share * self.budget + 1e-9)
        limit = self.sections[section].limit
        return share if limit is None else min(limit, share)

    def holds(self, ceilings: list[int | None]) -> bool:
        """Say whether the present fates keep the total and the given section ceilings."""
        if self.used > self.budget:
            return False
        return all(most is None or self.section_used(s) <= most for s, most in enumerate(ceilings))

    def would_hold(self, fates: dict[int, int | str], ceilings: list[int | None]) -> bool:
        """Say whether the budget would hold with other fates for some items."""
        before = self.fate
        self.fate = [fates.get(i, fate) for i, fate in enumerate(before)]
        try:
            return self.holds(ceilings)
        finally:
            self.fate = before

    def _fill(self, i: int) -> None:
        section = self.items[i].section
        if self._full(section):
            self.fate[i] = PLACES
            return
        caps: list[int | None] = [self.cap(s) for s in range(len(self.sections))]
        for form, cost in enumerate(self.items[i].costs):
            if self._is_modest(i, cost) and self.would_hold({i: form}, caps):
                self.fate[i] = form
                return

    def _spread(self) -> None:
        limits = [section.limit for section in self.sections]
        for i in range(len(self.items)):
            self._restore(i, limits, modestly=True)
        for i in range(len(self.items)):
            self._admit(i, limits)
        for i in range(len(self.items)):
            self._restore(i, limits, modestly=False)

    def _restore(self, i: int, limits: list[int | None], *, modestly: bool) -> None:
        now = self.fate[i]
        for form in range(now) if isinstance(now, int) else ():
            cost = self.items[i].costs[form]
            if modestly and not self._is_modest(i, cost):
                continue
            if cost > self.cost(i) and self._respects(i, cost) and self.would_hold({i: form}, limits):
                self.fate[i] = form
                return

    def _admit(self, i: int, limits: list[int | None]) -> None:
        if self.fate[i] != BUDGET:
            return
        leaves: dict[int, int | str] = {}
        if self._full(self.items[i].section):
            last = max(self.kept_in(self.items[i].section))
            if last < i:
                self.fate[i] = PLACES
                return
            leaves = {last: PLACES}
        for form, cost in enumerate(self.items[i].costs):
            if (self._is_modest(i, cost) and self._respects(i, cost)
                    and self.would_hold({i: form, **leaves}, limits)):
                self.fate[i] = form
                for other, fate in leaves.items():
                    self.fate[other] = fate
                return

    def _full(self, section: int) -> bool:
        most = self.sections[section].max_items
        return most is not None and len(self.kept_in(section)) >= most

    def _is_modest(self, i: int, cost: int) -> bool:
        most = self.sections[self.items[i].section].modest
        return most is None or cost <= most or cost == self.items[i].shortest

    def _respects(self, i: int, cost: int) -> bool:
        """Say whether no better item of the section, omitted for budget, could do with this cost."""
        return all(
            cost < other.shortest
            for other, fate in zip(self.items[:i], self.fate, strict=False)
            if other.section == self.items[i].section and fate == BUDGET
        )
