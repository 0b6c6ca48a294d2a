from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memset

from engram_core.kernel.documents cimport Documents, Lengths
from engram_core.kernel.lexicon cimport Gram, Word
from engram_core.kernel.question cimport Question, Relative
from engram_core.kernel.recipe cimport Recipe

cdef enum:  # columns
    WORDS = 0
    GRAMS = 1
    PAIRS = 2
    FEEDBACK = 3
    RELATED = 4

cdef union Tail:
    uint32_t doc  # while columns grow
    float base  # what they come to, with the assistant factor and the speaker

cdef struct Cell:  # what a document has of a question
    uint64_t mask  # the question's terms it holds
    float[5] sums  # by column
    Tail tail

# Cells lie side by side in the order in which their documents were met: a question that meets few touches little
# memory, and leaves in the caches what others keep there.
cdef struct Sheet:
    uint32_t* slots  # by document: the place of its cell, 0 for that of all documents that have nothing
    Cell* cells
    uint32_t used  # cells, that of nothing left out

cdef inline uint32_t slot_of(Sheet* sheet, Py_ssize_t doc) noexcept nogil:
    """Return the place of the document's cell, made ready when this is the first that is told of it."""
    cdef uint32_t slot = sheet.slots[doc]
    if not slot:
        sheet.used += 1
        slot = sheet.slots[doc] = sheet.used
        memset(&sheet.cells[slot], 0, sizeof(Cell))
        sheet.cells[slot].tail.doc = <uint32_t>doc
    return slot

cdef inline Cell* held(Sheet* sheet, Py_ssize_t doc) noexcept nogil:
    """Return the document's cell."""
    return &sheet.cells[slot_of(sheet, doc)]

cdef inline const Cell* cell_of(const Sheet* sheet, Py_ssize_t doc) noexcept nogil:
    """Return what a document has, -1 being one that has nothing."""
    return &sheet.cells[sheet.slots[doc]]

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
    float caption

cdef inline float word_norm(const Norms* norms, Documents documents, Py_ssize_t doc) noexcept:
    cdef const Lengths* lengths
    if documents.sizes[doc].words:
        return norms.words[documents.sizes[doc].words]
    lengths = &documents.lengths[doc]
    return norms.rest + norms.word_share * (
        <float>lengths.lead + norms.body * <float>lengths.body + norms.caption * <float>lengths.caption)

cdef inline float gram_norm(const Norms* norms, Documents documents, Py_ssize_t doc) noexcept:
    if documents.sizes[doc].grams:
        return norms.grams[documents.sizes[doc].grams]
    return norms.rest + norms.gram_share * <float>documents.lengths[doc].grams

cdef class Matching:
    cdef uint64_t* counts  # by cell, as what follows; all zero between the steps
    cdef uint32_t* tally  # the same for 4-grams
    cdef float* weighed  # the same for related words
    cdef uint32_t* touched  # cells with a count
    cdef Norms norms
    cdef Py_ssize_t touched_count
    cdef Py_ssize_t session_touched
    cdef int64_t read  # postings, for the newest question
    cdef uint32_t* session_counts
    cdef uint32_t* touched_sessions
    cdef double* session_scores
    cdef Py_ssize_t counts_capacity
    cdef Py_ssize_t tally_capacity
    cdef Py_ssize_t weighed_capacity
    cdef Py_ssize_t touched_capacity
    cdef Py_ssize_t session_capacity
    cdef Py_ssize_t touched_sessions_capacity
    cdef Py_ssize_t session_scores_capacity
    cdef uint32_t* stems  # candidates of the feedback
    cdef double* values
    cdef Py_ssize_t stem_capacity
    cdef Py_ssize_t value_capacity

    cdef int match(self, Documents documents, Question question, const Recipe* recipe, Sheet* to,
                   float* sessions, Scales* scales, list expanded) except -1
    cdef int64_t nbytes(self) noexcept

    cdef int _room(self, Documents documents) except -1
    cdef void _norms(self, Documents documents, const Recipe* recipe) noexcept
    cdef int _words(self, Documents documents, Question question, const Recipe* recipe, Sheet* to,
                    float* sessions) except -1
    cdef void _sessions(self, Documents documents, const Recipe* recipe, double weight) noexcept
    cdef bint _common(self, Documents documents, const Gram* gram) noexcept
    cdef void _related(self, Documents documents, Question question, const Recipe* recipe, Sheet* to) noexcept
    cdef void _weigh(self, Documents documents, const Relative* relative, const Recipe* recipe, Sheet* to) noexcept
    cdef double _grams(self, Documents documents, Question question, const Recipe* recipe, Sheet* to) noexcept
    cdef double _pairs(self, Documents documents, Question question, const Recipe* recipe, Sheet* to) noexcept
    cdef void _neighbours(self, Documents documents, const Word* word, uint32_t first, uint32_t second,
                          uint64_t both, Sheet* to) noexcept
    cdef int _feedback(self, Documents documents, Question question, const Recipe* recipe, Sheet* to,
                       double grams, list expanded) except -1
    cdef int _typical(self, Documents documents, const uint32_t* best, const double* weight, int count) except -1
    cdef void _collect(self, Documents documents, uint32_t stem, Sheet* to) noexcept
    cdef void _alone(self, Documents documents, const Word* word, const Recipe* recipe, Sheet* to, int column,
                     float worth, uint64_t bit, bint sessions) noexcept
    cdef void _count_session(self, Documents documents, uint32_t doc, uint32_t count) noexcept
