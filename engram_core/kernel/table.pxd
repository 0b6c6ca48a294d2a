from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from engram_core.kernel.index cimport Scores

cdef struct Doc:
    int64_t seq
    int64_t ts
    int64_t start          # valid from, or when an episode begins
    int64_t end            # valid to, expires at, or when an episode ends
    uint64_t fold
    float importance
    int32_t group          # session of an event, state of an insight, task type of a procedure
    int32_t cues           # offset of its cue ids in the pool
    int32_t ncues
    int32_t uses           # how often it was recalled
    int32_t cost[8]        # tokens of each form, as an inner and as a last item
    uint8_t kind
    uint8_t status         # 0 eligible, else why it never is
    uint8_t alive
    uint8_t pinned
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
    int32_t doc
    int32_t pinned

cdef class Selection:
    cdef Entry* entries    # best first
    cdef Py_ssize_t n
    cdef readonly double layer
    cdef public dict filtered
    cdef public int total, not_ranked
    cdef Table table

cdef class Table:
    cdef Doc* docs
    cdef Py_ssize_t n, room
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
    cdef double _cue(self, Doc* doc, List* wanted, int ncues, bint ranged, long long start, long long end,
                     bint moments) noexcept
    cdef int _account(self, Selection selection, int kind, bint part, long long now, bint moments, long long oldest,
                      groups, Py_ssize_t dated, Py_ssize_t old, Py_ssize_t other) except -1
