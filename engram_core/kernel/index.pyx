# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Rank the memories of one owner by what a question says: words, neighbours, session, speaker, time and cues.

Driven by recall with one index per owner. Documents arrive one by one and can be removed; nothing is kept but counts,
so a removed document leaves no trace in any score. A question reads the postings of its own terms, then passes over
arrays that hold a few bytes per document.

The score of a turn in a dialogue, with the weights of RECIPE:

    base    = (words + related + grams + pairs + feedback) x assistant factor + speaker
    context = base + shares of the base of the two turns before and after, across changes of speaker
    score   = context + session + time + asked - question + instruction + meaning

What is no turn of a dialogue has no neighbours, session, speaker, assistant factor, question or instruction part. An
index is used by one thread at a time; Scores stay valid until the index changes.
"""

from cpython.buffer cimport PyBUF_WRITABLE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from engram_core.kernel.adding cimport add_up, near, session_part, share_around, terms_around
from engram_core.kernel.documents cimport (
    ALIVE, ASSISTANT, HAS_NUMBER, HAS_TIME, INSTRUCTION, NO_DAY, QUESTION,
)
from engram_core.kernel.evidence cimport Parts, holds, parts_of
from engram_core.kernel.growable cimport NONE
from engram_core.kernel.recipe cimport read_recipe

from engram_core.kernel.recipe import RECIPE

__all__ = ["RECIPE", "Scores", "TextIndex"]

cdef enum:
    PADDING = 128  # documents' room before the first and behind the last, as far as turns are looked for around a turn


cdef class TextIndex:
    """The searchable texts of one owner."""

    def __init__(self, str language not None="english") -> None:
        self.documents = Documents(language)
        self.matching = Matching()
        self.names = Names()
        self.vectors = Vectors()

    def __dealloc__(self):
        free(self.spare)

    def add(self, str text not None, *, str session not None="", str speaker not None="", bint dialogue=True,
            long long ts_ms=0, intervals=()) -> int:
        """Add a document, newest of its session, and return its number: 0, 1, 2 and so on."""
        return self.documents.add(text, session, speaker, dialogue, ts_ms, intervals)

    def remove(self, Py_ssize_t doc) -> None:
        """Take a document out; its number is not used again."""
        self.documents.remove(doc)
        self.vectors.drop(doc)

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
        scores.question = Question(self.documents, self.names, text, list(keywords),
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
                            &scores.scales)
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
        cdef Parts own
        cdef float base, context
        if not self._known(doc):
            return parts
        flags = self.documents.flags[doc]
        if flags & self.weights.halved:
            factor = self.weights.asked
        own = parts_of(self.documents, self.question, recipe, &self.scales, doc)
        base = self.sheet.base[doc]
        context = base + near(self.documents, &self.sheet, &self.weights, doc)
        parts["bm25"] = factor * own.words
        parts["related"] = factor * own.related
        parts["grams"] = factor * self.scales.grams * self.sheet.grams[doc]
        parts["pairs"] = factor * own.pairs
        parts["feedback"] = factor * own.feedback
        if 0 <= self.question.speaker == self.documents.speaker[doc]:
            parts["speaker"] = base - sum(parts.values())
        parts["neighbours"] = <double>context - base
        parts["session"] = session_part(context, self.sessions[self.documents.session[doc]], &self.weights)
        parts["time"] = recipe.time * self._time(doc)
        parts["asked"] = recipe.asked * (
            self._mentioned(doc) + (flags & self.weights.wanted & HAS_TIME != 0)
            + (flags & self.weights.wanted & HAS_NUMBER != 0))
        parts["question"] = -recipe.question if flags & QUESTION else 0.0
        if flags & INSTRUCTION:
            parts["instruction"] = recipe.instruction * share_around(self.documents, &self.sheet, self.question, doc)
        parts["meaning"] = recipe.meaning * self.likeness[doc] if self.likeness != NULL else 0.0
        return {name: value for name, value in parts.items() if abs(value) > 1e-7}

    def matched(self, Py_ssize_t doc) -> list:
        """Return the question's words, as typed, that the document or a neighbour in its dialogue holds.

        Stems of the document that are related to words of the question follow them.
        """
        cdef int t
        cdef list found
        if not self._known(doc):
            return []
        found = [self.question.typed[t] for t in range(self.question.term_count)
                 if terms_around(self.documents, &self.sheet, doc, t >> 3) >> (t & 7) & 1]
        if self.question.related_count and parts_of(self.documents, self.question, &self.recipe, &self.scales,
                                                    doc).related:
            found += {self.documents.lexicon.stem_text(self.question.related[t].stem): None
                      for t in range(self.question.related_count)
                      if holds(self.documents, self.question.related[t].stem, doc)}
        return found

    @property
    def expanded(self) -> list:
        """The stems that feedback added to the question, most telling first."""
        cdef int i
        return [self.documents.lexicon.stem_text(self.question.typical[i].stem)
                for i in range(self.question.typical_count)]

    cdef bint _known(self, Py_ssize_t doc) noexcept:
        return 0 <= doc < self.n and self.documents.flags[doc] & ALIVE

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
        cdef Py_ssize_t planes = max(1, (self.question.term_count + 7) // 8), floats
        self.n = self.documents.n
        floats = self.n + 2 * PADDING
        self.block_size = (3 * floats + self.documents.session_count + 1) * sizeof(float) + planes * floats
        if self.index.spare_size >= self.block_size:
            self.block, self.index.spare = self.index.spare, NULL
            self.block_size, self.index.spare_size = self.index.spare_size, 0
        else:
            self.block_size += self.block_size >> 3
            self.block = malloc(self.block_size)
        if self.block == NULL:
            raise MemoryError()
        self.sheet.base = <float*>self.block + PADDING
        self.sheet.grams = self.sheet.base + floats
        self.sheet.terms = <uint8_t*>(self.sheet.grams + floats - PADDING) + PADDING
        self.sheet.stride = floats
        memset(self.block, 0, 2 * floats * sizeof(float) + planes * floats)
        self.data = <float*>(<char*>self.block + 2 * floats * sizeof(float) + (planes * floats + 3) // 4 * 4)
        self.sessions = self.data + floats + 1
        (self.sessions - 1)[0] = 0  # what is no turn belongs to session -1
        return 0

    cdef int _combine(self) except -1:
        cdef Documents documents = self.documents
        cdef Py_ssize_t doc
        cdef int t
        self.empty = (self.question.gram_count == 0 or self.scales.grams == 0) and self.likeness == NULL
        for t in range(self.question.term_count):
            if self.question.terms[t].stem != NONE:
                self.empty = False
        self._weights()
        add_up(documents, &self.sheet, self.question, &self.weights, self.sessions, self.data)
        if self.span_count:
            self._times()
            self._mentions()
        if self.likeness != NULL:
            for doc in range(self.n):
                if documents.flags[doc] & ALIVE:
                    self.data[doc] += self.recipe.meaning * self.likeness[doc]
        return 0

    cdef void _weights(self) noexcept:
        """Gather what the sums over all documents are made with."""
        cdef const Recipe* recipe = &self.recipe
        cdef Weights* weights = &self.weights
        cdef int flags
        weights.asked = recipe.assistant_asked if self.question.asks_assistant else recipe.assistant
        weights.halved = ASSISTANT if self.documents.named_turns == 0 else 0
        weights.wanted = ((HAS_TIME if self.question.asks_when and not self.span_count else 0)
                          | (HAS_NUMBER if self.question.asks_number else 0))
        weights.named, weights.speaker = self.question.speaker, recipe.speaker
        weights.previous, weights.second_previous = recipe.previous, recipe.second_previous
        weights.next, weights.second_next = recipe.next, recipe.second_next
        weights.session, weights.instruction = recipe.session, recipe.instruction
        for flags in range(256):
            weights.cues[flags] = (
                (recipe.asked if flags & weights.wanted & HAS_TIME else 0)
                + (recipe.asked if flags & weights.wanted & HAS_NUMBER else 0)
                - (recipe.question if flags & QUESTION else 0)) if flags & ALIVE else 0

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

    cdef void _times(self) noexcept:
        """Add what documents gain that lie near the asked days."""
        cdef Py_ssize_t doc
        for doc in range(self.n):
            if self.documents.flags[doc] & ALIVE:
                self.data[doc] += self.recipe.time * <float>self._time(doc)

    cdef void _mentions(self) noexcept:
        """Add what documents gain that speak of the asked days."""
        cdef Documents documents = self.documents
        cdef Py_ssize_t i
        cdef int64_t last = -1
        cdef uint32_t doc
        for i in range(documents.interval_count):
            doc = documents.intervals[i].doc
            if doc != last and documents.flags[doc] & ALIVE and self._mentioned(doc):
                self.data[doc] += self.recipe.asked
            last = doc
