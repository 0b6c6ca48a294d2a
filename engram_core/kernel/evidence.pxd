from libc.stdint cimport uint32_t

from engram_core.kernel.documents cimport Documents
from engram_core.kernel.matching cimport Scales
from engram_core.kernel.question cimport Question
from engram_core.kernel.recipe cimport Recipe

cdef struct Parts:  # of a document's base, before it is weighed by who speaks
    double words
    double related
    double pairs
    double feedback

cdef Parts parts_of(Documents documents, Question question, const Recipe* recipe, const Scales* scales,
                    Py_ssize_t doc) noexcept
cdef bint holds(Documents documents, uint32_t stem, Py_ssize_t doc) noexcept
