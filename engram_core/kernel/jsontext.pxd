from libc.stdint cimport int64_t

cdef class JsonText:
    cdef char* data
    cdef Py_ssize_t n, room

    cdef char* _space(self, Py_ssize_t size) except NULL
    cdef int raw(self, str text) except -1
    cdef int quoted(self, str text) except -1
    cdef int whole(self, int64_t value) except -1
    cdef int places(self, double value) except -1
    cdef str text(self)
