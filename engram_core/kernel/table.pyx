# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What selection needs to know of every memory of one owner, in compact arrays, and the selection itself.

A memory is a *document* with the number that the owner's TextIndex gave it. ``select`` finds the best of a kind by the
weighted sum of its signals and touches, without a query, only the newest; with one, each memory's text score once.
A kind's memories are kept in the order of their seq, however often one was changed, so that "the newest" does not
depend on whether the table was kept up to date or made afresh.
Driven by recall/index.py; a plain-Python twin lives in the tests.
"""

from libc.math cimport exp2
from libc.stdint cimport int32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memmove, memset

from engram_core.kernel.index cimport Scores

DEF KINDS = 5
DEF FORMS = 4
SIGNALS = ("relevance", "recency", "importance", "cues", "layer", "use")
NEVER = -(1 << 62)
ALWAYS = 1 << 62
cdef long long NEVER_MS = NEVER, ALWAYS_MS = ALWAYS

cdef enum:
    HALF_USED = 5  # recalls that make the signal of use one half
    STEPS = 8  # of the table below, a half-life
    FADED = 320  # entries; what is older than forty half-lives has none of its recency left to speak of

cdef double[FADED] fading  # 2^-(i / STEPS), which no recency after i steps exceeds
cdef int step
for step in range(FADED):
    fading[step] = exp2(-<double>step / STEPS) * (1 + 1e-9)


cdef inline double fresh_at_most(double age, double pace) noexcept nogil:
    """Return a number that 2^-(age / half-life) does not exceed; ``pace`` is the steps in a millisecond."""
    cdef double steps = age * pace
    if steps <= 0:
        return 1.0
    return fading[<int>steps] if steps < FADED else fading[FADED - 1]


cdef inline float telling_score(double score, double others, double weight) noexcept nogil:
    """Return a text score that is too low to reach the score, whatever the other signals are; a number below all scores if there is none."""
    cdef double needed
    if weight <= 0:
        return -1e30
    needed = (score - others) / weight - 1e-6
    if needed <= 0:
        return -1e30
    return <float>(needed / (1 - needed)) if needed < 0.999 else 999


cdef int push(List* list, int32_t value) except -1:
    cdef Py_ssize_t room
    cdef int32_t* items
    if list.n == list.room:
        room = list.room * 2 if list.room else 16
        items = <int32_t*>realloc(list.items, room * sizeof(int32_t))
        if items == NULL:
            raise MemoryError()
        list.items, list.room = items, room
    list.items[list.n] = value
    list.n += 1
    return 0


cdef bint worse(Entry* a, Entry* b) noexcept nogil:
    if a.pinned != b.pinned:
        return a.pinned < b.pinned
    return a.score < b.score or (a.score == b.score and a.seq < b.seq)


cdef int compare(const void* left, const void* right) noexcept nogil:
    return 1 if worse(<Entry*>left, <Entry*>right) else -1


cdef void sift(Entry* heap, Py_ssize_t n, Py_ssize_t at) noexcept nogil:
    """Restore a heap whose worst entry is at its top after the entry at ``at`` became better."""
    cdef Py_ssize_t child
    cdef Entry moved = heap[at]
    while True:
        child = 2 * at + 1
        if child >= n:
            break
        if child + 1 < n and worse(&heap[child + 1], &heap[child]):
            child += 1
        if not worse(&heap[child], &moved):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = moved


cdef class Selection:
    """The candidates of one kind, best first: document numbers, scores, and each signal's value (6 a candidate)."""

    def __cinit__(self):
        self.entries = NULL
        self.n = 0
        self.filtered = {}
        self.total = self.not_ranked = 0

    def __dealloc__(self):
        free(self.entries)

    @property
    def docs(self):
        return [self.entries[i].doc for i in range(self.n)]

    @property
    def scores(self):
        return [self.entries[i].score for i in range(self.n)]

    @property
    def signals(self):
        return [(self.entries[i].relevance, self.entries[i].recency, self.table.docs[self.entries[i].doc].importance,
                 self.entries[i].cue, self.layer, self.entries[i].use) for i in range(self.n)]


cdef class Table:
    """The compact facts about an owner's memories. Not safe for two threads at once."""
    def __cinit__(self):
        self.docs = NULL
        self.n = self.room = self.live = 0
        memset(self.eligible, 0, sizeof(self.eligible))
        memset(self.timed, 0, sizeof(self.timed))
        memset(self.stale, 0, sizeof(self.stale))
        memset(self.pins, 0, sizeof(self.pins))
        memset(self.counts, 0, sizeof(self.counts))
        memset(&self.pool, 0, sizeof(self.pool))

    def __dealloc__(self):
        cdef int kind
        free(self.docs)
        free(self.pool.items)
        for kind in range(KINDS):
            free(self.eligible[kind].items)
            free(self.timed[kind].items)

    @property
    def size(self):
        return self.n

    @property
    def nbytes(self):
        cdef Py_ssize_t held = self.room * sizeof(Doc) + self.pool.room * sizeof(int32_t)
        cdef int kind
        for kind in range(KINDS):
            held += (self.eligible[kind].room + self.timed[kind].room) * sizeof(int32_t)
        return held

    def add(self, int kind, *, long long seq, long long ts, int status, double importance, long long start=NEVER,
            long long end=ALWAYS, int group=-1, uint64_t fold=0, bint pinned=False, int variant=0, int uses=0, cues=(), costs=()):
        """Add a memory and return its document number, the next one. ``costs`` are up to four (inner, last) pairs."""
        cdef Doc* doc
        cdef Py_ssize_t room
        cdef int at
        if not 0 <= kind < KINDS or not 0 <= status < 8:
            raise ValueError("kind or status out of range")
        if self.n == self.room:
            room = self.room * 2 if self.room else 64
            doc = <Doc*>realloc(self.docs, room * sizeof(Doc))
            if doc == NULL:
                raise MemoryError()
            self.docs, self.room = doc, room
        doc = &self.docs[self.n]
        memset(doc, 0, sizeof(Doc))
        doc.kind, doc.status, doc.alive, doc.pinned = kind, status, 1, pinned
        doc.seq, doc.ts, doc.start, doc.end = seq, ts, start, end
        doc.importance, doc.group, doc.fold, doc.variant, doc.uses = importance, group, fold, variant, uses
        doc.cues = <int32_t>self.pool.n
        for cue in dict.fromkeys(cues):
            push(&self.pool, cue)
        doc.ncues = <int32_t>self.pool.n - doc.cues
        self._set_costs(doc, costs)
        self.counts[kind][status] += 1
        self.live += 1
        if status == 0:
            self.pins[kind] += pinned
            self._place(&self.eligible[kind], <int32_t>self.n)
            if start != NEVER_MS or end != ALWAYS_MS:
                push(&self.timed[kind], <int32_t>self.n)
        self.n += 1
        return self.n - 1

    cdef int _place(self, List* list, int32_t number) except -1:
        """Put the document where its seq belongs: at the end, but for one that was changed."""
        cdef int64_t seq = self.docs[number].seq
        cdef Py_ssize_t at
        push(list, number)
        at = list.n - 1
        while at and self.docs[list.items[at - 1]].seq > seq:
            at -= 1
        if at < list.n - 1:
            memmove(&list.items[at + 1], &list.items[at], (list.n - 1 - at) * sizeof(int32_t))
            list.items[at] = number
        return 0

    cdef int _set_costs(self, Doc* doc, costs) except -1:
        cdef int at = 0
        for inner, last in costs:
            if at == FORMS:
                break
            doc.cost[2 * at], doc.cost[2 * at + 1] = inner, last
            at += 1
        doc.forms = at
        return 0

    def remove(self, Py_ssize_t number):
        """Forget the memory; its number is never used again."""
        cdef Doc* doc = self._doc(number)
        self.counts[doc.kind][doc.status] -= 1
        self.live -= 1
        doc.alive = 0
        if doc.status == 0:
            self.pins[doc.kind] -= doc.pinned
            self.stale[doc.kind] += 1
            if self.stale[doc.kind] * 2 > self.eligible[doc.kind].n:
                self._compact(doc.kind)

    cdef void _compact(self, int kind) noexcept:
        cdef List* both[2]
        cdef Py_ssize_t i, kept
        cdef int which
        both[0], both[1] = &self.eligible[kind], &self.timed[kind]
        for which in range(2):
            kept = 0
            for i in range(both[which].n):
                if self.docs[both[which].items[i]].alive:
                    both[which].items[kept] = both[which].items[i]
                    kept += 1
            both[which].n = kept
        self.stale[kind] = 0

    cdef Doc* _doc(self, Py_ssize_t number) except NULL:
        if not 0 <= number < self.n or not self.docs[number].alive:
            raise ValueError(f"no memory has the number {number}")
        return &self.docs[number]

    def costs(self, Py_ssize_t number):
        """Return the (inner, last) tokens of each form."""
        cdef Doc* doc = self._doc(number)
        return [(doc.cost[2 * i], doc.cost[2 * i + 1]) for i in range(doc.forms)]

    def set_costs(self, Py_ssize_t number, costs):
        """Replace the tokens of the memory's forms."""
        self._set_costs(self._doc(number), costs)

    def set_pinned(self, Py_ssize_t number, bint pinned):
        """Mark the memory as pinned or not."""
        cdef Doc* doc = self._doc(number)
        if doc.status == 0:
            self.pins[doc.kind] += <int>pinned - <int>doc.pinned
        doc.pinned = pinned

    def used(self, Py_ssize_t number):
        """Count a recall of the memory."""
        self._doc(number).uses += 1

    def keep_whole(self, Py_ssize_t number, bint short):
        """Note that the memory's text need not be cut because it is short, or cannot be."""
        self._doc(number).whole = 2 if short else 1

    def about(self, Py_ssize_t number):
        """Return (kind, seq, ts, status, pinned, fold, group, start, end, importance) of a memory."""
        cdef Doc* doc = self._doc(number)
        return (doc.kind, doc.seq, doc.ts, doc.status, bool(doc.pinned), doc.fold, doc.group, doc.start, doc.end,
                doc.importance)

    def variant(self, Py_ssize_t number):
        """Return which of its kind's arrays in a packet the memory goes to."""
        return self._doc(number).variant

    def alive(self, Py_ssize_t number):
        """Tell whether the number still names a memory."""
        return 0 <= number < self.n and bool(self.docs[number].alive)

    def status_counts(self, int kind):
        """Return how many memories of the kind have each status."""
        return [self.counts[kind][status] for status in range(8)]

    def total(self, int kind):
        """Return how many memories of the kind there are."""
        cdef Py_ssize_t status, found = 0
        for status in range(8):
            found += self.counts[kind][status]
        return found

    def select(self, int kind, Py_ssize_t k, *, long long now, tuple weights, double half_life, double layer,
               Scores scores=None, cues=(), int ncues=0, range_=None, groups=None, subset=None, bint moments=False,
               long long oldest=NEVER, bint whole=False):
        """Return the best ``k`` eligible memories of the kind, pinned ones before all others.

        ``weights`` are those of the six signals; ``half_life`` in ms; ``layer`` the layer signal's value. ``scores`` of the
        text index make the relevance. ``cues`` are the ids and ``ncues`` the number of all cues asked for, with the
        time range ``range_`` as one of them. ``groups`` allows only memories of these groups, ``subset`` only these
        documents, ``oldest`` only what did not end before. ``moments``: the kind's start and end are when it happened,
        not when it is valid. Without scores and cues only the newest ``k`` and the pinned ones are looked at, unless
        ``whole``. Of equal scores the newer wins.
        """
        cdef double w_rel = weights[0], w_rec = weights[1], w_imp = weights[2], w_cue = weights[3], w_lay = weights[4]
        cdef double w_use = weights[5], use
        cdef bint telling
        cdef float least = -1e30
        cdef double others, rel, rec, cue, total, most, pace = STEPS / half_life if half_life > 0 else 0.0
        cdef bint ranked = scores is not None or ncues > 0 or whole, full = False, grouped = groups is not None
        cdef const float* raw = NULL
        cdef Py_ssize_t raw_n = 0, i, at, count, dated = 0, old = 0, other = 0, n = 0, pins = 0
        cdef int32_t number
        cdef Doc* doc
        cdef Selection selection = Selection()
        cdef const int32_t* items = self.eligible[kind].items
        cdef List chosen, wanted
        cdef long long range_start = NEVER_MS, range_end = ALWAYS_MS
        cdef Entry entry
        cdef Entry* heap
        if k < 1:
            raise ValueError(f"k is {k}; it must be at least 1")
        memset(&chosen, 0, sizeof(List))
        memset(&wanted, 0, sizeof(List))
        selection.table, selection.layer = self, layer
        if scores is not None:
            raw, raw_n = scores.data, scores.n
        if range_ is not None:
            range_start, range_end = range_
        count = self.eligible[kind].n
        try:
            if subset is not None:
                self._choose(&chosen, selection, subset, kind)
                items, count = chosen.items, chosen.n
            for number in cues:
                push(&wanted, number)
            heap = selection.entries = <Entry*>malloc(max(1, min(k, count)) * sizeof(Entry))
            if heap == NULL:
                raise MemoryError()
            # Most memories are told from the best by their text score alone, without a look at them.
            telling = raw != NULL and subset is None and self.pins[kind] == 0 and w_rel > 0
            others = w_rec + w_imp + w_cue + w_lay * layer + w_use
            for i in range(count - 1, -1, -1):
                number = items[i]
                if full and telling and number < raw_n and raw[number] <= least:
                    continue
                doc = &self.docs[number]
                if not doc.alive:
                    continue
                pins += doc.pinned
                if not moments and (doc.start > now or doc.end < now):
                    dated += 1
                    continue
                if moments and oldest != NEVER_MS and (doc.end if doc.end != ALWAYS_MS else doc.start) < oldest:
                    old += 1
                    continue
                if grouped and doc.group not in groups:
                    other += 1
                    continue
                if full and not ranked and not doc.pinned:
                    if subset is None and pins == self.pins[kind]:
                        break
                    continue
                rel = 0.0
                if raw != NULL and number < raw_n and raw[number] > 0:
                    rel = raw[number]
                    rel = rel / (1.0 + rel)
                if full and doc.pinned <= heap[0].pinned:
                    if doc.pinned < heap[0].pinned:
                        continue
                    most = w_rec * fresh_at_most(<double>(now - doc.ts), pace)
                    if w_rel * rel + most + w_imp * doc.importance + w_cue + w_lay * layer + w_use <= heap[0].score:
                        continue  # whatever else it has
                rec = 1.0 if doc.ts >= now or half_life <= 0 else exp2((<double>(doc.ts - now)) / half_life)
                cue = self._cue(doc, &wanted, ncues, range_ is not None, range_start, range_end, moments) if ncues else 0.0
                use = <double>doc.uses / (doc.uses + HALF_USED)
                total = w_rel * rel + w_rec * rec + w_imp * doc.importance + w_cue * cue + w_lay * layer + w_use * use
                entry.score, entry.relevance, entry.recency, entry.cue, entry.use = total, rel, rec, cue, use
                entry.seq, entry.doc, entry.pinned = doc.seq, number, doc.pinned
                if not full:
                    heap[n] = entry
                    n += 1
                    full = n == k
                    if full:
                        for at in range(n // 2 - 1, -1, -1):
                            sift(heap, n, at)
                        least = telling_score(heap[0].score, others, w_rel)
                elif worse(&heap[0], &entry):
                    heap[0] = entry
                    sift(heap, n, 0)
                    least = telling_score(heap[0].score, others, w_rel)
        finally:
            free(chosen.items)
            free(wanted.items)
        selection.n = n
        qsort(heap, n, sizeof(Entry), compare)
        self._account(selection, kind, subset is not None, now, moments, oldest, groups, dated, old, other)
        return selection

    cdef int _choose(self, List* chosen, Selection selection, subset, int kind) except -1:
        """Collect the eligible among some documents by their seq, and count the others."""
        cdef Py_ssize_t number
        for number in subset:
            if 0 <= number < self.n and self.docs[number].alive and self.docs[number].kind == kind:
                selection.total += 1
                if self.docs[number].status == 0:
                    self._place(chosen, <int32_t>number)
                else:
                    name = self.docs[number].status
                    selection.filtered[name] = selection.filtered.get(name, 0) + 1
        return 0

    cdef double _cue(self, Doc* doc, List* wanted, int ncues, bint ranged, long long start, long long end,
                     bint moments) noexcept:
        cdef int hits = 0, i, at
        cdef long long first = doc.ts, last = doc.ts
        for i in range(doc.ncues):
            for at in range(wanted.n):
                if self.pool.items[doc.cues + i] == wanted.items[at]:
                    hits += 1
                    break
        if ranged:
            if doc.start != NEVER_MS:  # with an open end, what happened is a moment and what holds lasts
                first = doc.start
                last = doc.start if moments and doc.end == ALWAYS_MS else doc.end
            if first <= end and last >= start:
                hits += 1
        return <double>min(hits, ncues) / ncues

    cdef int _account(self, Selection selection, int kind, bint part, long long now, bint moments, long long oldest,
                      groups, Py_ssize_t dated, Py_ssize_t old, Py_ssize_t other) except -1:
        """Count what was filtered and why, so that the counts add up to all memories of the kind."""
        cdef Py_ssize_t i
        cdef Doc* doc
        cdef int status
        if not part:
            for status in range(8):
                selection.total += self.counts[kind][status]
                if status and self.counts[kind][status]:
                    selection.filtered[status] = self.counts[kind][status]
            dated = old = other = 0
            if groups is not None or (moments and oldest != NEVER_MS):
                for i in range(self.eligible[kind].n):
                    doc = &self.docs[self.eligible[kind].items[i]]
                    if not doc.alive:
                        continue
                    if not moments and (doc.start > now or doc.end < now):
                        dated += 1
                    elif moments and oldest != NEVER_MS and (doc.end if doc.end != ALWAYS_MS else doc.start) < oldest:
                        old += 1
                    elif groups is not None and doc.group not in groups:
                        other += 1
            elif not moments:
                for i in range(self.timed[kind].n):
                    doc = &self.docs[self.timed[kind].items[i]]
                    if doc.alive and (doc.start > now or doc.end < now):
                        dated += 1
        for name, number in (("validity", dated), ("time_window", old), ("task_type", other)):
            if number:
                selection.filtered[name] = number
        selection.not_ranked = selection.total - selection.n - sum(selection.filtered.values())
        return 0
