"""The C level of the pre-tokenizer, for the token counter."""

# End of the piece that begins at i in n bytes of valid UTF-8, by the pattern of o200k or else of cl100k.
cdef Py_ssize_t piece_end(const unsigned char* s, Py_ssize_t i, Py_ssize_t n, bint o200k) noexcept nogil

# Where the first byte lies that is not valid UTF-8, or -1.
cdef Py_ssize_t find_invalid(const unsigned char* s, Py_ssize_t n) noexcept nogil
