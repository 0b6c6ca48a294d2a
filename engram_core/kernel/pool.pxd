from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

cdef struct Cand:
    double score
    double worth           # the score with the text's own instead of its squashed one, by which the budget is filled
    double rank
    double relevance
    double recency
    double importance
    double cue
    double layer_value
    double use
    int64_t seq
    uint64_t fold
    int32_t doc            # -1 for a part of the state
    int32_t layer
    int32_t kind
    int32_t array          # where in the packet it goes
    int32_t section        # the part of the budget that pays for it
    int32_t reason
    int32_t place          # its place among its kind, from 1
    int32_t miss
    int32_t kept           # the kept form, -1 when omitted
    int32_t shortest
    int32_t lead           # 1 + the candidate it goes with, 0 when it goes alone
    int32_t cost[8]
    uint8_t forms
    uint8_t pinned
    uint8_t whole

cdef class Pool:
    cdef Cand* items
    cdef readonly Py_ssize_t n
    cdef Py_ssize_t room
    cdef list ids
    cdef list own
    cdef bytes sections
    cdef int32_t* order    # the active candidates in rank order, -1 of them when they must be sorted anew
    cdef Py_ssize_t ordered

    cdef Cand* _more(self, Py_ssize_t count) except NULL
    cdef Cand* _item(self, Py_ssize_t number) except NULL
    cdef void _fetch_ids(self, Py_ssize_t number) noexcept
    cdef str _id(self, Cand* one)
    cdef int _ties(self, Py_ssize_t first) except -1
    cdef int _sort(self) except -1
