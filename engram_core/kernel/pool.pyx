# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The candidates of one packet in compact arrays, from the ranking of each kind to what the budget left of them.

Driven by recall/gather.py, which fills it, recall/budget.py, which has it fitted, and recall/compose.py, which reads
what is kept. Reasons, sections and kinds are numbers here; their names are the caller's.
"""

from cpython cimport array
from libc.math cimport pow
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memset

import array

from engram_core.kernel.fit cimport Fit
from engram_core.kernel.growable cimport fetch
from engram_core.kernel.table cimport Doc, Entry, Selection

cdef extern from "Python.h":
    ctypedef struct PyObject
    ctypedef struct PyListObject:
        PyObject** ob_item

cdef enum:
    AHEAD = 8  # candidates

DEF FORMS = 4
DEF POWERS = 512
PINNED_RANK = 1000000.0
cdef double PINNED = PINNED_RANK

cdef struct Ranked:
    double rank
    int32_t number

cdef double[POWERS] powers
cdef double powers_of = -1.0


cdef double power(int cost, double exponent) noexcept:
    """Return cost^exponent, from a table for the usual costs."""
    global powers_of
    cdef int i
    if exponent != powers_of:
        for i in range(POWERS):
            powers[i] = pow(max(1, i), exponent)
        powers_of = exponent
    return powers[cost] if 0 <= cost < POWERS else pow(max(1, cost), exponent)


cdef double rank_of(const Cand* one, double exponent, int dear) noexcept:
    return one.worth / power(min(one.cost[0], dear), exponent) + (PINNED if one.pinned else 0.0)


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
    cdef Ranked* a = <Ranked*>left
    cdef Ranked* b = <Ranked*>right
    if a.rank != b.rank:
        return 1 if a.rank < b.rank else -1
    return 1 if a.number > b.number else -1


cdef inline bint _enter(uint64_t* folds, Py_ssize_t room, uint64_t fold) noexcept nogil:
    """Put a hash into a set of hashes and tell whether it was new; the room is a power of two."""
    cdef Py_ssize_t at = <Py_ssize_t>(fold & <uint64_t>(room - 1))
    while folds[at]:
        if folds[at] == fold:
            return False
        at = (at + 1) & (room - 1)
    folds[at] = fold
    return True


cdef class Pool:
    """Candidates by number.

    ``ids`` holds, for each layer, the callers' ids by document number; ``sections`` the section of each array.
    """

    def __cinit__(self, list ids, bytes sections):
        self.items, self.order = NULL, NULL
        self.n = self.room = 0
        self.ordered = -1
        self.ids, self.own, self.sections = ids, [], sections

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
        self.ordered = -1
        return &self.items[self.n]

    cdef Cand* _item(self, Py_ssize_t number) except NULL:
        if not 0 <= number < self.n:
            raise IndexError(f"there is no candidate {number}")
        return &self.items[number]

    cdef void _fetch_ids(self, Py_ssize_t number) noexcept:
        """Ask for the ids of the candidates after this one, which lie anywhere in memory, before they are read."""
        cdef Cand* one
        if number + 2 * AHEAD < self.n:
            one = &self.items[number + 2 * AHEAD]
            if one.doc >= 0:
                fetch(&(<PyListObject*><PyObject*>self.ids[one.layer]).ob_item[one.doc])
        if number + AHEAD < self.n:
            one = &self.items[number + AHEAD]
            if one.doc >= 0:
                fetch((<PyListObject*><PyObject*>self.ids[one.layer]).ob_item[one.doc])

    cdef str _id(self, Cand* one):
        return <str>(<list>self.ids[one.layer])[one.doc] if one.doc >= 0 else <str>self.own[one.seq]

    def id(self, Py_ssize_t number):
        """Return the caller's id of a candidate."""
        return self._id(self._item(number))

    def add(self, int kind, int array, str id_, double rank, double score, int reason):
        """Add a part of the state and return its number."""
        cdef Cand* one = self._more(1)
        one.kind, one.array, one.section, one.reason = kind, array, self.sections[array], reason
        one.rank, one.score = rank, score
        one.doc, one.kept, one.seq = -1, -1, len(self.own)
        self.own.append(id_)
        self.n += 1
        return self.n - 1

    def rank(self, int kind, tuple arrays, list selections, Py_ssize_t most, double weight, double exponent, int dear):
        """Merge one kind's selections, one a layer or None, and keep the best ``most``.

        ``arrays`` are where in the packet the kind's memories go, by their variant. ``weight`` is that of the relevance,
        ``exponent`` that of the tokens a memory is divided by, as many as ``dear`` at most. Returns how many are
        candidates and how many were left out.
        """
        cdef Py_ssize_t whole = 0, i, layer, first = self.n, kept
        cdef Selection selection
        cdef Cand* one
        cdef Entry* entry
        cdef Doc* doc
        cdef int[4] places
        for i in range(4):
            places[i] = arrays[min(i, <Py_ssize_t>len(arrays) - 1)]
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
                one.importance, one.layer_value, one.use = entry.importance, selection.layer, entry.use
                one.seq, one.doc = entry.seq, entry.doc
                one.array = places[doc.variant & 3]
                one.layer, one.kind, one.section, one.kept = layer, kind, self.sections[one.array], -1
                one.pinned, one.forms, one.fold, one.whole = entry.pinned, doc.forms, doc.fold, doc.whole
                one.cost = doc.cost
                one.worth = entry.score + weight * (entry.relevance / (1 - entry.relevance) - entry.relevance)
                one.rank = rank_of(one, exponent, dear)
                one += 1
        if len(selections) > 1:  # a single layer's are in order
            qsort(&self.items[first], whole, sizeof(Cand), by_score)
        kept = min(whole, most)
        self.n += kept
        self._ties(first)
        return kept, whole - kept

    def mark(self, Py_ssize_t first, int section, *, Py_ssize_t cap=-1, int cap_reason=0, bint fold=True,
             int fold_reason=0, seen=(), Py_ssize_t taken=0):
        """Mark duplicates and what the cap cuts among the candidates from ``first`` on that are not out yet.

        ``seen`` are folds of texts shown elsewhere, ``taken`` the places that are taken elsewhere. The cap is for
        ``section`` alone.
        """
        cdef Py_ssize_t i, room = 16, at
        cdef Cand* one
        cdef uint64_t* folds = NULL  # an open-addressing set, 0 is free
        cdef uint64_t shown
        if fold:
            while room < 2 * (self.n - first + <Py_ssize_t>len(seen)):
                room *= 2
            folds = <uint64_t*>calloc(room, sizeof(uint64_t))
            if folds == NULL:
                raise MemoryError()
            for shown in seen:
                _enter(folds, room, shown)
        for i in range(first, self.n):
            one = &self.items[i]
            one.place = taken + 1
            if one.reason:
                continue
            if fold and one.fold and not _enter(folds, room, one.fold):
                one.reason = fold_reason
            elif one.section == section:
                taken += 1
                if 0 <= cap < taken:
                    one.reason = cap_reason
        free(folds)
        self.ordered = -1

    def join(self, Py_ssize_t lead, list others, double exponent, int dear):
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
            first.worth = max(first.worth, one.worth)
        if first.doc >= 0:
            first.rank = rank_of(first, exponent, dear)
            first.forms = 1
        first.whole = 0
        for number in others:
            self.items[number].rank = first.rank
        self.ordered = -1

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
        self.ordered = -1

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

    def longer(self, int kind, int tokens, bint indexed):
        """Return, in rank order, the active candidates of a kind that take more tokens and may be cut.

        ``indexed`` tells whether tokens are those of the index, by which some are known to be short.
        """
        cdef Py_ssize_t i
        cdef Cand* one
        cdef list found = []
        self._sort()
        for i in range(self.ordered):
            one = &self.items[self.order[i]]
            if one.kind == kind and one.cost[0] > tokens and not (one.whole == 1 or one.whole and indexed):
                found.append(self.order[i])
        return found

    cdef int _sort(self) except -1:
        """Put the active candidates in rank order, equal ones by id."""
        cdef Py_ssize_t i = 0, j, k, n = 0
        cdef Ranked* ranked
        cdef list run
        if self.ordered >= 0:
            return 0
        self.order = <int32_t*>realloc(self.order, max(1, self.n) * sizeof(int32_t))
        ranked = <Ranked*>malloc(max(1, self.n) * sizeof(Ranked))
        if self.order == NULL or ranked == NULL:
            free(ranked)
            raise MemoryError()
        for i in range(self.n):
            if self.items[i].reason == 0 and self.items[i].lead == 0:
                ranked[n].rank, ranked[n].number = self.items[i].rank, <int32_t>i
                n += 1
        qsort(ranked, n, sizeof(Ranked), by_rank)
        for i in range(n):
            self.order[i] = ranked[i].number
        i = 0
        while i < n - 1:
            j = i + 1
            while j < n and ranked[j].rank == ranked[i].rank:
                j += 1
            if j - i > 1:
                run = sorted([self.order[k] for k in range(i, j)], key=self.id)
                for k in range(i, j):
                    self.order[k] = run[k - i]
            i = j
        free(ranked)
        self.ordered = n
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

    def settle(self, Fit fit, array.array numbers, list reasons):
        """Note what the fit kept, and for the rest its reason (``reasons`` by the fit's code) and miss; return the kept."""
        cdef Py_ssize_t i
        cdef Cand* one
        cdef Cand* lead
        cdef list kept = []
        fit._must_have_run()
        for i in range(len(numbers)):
            one = &self.items[numbers.data.as_ints[i]]
            one.kept = fit.kept_form(<int>i)
            if one.kept < 0:
                one.reason = reasons[fit.why(<int>i)]
                one.miss = <int32_t>min(fit.lacks(<int>i), 2147483647)
            else:
                kept.append(numbers.data.as_ints[i])
        for i in range(self.n):
            one = &self.items[i]
            if one.lead:
                lead = &self.items[one.lead - 1]
                one.kept, one.reason, one.miss, one.place = lead.kept, lead.reason, lead.miss, lead.place
        self.ordered = -1
        return kept

    def reopen(self, list reasons):
        """Let in again what an earlier fit left out for one of these reasons."""
        cdef Py_ssize_t i
        for i in range(self.n):
            if self.items[i].reason in reasons:
                self.items[i].reason = 0
        self.ordered = -1

    def drop(self, Py_ssize_t number, int reason):
        """Take a kept candidate out again because its text is gone."""
        cdef Cand* one = self._item(number)
        one.kept, one.reason = -1, reason
        self.ordered = -1

    def brief(self, Py_ssize_t number):
        """Return (kind, array, layer, doc, seq, kept) of a candidate."""
        cdef Cand* one = self._item(number)
        return one.kind, one.array, one.layer, one.doc, one.seq, one.kept

    def account(self, Py_ssize_t number):
        """Return everything about a candidate for its explanation, as a dict."""
        cdef Cand* one = self._item(number)
        return {"kind": one.kind, "array": one.array, "section": one.section, "layer": one.layer, "doc": one.doc, "seq": one.seq,
                "kept": one.kept, "score": one.score, "rank": one.rank, "pinned": bool(one.pinned), "reason": one.reason,
                "place": one.place, "miss": one.miss, "shortest": one.shortest, "lead": one.lead - 1,
                "signals": (one.relevance, one.recency, one.importance, one.cue, one.layer_value, one.use),
                "costs": [(one.cost[2 * i], one.cost[2 * i + 1]) for i in range(one.forms)]}
