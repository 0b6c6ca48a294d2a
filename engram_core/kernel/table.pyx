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
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memmove, memset

from engram_core.kernel.growable cimport fetch, reserve
from engram_core.kernel.index cimport Scores

DEF KINDS = 5
DEF FORMS = 4
EXCLUDED = ("", "validity", "time_window", "task_type")
SIGNALS = ("relevance", "recency", "importance", "cues", "layer", "use")
NEVER = -(1 << 62)
ALWAYS = 1 << 62
cdef long long NEVER_MS = NEVER, ALWAYS_MS = ALWAYS

cdef enum:
    HALF_USED = 5  # recalls that make the signal of use one half
    STEPS = 32  # of the table below, a half-life
    FADED = 1281  # entries; what is older than forty half-lives has none of its recency left to speak of
    GRADES = 1024  # that scores are told apart by before they are worked out
    AHEAD = 12  # memories asked for before they are looked at
    PART = 64  # of them that are told apart by their text scores at once

cdef float[FADED] fading  # 2^-(i / STEPS): the recency of a memory i steps old
cdef int step
for step in range(FADED - 1):
    fading[step] = <float>exp2(-<double>step / STEPS)
fading[FADED - 1] = 0  # the least that what is older has


cdef inline float positive(float value) noexcept nogil:
    return value if value > 0 else 0


cdef inline float telling_score(double relevance) noexcept nogil:
    """Return a text score that is too low for this relevance; a number below all scores when none is."""
    if relevance <= 0:
        return -1e30
    return <float>(relevance / (1 - relevance)) if relevance < 0.999 else 999


cdef int push(List* list, int32_t value) except -1:
    reserve(<void**>&list.items, &list.room, list.n + 1, sizeof(int32_t))
    list.items[list.n] = value
    list.n += 1
    return 0


cdef int compare(const void* left, const void* right) noexcept nogil:
    cdef Entry* a = <Entry*>left
    cdef Entry* b = <Entry*>right
    if a.pinned != b.pinned:
        return b.pinned - a.pinned
    return 1 if a.score < b.score or (a.score == b.score and a.seq < b.seq) else -1


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
        return [(one.relevance, one.recency, one.importance, one.cue, self.layer, one.use) for one in
                self.entries[:self.n]]


cdef class Table:
    """The compact facts about an owner's memories. Not safe for two threads at once."""
    def __cinit__(self):
        self.docs, self.glances, self.tops = NULL, NULL, NULL
        self.n = self.room = self.live = self.glance_room = self.tops_room = 0
        memset(self.eligible, 0, sizeof(self.eligible))
        memset(self.timed, 0, sizeof(self.timed))
        memset(self.stale, 0, sizeof(self.stale))
        memset(self.pins, 0, sizeof(self.pins))
        memset(self.counts, 0, sizeof(self.counts))
        memset(&self.pool, 0, sizeof(self.pool))
        memset(&self.found, 0, sizeof(self.found))

    def __dealloc__(self):
        cdef int kind
        free(self.docs)
        free(self.glances)
        free(self.tops)
        free(self.found.items)
        free(self.pool.items)
        for kind in range(KINDS):
            free(self.eligible[kind].items)
            free(self.timed[kind].items)

    @property
    def size(self):
        return self.n

    @property
    def nbytes(self):
        cdef Py_ssize_t held = self.room * sizeof(Doc) + self.glance_room * sizeof(Glance) + (
            self.pool.room + self.found.room) * sizeof(int32_t) + self.tops_room * sizeof(float)
        cdef int kind
        for kind in range(KINDS):
            held += (self.eligible[kind].room + self.timed[kind].room) * sizeof(int32_t)
        return held

    def add(self, int kind, *, long long seq, long long ts, int status, double importance, long long start=NEVER,
            long long end=ALWAYS, int group=-1, uint64_t fold=0, bint pinned=False, int variant=0, int uses=0, cues=(), costs=()):
        """Add a memory and return its document number, the next one. ``costs`` are up to four (inner, last) pairs."""
        cdef Doc* doc
        cdef Glance* glance
        if not 0 <= kind < KINDS or not 0 <= status < 8:
            raise ValueError("kind or status out of range")
        reserve(<void**>&self.glances, &self.glance_room, self.n + 1, sizeof(Glance))
        reserve(<void**>&self.docs, &self.room, self.n + 1, sizeof(Doc))
        doc, glance = &self.docs[self.n], &self.glances[self.n]
        memset(doc, 0, sizeof(Doc))
        doc.kind, doc.status, doc.seq, doc.start, doc.end = kind, status, seq, start, end
        doc.group, doc.fold, doc.variant, doc.uses = group, fold, variant, uses
        glance.ts, glance.importance, glance.alive, glance.pinned = ts, importance, 1, pinned
        glance.timed = start != NEVER_MS or end != ALWAYS_MS
        doc.cues = <int32_t>self.pool.n
        for cue in dict.fromkeys(cues):
            push(&self.pool, cue)
        doc.ncues = <int32_t>self.pool.n - doc.cues
        glance.noted = doc.ncues > 0 or uses > 0
        self._set_costs(doc, costs)
        self.counts[kind][status] += 1
        self.live += 1
        if status == 0:
            self.pins[kind] += pinned
            self._place(&self.eligible[kind], <int32_t>self.n)
            if glance.timed:
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
        self.glances[number].alive = 0
        if doc.status == 0:
            self.pins[doc.kind] -= self.glances[number].pinned
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
                if self.glances[both[which].items[i]].alive:
                    both[which].items[kept] = both[which].items[i]
                    kept += 1
            both[which].n = kept
        self.stale[kind] = 0

    cdef Doc* _doc(self, Py_ssize_t number) except NULL:
        if not 0 <= number < self.n or not self.glances[number].alive:
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
            self.pins[doc.kind] += <int>pinned - <int>self.glances[number].pinned
        self.glances[number].pinned = pinned

    def used(self, Py_ssize_t number):
        """Count a recall of the memory."""
        self._doc(number).uses += 1
        self.glances[number].noted = 1

    def keep_whole(self, Py_ssize_t number, bint short):
        """Note that the memory's text need not be cut because it is short, or cannot be."""
        self._doc(number).whole = 2 if short else 1

    def about(self, Py_ssize_t number):
        """Return (kind, seq, ts, status, pinned, fold, group, start, end, importance) of a memory."""
        cdef Doc* doc = self._doc(number)
        cdef Glance* glance = &self.glances[number]
        return (doc.kind, doc.seq, glance.ts, doc.status, bool(glance.pinned), doc.fold, doc.group, doc.start, doc.end,
                glance.importance)

    def variant(self, Py_ssize_t number):
        """Return which of its kind's arrays in a packet the memory goes to."""
        return self._doc(number).variant

    def alive(self, Py_ssize_t number):
        """Tell whether the number still names a memory."""
        return 0 <= number < self.n and bool(self.glances[number].alive)

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
        cdef Asked asked
        cdef Selection selection = Selection()
        cdef const int32_t* items = self.eligible[kind].items
        cdef Py_ssize_t i, count = self.eligible[kind].n
        cdef int32_t number
        cdef List chosen, wanted
        if k < 1:
            raise ValueError(f"k is {k}; it must be at least 1")
        memset(&chosen, 0, sizeof(List))
        memset(&wanted, 0, sizeof(List))
        asked.relevance, asked.recency, asked.importance = weights[0], weights[1], weights[2]
        asked.cues, asked.layer, asked.use = weights[3], <double>weights[4] * layer, weights[5]
        asked.now, asked.oldest, asked.half_life = now, oldest, half_life
        asked.start, asked.end = range_ if range_ is not None else (NEVER, ALWAYS)
        asked.ncues, asked.ranged, asked.moments = ncues, range_ is not None, moments
        asked.raw, asked.raw_n = NULL, 0
        if scores is not None:
            asked.raw, asked.raw_n = scores.data, scores.n
        selection.table, selection.layer = self, layer
        try:
            if subset is not None:
                self._choose(&chosen, selection, subset, kind)
                items, count = chosen.items, chosen.n
            for number in cues:
                push(&wanted, number)
            asked.wanted, asked.wanted_n = wanted.items, wanted.n
            if scores is not None or ncues > 0 or whole:
                self._hopeful(items, count, k, self.pins[kind] if subset is None else count, &asked, groups)
            else:
                self._newest(items, count, k, self.pins[kind] if subset is None else count, &asked, groups)
            selection.entries = <Entry*>malloc(max(1, self.found.n) * sizeof(Entry))
            if selection.entries == NULL:
                raise MemoryError()
            for i in range(self.found.n):
                if i + AHEAD < self.found.n:
                    fetch(&self.docs[self.found.items[i + AHEAD]])
                    fetch(<char*>&self.docs[self.found.items[i + AHEAD] + 1] - 1)
                self._weigh(self.found.items[i], &asked, &selection.entries[i])
            qsort(selection.entries, self.found.n, sizeof(Entry), compare)
            selection.n = min(k, self.found.n)
            self._account(selection, kind, subset is not None, &chosen, &asked, groups)
        finally:
            free(chosen.items)
            free(wanted.items)
        return selection

    cdef int _why_not(self, int32_t number, const Asked* asked, groups) except -1:
        """Return 0 for a memory that may be chosen now, else which of EXCLUDED it is."""
        cdef const Doc* doc
        cdef bint windowed = asked.moments and asked.oldest != NEVER_MS
        if not self.glances[number].timed and groups is None and not windowed:
            return 0
        doc = &self.docs[number]
        if not asked.moments and (doc.start > asked.now or doc.end < asked.now):
            return 1
        if windowed and (doc.end if doc.end != ALWAYS_MS else doc.start) < asked.oldest:
            return 2
        return 3 if groups is not None and doc.group not in groups else 0

    cdef int _newest(self, const int32_t* items, Py_ssize_t count, Py_ssize_t k, Py_ssize_t pins, const Asked* asked,
                     groups) except -1:
        """Find the newest ``k`` and all pinned ones, of which there are at most ``pins``."""
        cdef Py_ssize_t i
        cdef const Glance* glance
        self.found.n = 0
        for i in range(count - 1, -1, -1):
            glance = &self.glances[items[i]]
            if not glance.alive:
                continue
            pins -= glance.pinned
            if (self.found.n < k or glance.pinned) and not self._why_not(items[i], asked, groups):
                push(&self.found, items[i])
            if self.found.n >= k and pins <= 0:
                break
        return 0

    cdef int _hopeful(self, const int32_t* items, Py_ssize_t count, Py_ssize_t k, Py_ssize_t pins, const Asked* asked,
                      groups) except -1:
        """Find those that may be among the best ``k``, all pinned ones with them.

        Everything of a score but its recency is known exactly; that comes from a table, as the most and the least it
        can be. Whose most is below what ``k`` others have at least is left out, unseen but for a glance; where there
        are no ``pins``, most are told by their text score alone, without one.
        """
        cdef Py_ssize_t i, n = 0, above = 0, last = count - 1
        cdef int32_t at, some, number
        cdef int32_t[PART] likely
        cdef int32_t* found
        cdef float* tops
        cdef int32_t[GRADES] graded
        cdef const Glance* glance
        cdef double pace = STEPS / asked.half_life if asked.half_life > 0 else 0.0, steps, base, least, uses
        cdef double others = asked.recency + asked.importance + asked.cues + asked.layer + asked.use
        cdef double all = asked.relevance + others, grades = (GRADES - 1) / all if all > 0 else 0.0
        cdef float raw, floor, telling = -1e30
        cdef int step, grade, bar = 0  # at least k have this grade, and ``above`` of them a higher one
        cdef bint checked = groups is not None or (asked.moments and asked.oldest != NEVER_MS)
        reserve(<void**>&self.tops, &self.tops_room, count, sizeof(float))
        reserve(<void**>&self.found.items, &self.found.room, count, sizeof(int32_t))
        memset(graded, 0, sizeof(graded))
        found, tops = self.found.items, self.tops
        while last >= 0:
            some = 0
            while last >= 0 and some < PART:
                number = likely[some] = items[last]
                last -= 1
                if number >= asked.raw_n or positive(asked.raw[number]) > telling:
                    fetch(&self.glances[number])
                    some += 1
            for at in range(some):
                number = likely[at]
                raw = positive(asked.raw[number]) if number < asked.raw_n else 0
                glance = &self.glances[number]
                if not glance.alive:
                    continue
                if (checked or glance.timed) and self._why_not(number, asked, groups):
                    continue
                base = asked.relevance * (raw / (1 + raw)) + asked.importance * glance.importance + asked.layer
                if asked.ncues:
                    base += asked.cues * self._cue(number, asked)
                if glance.noted and asked.use > 0:
                    uses = self.docs[number].uses
                    base += asked.use * uses / (uses + HALF_USED)
                steps = <double>(asked.now - glance.ts) * pace
                steps = steps if steps > 0 else 0
                step = <int>(steps if steps < FADED - 2 else FADED - 2)
                least = base + asked.recency * fading[step + 1]
                found[n] = number
                tops[n] = <float>1e30 if glance.pinned else <float>(base + asked.recency * fading[step])
                n += 1
                grade = min(<int>(least * grades), GRADES - 1)
                if grade <= bar and n > k:
                    continue
                graded[max(grade, 0)] += 1
                above += grade > bar
                while above >= k:
                    bar += 1
                    above -= graded[bar]
                    if not pins and asked.relevance > 0:
                        telling = telling_score((bar / grades - 1e-5 * all - others) / asked.relevance)
        floor = <float>(bar / grades - 1e-5 * all) if bar else -1e30
        self.found.n = 0
        for i in range(n):
            found[self.found.n] = found[i]
            self.found.n += tops[i] >= floor
        return 0

    cdef void _weigh(self, int32_t number, const Asked* asked, Entry* entry) noexcept:
        """Work a memory's signals and their sum out."""
        cdef const Doc* doc = &self.docs[number]
        cdef const Glance* glance = &self.glances[number]
        cdef double raw
        entry.seq, entry.doc, entry.pinned, entry.importance = doc.seq, number, glance.pinned, glance.importance
        entry.relevance, entry.recency = 0.0, 1.0
        if number < asked.raw_n and asked.raw[number] > 0:
            raw = asked.raw[number]
            entry.relevance = raw / (1.0 + raw)
        if glance.ts < asked.now and asked.half_life > 0:
            entry.recency = exp2((<double>(glance.ts - asked.now)) / asked.half_life)
        entry.cue = self._cue(number, asked) if asked.ncues else 0.0
        entry.use = <double>doc.uses / (doc.uses + HALF_USED)
        entry.score = (asked.relevance * entry.relevance + asked.recency * entry.recency
                       + asked.importance * <double>glance.importance + asked.cues * entry.cue + asked.layer
                       + asked.use * entry.use)

    cdef int _choose(self, List* chosen, Selection selection, subset, int kind) except -1:
        """Collect the eligible among some documents by their seq, and count the others."""
        cdef Py_ssize_t number
        for number in subset:
            if 0 <= number < self.n and self.glances[number].alive and self.docs[number].kind == kind:
                selection.total += 1
                if self.docs[number].status == 0:
                    self._place(chosen, <int32_t>number)
                else:
                    name = self.docs[number].status
                    selection.filtered[name] = selection.filtered.get(name, 0) + 1
        return 0

    cdef double _cue(self, int32_t number, const Asked* asked) noexcept:
        cdef const Glance* glance = &self.glances[number]
        cdef const Doc* doc
        cdef int hits = 0, i, at
        cdef long long first = glance.ts, last = glance.ts
        if glance.noted and asked.wanted_n:
            doc = &self.docs[number]
            for i in range(doc.ncues):
                for at in range(asked.wanted_n):
                    if self.pool.items[doc.cues + i] == asked.wanted[at]:
                        hits += 1
                        break
        if asked.ranged:
            if glance.timed and self.docs[number].start != NEVER_MS:
                doc = &self.docs[number]  # with an open end, what happened is a moment and what holds lasts
                first = doc.start
                last = doc.start if asked.moments and doc.end == ALWAYS_MS else doc.end
            if first <= asked.end and last >= asked.start:
                hits += 1
        return <double>min(hits, asked.ncues) / asked.ncues

    cdef int _account(self, Selection selection, int kind, bint part, List* looked, const Asked* asked,
                      groups) except -1:
        """Count what was filtered and why, so that the counts add up to all memories of the kind, or of the part."""
        cdef Py_ssize_t i
        cdef int status
        cdef Py_ssize_t[4] excluded
        memset(excluded, 0, sizeof(excluded))
        if not part:
            for status in range(8):
                selection.total += self.counts[kind][status]
                if status and self.counts[kind][status]:
                    selection.filtered[status] = self.counts[kind][status]
            looked = &self.timed[kind]
            if groups is not None or (asked.moments and asked.oldest != NEVER_MS):
                looked = &self.eligible[kind]
        for i in range(looked.n):
            if self.glances[looked.items[i]].alive:
                excluded[self._why_not(looked.items[i], asked, groups)] += 1
        for status in range(1, 4):
            if excluded[status]:
                selection.filtered[EXCLUDED[status]] = excluded[status]
        selection.not_ranked = selection.total - selection.n - sum(selection.filtered.values())
        return 0
