# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The candidates of one packet in compact arrays, from the ranking of each kind to what the budget left of them.

Driven by recall/gather.py, which fills it, recall/budget.py, which has it fitted, and recall/compose.py, which reads
what is kept. Reasons, sections and kinds are numbers here; their names are the caller's.
"""

from cpython cimport array
from libc.math cimport pow
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memset

import array

from engram_core.kernel.table cimport Doc, Entry, Selection

DEF FORMS = 4
PINNED_RANK = 1000000.0
cdef double PINNED = PINNED_RANK

cdef struct Cand:
    double score
    double rank
    double relevance
    double recency
    double importance
    double cue
    double layer_value
    int64_t seq
    uint64_t fold
    int32_t doc            # -1 for a part of the state
    int32_t layer
    int32_t kind
    int32_t section
    int32_t reason
    int32_t place          # its place among its kind, from 1
    int32_t miss
    int32_t kept           # the kept form, -1 when omitted
    int32_t shortest
    int32_t lead           # 1 + the candidate it goes with, 0 when it goes alone
    int32_t cost[8]
    uint8_t forms
    uint8_t pinned

cdef Cand* sorted_items = NULL  # what the comparison below looks at; the caller holds the interpreter's lock


cdef int by_score(const void* left, const void* right) noexcept nogil:
    cdef Cand* a = <Cand*>left
    cdef Cand* b = <Cand*>right
    if a.pinned != b.pinned:
        return 1 if b.pinned else -1
    if a.score != b.score:
        return 1 if a.score < b.score else -1
    if a.seq != b.seq:
        return 1 if a.seq < b.seq else -1
    return 1 if a.layer > b.layer else -1


cdef int by_rank(const void* left, const void* right) noexcept nogil:
    cdef int32_t a = (<int32_t*>left)[0], b = (<int32_t*>right)[0]
    if sorted_items[a].rank != sorted_items[b].rank:
        return 1 if sorted_items[a].rank < sorted_items[b].rank else -1
    return 1 if a > b else -1


cdef class Pool:
    """Candidates by number. ``ids`` holds, for each layer, the callers' ids by document number."""

    cdef Cand* items
    cdef readonly Py_ssize_t n
    cdef Py_ssize_t room
    cdef list ids
    cdef list own
    cdef list layer_values
    cdef int32_t* order
    cdef Py_ssize_t ordered

    def __cinit__(self, list ids):
        self.items, self.order = NULL, NULL
        self.n = self.room = self.ordered = 0
        self.ids, self.own = ids, []

    def __dealloc__(self):
        free(self.items)
        free(self.order)

    cdef Cand* _more(self, Py_ssize_t count) except NULL:
        cdef Py_ssize_t room = self.room
        cdef Cand* items
        if self.n + count > room:
            room = max(2 * room, self.n + count, 64)
            items = <Cand*>realloc(self.items, room * sizeof(Cand))
            if items == NULL:
                raise MemoryError()
            self.items, self.room = items, room
        memset(&self.items[self.n], 0, count * sizeof(Cand))
        return &self.items[self.n]

    cdef Cand* _item(self, Py_ssize_t number) except NULL:
        if not 0 <= number < self.n:
            raise IndexError(f"there is no candidate {number}")
        return &self.items[number]

    def id(self, Py_ssize_t number):
        """Return the caller's id of a candidate."""
        cdef Cand* one = self._item(number)
        return self.ids[one.layer][one.doc] if one.doc >= 0 else self.own[one.seq]

    def add(self, int kind, int section, str id_, double rank, double score, int reason, int layer):
        """Add a part of the state and return its number."""
        cdef Cand* one = self._more(1)
        one.kind, one.section, one.rank, one.score, one.reason, one.layer = kind, section, rank, score, reason, layer
        one.doc, one.kept, one.seq = -1, -1, len(self.own)
        self.own.append(id_)
        self.n += 1
        return self.n - 1

    def rank(self, int kind, int section, list selections, Py_ssize_t most, double exponent, *, list elsewhere=None,
             int other_section=0):
        """Merge one kind's selections, one a layer or None, and keep the best ``most``.

        ``elsewhere`` holds, for each layer, documents that go to ``other_section``. Returns how many are candidates and
        how many were left out.
        """
        cdef Py_ssize_t whole = 0, i, layer, first = self.n, kept
        cdef Selection selection
        cdef Cand* one
        cdef Entry* entry
        cdef Doc* doc
        for found in selections:
            if found is not None:
                whole += (<Selection>found).n
        if whole == 0:
            return 0, 0
        one = self._more(whole)
        for layer in range(len(selections)):
            if selections[layer] is None:
                continue
            selection = selections[layer]
            for i in range(selection.n):
                entry = &selection.entries[i]
                doc = &selection.table.docs[entry.doc]
                one.score, one.relevance, one.recency, one.cue = entry.score, entry.relevance, entry.recency, entry.cue
                one.importance, one.layer_value, one.seq, one.doc = doc.importance, selection.layer, entry.seq, entry.doc
                one.layer, one.kind, one.section, one.kept = layer, kind, section, -1
                one.pinned, one.forms, one.fold = doc.pinned, doc.forms, doc.fold
                one.cost = doc.cost
                one.rank = entry.score / pow(max(1, doc.cost[0]), exponent) + (PINNED if doc.pinned else 0.0)
                if elsewhere is not None and entry.doc in elsewhere[layer]:
                    one.section = other_section
                one += 1
        qsort(&self.items[first], whole, sizeof(Cand), by_score)
        kept = min(whole, most)
        self.n += kept
        self._ties(first)
        return kept, whole - kept

    def mark(self, Py_ssize_t first, int section, *, Py_ssize_t cap=-1, int cap_reason=0, bint fold=True,
             int fold_reason=0, set seen=None, Py_ssize_t taken=0):
        """Mark duplicates and what the cap cuts among the candidates from ``first`` on that are not out yet.

        ``seen`` are folds of texts shown elsewhere, ``taken`` the places that are taken elsewhere. The cap is for
        ``section`` alone.
        """
        cdef Py_ssize_t i
        cdef Cand* one
        if seen is None:
            seen = set()
        for i in range(first, self.n):
            one = &self.items[i]
            one.place = taken + 1
            if one.reason:
                continue
            if fold and one.fold:
                if one.fold in seen:
                    one.reason = fold_reason
                    continue
                seen.add(one.fold)
            if one.section == section:
                taken += 1
                if 0 <= cap < taken:
                    one.reason = cap_reason

    def join(self, Py_ssize_t lead, list others, double exponent):
        """Let candidates stand and fall together: the lead has the tokens of all, in the order of ``others``' lines."""
        cdef Cand* first = self._item(lead)
        cdef Cand* one
        cdef Py_ssize_t number
        for number in others:
            one = self._item(number)
            one.lead = <int32_t>(lead + 1)
            first.cost[0] += one.cost[0]
            first.cost[1] += one.cost[0]
            first.pinned |= one.pinned
            first.score = max(first.score, one.score)
        if first.doc >= 0:
            first.rank = first.score / pow(max(1, first.cost[0]), exponent) + (PINNED if first.pinned else 0.0)
            first.forms = 1
        for number in others:
            self.items[number].rank = first.rank

    cdef int _ties(self, Py_ssize_t first) except -1:
        """Order candidates of equal score by id."""
        cdef Py_ssize_t i = first, j, at
        cdef list run
        cdef Cand* held
        while i < self.n - 1:
            j = i + 1
            while (j < self.n and self.items[j].score == self.items[i].score
                   and self.items[j].pinned == self.items[i].pinned):
                j += 1
            if j - i > 1:
                run = sorted(range(i, j), key=self.id)
                held = <Cand*>malloc((j - i) * sizeof(Cand))
                if held == NULL:
                    raise MemoryError()
                for at in range(j - i):
                    held[at] = self.items[<Py_ssize_t>run[at]]
                for at in range(j - i):
                    self.items[i + at] = held[at]
                free(held)
            i = j

    def set_reason(self, Py_ssize_t number, int reason):
        """Say why a candidate is out before the budget is looked at; 0 lets it in again."""
        self._item(number).reason = reason

    def set_costs(self, Py_ssize_t number, costs):
        """Give the tokens of a candidate's forms as (inner, last) pairs, at most four."""
        cdef Cand* one = self._item(number)
        one.forms = 0
        for inner, last in costs:
            if one.forms == FORMS:
                break
            one.cost[2 * one.forms], one.cost[2 * one.forms + 1] = inner, last
            one.forms += 1

    def active(self):
        """Return the numbers of the candidates that no reason excludes yet, in rank order."""
        cdef Py_ssize_t i
        self._sort()
        return [self.order[i] for i in range(self.ordered)]

    def longer(self, int kind, int tokens, Py_ssize_t most):
        """Return the best ranked active candidates of a kind whose full form has more than so many tokens."""
        cdef Py_ssize_t i
        cdef list found = []
        self._sort()
        for i in range(self.ordered):
            if self.items[self.order[i]].kind == kind and self.items[self.order[i]].cost[0] > tokens:
                found.append(self.order[i])
                if len(found) == most:
                    break
        return found

    cdef int _sort(self) except -1:
        global sorted_items
        cdef Py_ssize_t i, j, k
        cdef int32_t* order = <int32_t*>realloc(self.order, max(1, self.n) * sizeof(int32_t))
        cdef list run
        if order == NULL:
            raise MemoryError()
        self.order, self.ordered = order, 0
        for i in range(self.n):
            if self.items[i].reason == 0 and self.items[i].lead == 0:
                order[self.ordered] = i
                self.ordered += 1
        sorted_items = self.items
        qsort(order, self.ordered, sizeof(int32_t), by_rank)
        sorted_items = NULL
        i = 0
        while i < self.ordered - 1:
            j = i + 1
            while j < self.ordered and self.items[order[j]].rank == self.items[order[i]].rank:
                j += 1
            if j - i > 1:
                run = sorted([order[k] for k in range(i, j)], key=self.id)
                for k in range(i, j):
                    order[k] = run[k - i]
            i = j
        return 0

    def arrays(self, list rules, set referring):
        """Return the active candidates as arrays for Fit: section, form_start, forms, last_form, and their numbers.

        ``rules`` gives each section's shortest form (0 full, 1 short, 2 reference); kinds in ``referring`` have a bare
        reference as their last form.
        """
        cdef array.array section, start, flat, last, numbers, whole = array.array("i")
        cdef Py_ssize_t i, at = 0, total = 0, f
        cdef Cand* one
        cdef int rule, shortest
        self._sort()
        for i in range(self.ordered):
            total += self.items[self.order[i]].forms
        section = array.clone(whole, self.ordered, False)
        start = array.clone(whole, self.ordered + 1, False)
        flat = array.clone(whole, total, False)
        last = array.clone(whole, self.ordered, False)
        numbers = array.clone(whole, self.ordered, False)
        start.data.as_ints[0] = 0
        for i in range(self.ordered):
            one = &self.items[self.order[i]]
            rule = rules[one.section]
            shortest = one.forms - 1
            if rule == 0:
                shortest = 0
            elif rule == 1 and one.kind in referring:
                shortest = max(0, one.forms - 2)
            one.shortest = shortest
            for f in range(one.forms):
                flat.data.as_ints[at] = max(1, one.cost[2 * f], one.cost[2 * f + 1])
                at += 1
            section.data.as_ints[i], start.data.as_ints[i + 1] = one.section, at
            last.data.as_ints[i], numbers.data.as_ints[i] = shortest, self.order[i]
        return section, start, flat, last, numbers

    def settle(self, fit, array.array numbers, list reasons):
        """Note what the fit kept, and for the rest its reason (``reasons`` by the fit's code) and miss; return the kept."""
        cdef array.array outcomes = fit.outcomes()
        cdef Py_ssize_t i
        cdef Cand* one
        cdef list kept = []
        for i in range(len(numbers)):
            one = &self.items[numbers.data.as_ints[i]]
            one.kept = outcomes.data.as_ints[i]
            if one.kept < 0:
                one.reason = reasons[fit.reason(i)]
                one.miss = min(fit.miss(i), 2147483647)
            else:
                kept.append(numbers.data.as_ints[i])
        for i in range(self.n):
            one = &self.items[i]
            if one.lead:
                one.kept, one.reason = self.items[one.lead - 1].kept, self.items[one.lead - 1].reason
                one.miss, one.place = self.items[one.lead - 1].miss, self.items[one.lead - 1].place
        return kept

    def reopen(self, list reasons):
        """Let in again what an earlier fit left out for one of these reasons."""
        cdef Py_ssize_t i
        for i in range(self.n):
            if self.items[i].reason in reasons:
                self.items[i].reason = 0

    def drop(self, Py_ssize_t number, int reason):
        """Take a kept candidate out again because its text is gone."""
        cdef Cand* one = self._item(number)
        one.kept, one.reason = -1, reason

    def brief(self, Py_ssize_t number):
        """Return (kind, section, layer, doc, seq, kept, inner, last, score, pinned) of a candidate."""
        cdef Cand* one = self._item(number)
        cdef int at = 2 * max(0, one.kept)
        return (one.kind, one.section, one.layer, one.doc, one.seq, one.kept, one.cost[at], one.cost[at + 1], one.score,
                bool(one.pinned))

    def account(self, Py_ssize_t number):
        """Return everything about a candidate for its explanation, as a dict."""
        cdef Cand* one = self._item(number)
        return {"kind": one.kind, "section": one.section, "layer": one.layer, "doc": one.doc, "seq": one.seq,
                "kept": one.kept, "score": one.score, "rank": one.rank, "pinned": bool(one.pinned), "reason": one.reason,
                "place": one.place, "miss": one.miss, "shortest": one.shortest, "lead": one.lead - 1,
                "signals": (one.relevance, one.recency, one.importance, one.cue, one.layer_value),
                "costs": [(one.cost[2 * i], one.cost[2 * i + 1]) for i in range(one.forms)]}

    def omissions(self, list heads, list tails, quote):
        """Return the omitted as one JSON text, items parted by commas.

        ``heads`` by section and ``tails`` by reason enclose each id, which ``quote`` writes as JSON.
        """
        cdef Py_ssize_t i
        cdef list parts = []
        for i in range(self.n):
            if self.items[i].kept < 0:
                parts.append(heads[self.items[i].section] + quote(self.id(i)) + tails[self.items[i].reason])
        return ",".join(parts)

    def left_out(self):
        """Return (section, reason, number of candidates) for all that was omitted."""
        cdef Py_ssize_t i
        cdef int counts[16][32]
        cdef int section, reason
        memset(counts, 0, sizeof(counts))
        for i in range(self.n):
            if self.items[i].kept < 0:
                counts[self.items[i].section & 15][self.items[i].reason & 31] += 1
        return [(section, reason, counts[section][reason]) for section in range(16) for reason in range(32)
                if counts[section][reason]]
