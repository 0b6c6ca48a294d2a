# cython: language_level=3, boundscheck=False, wraparound=False
"""The values of a statement's parameters as a server takes them: texts beside it, or literals inside of it.

Driven by the drivers of databases on a server. A value is a text, a whole number or None; anything else is TypeError.
A text with half of a surrogate pair is UnicodeEncodeError.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8String
from libc.stdint cimport int64_t
from libc.string cimport memchr

from engram_core.kernel.jsontext cimport JsonText

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    int64_t PyLong_AsLongLongAndOverflow(object number, int* overflow) except? -1


class HasNul(ValueError):
    """A text with a NUL, where texts end at one."""


cdef _refuse(value):
    raise TypeError(f"a value of {type(value).__name__} has no place in a statement")


def parameters(list rows not None, tuple names not None):
    """Return the values with these names of each row in UTF-8, one after the other; HasNul for a text with a NUL."""
    cdef list found = []
    cdef bytes text
    for row in rows:
        for name in names:
            value = row[name]
            if type(value) is str:
                text = PyUnicode_AsUTF8String(value)
                if memchr(PyBytes_AS_STRING(text), 0, PyBytes_GET_SIZE(text)) != NULL:
                    raise HasNul("a text holds a NUL")
                found.append(text)
            elif type(value) is int:
                found.append(b"%d" % value)
            elif value is None:
                found.append(None)
            else:
                _refuse(value)
    return found


def filled(tuple pieces not None, tuple names not None, row not None):
    """Return a statement in UTF-8: its pieces, and between them the values with these names as literals.

    Quotes, backslashes and NULs of a text are escaped by a backslash.
    """
    cdef JsonText written = JsonText()
    cdef Py_ssize_t at, size
    cdef int64_t number
    cdef int overflow
    cdef const char* source
    cdef const char* end
    cdef char* to
    for at in range(len(names)):
        written.raw(<str?>pieces[at])
        value = row[names[at]]
        if type(value) is str:
            source = PyUnicode_AsUTF8AndSize(value, &size)
            end = source + size
            to = written._space(2 * size + 2)
            to[0] = c"'"
            to += 1
            while source < end:
                if source[0] == c"\\" or source[0] == c"'":
                    to[0] = c"\\"
                    to += 1
                elif source[0] == 0:
                    to[0], to[1] = c"\\", c"0"
                    to += 2
                    source += 1
                    continue
                to[0] = source[0]
                to += 1
                source += 1
            to[0] = c"'"
            written.n = to + 1 - written.data
        elif type(value) is int:
            number = PyLong_AsLongLongAndOverflow(value, &overflow)
            if overflow:
                written.raw(str(value))
            else:
                written.whole(number)
        elif value is None:
            written.raw("NULL")
        else:
            _refuse(value)
    written.raw(<str?>pieces[len(names)])
    return PyBytes_FromStringAndSize(written.data, written.n)
