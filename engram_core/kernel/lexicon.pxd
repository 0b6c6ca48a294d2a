from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from engram_core.kernel.analysis cimport Language, Tokens
from engram_core.kernel.growable cimport NONE, Table

cdef enum Field:
    LEAD = 0
    BODY = 1

cdef struct Posting:  # how often a word stands in a document, per field; the counts saturate
    uint32_t doc
    uint16_t lead
    uint16_t body

cdef union Postings:
    Posting one
    Posting* many

cdef struct Word:  # a word as written, lower-cased
    uint64_t hash
    uint32_t stem  # NONE for a stop word
    uint32_t next  # the next word of the same stem
    uint32_t n  # postings, in the order of documents
    uint8_t marks
    uint8_t cue
    uint8_t grams  # how many 4-grams it has, doubles included
    uint8_t spare
    Postings postings

cdef struct Stem:
    uint64_t hash
    uint32_t documents  # live ones that hold it
    uint32_t first  # word
    uint32_t seen  # the last operation that met it
    uint32_t place  # where that operation put it
    uint32_t offset  # of its text
    uint32_t size
    uint32_t n  # postings, those of all its words in one; kept only where it is written in more than one way
    Postings postings

cdef struct Gram:
    uint64_t hash
    uint32_t* words  # that hold it
    uint32_t n

cdef struct Spellings:  # the words of a stem, which are told without a look at the lexicon
    uint32_t stem
    uint32_t[8] words
    int count  # -1: there are more

cdef struct Places:  # where something stands
    const Posting* at
    uint32_t n

cdef inline const Posting* postings(const Word* word) noexcept nogil:
    return &word.postings.one if word.n < 2 else word.postings.many

cdef inline Places places(const Word* words, const Stem* stem) noexcept nogil:
    """Return the postings of a stem, one for every document."""
    cdef const Word* word = &words[stem.first]
    if word.next == NONE:
        return Places(postings(word), word.n)
    if stem.n < 2:
        return Places(&stem.postings.one, stem.n)
    return Places(stem.postings.many, stem.n)

cdef class Lexicon:
    cdef readonly Language language
    cdef Word* words
    cdef Stem* stems
    cdef Gram* grams
    cdef Py_ssize_t word_count
    cdef Py_ssize_t stem_count
    cdef Py_ssize_t gram_count
    cdef Py_ssize_t word_capacity
    cdef Py_ssize_t stem_capacity
    cdef Py_ssize_t gram_capacity
    cdef Table word_table
    cdef Table stem_table
    cdef Table gram_table
    cdef char* text  # of the stems, end to end
    cdef Py_ssize_t text_size
    cdef Py_ssize_t text_capacity
    cdef uint64_t* cut  # hashes of the 4-grams of the word cut last
    cdef Py_ssize_t cut_count
    cdef Py_ssize_t cut_capacity
    cdef int64_t posting_bytes
    cdef int64_t gram_bytes

    cdef uint32_t intern(self, Tokens tokens, Py_ssize_t i) except? 0
    cdef uint32_t stem(self, str text) except? 0
    cdef bint holds(self, str text) except -1
    cdef str stem_text(self, uint32_t stem)
    cdef int cut_grams(self, str head) except -1
    cdef uint32_t gram(self, uint64_t hash) noexcept
    cdef int post(self, uint32_t word, uint32_t doc, int field) except -1
    cdef int purge(self, const uint8_t* flags, uint8_t alive) except -1
    cdef int64_t nbytes(self) noexcept

    cdef uint32_t _enter_stem(self, str text) except? 0
    cdef int _share(self, uint32_t word, uint32_t stem) except -1
    cdef int _count(self, uint32_t* n, Postings* to, uint32_t doc, int field) except -1
    cdef void _drop(self, uint32_t* n, Postings* list, const uint8_t* flags, uint8_t alive) noexcept
    cdef int _enter_gram(self, uint64_t hash, uint32_t word) except -1


cdef inline void spell(Lexicon lexicon, uint32_t stem, Spellings* to) noexcept:
    """Gather the words of a stem."""
    cdef uint32_t word = lexicon.stems[stem].first
    to.stem, to.count = stem, 0
    while word != NONE:
        if to.count == 8:
            to.count = -1
            return
        to.words[to.count] = word
        to.count += 1
        word = lexicon.words[word].next


cdef inline bint spelled(const Word* words, const Spellings* spellings, uint32_t word) noexcept:
    """Tell whether the word is one of them."""
    cdef int i
    if spellings.count < 0:
        return words[word].stem == spellings.stem
    for i in range(spellings.count):
        if spellings.words[i] == word:
            return True
    return False
