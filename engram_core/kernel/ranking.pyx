# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Choose the best documents so far and the words that are typical of them. Driven by the matching, for feedback."""

from engram_core.kernel.documents cimport ALIVE

cdef enum:
    PART = 64  # documents that are told from the best at once

# Less than this is no difference: sums of the same parts differ by that much with the order of additions.
cdef double NEAR = 1e-6


cdef int add_grams(float* base, const float* grams, const uint8_t* flags, Py_ssize_t n, float scale, int wanted,
                   uint32_t* best, double* weight) noexcept:
    """Add the 4-grams to what the words come to.

    Find the best documents by both on the way, the earlier of equal ones, and their scores; return how many.
    """
    cdef float[PART] sums
    cdef float least = 0 if wanted > 0 else 1e30  # most documents are told from the best by this one comparison
    cdef Py_ssize_t first = 0, i, size
    cdef int count = 0, at, some
    cdef uint32_t doc
    while first < n:
        size = min(<Py_ssize_t>PART, n - first)
        some = 0
        for i in range(size):
            sums[i] = base[first + i] + scale * grams[first + i]
            some |= (base[first + i] > 0) & (sums[i] >= least)  # alike in spelling only says nothing of the matter
        if some:
            for i in range(size):
                doc = <uint32_t>(first + i)
                if base[doc] <= 0 or sums[i] < least or not flags[doc] & ALIVE:
                    continue
                if count == wanted and not before(sums[i], doc, weight[count - 1], best[count - 1]):
                    continue
                at = count if count < wanted else wanted - 1
                while at > 0 and before(sums[i], doc, weight[at - 1], best[at - 1]):
                    weight[at] = weight[at - 1]
                    best[at] = best[at - 1]
                    at -= 1
                weight[at] = sums[i]
                best[at] = doc
                count = min(count + 1, wanted)
                if count == wanted:
                    least = <float>(weight[count - 1] - 2 * NEAR)
        for i in range(size):
            base[first + i] = sums[i]
        first += PART
    return count


cdef inline bint before(double score, uint32_t doc, double other, uint32_t beside) noexcept:
    return score > other + NEAR or (score > other - NEAR and doc < beside)


cdef int most_typical(Lexicon lexicon, const uint32_t* stems, const double* values, int found, int wanted,
                      uint32_t* chosen, double* value) except -1:
    """Choose the stems with the highest values, in the order of the alphabet where these are equal."""
    cdef int count = 0, k, i
    if wanted < 1:
        return 0
    for k in range(found):
        if count == wanted and not ahead(lexicon, values[k], stems[k], value[count - 1], chosen[count - 1]):
            continue
        i = count if count < wanted else wanted - 1
        while i > 0 and ahead(lexicon, values[k], stems[k], value[i - 1], chosen[i - 1]):
            value[i] = value[i - 1]
            chosen[i] = chosen[i - 1]
            i -= 1
        value[i] = values[k]
        chosen[i] = stems[k]
        count = min(count + 1, wanted)
    return count


cdef inline bint ahead(Lexicon lexicon, double value, uint32_t stem, double other, uint32_t beside) except -1:
    if abs(value - other) > NEAR * max(value, other):
        return value > other
    return lexicon.stem_text(stem) < lexicon.stem_text(beside)
