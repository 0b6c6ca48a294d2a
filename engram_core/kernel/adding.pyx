# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Add up what every document has: its own words, the turns around it, its session and cues.

Driven by the index, after the matching. Documents are added up a tile at a time, in steps that each do one thing to all
of the tile and decide nothing, so that the compiler makes several documents of one step. The turns around most of a
tile's documents stand in the same pattern, so that step reads none; the others, the odd ones, are done over one by one.
"""

from libc.stdint cimport uint16_t, uint64_t
from libc.string cimport memcpy, memset

from engram_core.kernel.documents cimport ALIVE

cdef extern from *:
    """
    static inline float one_at_most(float value) { return value < 1 ? value : 1; }
    """
    float one_at_most(float value) noexcept nogil  # not as Cython puts it, which is a branch

cdef enum:
    TILE = 1024  # documents that are added up together

cdef struct Shares:  # what the turns around a turn give, by its pattern
    Beside around
    float before
    float second_before
    float after
    float second_after

cdef struct Tile:  # by document
    float[TILE] sum
    float[TILE] session
    uint8_t[TILE] differs  # whether its turns around stand in another pattern
    uint16_t[TILE] odd  # the documents that differ
    int odd_count


cdef void add_up(Documents documents, Sheet* sheet, Question question, const Weights* weights, const float* sessions,
                 float* data) noexcept:
    """Bring the sheet's sums to what they are within their document, and write every document's score."""
    cdef Tile tile
    cdef Shares[FAR] shares
    cdef Py_ssize_t first = 0, count, doc
    cdef int i, usual = 0
    weigh(documents, sheet.base, weights)
    for i in range(documents.pattern_count):
        shares[i] = shares_of(documents.patterns[i], weights)
    tile.odd_count = TILE
    while first < documents.n:
        count = min(<Py_ssize_t>TILE, documents.n - first)
        if tile.odd_count > count // 2:
            usual = documents.beside[first + count // 2]
            if usual == FAR:
                usual = 0
        sort_out(documents, &tile, usual, first, count)
        add_context(documents, sheet, weights, &tile, shares, usual, first, count)
        add_session(documents, weights, &tile, sessions, first, count)
        finish(documents, weights, &tile, data, first, count)
        first += TILE
    for first in range(documents.instruction_count):
        doc = documents.instructions[first]
        if documents.flags[doc] & ALIVE:
            data[doc] += weights.instruction * share_around(documents, sheet, question, doc)


cdef void weigh(Documents documents, float* base, const Weights* weights) noexcept:
    """Weigh the sums by who speaks."""
    cdef const uint8_t* flags = documents.flags
    cdef const int32_t* speaker = documents.speaker
    cdef float asked = weights.asked, worth = weights.speaker
    cdef uint8_t halved = weights.halved
    cdef int32_t named = weights.named
    cdef Py_ssize_t doc
    if halved:
        for doc in range(documents.n):
            base[doc] = base[doc] * asked if flags[doc] & halved else base[doc]
    if named >= 0:
        for doc in range(documents.n):
            base[doc] += worth * one_at_most(4 * base[doc]) if speaker[doc] == named else 0


cdef void sort_out(Documents documents, Tile* tile, int usual, Py_ssize_t first, Py_ssize_t count) noexcept:
    """List the odd documents."""
    cdef const uint8_t* beside = documents.beside + first
    cdef uint8_t common = <uint8_t>usual
    cdef uint64_t eight
    cdef Py_ssize_t i, k
    cdef int odd = 0
    for i in range(count):
        tile.differs[i] = beside[i] != common
    memset(&tile.differs[count], 0, TILE - count)
    for i in range(0, count, 8):
        memcpy(&eight, &tile.differs[i], 8)
        if eight:
            for k in range(i, i + 8):
                tile.odd[odd] = <uint16_t>k
                odd += tile.differs[k]
    tile.odd_count = odd


cdef void add_context(Documents documents, const Sheet* sheet, const Weights* weights, Tile* tile,
                      const Shares* shares, int usual, Py_ssize_t first, Py_ssize_t count) noexcept:
    """Add to what documents have their shares of the turns around them."""
    cdef const float* base = sheet.base + first
    cdef const uint8_t* flags = documents.flags + first
    cdef const Shares* share = &shares[usual]
    cdef const float* before = base + share.around.before
    cdef const float* second_before = base + share.around.second_before
    cdef const float* after = base + share.around.after
    cdef const float* second_after = base + share.around.second_after
    cdef float first_share = share.before, second_share = share.second_before
    cdef float third_share = share.after, fourth_share = share.second_after
    cdef Py_ssize_t i
    cdef int k
    # Where the last of the tile have no turns at the usual distance, what lies there is padding and is done over.
    for i in range(count):
        tile.sum[i] = (first_share * before[i] + second_share * second_before[i]
                       + third_share * after[i] + fourth_share * second_after[i])
    for k in range(tile.odd_count):
        i = tile.odd[k]
        if documents.beside[first + i] == FAR:
            tile.sum[i] = around_of(documents, sheet, weights, first + i)
            continue
        share = &shares[documents.beside[first + i]]
        tile.sum[i] = (share.before * base[i + share.around.before]
                       + share.second_before * base[i + share.around.second_before]
                       + share.after * base[i + share.around.after]
                       + share.second_after * base[i + share.around.second_after])
    if weights.halved:
        for i in range(count):
            tile.sum[i] *= weights.asked if flags[i] & weights.halved else 1
    for i in range(count):
        tile.sum[i] += base[i]


cdef void add_session(Documents documents, const Weights* weights, Tile* tile, const float* sessions,
                      Py_ssize_t first, Py_ssize_t count) noexcept:
    cdef const int32_t* session = documents.session + first
    cdef float share = weights.session
    cdef Py_ssize_t i
    for i in range(count):
        tile.session[i] = sessions[session[i]]
    for i in range(count):
        tile.sum[i] += share * tile.session[i] * (<float>0.2 + one_at_most(4 * tile.sum[i]))


cdef void finish(Documents documents, const Weights* weights, const Tile* tile, float* data, Py_ssize_t first,
                 Py_ssize_t count) noexcept:
    """Write the scores, but for what few documents have, or what depends on days or a model."""
    cdef const uint8_t* flags = documents.flags + first
    cdef const float* cues = weights.cues
    cdef Py_ssize_t i
    data += first
    for i in range(count):
        data[i] = tile.sum[i] + cues[flags[i]]
    if documents.live != documents.n:
        for i in range(count):
            data[i] = data[i] if flags[i] & ALIVE else 0


cdef float near(Documents documents, const Sheet* sheet, const Weights* weights, Py_ssize_t doc) noexcept:
    """Return a turn's share of the turns around it."""
    return around_of(documents, sheet, weights, doc) * (
        weights.asked if documents.flags[doc] & weights.halved else 1)


cdef float around_of(Documents documents, const Sheet* sheet, const Weights* weights, Py_ssize_t doc) noexcept:
    """Return what the turns around a turn give, wherever they stand."""
    cdef Around around = documents.around(doc)
    cdef const float* base = sheet.base
    return (weights.previous * base[around.before] + weights.second_previous * base[around.second_before]
            + weights.next * base[around.after] + weights.second_next * base[around.second_after])


cdef Shares shares_of(Beside around, const Weights* weights) noexcept:
    """Return what each of the turns around gives, 0 where there is none."""
    cdef Shares shares
    shares.around = around
    shares.before = weights.previous if around.before else 0
    shares.second_before = weights.second_previous if around.second_before else 0
    shares.after = weights.next if around.after else 0
    shares.second_after = weights.second_next if around.second_after else 0
    return shares


cdef float session_part(float context, float session, const Weights* weights) noexcept:
    return weights.session * session * (<float>0.2 + one_at_most(4 * context))


cdef uint8_t terms_around(Documents documents, const Sheet* sheet, Py_ssize_t doc, int plane) noexcept:
    """Return which of eight terms the document or a neighbour holds."""
    cdef Around around = documents.around(doc)
    cdef const uint8_t* terms = sheet.terms + plane * sheet.stride
    return terms[doc] | terms[around.before] | terms[around.after]


cdef float share_around(Documents documents, const Sheet* sheet, Question question, Py_ssize_t doc) noexcept:
    """Return the share of the question's worth that the document and its neighbours hold."""
    cdef double found = 0
    cdef uint8_t held = 0
    cdef int t
    for t in range(question.term_count):
        if t & 7 == 0:
            held = terms_around(documents, sheet, doc, t >> 3)
        if held >> (t & 7) & 1:
            found += question.terms[t].worth
    return <float>(found / question.ideal) if question.ideal > 0 else 0
