"""The C level of the exact token counter, for the kernel's other modules."""

cdef class Counter:
    cdef object _mapping                # keeps the packed file mapped while the pointers below are in use
    cdef const unsigned char* _blob     # the bytes of all tokens, in rank order
    cdef unsigned int* _offsets         # rank -> where its bytes begin; one more entry than tokens
    cdef unsigned long long* _table     # open addressing: tag << 32 | rank + 1, 0 where empty
    cdef unsigned long long _mask
    cdef unsigned char* _filter         # a bit per hash: most byte strings asked for are no token
    cdef unsigned int* _pairs           # rank of each two-byte token
    cdef unsigned int _longest          # bytes of the longest token
    cdef bint _o200k
    cdef readonly Py_ssize_t nvocab

    # Tokens of n bytes of valid UTF-8 (pieces.find_invalid tells); -1 with MemoryError set.
    cdef Py_ssize_t count_utf8(self, const unsigned char* text, Py_ssize_t n) except -1 nogil

    cdef int _open(self, str path, str sha256) except -1
    cdef int _build(self, const unsigned char* lengths) except -1
    cdef unsigned int _rank(self, const unsigned char* s, Py_ssize_t n) noexcept nogil
    cdef Py_ssize_t _merge(self, const unsigned char* s, Py_ssize_t n) noexcept nogil
    cdef Py_ssize_t _merge_short(self, const unsigned char* s, int n) noexcept nogil
    cdef Py_ssize_t _merge_long(self, const unsigned char* s, Py_ssize_t n) noexcept nogil
    cdef Py_ssize_t _merge_heap(
        self, const unsigned char* s, Py_ssize_t n, unsigned char* size, unsigned int* rank,
        unsigned long long* heap
    ) noexcept nogil
    cdef Py_ssize_t _count_released(self, const unsigned char* text, Py_ssize_t n) except -1
