from libc.stdint cimport uint8_t, uint32_t

from engram_core.kernel.lexicon cimport Lexicon

cdef int add_grams(float* base, const float* grams, const uint8_t* flags, Py_ssize_t n, float scale, int wanted,
                   uint32_t* best, double* weight) noexcept
cdef int most_typical(Lexicon lexicon, const uint32_t* stems, const double* values, int found, int wanted,
                      uint32_t* chosen, double* value) except -1
