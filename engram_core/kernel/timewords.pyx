# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Tell in one fast pass which words of time a text has, so that only those expressions are searched that it can hold.

Driven by recall's resolver of times, which would spend ten times as long on searching every text for everything.
"""

from cpython.unicode cimport PyUnicode_DATA, PyUnicode_GET_LENGTH, PyUnicode_KIND, PyUnicode_READ
from libc.stdint cimport uint32_t, uint64_t

from engram_core.kernel.growable cimport NONE, Table, enter, find, hashed, reserve

from engram_core.kernel import english

cdef extern from "Python.h":
    bint Py_UNICODE_ISDECIMAL(uint32_t c) noexcept

cdef struct TimeWord:
    uint64_t hash
    int hints

cdef enum:
    LONGEST_TIME_WORD = 9

cdef Table time_table
cdef TimeWord* time_words = NULL
cdef Py_ssize_t time_count = 0
cdef Py_ssize_t time_capacity = 0
cdef int english_figure = english.FIGURE
cdef int english_year = english.YEAR


cdef int learn_time_words() except -1:
    global time_count
    cdef bytes raw
    for hint, words in english.TIME_WORDS.items():
        for word in words.split():
            raw = word.encode("ascii")
            reserve(<void**>&time_words, &time_capacity, time_count + 1, sizeof(TimeWord))
            time_words[time_count] = TimeWord(hashed(raw, len(raw)), hint)
            enter(&time_table, time_words[time_count].hash, <uint32_t>time_count, time_words, sizeof(TimeWord))
            time_count += 1
    return 0


def time_hints(str text not None, Py_ssize_t limit=2000) -> int:
    """Return the groups of english.TIME_WORDS, and kinds of figures, that the text's beginning has words of."""
    cdef int kind = PyUnicode_KIND(text), hints = 0, figures = 0
    cdef void* data = PyUnicode_DATA(text)
    cdef Py_ssize_t i, size = 0, end = min(limit, PyUnicode_GET_LENGTH(text))
    cdef uint32_t c, number
    cdef char[LONGEST_TIME_WORD + 1] word
    if time_count == 0:
        learn_time_words()
    for i in range(end + 1):
        c = PyUnicode_READ(kind, data, i) if i < end else 0
        if (c | 0x20) >= 0x61 and (c | 0x20) <= 0x7A:
            if size <= LONGEST_TIME_WORD:
                word[size] = <char>(c | 0x20)
                size += 1
            figures = 0
            continue
        if 1 < size <= LONGEST_TIME_WORD:
            number = find(&time_table, hashed(word, size), time_words, sizeof(TimeWord))
            if number != NONE:
                hints |= time_words[number].hints
        size = 0
        if 0x30 <= c <= 0x39 or (c >= 0x80 and Py_UNICODE_ISDECIMAL(c)):
            figures += 1
            hints |= english_figure if figures < 4 else english_figure | english_year
        else:
            figures = 0
    return hints
