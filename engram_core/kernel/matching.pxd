from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from engram_core.kernel.documents cimport Documents
from engram_core.kernel.lexicon cimport Word
from engram_core.kernel.question cimport Question
from engram_core.kernel.recipe cimport Recipe

cdef struct Columns:  # what each document has of a question; the first five are filled by matching
    float* words
    float* grams
    float* pairs
    float* feedback
    uint64_t* mask  # the question's terms it holds
    float* base  # all that with the assistant factor and the speaker
    float* context  # and with the neighbours
    float* score

cdef struct Scales:  # what the raw sums are multiplied by
    double grams
    double pairs

cdef class Matching:
    cdef uint64_t* counts  # by document; all zero between the steps
    cdef uint32_t* tally  # the same for 4-grams
    cdef float* word_norms  # what a document pays for its length, by document
    cdef float* gram_norms
    cdef int64_t norms_version  # of the documents, and the weights, that the norms are for
    cdef float[4] norms_kind
    cdef uint32_t* touched  # documents with a count
    cdef Py_ssize_t touched_count
    cdef uint32_t* session_counts
    cdef uint32_t* touched_sessions
    cdef double* session_scores
    cdef Py_ssize_t counts_capacity
    cdef Py_ssize_t tally_capacity
    cdef Py_ssize_t word_norm_capacity
    cdef Py_ssize_t gram_norm_capacity
    cdef Py_ssize_t touched_capacity
    cdef Py_ssize_t session_capacity
    cdef Py_ssize_t touched_sessions_capacity
    cdef Py_ssize_t session_scores_capacity
    cdef uint32_t* stems  # candidates of the feedback
    cdef double* values
    cdef Py_ssize_t stem_capacity
    cdef Py_ssize_t value_capacity

    cdef int match(self, Documents documents, Question question, const Recipe* recipe, const Columns* to,
                   float* sessions, Scales* scales, list expanded) except -1
    cdef int64_t nbytes(self) noexcept

    cdef int _room(self, Documents documents) except -1
    cdef void _norms(self, Documents documents, const Recipe* recipe) noexcept
    cdef int _words(self, Documents documents, Question question, const Recipe* recipe, const Columns* to,
                    float* sessions) except -1
    cdef void _sessions(self, Documents documents, const Recipe* recipe, double weight) noexcept
    cdef double _grams(self, Documents documents, Question question, const Recipe* recipe, const Columns* to) noexcept
    cdef double _pairs(self, Documents documents, Question question, const Recipe* recipe, const Columns* to) noexcept
    cdef void _neighbours(self, Documents documents, const Word* word, uint32_t first, uint32_t second,
                          uint64_t both, const Columns* to) noexcept
    cdef int _feedback(self, Documents documents, Question question, const Recipe* recipe, const Columns* to,
                       double grams, list expanded) except -1
    cdef int _typical(self, Documents documents, const uint32_t* best, const double* weight, int count) except -1
    cdef void _collect(self, Documents documents, uint32_t stem) noexcept
