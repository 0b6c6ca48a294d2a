# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, embedsignature=True
"""Fit ranked items into a token budget: which are kept, in which form, and why the others are not.

Driven by recall/budget.py with the counts of the memories' forms; knows nothing but numbers. Items come in
rank order, best first.

A form that is no shorter than a fuller one is never chosen, so an item's forms are reduced to a strictly
falling staircase; its *shortest* cost is the last step. An item's cost in a section without items includes the
section's opening cost, and that of the very first item the wrapper. `run` has four phases, each one pass in
rank order:

1. fill: within its section's cap, min(limit, floor(share x budget)), an item takes the longest form that fits;
2. restore: a degraded item takes the longest form that fits into the whole budget and its section's limit;
3. admit: an item omitted for budget takes the longest form that fits into the same;
4. restore once more.

A section may say what a modest form costs at most. Longer ones are for the last phase then, so that an item takes more
only of what no other wants; the shortest form counts as modest whatever it costs.

Three rules complete these phases; without them a reader would see an item dropped beside a lesser one:

- Guard. In a section, no item is kept at a cost that reaches the shortest cost of a better item omitted for
  budget. Filling obeys by itself (what is left only shrinks); restoring and admitting are held to it.
- Places. `max_items` counts kept items, so an item omitted for budget leaves its place to a later one. When
  admitting reaches it again and the places are taken, the section's last kept item gives up its place (and
  becomes MAX_ITEMS) if it ranks lower and the better item fits then. By the guard the better item costs more
  than the one that leaves, so what is left still only shrinks, and what did not fit before does not fit after.
- Rank. An item below all kept items of a section without free places is MAX_ITEMS, whatever phase finds it.

With them one pass per phase is enough, and the time is linear in the number of forms.
"""

from cpython cimport array
from libc.stdlib cimport calloc, free

import array

cdef enum:
    _KEPT = 0
    _DEGRADED = 1
    _BUDGET_SECTION = 2
    _BUDGET_TOTAL = 3
    _MAX_ITEMS = 4
    MOST = 1 << 30
    GONE = -1  # omitted for budget, may come back
    OVER = -2  # beyond max_items, final

KEPT, DEGRADED, BUDGET_SECTION, BUDGET_TOTAL, MAX_ITEMS = _KEPT, _DEGRADED, _BUDGET_SECTION, _BUDGET_TOTAL, _MAX_ITEMS
UNLIMITED = 1 << 60  # so large that sums of int costs beside it stay inside 64 bits

cdef long long FAR = 1LL << 60
cdef array.array NONE = array.array("i")

cdef void* _zeros(size_t count, size_t size) except NULL:
    cdef void* block = calloc(count if count else 1, size)
    if block == NULL:
        raise MemoryError("no memory for the items to fit")
    return block


cdef long long _whole(object value, str name, long long lowest) except? -2:
    """Return the number after a check of its range, with an error that names the field."""
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= FAR:
        raise ValueError(f"{name} is {value!r}; it must be a whole number from {lowest} to 2**60")
    return value


cdef array.array _ints(object values, str name):
    if not isinstance(values, array.array) or values.typecode != "i":
        raise ValueError(f"{name} is a {type(values).__name__}; pass array('i', values)")
    if len(values) >= MOST:
        raise ValueError(f"{name} has {len(values)} entries; at most {MOST - 1} can be fitted at once")
    return values


cdef class Fit:
    """Choose forms for ranked items under a total budget and section limits; see the module for the rules."""

    def __cinit__(self, object sections, object section, object form_start, object forms, object last_form, *,
                  object wrapper=0):
        cdef array.array homes = _ints(section, "section")
        cdef array.array starts = _ints(form_start, "form_start")
        cdef array.array costs = _ints(forms, "forms")
        cdef array.array lasts = _ints(last_form, "last_form")
        self.wrapper = _whole(wrapper, "wrapper", 0)
        self.n = <int>len(homes)
        self._read_sections(list(sections))
        self._check_shape(len(starts), len(lasts))
        cdef int total = <int>len(costs)
        cdef const int* start = starts.data.as_ints
        cdef const int* cost = costs.data.as_ints
        self._check_items(total, homes.data.as_ints, start, cost, lasts.data.as_ints)
        self._read_items(total, homes.data.as_ints, start, cost, lasts.data.as_ints)
        self._group_by_section()

    def __dealloc__(self):
        free(self.section)
        free(self.home)
        free(self.first)
        free(self.cost)
        free(self.label)
        free(self.chosen)
        free(self.by_section)
        free(self.place)
        free(self.group)

    cdef int _read_sections(self, list sections) except -1:
        cdef int at
        cdef Section* one
        self.sections = <int>len(sections)
        self.section = <Section*>_zeros(self.sections, sizeof(Section))
        for at in range(self.sections):
            one = &self.section[at]
            name = f"sections[{at}]"
            try:
                share, limit, places, opening, modest = sections[at]
                one.share = share
            except (TypeError, ValueError) as exc:
                raise ValueError(f"{name} is {sections[at]!r}; "
                                 "it must be (share, limit, max_items, open_cost, modest)") from exc
            if not 0.0 <= one.share <= 1.0:  # refuses NaN, too
                raise ValueError(f"{name} has the share {share!r}; it must be from 0 to 1")
            one.limit = _whole(limit, f"{name} limit", -1)
            one.places = _whole(places, f"{name} max_items", -1)
            one.opening = _whole(opening, f"{name} open_cost", 0)
            one.modest = _whole(modest, f"{name} modest", -1)
            if one.limit < 0:
                one.limit = FAR
            if one.places < 0:
                one.places = FAR
            if one.modest < 0:
                one.modest = FAR
            one.tail = -1
        return 0

    cdef int _check_shape(self, Py_ssize_t starts, Py_ssize_t lasts) except -1:
        if starts != self.n + 1 or lasts != self.n:
            raise ValueError(f"section names {self.n} items, so form_start needs {self.n + 1} entries "
                             f"and last_form {self.n}; they have {starts} and {lasts}")
        return 0

    cdef int _check_items(self, int total, const int* homes, const int* starts, const int* costs,
                          const int* lasts) except -1:
        cdef int i, count
        if starts[0] != 0 or starts[self.n] != total:
            raise ValueError(f"form_start must run from 0 to len(forms), {total}; "
                             f"it runs from {starts[0]} to {starts[self.n]}")
        for i in range(self.n):
            if not 0 <= homes[i] < self.sections:
                raise ValueError(f"section[{i}] is {homes[i]}; the sections are 0 to {self.sections - 1}")
            if not 0 <= starts[i] < starts[i + 1] <= total:
                raise ValueError(f"form_start[{i}:{i + 2}] is {starts[i]}, {starts[i + 1]}; every item needs "
                                 f"a form, and the {total} forms stand in the order of the items")
            count = starts[i + 1] - starts[i]
            if not 0 <= lasts[i] < count:
                raise ValueError(f"last_form[{i}] is {lasts[i]}; item {i} has {count} forms, counted from 0")
        for i in range(total):
            if costs[i] < 0:
                raise ValueError(f"forms[{i}] is {costs[i]}; a cost is never negative")
        return 0

    cdef int _read_items(self, int total, const int* homes, const int* starts, const int* costs,
                         const int* lasts) except -1:
        """Copy the items, keeping of each the allowed forms that are shorter than every fuller one."""
        cdef int i, form, at = 0
        self.home = <int*>_zeros(self.n, sizeof(int))
        self.first = <int*>_zeros(self.n + 1, sizeof(int))
        self.cost = <int*>_zeros(total, sizeof(int))
        self.label = <int*>_zeros(total, sizeof(int))
        self.chosen = <int*>_zeros(self.n, sizeof(int))
        for i in range(self.n):
            self.home[i] = homes[i]
            self.first[i] = at
            self.chosen[i] = GONE
            for form in range(lasts[i] + 1):
                if at == self.first[i] or costs[starts[i] + form] < self.cost[at - 1]:
                    self.cost[at] = costs[starts[i] + form]
                    self.label[at] = form
                    at += 1
        self.first[self.n] = at
        return 0

    cdef int _group_by_section(self) except -1:
        """Sort the items by section, so that a section's last kept item is found by stepping back."""
        cdef int i, s
        self.group = <int*>_zeros(self.sections + 1, sizeof(int))
        self.by_section = <int*>_zeros(self.n, sizeof(int))
        self.place = <int*>_zeros(self.n, sizeof(int))
        for i in range(self.n):
            self.group[self.home[i] + 1] += 1
        for s in range(self.sections):
            self.group[s + 1] += self.group[s]
        for i in range(self.n):
            s = self.home[i]
            self.place[i] = self.group[s]
            self.by_section[self.group[s]] = i
            self.group[s] += 1
        for s in range(self.sections, 0, -1):
            self.group[s] = self.group[s - 1]
        self.group[0] = 0
        return 0

    def run(self, budget):
        """Choose a form for every item within this many tokens, from the beginning."""
        cdef int i, s
        self.budget = _whole(budget, "budget", 0)
        self.total = 0
        self.items = 0
        for s in range(self.sections):
            self._reset(&self.section[s])
        for i in range(self.n):
            self.chosen[i] = GONE
        self.ran = True
        self._fill()
        self._spread()

    def more(self, budget):
        """Raise the total to this many tokens and use what that leaves; no kept form gets shorter."""
        self._must_have_run()
        cdef long long raised = _whole(budget, "budget", 0)
        if raised < self.budget:
            raise ValueError(f"budget is {raised}, below the {self.budget} of before; use run() for less")
        self.budget = raised
        self._spread()

    cdef void _spread(self) noexcept:
        self._restore(modestly=True)
        self._admit()
        self._restore(modestly=False)

    cdef void _reset(self, Section* one) noexcept:
        # 0.29 * 100 is 28.999..., which a person would read as a cap of 29
        one.cap = min(one.limit, <long long>(one.share * <double>self.budget + 1e-9))
        one.used = 0
        one.kept = 0
        one.tail = -1

    cdef void _fill(self) noexcept:
        cdef int i, step
        cdef Section* one
        for i in range(self.n):
            one = &self.section[self.home[i]]
            if one.kept >= one.places:
                self.chosen[i] = OVER
                continue
            step = self._longest(i, self._room(one, one.cap), one.modest)
            if step >= 0:
                self._keep(i, step)

    cdef void _restore(self, bint modestly) noexcept:
        cdef int i, kept, step
        cdef long long room
        cdef Section* one
        self._clear_guards()
        for i in range(self.n):
            one = &self.section[self.home[i]]
            kept = self.chosen[i]
            if kept == GONE:
                one.guard = min(one.guard, <long long>self.cost[self.first[i + 1] - 1])
            elif kept > self.first[i]:
                room = min(one.limit - one.used, self.budget - self.total) + self.cost[kept]
                step = self._longest(i, min(room, one.guard - 1), one.modest if modestly else FAR)
                if 0 <= step < kept:
                    self.chosen[i] = step
                    self._charge(one, self.cost[step] - self.cost[kept])

    cdef void _admit(self) noexcept:
        cdef int i, last, step
        cdef long long back
        cdef Section* one
        self._clear_guards()
        for i in range(self.n):
            if self.chosen[i] != GONE:
                continue
            one = &self.section[self.home[i]]
            last = -1
            back = 0
            if one.kept >= one.places:
                last = self.by_section[one.tail]
                if last < i:
                    self.chosen[i] = OVER
                    continue
                back = self.cost[self.chosen[last]]
            step = self._longest(i, min(self._room(one, one.limit) + back, one.guard - 1), one.modest)
            if step < 0:
                one.guard = min(one.guard, <long long>self.cost[self.first[i + 1] - 1])
            elif last < 0:
                self._keep(i, step)
            else:
                self._swap(i, step, last)

    cdef void _clear_guards(self) noexcept:
        cdef int s
        for s in range(self.sections):
            self.section[s].guard = FAR

    cdef long long _room(self, Section* one, long long ceiling) noexcept:
        """Return what one more item of the section may cost."""
        cdef long long rest = self.budget - self.total
        if self.items == 0:
            rest -= self.wrapper
        rest = min(rest, ceiling - one.used)
        return rest if one.kept else rest - one.opening

    cdef int _longest(self, int i, long long room, long long modest) noexcept:
        """Return the first of the item's steps that fits and is modest or the last, -1 when none is."""
        cdef int step, last = self.first[i + 1] - 1
        for step in range(self.first[i], last + 1):
            if self.cost[step] <= room and (self.cost[step] <= modest or step == last):
                return step
        return -1

    cdef void _keep(self, int i, int step) noexcept:
        cdef Section* one = &self.section[self.home[i]]
        self._charge(one, self.cost[step] + (0 if one.kept else one.opening))
        if self.items == 0:
            self.total += self.wrapper
        self.items += 1
        one.kept += 1
        one.tail = max(one.tail, self.place[i])
        self.chosen[i] = step

    cdef void _swap(self, int i, int step, int last) noexcept:
        """Give the place of a section's last kept item to a better one."""
        cdef Section* one = &self.section[self.home[i]]
        self._charge(one, self.cost[step] - self.cost[self.chosen[last]])
        self.chosen[last] = OVER
        self.chosen[i] = step
        while self.chosen[self.by_section[one.tail]] < 0:
            one.tail -= 1

    cdef void _charge(self, Section* one, long long tokens) noexcept:
        one.used += tokens
        self.total += tokens

    cdef int _must_have_run(self) except -1:
        if not self.ran:
            raise ValueError("nothing is fitted yet; call run(budget) first")
        return 0

    cdef int _item(self, object i) except -1:
        self._must_have_run()
        if not isinstance(i, int) or not 0 <= i < self.n:
            raise IndexError(f"there is no item {i!r}; they are numbered from 0 to {self.n - 1}")
        return i

    cdef long long _lacks_in_section(self, int i) noexcept:
        cdef Section* one = &self.section[self.home[i]]
        cdef long long needs = self.cost[self.first[i + 1] - 1] + (0 if one.kept else one.opening)
        return one.used + needs - one.limit

    cdef long long _lacks_in_total(self, int i) noexcept:
        cdef Section* one = &self.section[self.home[i]]
        cdef long long needs = self.cost[self.first[i + 1] - 1] + (0 if one.kept else one.opening)
        return self.total + needs + (0 if self.items else self.wrapper) - self.budget

    def form(self, i):
        """Return the number of the form an item is kept in, 0 being the full one, -1 when it is omitted."""
        return self.kept_form(self._item(i))

    cdef int kept_form(self, int at) noexcept:
        return self.label[self.chosen[at]] if self.chosen[at] >= 0 else -1

    cdef int why(self, int at) noexcept:
        if self.chosen[at] >= 0:
            return _KEPT if self.chosen[at] == self.first[at] else _DEGRADED
        if self.chosen[at] == OVER:
            return _MAX_ITEMS
        return _BUDGET_SECTION if self._lacks_in_section(at) >= self._lacks_in_total(at) else _BUDGET_TOTAL

    cdef long long lacks(self, int at) noexcept:
        if self.chosen[at] >= 0:
            return 0
        if self.chosen[at] == OVER:
            return self.place[at] - self.group[self.home[at]] + 1
        return max(self._lacks_in_section(at), self._lacks_in_total(at))

    def reason(self, i):
        """Return why an item is as it is; of two limits that stop it, the one it misses by more."""
        return self.why(self._item(i))

    def miss(self, i):
        """Return the tokens that an omitted item's shortest form lacks, its rank for MAX_ITEMS, else 0."""
        return self.lacks(self._item(i))

    def outcomes(self):
        """Return `form` of every item at once."""
        cdef int i
        self._must_have_run()
        cdef array.array found = array.clone(NONE, self.n, False)
        for i in range(self.n):
            found.data.as_ints[i] = self.kept_form(i)
        return found

    @property
    def used(self):
        """The tokens of all kept forms, opening costs and the wrapper."""
        return self.total

    @property
    def section_used(self):
        """The tokens of each section's kept forms and its opening cost."""
        return [self.section[s].used for s in range(self.sections)]

    @property
    def section_caps(self):
        """What each section could fill at first: its share of the budget, or its limit when that is less."""
        return [self.section[s].cap for s in range(self.sections)]
