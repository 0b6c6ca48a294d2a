from libc.stdint cimport int32_t, int64_t

from engram_core.kernel.adding cimport Weights
from engram_core.kernel.documents cimport Documents
from engram_core.kernel.matching cimport Matching, Scales, Sheet
from engram_core.kernel.question cimport Names, Question
from engram_core.kernel.recipe cimport Recipe
from engram_core.kernel.vectors cimport Vectors

cdef struct Span:  # days
    int32_t first
    int32_t last

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
    cdef Weights weights
    cdef float* likeness  # by document, to the question's vector; NULL where none is asked for
    cdef Scales scales
    cdef Recipe recipe
    cdef Span* spans
    cdef int span_count
    cdef TextIndex index
    cdef Documents documents
    cdef Question question
    cdef Py_ssize_t[1] shape
    cdef Py_ssize_t[1] strides

    cdef int _room(self) except -1
    cdef int _combine(self) except -1
    cdef void _weights(self) noexcept
    cdef void _times(self) noexcept
    cdef void _mentions(self) noexcept
    cdef bint _mentioned(self, Py_ssize_t doc) noexcept
    cdef double _time(self, Py_ssize_t doc) noexcept
    cdef bint _known(self, Py_ssize_t doc) noexcept

cdef class TextIndex:
    cdef Documents documents
    cdef Matching matching
    cdef Names names
    cdef readonly Vectors vectors
    cdef void* spare  # the block of scores that are gone
    cdef size_t spare_size

    cdef Scores ask(self, str text, object weights, object intervals, object keywords, bytes meaning=*)
