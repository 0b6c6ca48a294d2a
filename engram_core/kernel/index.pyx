# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Rank the memories of one owner by what a question says: words, neighbours, session, speaker, time and cues.

Driven by recall with one index per owner. Documents arrive one by one and can be removed; nothing is kept but counts,
so a removed document leaves no trace in any score. A question reads the postings of its own terms, then passes once
over arrays that hold a few bytes per document.

The score of a turn in a dialogue, with the weights of RECIPE:

    base    = (words + related + grams + pairs + feedback) x assistant factor + speaker
    context = base + shares of the base of the two turns before and after, across changes of speaker
    score   = context + session + time + mentions + when + number - question + instruction + coverage + meaning

What is no turn of a dialogue has no neighbours, session, speaker, assistant factor, question or instruction part. An
index is used by one thread at a time; Scores stay valid until the index changes.
"""

from cpython.buffer cimport PyBUF_WRITABLE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memmove, memset

from engram_core.kernel.documents cimport (
    ALIVE, ASSISTANT, EXTRA, FAR, HAS_NUMBER, HAS_TIME, INSTRUCTION, NO_DAY, QUESTION, Around, Beside, Listing,
)
from engram_core.kernel.growable cimport NONE
from engram_core.kernel.matching cimport FEEDBACK, GRAMS, PAIRS, RELATED, WORDS, Cell, Sheet, cell_of
from engram_core.kernel.recipe cimport read_recipe

from engram_core.kernel.recipe import RECIPE

__all__ = ["RECIPE", "Scores", "TextIndex"]


cdef class TextIndex:
    """The searchable texts of one owner."""

    def __init__(self, str language not None="english") -> None:
        self.documents = Documents(language)
        self.matching = Matching()
        self.names = Names()
        self.vectors = Vectors()

    def __dealloc__(self):
        free(self.spare)

    def add(self, str text not None, *, str caption not None="", str session not None="", str speaker not None="",
            bint dialogue=True, long long ts_ms=0, int cost=0, intervals=()) -> int:
        """Add a document, newest of its session, and return its number: 0, 1, 2 and so on."""
        return self.documents.add(text, caption, session, speaker, dialogue, ts_ms, cost, intervals)

    def remove(self, Py_ssize_t doc) -> None:
        """Take a document out; its number is not used again."""
        self.documents.remove(doc)
        self.vectors.drop(doc)

    def set_cost(self, Py_ssize_t doc, int cost) -> None:
        """Tell what a document costs in tokens, by which long turns are known."""
        if doc < 0 or doc >= self.documents.n or not self.documents.flags[doc] & ALIVE:
            raise ValueError(f"doc is {doc}; it must be the number of a live document")
        self.documents.set_cost(doc, cost)

    def query(self, str text not None, *, weights=None, intervals=(), keywords=(), meaning=None) -> Scores:
        """Score every document for a question.

        Intervals are days it speaks of, keywords more words to look for, meaning its vector, if a model gave one.
        """
        return self.ask(text, weights, intervals, keywords, meaning)

    cdef Scores ask(self, str text, object weights, object intervals, object keywords, bytes meaning=None):
        cdef Scores scores = Scores.__new__(Scores)
        cdef int i
        read_recipe(weights, &scores.recipe)
        scores.index = self
        scores.documents = self.documents
        scores.question = Question(self.documents, self.names, text, list(keywords), scores.recipe.question_word,
                                   scores.recipe.related_documents if scores.recipe.related else -1)
        spans = [(int(first), int(last)) for first, last in intervals]
        scores.spans = <Span*>calloc(len(spans) + 1, sizeof(Span))
        if scores.spans == NULL:
            raise MemoryError()
        for i, (first, last) in enumerate(spans):
            scores.spans[i] = Span(first, last)
        scores.span_count = len(spans)
        scores._room()
        self.matching.match(self.documents, scores.question, &scores.recipe, &scores.sheet, scores.sessions,
                            &scores.scales, scores.stems)
        scores.postings = self.matching.read
        if meaning is not None and scores.recipe.meaning:
            scores.likeness = self.vectors.likeness(meaning, scores.n)
        scores._combine()
        return scores

    @property
    def size(self) -> int:
        """How many documents were ever added."""
        return self.documents.n

    @property
    def live(self) -> int:
        """How many documents can be found."""
        return self.documents.live

    @property
    def terms(self) -> int:
        """How many different stems the index knows."""
        return self.documents.lexicon.stem_count

    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
        return self.documents.nbytes() + self.matching.nbytes() + self.spare_size + self.vectors.nbytes


cdef class Scores:
    """What every document scores for one question, and why."""

    def __init__(self) -> None:
        raise TypeError("scores are made by TextIndex.query")

    def __dealloc__(self):
        free(self.spans)
        free(self.likeness)
        if self.index is not None and self.block_size > self.index.spare_size:
            self.block, self.index.spare = self.index.spare, self.block
            self.index.spare_size = self.block_size
        free(self.block)

    def __len__(self) -> int:
        return self.n

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        if flags & PyBUF_WRITABLE:
            raise BufferError("scores are read-only")
        self.shape[0] = self.n
        self.strides[0] = sizeof(float)
        buffer.buf = self.data
        buffer.obj = self
        buffer.len = self.n * sizeof(float)
        buffer.readonly = True
        buffer.itemsize = sizeof(float)
        buffer.format = "f"
        buffer.ndim = 1
        buffer.shape = self.shape
        buffer.strides = self.strides
        buffer.suboffsets = NULL
        buffer.internal = NULL

    def score(self, Py_ssize_t doc) -> float:
        """Return a document's score, 0.0 for one that was removed."""
        if doc < 0 or doc >= self.n:
            raise IndexError(f"doc is {doc}; the scores are those of documents 0 to {self.n - 1}")
        return self.data[doc] if self.documents.flags[doc] & ALIVE else 0.0

    def raw(self) -> memoryview:
        """Return all scores in the order of documents, read-only."""
        return memoryview(self)

    def parts(self, Py_ssize_t doc) -> dict:
        """Return what each part of the recipe gives to a document's score; parts that give nothing are left out."""
        cdef dict parts = {}
        cdef double factor = 1
        cdef const Recipe* recipe = &self.recipe
        cdef const Cell* cell
        cdef Weights weights = weights_of(self)
        cdef float context
        if not self._known(doc):
            return parts
        flags = self.documents.flags[doc]
        if self.chat and flags & ASSISTANT:
            factor = self.asked
        cell = cell_of(&self.sheet, doc)
        context = cell.tail.base + near(self, doc, &weights)
        parts["bm25"] = factor * cell.sums[WORDS]
        parts["related"] = factor * cell.sums[RELATED]
        parts["grams"] = factor * self.scales.grams * cell.sums[GRAMS]
        parts["pairs"] = factor * self.scales.pairs * cell.sums[PAIRS]
        parts["feedback"] = factor * recipe.feedback * cell.sums[FEEDBACK]
        if 0 <= self.question.speaker == self.documents.speaker[doc]:
            parts["speaker"] = cell.tail.base - sum(parts.values())
        parts["neighbours"] = <double>context - cell.tail.base
        parts["session"] = session_part(context, self.sessions[self.documents.session[doc]], &weights)
        parts["time"] = recipe.time * self._time(doc)
        parts["mentions"] = recipe.mentions if self._mentioned(doc) else 0.0
        parts["when"] = recipe.when if self._wanted(doc, HAS_TIME) else 0.0
        parts["number"] = recipe.number if self._wanted(doc, HAS_NUMBER) else 0.0
        parts["question"] = -recipe.question if flags & QUESTION else 0.0
        parts["instruction"] = recipe.instruction * (0.15 + cell.sums[WORDS]) if flags & INSTRUCTION else 0.0
        parts["coverage"] = recipe.coverage * self._coverage(mask_around(self, doc))
        parts["meaning"] = recipe.meaning * self.likeness[doc] if self.likeness != NULL else 0.0
        return {name: value for name, value in parts.items() if abs(value) > 1e-7}

    def matched(self, Py_ssize_t doc) -> list:
        """Return the question's words, as typed, that the document or a neighbour in its dialogue holds.

        Stems of the document that are related to words of the question follow them.
        """
        cdef uint64_t mask
        cdef int t
        cdef Listing* listing
        cdef uint32_t i
        cdef set held_stems
        cdef list found
        if not self._known(doc):
            return []
        mask = mask_around(self, doc)
        found = [self.question.typed[t] for t in range(self.question.term_count) if mask >> t & 1]
        if cell_of(&self.sheet, doc).sums[RELATED]:
            listing = &self.documents.listings[doc]
            held_stems = {self.documents.lexicon.words[listing.words[i] & ~EXTRA].stem for i in range(listing.n)}
            found += {self.documents.lexicon.stem_text(self.question.related[t].stem): None
                      for t in range(self.question.related_count)
                      if self.question.related[t].stem in held_stems}
        return found

    @property
    def expanded(self) -> list:
        """The stems that feedback added to the question, most telling first."""
        return [self.documents.lexicon.stem_text(stem) for stem in self.stems]

    cdef bint _known(self, Py_ssize_t doc) noexcept:
        return 0 <= doc < self.n and self.documents.flags[doc] & ALIVE

    cdef bint _wanted(self, Py_ssize_t doc, int cue) noexcept:
        if not self.documents.flags[doc] & cue:
            return False
        if cue == HAS_TIME:
            return self.question.asks_when and not self.span_count
        return self.question.asks_number

    cdef bint _mentioned(self, Py_ssize_t doc) noexcept:
        cdef Documents documents = self.documents
        cdef Py_ssize_t i = documents.first_interval(doc)
        cdef int s
        while i < documents.interval_count and documents.intervals[i].doc == <uint32_t>doc:
            for s in range(self.span_count):
                if documents.intervals[i].first <= self.spans[s].last and \
                        documents.intervals[i].last >= self.spans[s].first:
                    return True
            i += 1
        return False

    cdef int _room(self) except -1:
        """Take memory for the sheet, that of the scores before if it is large enough."""
        cdef size_t column
        self.n = self.documents.n
        self.stems = []
        column = (self.n + 3) // 2 * 8
        self.block_size = (self.n + 1) * sizeof(Cell) + 2 * column + (
            self.documents.session_count + 1) * sizeof(float)
        if self.index.spare_size >= self.block_size:
            self.block, self.index.spare = self.index.spare, NULL
            self.block_size, self.index.spare_size = self.index.spare_size, 0
        else:
            self.block_size += self.block_size >> 3
            self.block = malloc(self.block_size)
        if self.block == NULL:
            raise MemoryError()
        self.data = <float*>self.block
        self.sheet.slots = <uint32_t*>(<char*>self.data + column) + 1  # before the first stands that of no turn
        memset(self.sheet.slots - 1, 0, column)
        self.sheet.cells = <Cell*>(<char*>self.data + 2 * column)
        self.sheet.used = 0
        memset(self.sheet.cells, 0, sizeof(Cell))
        self.sessions = <float*>(self.sheet.cells + self.n + 1) + 1
        (self.sessions - 1)[0] = 0  # what is no turn belongs to session -1
        return 0

    cdef int _combine(self) except -1:
        cdef int t
        self.asked = self.recipe.assistant_asked if self.question.asks_assistant else self.recipe.assistant
        self.chat = self.documents.named_turns == 0
        self.empty = (self.question.gram_count == 0 or self.scales.grams == 0) and self.likeness == NULL
        for t in range(self.question.term_count):
            if self.question.terms[t].stem != NONE:
                self.empty = False
        self._weigh_terms()
        self._add_up()
        if self.span_count:
            self._mentions()
        return 0

    cdef void _add_up(self) noexcept:
        """Sum up what every document has, a tile of them after the other.

        What the cells of a tile and of those beside it come to is laid out by document first, so that turns find their
        neighbours' in the nearest cache, and that the sums need no decision that depends on what was found.
        """
        cdef Py_ssize_t first, last = 0
        cdef Tile tile
        cdef Weights weights = weights_of(self)
        cdef uint32_t slot
        cdef Cell* cells = self.sheet.cells
        for slot in range(1, self.sheet.used + 1):
            cells[slot].tail.base = base_of(&cells[slot], &weights, self.documents.flags, self.documents.speaker)
        for slot in range(self.documents.pattern_count):
            tile.shares[slot] = shares_of(self.documents.patterns[slot], &weights)
        memset(tile.base, 0, EDGE * sizeof(float))
        memset(tile.masks, 0, EDGE * sizeof(uint64_t))
        spread(self, &tile, EDGE, 0, EDGE)
        for first in range(0, self.n, TILE):
            last = min(first + TILE, self.n)
            spread(self, &tile, 2 * EDGE, first + EDGE, last - first)
            self._add_tile(&tile, &weights, first, last)
            memmove(tile.base, tile.base + TILE, 2 * EDGE * sizeof(float))
            memmove(tile.masks, tile.masks + TILE, 2 * EDGE * sizeof(uint64_t))

    cdef void _add_tile(self, const Tile* tile, const Weights* weights, Py_ssize_t first, Py_ssize_t last) noexcept:
        cdef Documents documents = self.documents
        cdef const uint8_t* flags = documents.flags
        cdef const uint16_t* cost = documents.cost
        cdef const uint8_t* beside = documents.beside
        cdef const int32_t* session = documents.session
        cdef const float* sessions = self.sessions
        cdef const float* base = tile.base + EDGE - first
        cdef const uint64_t* masks = tile.masks + EDGE - first
        cdef const Shares* shares
        cdef float* data = self.data
        cdef bint always = self.span_count > 0 or self.likeness != NULL
        cdef Py_ssize_t doc
        cdef uint64_t mask
        cdef uint8_t cues
        cdef float sum
        for doc in range(first, last):
            if not flags[doc] & ALIVE:
                data[doc] = 0
                continue
            if beside[doc] == FAR:
                sum = base[doc] + near(self, doc, weights)
                mask = mask_around(self, doc)
            else:
                shares = &tile.shares[beside[doc]]
                sum = (shares.before * base[doc + shares.around.before]
                       + shares.second_before * base[doc + shares.around.second_before]
                       + shares.after * base[doc + shares.around.after]
                       + shares.second_after * base[doc + shares.around.second_after])
                sum = base[doc] + (0 if cost[doc] > weights.long_turn_tokens else sum)
                mask = masks[doc] | masks[doc + shares.around.before] | masks[doc + shares.around.after]
            sum += session_part(sum, sessions[session[doc]], weights)
            cues = flags[doc] & weights.cues
            if cues or always or self.question.term_count > 8:
                data[doc] = self._finished(doc, sum, mask, cues)
            else:
                data[doc] = <float>(sum + self.covered[mask])

    cdef inline float _finished(self, Py_ssize_t doc, double score, uint64_t mask, uint8_t found) noexcept:
        """Add what a live document has besides context and session.

        ``mask`` are the terms it or a neighbour holds, ``found`` those of its flags that change a score.
        """
        cdef const Recipe* recipe = &self.recipe
        if self.span_count:
            score += recipe.time * self._time(doc)
        if found:
            score += (recipe.when if found & HAS_TIME else 0) + (recipe.number if found & HAS_NUMBER else 0)
            score -= recipe.question if found & QUESTION else 0
            score += recipe.instruction * (0.15 + cell_of(&self.sheet, doc).sums[WORDS]) if found & INSTRUCTION else 0
        if mask:
            score += recipe.coverage * self._coverage(mask)
        if self.likeness != NULL:
            score += recipe.meaning * self.likeness[doc]
        return <float>score

    cdef double _time(self, Py_ssize_t doc) noexcept:
        """Return how near the document's day lies to the asked ones: 1 inside, falling to 0."""
        cdef int64_t day = self.documents.day[doc], gap
        cdef double best = 0
        cdef int s
        if day == NO_DAY:
            return 0
        for s in range(self.span_count):
            gap = max(day - self.spans[s].last, self.spans[s].first - day, 0)
            best = max(best, 1 - gap / (<double>self.recipe.time_days + 1))
        return best

    cdef void _weigh_terms(self) noexcept:
        """Sum up the worth of every set of terms that a byte of a mask can name."""
        cdef int byte, bit, rest, terms = self.question.term_count
        cdef double worth
        for byte in range((terms + 7) // 8):
            self.worths[byte][0] = 0
            for bit in range(min(8, terms - 8 * byte)):
                worth = self.question.terms[8 * byte + bit].worth
                for rest in range(1 << bit):
                    self.worths[byte][rest | 1 << bit] = self.worths[byte][rest] + worth
        for rest in range(1 << min(8, terms)):
            self.covered[rest] = self.recipe.coverage * self._coverage(rest)

    cdef inline double _coverage(self, uint64_t mask) noexcept:
        """Return the squared share of the question's worth that these terms have."""
        cdef double found = self.worths[0][mask & 255]
        cdef int byte = 1
        if self.question.ideal <= 0:
            return 0
        while mask >> 8:
            mask >>= 8
            found += self.worths[byte][mask & 255]
            byte += 1
        found /= self.question.ideal
        return found * found

    cdef void _mentions(self) noexcept:
        """Add what documents gain that speak of the asked days."""
        cdef Documents documents = self.documents
        cdef Py_ssize_t i
        cdef int64_t last = -1
        cdef uint32_t doc
        for i in range(documents.interval_count):
            doc = documents.intervals[i].doc
            if doc != last and documents.flags[doc] & ALIVE and self._mentioned(doc):
                self.data[doc] += self.recipe.mentions
            last = doc


cdef Weights weights_of(Scores scores) noexcept:
    """Gather what the sums over all documents multiply by, where no store to a column can be taken to change it."""
    cdef const Recipe* recipe = &scores.recipe
    cdef Weights weights
    weights.grams, weights.pairs, weights.feedback = scores.scales.grams, scores.scales.pairs, recipe.feedback
    weights.asked, weights.halved = scores.asked, ASSISTANT if scores.chat else 0
    weights.named, weights.speaker = scores.question.speaker, recipe.speaker
    weights.previous, weights.second_previous = recipe.previous, recipe.second_previous
    weights.next, weights.second_next = recipe.next, recipe.second_next
    weights.long_turn_tokens = recipe.long_turn_tokens
    weights.session = recipe.session
    weights.cues = QUESTION | INSTRUCTION
    if scores.question.asks_when and not scores.span_count:
        weights.cues |= HAS_TIME
    if scores.question.asks_number:
        weights.cues |= HAS_NUMBER
    return weights


cdef inline float one_at_most(float value) noexcept:
    return value if value < 1 else 1


cdef inline float base_of(const Cell* cell, const Weights* weights, const uint8_t* flags, const int32_t* speaker) noexcept:
    """Sum up what a reached document has."""
    cdef const float* sums = cell.sums
    cdef float base = (
        sums[WORDS] + sums[RELATED] + weights.grams * sums[GRAMS] + weights.pairs * sums[PAIRS]
        + weights.feedback * sums[FEEDBACK])
    if flags[cell.tail.doc] & weights.halved:
        base *= weights.asked
    if 0 <= weights.named and weights.named == speaker[cell.tail.doc]:
        base += weights.speaker * one_at_most(4 * base)
    return base


cdef float near(Scores scores, Py_ssize_t doc, const Weights* weights) noexcept:
    """Return a turn's share of the turns around it, wherever they stand."""
    cdef Around around = scores.documents.around(doc)
    cdef const Sheet* sheet = &scores.sheet
    cdef float near = weights.previous * cell_of(sheet, around.before).tail.base
    near += weights.second_previous * cell_of(sheet, around.second_before).tail.base
    near += weights.next * cell_of(sheet, around.after).tail.base
    near += weights.second_next * cell_of(sheet, around.second_after).tail.base
    return 0 if scores.documents.cost[doc] > weights.long_turn_tokens else near


cdef Shares shares_of(Beside around, const Weights* weights) noexcept:
    """Return what each of the turns around gives, 0 where there is none."""
    cdef Shares shares
    shares.around = around
    shares.before = weights.previous if around.before else 0
    shares.second_before = weights.second_previous if around.second_before else 0
    shares.after = weights.next if around.after else 0
    shares.second_after = weights.second_next if around.second_after else 0
    return shares


cdef void spread(Scores scores, Tile* tile, Py_ssize_t at, Py_ssize_t first, Py_ssize_t count) noexcept:
    """Lay out ``count`` documents from the first on, beginning ``at`` a place of the tile; there may be fewer."""
    cdef const uint32_t* slots = scores.sheet.slots + first
    cdef const Cell* cells = scores.sheet.cells
    cdef Py_ssize_t i, known = min(max(scores.n - first, 0), count)
    for i in range(known):
        tile.base[at + i] = cells[slots[i]].tail.base
        tile.masks[at + i] = cells[slots[i]].mask
    memset(tile.base + at + known, 0, (count - known) * sizeof(float))
    memset(tile.masks + at + known, 0, (count - known) * sizeof(uint64_t))


cdef inline float session_part(float context, float session, const Weights* weights) noexcept:
    return weights.session * session * (<float>0.2 + one_at_most(4 * context))


cdef inline uint64_t mask_around(Scores scores, Py_ssize_t doc) noexcept:
    """Return which terms the document or a neighbour holds."""
    cdef Around around = scores.documents.around(doc)
    cdef const Sheet* sheet = &scores.sheet
    return cell_of(sheet, doc).mask | cell_of(sheet, around.before).mask | cell_of(sheet, around.after).mask
