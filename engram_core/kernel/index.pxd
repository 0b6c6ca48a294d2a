from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from engram_core.kernel.documents cimport FAR, Beside, Documents
from engram_core.kernel.matching cimport Cell, Matching, Scales, Sheet
from engram_core.kernel.question cimport Names, Question
from engram_core.kernel.recipe cimport Recipe
from engram_core.kernel.vectors cimport Vectors

cdef struct Span:  # days
    int32_t first
    int32_t last

cdef struct Weights:  # what the sums over all documents are made with
    float grams
    float pairs
    float feedback
    float asked  # factor on the turns that are ``halved``
    float speaker
    float previous
    float second_previous
    float next
    float second_next
    float long_turn_tokens
    float session
    int32_t named  # the speaker, or -1
    uint8_t halved  # flags
    uint8_t cues  # flags that change a score

cdef enum:
    TILE = 1024  # documents that are summed up together
    EDGE = 128  # of those before and behind them, which is as far as a pattern reaches

cdef struct Shares:  # what the turns around a turn give, by its pattern
    Beside around
    float before
    float second_before
    float after
    float second_after

cdef struct Tile:  # by document, from EDGE before the first on
    float[TILE + 2 * EDGE] base
    uint64_t[TILE + 2 * EDGE] masks
    Shares[FAR] shares

cdef class TextIndex

cdef class Scores:
    cdef float* data  # by document, what score() returns
    cdef readonly Py_ssize_t n
    cdef readonly bint empty
    cdef readonly int64_t postings  # that were read
    cdef Sheet sheet
    cdef void* block  # that holds them
    cdef size_t block_size
    cdef float* sessions
    cdef float* likeness  # by document, to the question's vector; NULL where none is asked for
    cdef Scales scales
    cdef double[256] covered  # by mask, what a document gains whose terms are among the first eight
    cdef double[8][256] worths  # of the terms of each byte of a mask, together
    cdef Recipe recipe
    cdef double asked  # factor on an assistant's turn
    cdef bint chat
    cdef Span* spans
    cdef int span_count
    cdef list stems
    cdef TextIndex index
    cdef Documents documents
    cdef Question question
    cdef Py_ssize_t[1] shape
    cdef Py_ssize_t[1] strides

    cdef int _room(self) except -1
    cdef int _combine(self) except -1
    cdef void _add_up(self) noexcept
    cdef void _add_tile(self, const Tile* tile, const Weights* weights, Py_ssize_t first, Py_ssize_t last) noexcept
    cdef float _finished(self, Py_ssize_t doc, double score, uint64_t mask, uint8_t found) noexcept
    cdef void _mentions(self) noexcept
    cdef void _weigh_terms(self) noexcept
    cdef bint _wanted(self, Py_ssize_t doc, int cue) noexcept
    cdef bint _mentioned(self, Py_ssize_t doc) noexcept
    cdef double _time(self, Py_ssize_t doc) noexcept
    cdef double _coverage(self, uint64_t mask) noexcept
    cdef bint _known(self, Py_ssize_t doc) noexcept

cdef class TextIndex:
    cdef Documents documents
    cdef Matching matching
    cdef Names names
    cdef readonly Vectors vectors
    cdef void* spare  # the block of scores that are gone
    cdef size_t spare_size

    cdef Scores ask(self, str text, object weights, object intervals, object keywords, bytes meaning=*)
