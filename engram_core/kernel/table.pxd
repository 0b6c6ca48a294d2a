from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from engram_core.kernel.index cimport Scores

cdef struct Glance:        # what selection looks at of every memory, a quarter of a cache line each
    int64_t ts
    float importance
    uint8_t alive
    uint8_t pinned
    uint8_t timed          # it has a start or an end
    uint8_t noted          # it has cues or was recalled

cdef struct Doc:           # what is looked at of those that may be chosen
    int64_t seq
    int64_t start          # valid from, or when an episode begins
    int64_t end            # valid to, expires at, or when an episode ends
    uint64_t fold
    int32_t group          # session of an event, state of an insight, task type of a procedure
    int32_t cues           # offset of its cue ids in the pool
    int32_t ncues
    int32_t uses           # how often it was recalled
    int32_t cost[8]        # tokens of each form, as an inner and as a last item
    uint8_t kind
    uint8_t status         # 0 eligible, else why it never is
    uint8_t forms
    uint8_t whole          # 1: its text was found to be one sentence, 2: to be short
    uint8_t variant        # which of its kind's arrays in a packet it goes to

cdef struct List:
    int32_t* items
    Py_ssize_t n
    Py_ssize_t room

cdef struct Entry:         # a memory that may become a candidate
    double score
    double relevance
    double recency
    double cue
    double use
    int64_t seq
    float importance
    int32_t doc
    int32_t pinned

cdef struct Asked:         # what memories are weighed by
    double relevance       # weights of the signals
    double recency
    double importance
    double cues
    double use
    double layer           # what all memories of the layer have alike
    long long now
    long long oldest
    long long start        # of the time range that is one of the cues
    long long end
    double half_life
    const float* raw       # text scores by document
    Py_ssize_t raw_n
    const int32_t* wanted  # cues
    Py_ssize_t wanted_n
    int ncues
    bint ranged
    bint moments

cdef class Selection:
    cdef Entry* entries    # best first
    cdef Py_ssize_t n
    cdef readonly double layer
    cdef public dict filtered
    cdef public int total, not_ranked
    cdef Table table

cdef class Table:
    cdef Doc* docs
    cdef Glance* glances
    cdef Py_ssize_t n, room, glance_room
    cdef List found        # by a selection, while it lasts
    cdef float* tops       # the most that each of them can score
    cdef Py_ssize_t tops_room
    cdef List eligible[5]
    cdef List timed[5]
    cdef Py_ssize_t stale[5]
    cdef Py_ssize_t pins[5]            # pinned ones among the eligible
    cdef Py_ssize_t counts[5][8]
    cdef List pool
    cdef public Py_ssize_t live

    cdef int _place(self, List* list, int32_t number) except -1
    cdef int _choose(self, List* chosen, Selection selection, subset, int kind) except -1
    cdef int _set_costs(self, Doc* doc, costs) except -1
    cdef void _compact(self, int kind) noexcept
    cdef Doc* _doc(self, Py_ssize_t number) except NULL
    cdef int _why_not(self, int32_t number, const Asked* asked, groups) except -1
    cdef int _newest(self, const int32_t* items, Py_ssize_t count, Py_ssize_t k, Py_ssize_t pins, const Asked* asked,
                     groups) except -1
    cdef int _hopeful(self, const int32_t* items, Py_ssize_t count, Py_ssize_t k, Py_ssize_t pins, const Asked* asked,
                      groups) except -1
    cdef double _cue(self, int32_t number, const Asked* asked) noexcept
    cdef void _weigh(self, int32_t number, const Asked* asked, Entry* entry) noexcept
    cdef int _account(self, Selection selection, int kind, bint part, List* looked, const Asked* asked,
                      groups) except -1
