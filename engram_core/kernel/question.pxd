from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from engram_core.kernel.documents cimport Documents

cdef enum:
    MOST_TERMS = 64  # bits of a mask
    MOST_GRAMS = 256
    MOST_PAIRS = 64
    MOST_RELATED = 128
    MOST_EXPANDED = 64

cdef struct Term:
    uint32_t stem  # NONE when no memory ever held it
    float weight  # 0 for a speaker's name: known by the speaker, not by the word
    float worth  # weight times idf, set when the words are matched

cdef struct Pair:
    uint8_t first  # terms
    uint8_t second
    double worth  # idf, set when pairs are matched

cdef struct Relative:  # of a term: a stem that means nearly the same
    uint32_t stem
    float share  # of an occurrence of the term itself
    int term
    float worth  # of all that is related to the term, set when they are matched

cdef struct Typical:  # a stem of the best texts
    uint32_t stem
    float worth  # its share of the feedback

cdef class Question:
    cdef Term[MOST_TERMS] terms
    cdef Pair[MOST_PAIRS] pairs
    cdef uint32_t[MOST_GRAMS] grams
    cdef uint64_t[MOST_GRAMS] missing  # hashes of the 4-grams that no memory ever held
    cdef Relative[MOST_RELATED] related  # by term
    cdef int related_count
    cdef Typical[MOST_EXPANDED] typical  # most telling first, set when the feedback is matched
    cdef int typical_count
    cdef int term_count
    cdef int pair_count
    cdef int gram_count
    cdef int missing_count
    cdef double ideal  # the sum of the weighted idf, set when the words are matched
    cdef int32_t speaker  # the one named, or -1
    cdef bint asks_when
    cdef bint asks_number
    cdef bint asks_assistant
    cdef dict numbers  # of the terms, by stem
    cdef readonly list typed  # the word of each term as it stands in the question

    cdef int _words(self, Documents documents, Names names, str text) except -1
    cdef int _term(self, Documents documents, str stem, str typed, float weight) except -2
    cdef int _relate(self, Documents documents, float rare) except -1
    cdef int _pair(self, int first, int second) except -1
    cdef int _grams(self, Documents documents, str head) except -1
    cdef void _missing(self, uint64_t hash) noexcept

cdef class Names:
    cdef Py_ssize_t version
    cdef dict speakers  # by the words of the name, a space between them
    cdef set stems
    cdef int longest

    cdef int refresh(self, Documents documents) except -1
    cdef int32_t named(self, list words) except? -2
