# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Whether a text holds any of a few words, found in one pass: most texts hold none, and are not looked at any closer.

Driven by the redaction of secrets.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memset

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef enum:
    MOST = 32


cdef class Hints:
    """At most 32 words of at least two bytes."""

    cdef list _words  # in UTF-8
    cdef uint32_t[256] _first, _second  # by a byte: the words, as bits, that have it there

    def __init__(self, words):
        self._words = [word.encode() for word in words]
        if len(self._words) > MOST or any(len(word) < 2 for word in self._words):
            raise ValueError("at most 32 words of at least two bytes")
        memset(self._first, 0, sizeof(self._first))
        memset(self._second, 0, sizeof(self._second))
        for at, word in enumerate(self._words):
            self._first[<uint8_t>word[0]] |= <uint32_t>1 << at
            self._second[<uint8_t>word[1]] |= <uint32_t>1 << at

    cdef bint _held(self, str text) except -1:
        cdef Py_ssize_t n, at
        cdef const uint8_t* s
        cdef uint32_t found
        cdef bytes data
        if text.isascii():
            s = <const uint8_t*>PyUnicode_AsUTF8AndSize(text, &n)
        else:
            data = text.encode("utf-8", "replace")  # not the cached form, which would stay as long as the text
            s, n = <const uint8_t*>data, len(data)
        for at in range(n - 1):
            found = self._first[s[at]] & self._second[s[at + 1]]
            if found and self._stands(s + at, n - at, found):
                return True
        return False

    cdef bint _stands(self, const uint8_t* s, Py_ssize_t n, uint32_t which) except -1:
        cdef Py_ssize_t at
        cdef bytes word
        for at in range(MOST):
            if which >> at & 1:
                word = self._words[at]
                if len(word) <= n and not memcmp(s, <const char*>word, len(word)):
                    return True
        return False

    def held(self, str text not None):
        """Tell whether a text holds one of the words."""
        return self._held(text)

    def held_in(self, dict value not None, frozenset names not None):
        """Tell whether one of these fields does: a text, the texts of a list, those of an object."""
        for name, one in value.items():
            if name in names:
                if type(one) is str:
                    if self._held(one):
                        return True
                elif type(one) is dict or type(one) is list:
                    for text in (<dict>one).values() if type(one) is dict else one:
                        if type(text) is str and self._held(text):
                            return True
        return False
