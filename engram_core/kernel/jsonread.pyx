# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""JSON read strictly and at once: no key twice in an object, no NaN, nothing nested deeper than allowed.

Driven by the reader of requests. What is wrong with a text is not said here, only that it is: its caller looks again
with Python's own reader, and a test holds the values of both against each other.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_SetItem
from cpython.long cimport PyLong_FromLongLong
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp

cdef extern from "Python.h":
    object PyLong_FromString(const char* text, char** end, int base)
    Py_ssize_t PyDict_GET_SIZE(object table)
    double PyOS_string_to_double(const char* text, char** end, object overflow) except? -1


cdef enum:
    DIGITS = 18  # of a number that fits 64 bits in any case
    NUMBER = 400  # characters of the longest number read here

class Unread(ValueError):
    """The text is not JSON, or not as strict as asked, or holds what is left to Python's reader."""


cdef class _Reader:
    cdef const char* at
    cdef const char* end
    cdef int depth

    cdef int blanks(self) except -1:
        while self.at < self.end and (self.at[0] == c" " or self.at[0] == c"\n" or self.at[0] == c"\r"
                                      or self.at[0] == c"\t"):
            self.at += 1
        if self.at == self.end:
            raise Unread()
        return 0

    cdef object value(self):
        cdef char one
        self.blanks()
        one = self.at[0]
        if one == c'"':
            return self.text()
        if one == c"{":
            return self.table()
        if one == c"[":
            return self.row()
        if one == c"-" or c"0" <= one <= c"9":
            return self.number()
        if self.word("true", 4):
            return True
        if self.word("false", 5):
            return False
        if self.word("null", 4):
            return None
        raise Unread()

    cdef bint word(self, const char* expected, Py_ssize_t size) noexcept:
        if self.end - self.at < size or memcmp(self.at, expected, size):
            return False
        self.at += size
        return True

    cdef int deeper(self) except -1:
        self.at += 1
        self.depth -= 1
        if self.depth < 0:
            raise Unread()
        return self.blanks()

    cdef object table(self):
        cdef dict found = {}
        cdef Py_ssize_t count = 0
        self.deeper()
        if self.at[0] == c"}":
            self.at += 1
        else:
            while True:
                if self.at[0] != c'"':
                    raise Unread()
                key = self.text()
                self.blanks()
                if self.at[0] != c":":
                    raise Unread()
                self.at += 1
                PyDict_SetItem(found, key, self.value())
                count += 1
                self.blanks()
                if self.at[0] == c",":
                    self.at += 1
                    self.blanks()
                elif self.at[0] == c"}":
                    self.at += 1
                    break
                else:
                    raise Unread()
            if PyDict_GET_SIZE(found) != count:
                raise Unread()
        self.depth += 1
        return found

    cdef object row(self):
        cdef list found = []
        self.deeper()
        if self.at[0] == c"]":
            self.at += 1
        else:
            while True:
                found.append(self.value())
                self.blanks()
                if self.at[0] == c",":
                    self.at += 1
                elif self.at[0] == c"]":
                    self.at += 1
                    break
                else:
                    raise Unread()
        self.depth += 1
        return found

    cdef object number(self):
        cdef const char* start = self.at
        cdef const char* digits
        cdef long long whole = 0
        cdef bint minus = self.at[0] == c"-", real = False
        cdef char[NUMBER + 1] copy
        cdef Py_ssize_t size, at
        if minus:
            self.at += 1
        digits = self.at
        if not self.run():
            raise Unread()
        size = self.at - digits
        if size > 1 and digits[0] == c"0":
            raise Unread()
        if self.at < self.end and self.at[0] == c".":
            self.at += 1
            real = True
            if not self.run():
                raise Unread()
        if self.at < self.end and (self.at[0] == c"e" or self.at[0] == c"E"):
            self.at += 1
            real = True
            if self.at < self.end and (self.at[0] == c"+" or self.at[0] == c"-"):
                self.at += 1
            if not self.run():
                raise Unread()
        if not real and size <= DIGITS:
            while digits < self.at:
                whole = 10 * whole + (digits[0] - c"0")
                digits += 1
            return PyLong_FromLongLong(-whole if minus else whole)
        size = self.at - start
        if size > NUMBER:
            raise Unread()
        for at in range(size):
            copy[at] = start[at]
        copy[size] = 0
        if real:
            return self.real(copy)
        return PyLong_FromString(copy, NULL, 10)

    cdef object real(self, const char* text):
        cdef double value = PyOS_string_to_double(text, NULL, OverflowError)
        return value

    cdef bint run(self) noexcept:
        """Go past digits and tell whether there were any."""
        cdef const char* start = self.at
        while self.at < self.end and c"0" <= self.at[0] <= c"9":
            self.at += 1
        return self.at > start

    cdef str text(self):
        cdef const char* start
        cdef uint8_t one
        self.at += 1
        start = self.at
        while self.at < self.end:
            one = <uint8_t>self.at[0]
            if one == c'"':
                self.at += 1
                return PyUnicode_DecodeUTF8(start, self.at - 1 - start, NULL)
            if one == c"\\":
                return self.escaped(start)
            if one < 0x20:
                break
            self.at += 1
        raise Unread()

    cdef str escaped(self, const char* start):
        """Read a text that has an escape; without them it is never longer."""
        cdef Py_ssize_t n = self.at - start, at
        cdef const char* last = self.at
        cdef char* copy
        cdef uint8_t one
        cdef uint32_t code
        while last < self.end and last[0] != c'"':
            last += 2 if last[0] == c"\\" else 1
        copy = <char*>PyMem_Malloc(last - start + 2)
        if copy == NULL:
            raise MemoryError()
        try:
            for at in range(n):
                copy[at] = start[at]
            while self.at < self.end:
                one = <uint8_t>self.at[0]
                self.at += 1
                if one == c'"':
                    return PyUnicode_DecodeUTF8(copy, n, NULL)
                if one < 0x20:
                    break
                if one != c"\\":
                    copy[n] = <char>one
                    n += 1
                    continue
                if self.at == self.end:
                    break
                one = <uint8_t>self.at[0]
                self.at += 1
                if one == c"u":
                    code = self.code()
                    if 0xD800 <= code < 0xDC00 and self.word("\\u", 2):
                        code = 0x10000 + ((code - 0xD800) << 10) + self.low()
                    n += utf8(code, copy + n)
                    continue
                for at in range(8):
                    if ESCAPES[at] == <char>one:
                        copy[n] = MEANT[at]
                        n += 1
                        break
                else:
                    break
        finally:
            PyMem_Free(copy)
        raise Unread()

    cdef uint32_t low(self) except 0xFFFFFFFF:
        cdef uint32_t code = self.code()
        if not 0xDC00 <= code < 0xE000:
            raise Unread()
        return code - 0xDC00

    cdef uint32_t code(self) except 0xFFFFFFFF:
        cdef uint32_t found = 0
        cdef uint8_t one
        cdef Py_ssize_t at
        if self.end - self.at < 4:
            raise Unread()
        for at in range(4):
            one = <uint8_t>self.at[at]
            if c"0" <= one <= c"9":
                found = found << 4 | (one - c"0")
            elif c"a" <= (one | 0x20) <= c"f":
                found = found << 4 | ((one | 0x20) - c"a" + 10)
            else:
                raise Unread()
        self.at += 4
        return found


cdef const char* ESCAPES = b'"\\/bfnrt'
cdef const char* MEANT = b'"\\/\b\f\n\r\t'


cdef Py_ssize_t utf8(uint32_t code, char* to) except -1:
    """Write a character and return its bytes; half of a surrogate pair is none."""
    if code < 0x80:
        to[0] = <char>code
        return 1
    if code < 0x800:
        to[0], to[1] = <char>(0xC0 | code >> 6), <char>(0x80 | code & 0x3F)
        return 2
    if code < 0x10000:
        if 0xD800 <= code < 0xE000:
            raise Unread()
        to[0], to[1], to[2] = <char>(0xE0 | code >> 12), <char>(0x80 | code >> 6 & 0x3F), <char>(0x80 | code & 0x3F)
        return 3
    to[0], to[1] = <char>(0xF0 | code >> 18), <char>(0x80 | code >> 12 & 0x3F)
    to[2], to[3] = <char>(0x80 | code >> 6 & 0x3F), <char>(0x80 | code & 0x3F)
    return 4


def read(bytes text not None, int depth):
    """Return the value of a JSON text in UTF-8, nested at most so deep; Unread or another ValueError where it is none.

    A number that is no finite one is OverflowError or Unread.
    """
    cdef _Reader reader = _Reader()
    cdef object found
    reader.at = PyBytes_AS_STRING(text)
    reader.end = reader.at + PyBytes_GET_SIZE(text)
    reader.depth = depth
    found = reader.value()
    while reader.at < reader.end:
        if reader.at[0] not in b" \n\r\t":
            raise Unread()
        reader.at += 1
    return found
