# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Choose the best documents so far and the words that are typical of them. Driven by the matching, for feedback."""

from engram_core.kernel.matching cimport GRAMS, RELATED, WORDS, Cell

# Less than this is no difference: sums of the same parts differ by that much with the order of additions.
cdef double NEAR = 1e-6


cdef int best_documents(const Sheet* to, double grams, int wanted, uint32_t* best, double* weight) noexcept:
    """Find the best documents by words and 4-grams, the earlier of equal ones, and their scores; return how many."""
    cdef const Cell* cell
    cdef double score
    cdef float share = <float>grams, said, least = 0  # most documents are told from the best by this one comparison
    cdef uint32_t slot
    cdef int count = 0, i
    if wanted < 1:
        return 0
    for slot in range(1, to.used + 1):
        cell = &to.cells[slot]
        said = cell.sums[WORDS] + cell.sums[RELATED]
        if said <= 0 or said + share * cell.sums[GRAMS] < least:  # alike in spelling only says nothing of the matter
            continue
        score = <double>cell.sums[WORDS] + cell.sums[RELATED] + grams * cell.sums[GRAMS]
        if count == wanted and not before(score, cell.tail.doc, weight[count - 1], best[count - 1]):
            continue
        i = count if count < wanted else wanted - 1
        while i > 0 and before(score, cell.tail.doc, weight[i - 1], best[i - 1]):
            weight[i] = weight[i - 1]
            best[i] = best[i - 1]
            i -= 1
        weight[i] = score
        best[i] = cell.tail.doc
        count = min(count + 1, wanted)
        if count == wanted:
            least = <float>(weight[count - 1] - 2 * NEAR)
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
