# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""JSON text written into one growing block: what a reply holds so much of that Python's writer would be felt.

Driven by the pool, for lists with an entry per candidate, and by the daemon's handlers, for a packet as one string. The
bytes are those of ``json.dumps(..., ensure_ascii=False, separators=(",", ":"))``.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.math cimport rint
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef const char* HEX = "0123456789abcdef"
cdef uint64_t ONES = 0x0101010101010101, HIGH = 0x8080808080808080


cdef inline bint plain(const char* at) noexcept nogil:
    """Tell whether eight bytes hold no control character, no quote and no backslash."""
    cdef uint64_t word, quote, slash
    memcpy(&word, at, 8)
    quote = word ^ (ONES * 0x22)
    slash = word ^ (ONES * 0x5C)
    return not ((quote - ONES) & ~quote | (slash - ONES) & ~slash | (word - ONES * 0x20) & ~word) & HIGH


cdef inline char* escape(char* to, uint8_t one) noexcept nogil:
    cdef char short = 0
    if one == c'"' or one == c'\\':
        short = one
    elif one == c'\n':
        short = c'n'
    elif one == c'\r':
        short = c'r'
    elif one == c'\t':
        short = c't'
    elif one == c'\b':
        short = c'b'
    elif one == c'\f':
        short = c'f'
    to[0] = c'\\'
    if short:
        to[1] = short
        return to + 2
    to[1], to[2], to[3], to[4], to[5] = c'u', c'0', c'0', HEX[one >> 4], HEX[one & 15]
    return to + 6


cdef class JsonText:
    """A text being written. Only the kernel's own modules write to it."""

    def __dealloc__(self):
        free(self.data)

    cdef char* _space(self, Py_ssize_t size) except NULL:
        """Return where to write so many more bytes; the writer adds to n what it wrote."""
        cdef Py_ssize_t room
        cdef char* data
        if self.n + size > self.room:
            room = max(2 * self.room, self.n + size, 4096)
            data = <char*>realloc(self.data, room)
            if data == NULL:
                raise MemoryError()
            self.data, self.room = data, room
        return self.data + self.n

    cdef int raw(self, str text) except -1:
        """Write a text as it is."""
        cdef Py_ssize_t size
        cdef const char* source = PyUnicode_AsUTF8AndSize(text, &size)
        memcpy(self._space(size), source, size)
        self.n += size
        return 0

    cdef int quoted(self, str text) except -1:
        """Write a text as a JSON string, with its quotes."""
        cdef Py_ssize_t size, i = 0
        cdef const char* source = PyUnicode_AsUTF8AndSize(text, &size)
        cdef char* to = self._space(6 * size + 2)
        cdef uint8_t one
        to[0] = c'"'
        to += 1
        while i < size:
            if i + 8 <= size and plain(source + i):
                memcpy(to, source + i, 8)
                to += 8
                i += 8
                continue
            one = source[i]
            i += 1
            if one >= 0x20 and one != c'"' and one != c'\\':
                to[0] = one
                to += 1
            else:
                to = escape(to, one)
        to[0] = c'"'
        self.n = to + 1 - self.data
        return 0

    cdef int whole(self, int64_t value) except -1:
        """Write a whole number."""
        self.n += snprintf(self._space(24), 24, "%lld", <long long>value)
        return 0

    cdef int places(self, double value) except -1:
        """Write a number rounded to four places, without zeros at its end but with one place at least."""
        cdef int64_t parts = <int64_t>rint(value * 10000)
        cdef int size
        cdef char* to = self._space(32)
        size = snprintf(to, 32, "%s%lld.%04lld", b"-" if parts < 0 else b"", <long long>(abs(parts) // 10000),
                        <long long>(abs(parts) % 10000))
        while to[size - 1] == c'0' and to[size - 2] != c'.':
            size -= 1
        self.n += size
        return 0

    cdef str text(self):
        """Return what was written."""
        return PyUnicode_DecodeUTF8(self.data, self.n, NULL)


def json_string(str text not None):
    """Return a text as a JSON string in UTF-8; raise UnicodeEncodeError for half of a surrogate pair."""
    cdef JsonText written = JsonText()
    written.quoted(text)
    return PyBytes_FromStringAndSize(written.data, written.n)
