# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Vectors of one owner's texts, by document, and how like a question's each is.

Driven by the index, which adds the likeness to the score, and by recall, which brings the vectors. A vector is a row of
signed bytes; only its direction counts. All sums are whole numbers, so the same rows give the same likeness everywhere.
"""

from libc.math cimport sqrt
from libc.stdint cimport int8_t, int32_t, int64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset


cdef inline int64_t product(const int8_t* one, const int8_t* other, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i, j, end
    cdef int64_t total = 0
    cdef int32_t part
    for i in range(0, n, 4096):  # so few products of two bytes fit into 32 bits
        part = 0
        end = min(n, i + 4096)
        for j in range(i, end):
            part += <int32_t>one[j] * other[j]
        total += part
    return total


cdef class Vectors:
    """A vector for each document that has one, all of one width."""

    def __dealloc__(self):
        free(self.rows)
        free(self.lengths)

    def put(self, Py_ssize_t doc, bytes row not None) -> None:
        """Give a document its vector, in place of the one it had."""
        cdef const char* data = row
        cdef double length
        if doc < 0:
            raise ValueError(f"doc is {doc}; it must be the number of a document")
        if not row or (self.width and len(row) != self.width):
            raise ValueError(f"the vector has {len(row)} bytes; the others have {self.width}")
        length = sqrt(<double>product(<const int8_t*>data, <const int8_t*>data, len(row)))
        if length == 0:
            raise ValueError("the vector is all zeros and points nowhere")
        self.width = len(row)
        self._grow(doc + 1)
        memcpy(self.rows + doc * self.width, data, self.width)
        self.count += self.lengths[doc] == 0
        self.lengths[doc] = <float>length

    def drop(self, Py_ssize_t doc) -> None:
        """Take a document's vector away, if it has one."""
        if 0 <= doc < self.room and self.lengths[doc]:
            memset(self.rows + doc * self.width, 0, self.width)
            self.lengths[doc] = 0
            self.count -= 1

    def like(self, bytes question not None, Py_ssize_t n) -> list:
        """Return for the first n documents the cosine with the question's vector, 0.0 below zero and without one."""
        cdef float* found = self.likeness(question, n)
        try:
            return [found[i] if found != NULL else 0.0 for i in range(n)]
        finally:
            free(found)

    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
        return self.room * (self.width + sizeof(float))

    cdef float* likeness(self, bytes question, Py_ssize_t n) except? NULL:
        """Return what ``like`` does, for the caller to free; NULL when no document has a vector of that width."""
        cdef const char* data = question
        cdef float* found
        cdef Py_ssize_t doc
        cdef double length, cosine
        if not self.count or len(question) != self.width:
            return NULL
        length = sqrt(<double>product(<const int8_t*>data, <const int8_t*>data, self.width))
        if length == 0:
            return NULL
        found = <float*>calloc(n + 1, sizeof(float))
        if found == NULL:
            raise MemoryError()
        for doc in range(min(n, self.room)):
            if self.lengths[doc]:
                cosine = product(<const int8_t*>data, self.rows + doc * self.width, self.width) / (
                    length * self.lengths[doc])
                found[doc] = <float>max(cosine, 0.0)
        return found

    cdef int _grow(self, Py_ssize_t n) except -1:
        cdef Py_ssize_t room = self.room
        cdef void* more
        if n <= room:
            return 0
        room = max(n, room + (room >> 1), 64)
        more = realloc(self.rows, room * self.width)
        if more == NULL:
            raise MemoryError()
        self.rows = <int8_t*>more
        more = realloc(self.lengths, room * sizeof(float))
        if more == NULL:
            raise MemoryError()
        self.lengths = <float*>more
        memset(self.lengths + self.room, 0, (room - self.room) * sizeof(float))
        self.room = room
        return 0
