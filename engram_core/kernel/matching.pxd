from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from engram_core.kernel.documents cimport Documents, Lengths, Listing
from engram_core.kernel.lexicon cimport Gram, Places, Posting, Spellings, Stem
from engram_core.kernel.question cimport Question, Relative
from engram_core.kernel.recipe cimport Recipe

cdef struct Sheet:  # what documents have of a question, by document
    float* base  # all of it in one sum; before the first stands that of no turn, which is 0
    float* grams  # the 4-grams' part of that, not scaled
    uint8_t* terms  # which of the first eight terms it holds; those of the next eight stand a stride behind
    Py_ssize_t stride

cdef struct Scales:  # what the raw sums are multiplied by
    double grams
    double pairs

cdef struct Norms:  # what a document pays for its length, added to its counts before they are divided by themselves
    float[256] words  # by size
    float[256] grams
    float rest  # and of those with no size: this, and a share for every word or 4-gram
    float word_share
    float gram_share
    float body

cdef struct Hit:  # a pair found in a document
    uint32_t doc
    float value

cdef inline float occurrences(const Posting* posting, const Norms* norms) noexcept nogil:
    """Return how often a stem stands in a document, by what its fields count."""
    cdef float times = posting.lead
    if posting.body:
        times += norms.body * <float>posting.body
    return times

cdef inline float said(const Posting* posting, const Norms* norms, const uint8_t* sizes, const Lengths* lengths) noexcept nogil:
    """Return what a stem comes to in a document, of the 1 that it would if it were all the document said."""
    cdef float times = occurrences(posting, norms)
    if times <= 0:
        return 0
    return times / (times + word_norm(norms, posting.doc, sizes, lengths))

cdef inline float word_norm(const Norms* norms, uint32_t doc, const uint8_t* sizes, const Lengths* lengths) noexcept nogil:
    cdef uint8_t size = sizes[doc]
    if size:
        return norms.words[size]
    return norms.rest + norms.word_share * (<float>lengths[doc].lead + norms.body * <float>lengths[doc].body)

cdef inline float gram_norm(const Norms* norms, uint32_t doc, const uint8_t* sizes, const Lengths* lengths) noexcept nogil:
    cdef uint8_t size = sizes[doc]
    if size:
        return norms.grams[size]
    return norms.rest + norms.gram_share * <float>lengths[doc].grams

cdef void norms_of(Documents documents, const Recipe* recipe, Norms* norms) noexcept
cdef uint32_t side_by_side(Documents documents, uint32_t doc, const Spellings* firsts, const Spellings* seconds) noexcept

cdef class Matching:
    cdef uint8_t* tally  # occurrences of a 4-gram, by document; they saturate, and are zero between the steps
    cdef float* weighed  # the same for related words
    cdef uint32_t* touched  # documents with a count
    cdef Hit* hits
    cdef Norms norms
    cdef Py_ssize_t touched_count
    cdef Py_ssize_t hit_count
    cdef Py_ssize_t session_touched
    cdef int64_t read  # postings, for the newest question
    cdef uint32_t* session_counts
    cdef uint32_t* touched_sessions
    cdef double* session_scores
    cdef Py_ssize_t tally_capacity
    cdef Py_ssize_t weighed_capacity
    cdef Py_ssize_t touched_capacity
    cdef Py_ssize_t hit_capacity
    cdef Py_ssize_t session_capacity
    cdef Py_ssize_t touched_sessions_capacity
    cdef Py_ssize_t session_scores_capacity
    cdef uint32_t* stems  # candidates of the feedback
    cdef double* values
    cdef Py_ssize_t stem_capacity
    cdef Py_ssize_t value_capacity

    cdef int match(self, Documents documents, Question question, const Recipe* recipe, Sheet* to,
                   float* sessions, Scales* scales) except -1
    cdef int64_t nbytes(self) noexcept

    cdef int _room(self, Documents documents) except -1
    cdef int _words(self, Documents documents, Question question, const Recipe* recipe, Sheet* to,
                    float* sessions) except -1
    cdef void _hold(self, Documents documents, Places found, float worth, Sheet* to, int term,
                    bint sessions) noexcept
    cdef void _say(self, Documents documents, Places found, float worth, Sheet* to) noexcept
    cdef void _sessions(self, Documents documents, const Recipe* recipe, double weight) noexcept
    cdef bint _common(self, Documents documents, const Gram* gram) noexcept
    cdef void _related(self, Documents documents, Question question, const Recipe* recipe, Sheet* to) noexcept
    cdef void _weigh(self, Documents documents, const Relative* relative) noexcept
    cdef double _grams(self, Documents documents, Question question, Sheet* to) noexcept
    cdef double _pairs(self, Documents documents, Question question, const Recipe* recipe, Sheet* to) except -1
    cdef int _neighbours(self, Documents documents, uint32_t first, uint32_t second, const uint8_t* firsts,
                         uint8_t first_bit, const uint8_t* seconds, uint8_t second_bit) except -1
    cdef int _feedback(self, Documents documents, Question question, const Recipe* recipe, Sheet* to,
                       const uint32_t* best, const double* weight, int count) except -1
    cdef int _typical(self, Documents documents, const uint32_t* best, const double* weight, int count) except -1
