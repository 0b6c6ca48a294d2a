# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Tell what each part of the text score gives to one document.

Driven by the index, for the few documents that somebody asks about. The matching keeps no more than sums; what they are
made of is looked up again in the postings, with the worths that it left in the question.
"""

from engram_core.kernel.growable cimport NONE
from engram_core.kernel.lexicon cimport Lexicon, Places, Posting, Spellings, places, spell
from engram_core.kernel.matching cimport Norms, norms_of, occurrences, said, side_by_side, word_norm


cdef const Posting* found_in(Documents documents, uint32_t stem, Py_ssize_t doc) noexcept:
    """Return where the stem stands in the document, NULL where it does not."""
    cdef Lexicon lexicon = documents.lexicon
    cdef Places found = places(lexicon.words, &lexicon.stems[stem])
    cdef uint32_t low = 0, high = found.n, middle
    while low < high:
        middle = (low + high) // 2
        if found.at[middle].doc < <uint32_t>doc:
            low = middle + 1
        else:
            high = middle
    return &found.at[low] if low < found.n and found.at[low].doc == <uint32_t>doc else NULL


cdef bint holds(Documents documents, uint32_t stem, Py_ssize_t doc) noexcept:
    """Tell whether the document holds the stem."""
    return found_in(documents, stem, doc) != NULL


cdef Parts parts_of(Documents documents, Question question, const Recipe* recipe, const Scales* scales,
                    Py_ssize_t doc) noexcept:
    cdef Parts parts = Parts(0, 0, 0, 0)
    cdef Norms norms
    cdef const Posting* posting
    cdef Spellings first, second
    cdef uint32_t one, other, times
    cdef float weighed
    cdef int i, r
    norms_of(documents, recipe, &norms)
    for i in range(question.term_count):
        if question.terms[i].stem != NONE:
            posting = found_in(documents, question.terms[i].stem, doc)
            if posting != NULL:
                parts.words += question.terms[i].worth / (question.ideal or 1) * said(
                    posting, &norms, documents.word_sizes, documents.lengths)
    r = 0
    while r < question.related_count:
        i, weighed = r, 0
        while r < question.related_count and question.related[r].term == question.related[i].term:
            posting = found_in(documents, question.related[r].stem, doc)
            if posting != NULL:
                weighed += question.related[r].share * occurrences(posting, &norms)
            r += 1
        if weighed > 0:
            parts.related += question.related[i].worth * weighed / (
                weighed + word_norm(&norms, <uint32_t>doc, documents.word_sizes, documents.lengths))
    for i in range(question.pair_count if scales.pairs else 0):
        one, other = question.terms[question.pairs[i].first].stem, question.terms[question.pairs[i].second].stem
        if question.pairs[i].worth and holds(documents, one, doc) and holds(documents, other, doc):
            spell(documents.lexicon, one, &first)
            spell(documents.lexicon, other, &second)
            times = side_by_side(documents, <uint32_t>doc, &first, &second)
            parts.pairs += scales.pairs * question.pairs[i].worth * times / (times + recipe.k1)
    for i in range(question.typical_count):
        posting = found_in(documents, question.typical[i].stem, doc)
        if posting != NULL:
            parts.feedback += recipe.feedback * question.typical[i].worth * said(
                posting, &norms, documents.word_sizes, documents.lengths)
    return parts
