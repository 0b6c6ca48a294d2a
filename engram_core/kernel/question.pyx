# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Read a question: its terms with their weights, neighbouring terms, 4-grams, related words, the speaker it names, what it asks for.

Driven by the index. A question is never entered into the lexicon. Its 64 first distinct words count, its 256 first
distinct 4-grams and its 64 first pairs, so that a question of any length costs no more than a long one.
"""

from engram_core.kernel.analysis cimport PART, UNSPACED, WHOLE, WORD, Language, Tokens
from engram_core.kernel.growable cimport NONE
from engram_core.kernel.lexicon cimport Lexicon

from engram_core.kernel import english
from engram_core.kernel.related import related

cdef enum:
    MOST_TEXT = 20000  # characters of a question that are read
    MOST_NAME = 5  # words of a speaker's name that is looked for

cdef object asks_when = None
cdef object asks_number = None
cdef object asks_assistant = None


cdef int compile_cues() except -1:
    global asks_when, asks_number, asks_assistant
    import re

    asks_when = re.compile(english.ASKS_WHEN, re.IGNORECASE).search
    asks_number = re.compile(english.ASKS_NUMBER, re.IGNORECASE).search
    asks_assistant = re.compile(english.ASKS_ASSISTANT, re.IGNORECASE).search
    return 0


cdef class Names:
    """The live speakers' names, ready to be looked for in questions."""

    def __init__(self) -> None:
        self.version = -1

    cdef int refresh(self, Documents documents) except -1:
        cdef Language language = documents.lexicon.language
        cdef Tokens tokens = Tokens()
        cdef Py_ssize_t i
        if self.version == documents.speakers_version:
            return 0
        self.speakers = {}
        self.stems = set()
        self.longest = 0
        for name in documents.speakers:
            tokens.clear()
            tokens.scan(name, 0, len(name), language.elisions)
            words = [tokens.word(i) for i in range(tokens.n) if tokens.tokens[i].kind <= UNSPACED]
            if len(words) <= MOST_NAME:
                self.speakers[" ".join(words)] = documents.speaker_numbers[name]
                self.longest = max(self.longest, len(words))
            for i in range(tokens.n):
                if tokens.tokens[i].kind <= UNSPACED:
                    self.stems.add(language.describe(tokens.word(i), tokens.tokens[i].kind)[0])
        self.speakers.pop("", None)
        self.version = documents.speakers_version
        return 0

    cdef int32_t named(self, list words) except? -2:
        """Return the one speaker the words name, -1 when they name none or several."""
        cdef set found = set()
        cdef Py_ssize_t i, size
        for i in range(len(words)):
            for size in range(1, min(<Py_ssize_t>self.longest, len(words) - i) + 1):
                name = " ".join(words[i:i + size])
                number = self.speakers.get(name)
                if number is None:
                    number = self.speakers.get(name.partition("'")[0])
                if number is not None:
                    found.add(number)
        return found.pop() if len(found) == 1 else -1


cdef class Question:
    """What the matching asks of the index."""

    def __init__(self, Documents documents, Names names, str text, list keywords, float rare) -> None:
        cdef int t
        self.typed = []
        self.numbers = {}
        self.speaker = -1
        if len(text) > MOST_TEXT:
            text = text[:MOST_TEXT]
        names.refresh(documents)
        self._words(documents, names, text)
        for keyword in keywords:
            self._words(documents, None, keyword[:MOST_TEXT])
        if not any([self.terms[t].weight for t in range(self.term_count)]):
            for t in range(self.term_count):  # nothing but names: then they are what is looked for
                self.terms[t].weight = 1
        if documents.lexicon.language.name == "english":
            if asks_when is None:
                compile_cues()
            self.asks_when = asks_when(text) is not None
            self.asks_number = asks_number(text) is not None
            self.asks_assistant = asks_assistant(text) is not None
            if rare >= 0:
                self._relate(documents, rare)

    cdef int _words(self, Documents documents, Names names, str text) except -1:
        """Take in the words of a text; names is None for keywords, which are no sentence."""
        cdef Lexicon lexicon = documents.lexicon
        cdef Language language = lexicon.language
        cdef Tokens tokens = Tokens()
        cdef Py_ssize_t i
        cdef int kind, term, before = -1
        cdef bint known = False
        cdef list words = []
        cdef str word, stem, head, typed
        tokens.scan(text, 0, len(text), language.elisions)
        for i in range(tokens.n):
            kind = tokens.tokens[i].kind
            word = tokens.word(i)
            stem, head, _, _ = language.describe(word, kind)
            if kind <= UNSPACED:
                words.append(word)
            if stem is None:
                continue
            typed = text[tokens.tokens[i].start:tokens.tokens[i].end]
            if kind > UNSPACED:
                # A piece of a word helps where nobody wrote the word; what words make together, where somebody did.
                if (kind == PART and not known) or (kind == WHOLE and lexicon.holds(stem)):
                    self._term(documents, stem, typed, 1.0)
                continue
            known = lexicon.holds(stem)
            term = self._term(documents, stem, typed, 0.0 if names is not None and stem in names.stems else 1.0)
            if names is None or word not in names.speakers:
                self._grams(documents, head)
            if names is not None and before >= 0 and term >= 0:
                self._pair(before, term)
            before = term
        if names is not None:
            self.speaker = names.named(words)
        return 0

    cdef int _term(self, Documents documents, str stem, str typed, float weight) except -2:
        """Return the number of the stem's term, -1 when there are too many."""
        cdef object number = self.numbers.get(stem)
        cdef Term* term
        if number is None:
            if self.term_count == MOST_TERMS:
                return -1
            number = self.numbers[stem] = self.term_count
            self.terms[self.term_count].stem = documents.lexicon.stem(stem)
            self.terms[self.term_count].weight = self.terms[self.term_count].worth = 0
            self.typed.append(typed)
            self.term_count += 1
        term = &self.terms[<int>number]
        term.weight = max(term.weight, weight)
        return number

    cdef int _relate(self, Documents documents, float rare) except -1:
        """Look for what is related to the terms that at most so many documents hold."""
        cdef Lexicon lexicon = documents.lexicon
        cdef uint32_t found
        cdef Term* term
        for stem, number in self.numbers.items():
            term = &self.terms[<int>number]
            if term.weight <= 0 or (term.stem != NONE and lexicon.stems[term.stem].documents > rare):
                continue
            for name, share in related(stem):
                found = lexicon.stem(name)
                if found == NONE or not lexicon.stems[found].documents or name in self.numbers:
                    continue
                if self.related_count < MOST_RELATED:
                    self.related[self.related_count] = Relative(found, share, number, 0)
                    self.related_count += 1
        return 0

    cdef int _pair(self, int first, int second) except -1:
        cdef int i
        for i in range(self.pair_count):
            if self.pairs[i].first == first and self.pairs[i].second == second:
                return 0
        if self.pair_count < MOST_PAIRS:
            self.pairs[self.pair_count] = Pair(first, second, 0)
            self.pair_count += 1
        return 0

    cdef int _grams(self, Documents documents, str head) except -1:
        cdef Lexicon lexicon = documents.lexicon
        cdef Py_ssize_t g
        cdef uint32_t gram
        cdef int i
        lexicon.cut_grams(head)
        for g in range(lexicon.cut_count):
            gram = lexicon.gram(lexicon.cut[g])
            if gram == NONE:
                self._missing(lexicon.cut[g])
                continue
            if self.gram_count == MOST_GRAMS:
                continue
            for i in range(self.gram_count):
                if self.grams[i] == gram:
                    break
            else:
                self.grams[self.gram_count] = gram
                self.gram_count += 1
        return 0

    cdef void _missing(self, uint64_t hash) noexcept:
        cdef int i
        for i in range(self.missing_count):
            if self.missing[i] == hash:
                return
        if self.missing_count < MOST_GRAMS:
            self.missing[self.missing_count] = hash
            self.missing_count += 1
