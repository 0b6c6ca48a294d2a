from libc.stdint cimport uint32_t

from engram_core.kernel.lexicon cimport Lexicon
from engram_core.kernel.matching cimport Sheet

cdef int best_documents(const Sheet* to, double grams, int wanted, uint32_t* best, double* weight) noexcept
cdef int most_typical(Lexicon lexicon, const uint32_t* stems, const double* values, int found, int wanted,
                      uint32_t* chosen, double* value) except -1
