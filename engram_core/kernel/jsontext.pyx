# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""JSON text written into one growing block: what a reply holds so much of that Python's writer would be felt.

Driven by the pool, for lists with an entry per candidate, and by the daemon's handlers, for a packet as one string. The
bytes are those of ``json.dumps(..., ensure_ascii=False, separators=(",", ":"))``.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.math cimport rint
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

cdef extern from *:
    """
    #define lowest_bit(word) __builtin_ctzll(word)
    """
    int lowest_bit(uint64_t word) noexcept nogil

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef enum:
    CHUNK = 512  # characters written before room is looked for again, each as six at the worst

cdef const char* HEX = "0123456789abcdef"
cdef uint64_t ONES = 0x0101010101010101, HIGH = 0x8080808080808080


cdef char[256] short_escapes
memset(short_escapes, 0, 256)
for letter, short in zip(b'"\\\n\r\t\b\f', b'"\\nrtbf'):
    short_escapes[<int>letter] = short


cdef inline uint64_t special(const char* at) noexcept nogil:
    """Return a number whose lowest set bit is the highest one of the first of eight bytes that must be escaped, or 0."""
    cdef uint64_t word, quote, slash
    memcpy(&word, at, 8)
    quote = word ^ (ONES * 0x22)
    slash = word ^ (ONES * 0x5C)
    return ((quote - ONES) & ~quote | (slash - ONES) & ~slash | (word - ONES * 0x20) & ~word) & HIGH


cdef inline char* escape(char* to, uint8_t one) noexcept nogil:
    """Write one character, escaped if it must be, and return where the next one goes."""
    cdef char short = short_escapes[one]
    if short:
        to[0], to[1] = c'\\', short
        return to + 2
    if one >= 0x20:
        to[0] = one
        return to + 1
    to[0], to[1], to[2], to[3], to[4], to[5] = c'\\', c'u', c'0', c'0', HEX[one >> 4], HEX[one & 15]
    return to + 6


cdef class JsonText:
    """A text being written. Only the kernel's own modules write to it."""

    def __dealloc__(self):
        free(self.data)

    cdef char* _space(self, Py_ssize_t size) except NULL:
        """Return where to write so many more bytes; the writer adds to n what it wrote."""
        cdef Py_ssize_t room
        cdef char* data
        if self.n + size > self.room or self.data == NULL:  # also for nothing: NULL would be an error
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
        cdef Py_ssize_t size, i = 0, end, plain
        cdef const char* source = PyUnicode_AsUTF8AndSize(text, &size)
        cdef char* to
        cdef uint64_t found
        self._space(size + size // 16 + 16)[0] = c'"'
        self.n += 1
        while i < size:
            end = min(size, i + CHUNK)
            to = self._space(6 * (end - i) + 8)
            while i < end:
                if i + 8 <= end:
                    memcpy(to, source + i, 8)
                    found = special(source + i)
                    plain = 8 if found == 0 else lowest_bit(found) >> 3
                    to += plain
                    i += plain
                    if found == 0:
                        continue
                to = escape(to, <uint8_t>source[i])
                i += 1
            self.n = to - self.data
        self._space(1)[0] = c'"'
        self.n += 1
        return 0

    cdef int whole(self, int64_t value) except -1:
        """Write a whole number."""
        cdef char[20] digits
        cdef int n = 20
        cdef uint64_t rest = -<uint64_t>value if value < 0 else <uint64_t>value
        cdef char* to = self._space(21)
        if value < 0:
            to[0] = c'-'
            self.n += 1
        while True:
            n -= 1
            digits[n] = <char>(c'0' + rest % 10)
            rest //= 10
            if not rest:
                break
        memcpy(self.data + self.n, digits + n, 20 - n)
        self.n += 20 - n
        return 0

    cdef int places(self, double value) except -1:
        """Write a number rounded to four places, without zeros at its end but with one place at least."""
        cdef int64_t parts = <int64_t>rint(value * 10000)
        cdef int rest, size = 4
        cdef char* to = self._space(32)
        if parts < 0:
            to[0] = c'-'
            self.n += 1
            parts = -parts
        self.whole(parts // 10000)
        rest = <int>(parts % 10000)
        to = self.data + self.n
        to[0] = c'.'
        for size in range(4, 0, -1):
            to[size] = <char>(c'0' + rest % 10)
            rest //= 10
        size = 4
        while size > 1 and to[size] == c'0':
            size -= 1
        self.n += size + 1
        return 0

    cdef str text(self):
        """Return what was written."""
        return PyUnicode_DecodeUTF8(self.data, self.n, NULL)


def json_string(str text not None):
    """Return a text as a JSON string in UTF-8; raise UnicodeEncodeError for half of a surrogate pair."""
    cdef JsonText written = JsonText()
    written.quoted(text)
    return PyBytes_FromStringAndSize(written.data, written.n)
