from libc.stdint cimport int8_t

cdef class Vectors:
    cdef int8_t* rows  # by document, width bytes each
    cdef float* lengths  # of the rows, 0 for a document without one
    cdef readonly Py_ssize_t width  # bytes of a vector, 0 before the first
    cdef readonly Py_ssize_t count  # of the documents that have one
    cdef Py_ssize_t room  # documents there is memory for

    cdef float* likeness(self, bytes question, Py_ssize_t n) except? NULL
    cdef int _grow(self, Py_ssize_t n) except -1
