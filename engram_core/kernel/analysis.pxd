from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum Kind:
    WORD = 0      # a run of letters, digits and marks
    UNSPACED = 1  # two neighbours, or one alone, of a script written without spaces
    PART = 2      # a piece of a camel-case word, besides the word
    WHOLE = 3     # words joined by punctuation, besides the words

cdef enum Mark:  # what a word tells besides its meaning
    FIRST_PERSON = 1
    NUMBER = 2

cdef struct Token:
    uint64_t hash
    uint32_t offset  # of its bytes, lower-cased UTF-8, in Tokens.text
    uint16_t size
    uint8_t kind
    uint8_t after_space  # exactly one white space stands between it and the word before
    uint32_t start  # in the scanned text
    uint32_t end

cdef class Tokens:
    cdef Token* tokens
    cdef Py_ssize_t n
    cdef Py_ssize_t capacity
    cdef char* text
    cdef Py_ssize_t size
    cdef Py_ssize_t text_capacity

    cdef int clear(self) except -1
    cdef int scan(self, str text, Py_ssize_t start, Py_ssize_t end, bint elisions) except -1
    cdef str word(self, Py_ssize_t i)

    cdef int kind
    cdef void* data
    cdef Py_ssize_t end
    cdef Py_ssize_t tail  # where the last word ended
    cdef bint elisions
    cdef bint was_lower
    cdef int length
    cdef int cuts
    cdef int joined
    cdef int[12] cut
    cdef Py_ssize_t[16] chain

    cdef Py_ssize_t _word(self, Py_ssize_t begin, int k) except -1
    cdef int _letter(self, Py_ssize_t i, int k, Py_ssize_t offset) except -1
    cdef bint _capital(self, Py_ssize_t i) except -1
    cdef Py_ssize_t _suffix(self, Py_ssize_t i) except -1
    cdef Py_ssize_t _run(self, Py_ssize_t i) except -1
    cdef int _parts(self, Py_ssize_t word) except -1
    cdef int _whole(self) except -1
    cdef int _token(self, int kind, Py_ssize_t offset, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int _put(self, uint32_t c) except -1

cdef class Language:
    cdef readonly str name
    cdef readonly bint elisions  # an apostrophe ends a word: l'amour, dell'arte
    cdef readonly frozenset stop
    cdef object _stem
    cdef dict _cues
    cdef dict _known

    cdef tuple describe(self, str word, int kind)
    cdef tuple _describe(self, str word)

cdef Language language(str name)


cdef bint instructs(uint32_t history) noexcept nogil
cdef Py_ssize_t lead_end(str text, Py_ssize_t limit) except -1
cdef bint asks(str text) except -1
