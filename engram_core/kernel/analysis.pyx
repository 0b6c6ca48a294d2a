# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Cut texts into the words recall compares, and tell what the words are: stem, stop word, number, cue.

Driven by the lexicon for memories and by the matching for questions. One pass over the text's code points makes
lower-cased UTF-8 words with their hashes; everything that is asked of a word (stem, stop word) is asked once per
distinct word, by Language.describe.

Words are runs of letters, digits and marks of any script, with one inner apostrophe ("don't"). Scripts written
without spaces give every two neighbours. A camel-case word is kept whole and its pieces are added; words joined by
punctuation ("foo_bar", "2024-05-08", "a/b.py") stay words and what they make together is added.
"""

from cpython.unicode cimport PyUnicode_DATA, PyUnicode_GET_LENGTH, PyUnicode_KIND, PyUnicode_READ
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcpy

from engram_core.kernel.growable cimport hashed, reserve

from engram_core.kernel import english

cdef extern from "Python.h":
    uint32_t Py_UNICODE_TOLOWER(uint32_t c) noexcept
    bint Py_UNICODE_ISUPPER(uint32_t c) noexcept
    bint Py_UNICODE_ISLOWER(uint32_t c) noexcept
    bint Py_UNICODE_ISSPACE(uint32_t c) noexcept

cdef enum Class:
    UNKNOWN = 0
    OTHER = 1
    SPACE = 2
    JOINER = 3
    APOSTROPHE = 4
    FORMAT = 5  # invisible, keeps a word together without being part of it
    RUN = 6  # a script without spaces
    COMBINING = 7  # continues a word, begins none
    DIGIT = 8
    LETTER = 9

cdef enum:
    MOST_WORD = 64  # characters of a word that are told apart; the rest of a longer run is skipped
    MOST_WHOLE = 128  # bytes
    MOST_JOINED = 12
    MOST_CUTS = 8
    MOST_KNOWN = 8192

# Filled as characters are met, because asking for a category costs a hundred times this look-up. Only the
# touched pages of it are ever resident.
cdef uint8_t* classes = <uint8_t*>calloc(0x110000, 1)
if classes == NULL:
    raise MemoryError()

cdef tuple KINDS = ("word", "unspaced", "part", "whole")
cdef tuple RUNS = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1100, 0x11FF), (0x1780, 0x17FF), (0x1950, 0x19DF), (0x1A20, 0x1AAF),
    (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3040, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xA4CF),
    (0xA960, 0xA97F), (0xAA60, 0xAA7F), (0xAC00, 0xD7FF), (0xF900, 0xFAFF), (0xFF66, 0xFFDC), (0x1B000, 0x1B16F),
    (0x20000, 0x3FFFF),
)


cdef int classify(uint32_t c) except -1:
    import unicodedata

    cdef str category = unicodedata.category(chr(c))
    if c in (0x27, 0x2019, 0x02BC, 0xFF07):
        return APOSTROPHE
    if c < 0x80 and chr(c) in "_-./:@\\":
        return JOINER
    if Py_UNICODE_ISSPACE(c):
        return SPACE
    if c in (0xAD, 0x200C, 0x200D):
        return FORMAT
    if category[0] in "LMN":
        for first, last in RUNS:
            if first <= c <= last:
                return RUN
        if category[0] == "M":
            return COMBINING
        return DIGIT if category == "Nd" else LETTER
    return LETTER if category == "Cs" else OTHER


cdef inline int class_of(uint32_t c) except -1:
    if classes[c] == UNKNOWN:
        classes[c] = classify(c)
    return classes[c]


cdef inline uint32_t lower(uint32_t c) noexcept:
    if c < 0x80:
        return c | 0x20 if 0x41 <= c <= 0x5A else c
    c = Py_UNICODE_TOLOWER(c)
    return 0x3C3 if c == 0x3C2 else c  # the two small sigmas differ by place only


cdef class Tokens:
    """The words of scanned texts, in order; cleared and used again for the next memory."""

    def __dealloc__(self):
        free(self.tokens)
        free(self.text)

    cdef int clear(self) except -1:
        self.n = self.size = 0
        return 0

    cdef str word(self, Py_ssize_t i):
        cdef Token* token = &self.tokens[i]
        return self.text[token.offset:token.offset + token.size].decode("utf-8", "surrogatepass")

    cdef int scan(self, str text, Py_ssize_t start, Py_ssize_t end, bint elisions) except -1:
        """Add the words of text[start:end]; with elisions an apostrophe ends a word (l'amour)."""
        cdef Py_ssize_t i = start
        cdef int k
        self.kind = PyUnicode_KIND(text)
        self.data = PyUnicode_DATA(text)
        self.end = min(end, PyUnicode_GET_LENGTH(text))
        self.elisions = elisions
        self.joined = 0
        self.tail = -2  # next to nothing
        while i < self.end:
            k = class_of(PyUnicode_READ(self.kind, self.data, i))
            if k > RUN:
                i = self._word(i, k)
            elif k == RUN:
                self._whole()
                i = self._run(i)
            else:
                i += 1
        return self._whole()

    cdef Py_ssize_t _word(self, Py_ssize_t begin, int k) except -1:
        """Add the word that begins here, and its pieces; return where it ends."""
        cdef Py_ssize_t i = begin, offset
        cdef int gap = OTHER
        cdef bint solid = False
        if begin == self.tail + 1:
            gap = class_of(PyUnicode_READ(self.kind, self.data, self.tail))
        if gap != JOINER:
            self._whole()
        reserve(<void**>&self.text, &self.text_capacity, self.size + 4 * MOST_WORD + 16, 1)
        offset = self.size
        self.length = self.cuts = 0
        self.was_lower = False
        while k > RUN or k == FORMAT:
            if k > RUN:
                solid = solid or k >= DIGIT
                if self.length < MOST_WORD:
                    self._letter(i, k, offset)
            i += 1
            if i == self.end:
                break
            k = class_of(PyUnicode_READ(self.kind, self.data, i))
        if not solid:
            self.size = offset
            return i
        if self.cuts:
            self.cut[self.cuts] = <int>(self.size - offset)
            self.cuts += 1
        if i + 1 < self.end and k == APOSTROPHE and not self.elisions:
            i = self._suffix(i)
        self._token(WORD, offset, begin, i)
        self.tokens[self.n - 1].after_space = gap == SPACE
        if self.joined <= MOST_JOINED:
            self.chain[self.joined] = self.n - 1
            self.joined += 1
        self.tail = i
        if self.cuts:
            self._parts(self.n - 1)
        return i

    cdef int _letter(self, Py_ssize_t i, int k, Py_ssize_t offset) except -1:
        cdef uint32_t c = PyUnicode_READ(self.kind, self.data, i)
        cdef bint upper = 0x41 <= c <= 0x5A if c < 0x80 else Py_UNICODE_ISUPPER(c)
        if upper and self.length and self.cuts < MOST_CUTS and (self.was_lower or self._capital(i)):
            self.cut[self.cuts] = <int>(self.size - offset)
            self.cuts += 1
        self.was_lower = not upper and k == LETTER
        self.length += 1
        return self._put(lower(c))

    cdef bint _capital(self, Py_ssize_t i) except -1:
        """Tell whether two small letters follow: the S of HTTPServer, not that of PCs."""
        cdef Py_ssize_t j
        for j in range(i + 1, i + 3):
            if j >= self.end or not Py_UNICODE_ISLOWER(PyUnicode_READ(self.kind, self.data, j)):
                return False
        return True

    cdef Py_ssize_t _suffix(self, Py_ssize_t i) except -1:
        """Take in what follows the apostrophe at i, when letters do; return where the word ends."""
        cdef int k = class_of(PyUnicode_READ(self.kind, self.data, i + 1))
        if k != LETTER:
            return i
        self._put(0x27)
        i += 1
        while k == LETTER or k == COMBINING or k == FORMAT:
            if self.length < MOST_WORD and k != FORMAT:
                self._put(lower(PyUnicode_READ(self.kind, self.data, i)))
                self.length += 1
            i += 1
            if i == self.end:
                break
            k = class_of(PyUnicode_READ(self.kind, self.data, i))
        return i

    cdef Py_ssize_t _run(self, Py_ssize_t i) except -1:
        """Add every two neighbours of the unspaced run that begins here; return where it ends."""
        cdef Py_ssize_t begin = i, offset
        cdef uint32_t c = PyUnicode_READ(self.kind, self.data, i), ahead
        while True:
            ahead = 0
            if i + 1 < self.end:
                ahead = PyUnicode_READ(self.kind, self.data, i + 1)
                if class_of(ahead) != RUN:
                    ahead = 0
            if not ahead and i > begin:
                return i + 1
            reserve(<void**>&self.text, &self.text_capacity, self.size + 16, 1)
            offset = self.size
            self._put(c)
            if ahead:
                self._put(ahead)
            self._token(UNSPACED, offset, i, i + (2 if ahead else 1))
            i += 1
            if not ahead:
                return i
            c = ahead

    cdef int _parts(self, Py_ssize_t word) except -1:
        cdef int i, first = 0, size
        cdef Py_ssize_t at = self.tokens[word].offset, offset
        for i in range(self.cuts):
            size = self.cut[i] - first
            if size > 1:
                reserve(<void**>&self.text, &self.text_capacity, self.size + size, 1)
                offset = self.size
                memcpy(self.text + offset, self.text + at + first, size)
                self.size += size
                self._token(PART, offset, self.tokens[word].start, self.tokens[word].end)
            first = self.cut[i]
        return 0

    cdef int _whole(self) except -1:
        """Add what the words of the chain make together, and begin a new chain."""
        cdef Py_ssize_t offset = self.size, total = self.joined
        cdef int i, count = self.joined
        cdef Token* token
        self.joined = 0
        if count < 2 or count > MOST_JOINED:
            return 0
        for i in range(count):
            token = &self.tokens[self.chain[i]]
            total += token.size
            if memchr(self.text + token.offset, 0x27, token.size) != NULL:
                return 0
        if total > MOST_WHOLE:
            return 0
        reserve(<void**>&self.text, &self.text_capacity, self.size + total, 1)
        for i in range(count):
            token = &self.tokens[self.chain[i]]
            if i:
                self._put(PyUnicode_READ(self.kind, self.data, token.start - 1))
            memcpy(self.text + self.size, self.text + token.offset, token.size)
            self.size += token.size
        return self._token(WHOLE, offset, self.tokens[self.chain[0]].start, token.end)

    cdef int _token(self, int kind, Py_ssize_t offset, Py_ssize_t start, Py_ssize_t end) except -1:
        cdef Token* token
        reserve(<void**>&self.tokens, &self.capacity, self.n + 1, sizeof(Token))
        token = &self.tokens[self.n]
        token.offset = <uint32_t>offset
        token.size = <uint16_t>(self.size - offset)
        token.hash = hashed(self.text + offset, token.size)
        token.kind = kind
        token.after_space = False
        token.start = <uint32_t>start
        token.end = <uint32_t>end
        self.n += 1
        return 0

    cdef int _put(self, uint32_t c) except -1:
        cdef char* out = self.text + self.size
        if c < 0x80:
            out[0] = <char>c
            self.size += 1
            return 0
        if c < 0x800:
            out[0] = <char>(0xC0 | (c >> 6))
            self.size += 2
        elif c < 0x10000:
            out[0] = <char>(0xE0 | (c >> 12))
            out[1] = <char>(0x80 | ((c >> 6) & 0x3F))
            self.size += 3
        else:
            out[0] = <char>(0xF0 | (c >> 18))
            out[1] = <char>(0x80 | ((c >> 12) & 0x3F))
            out[2] = <char>(0x80 | ((c >> 6) & 0x3F))
            self.size += 4
        self.text[self.size - 1] = <char>(0x80 | (c & 0x3F))
        return 0


def tokens(str text not None, *, bint elisions=False) -> list:
    """Return (word, kind, start, end) for every word of the text, in the order the index takes them in."""
    cdef Tokens found = Tokens()
    cdef Py_ssize_t i
    found.scan(text, 0, len(text), elisions)
    return [(found.word(i), KINDS[found.tokens[i].kind], found.tokens[i].start, found.tokens[i].end)
            for i in range(found.n)]


cdef dict languages = {}


cdef Language language(str name):
    """Return the language, one for all lexicons: their owners' common words are analysed once."""
    if name not in languages:
        languages[name] = Language(name)
    return languages[name]


cdef class Language:
    """What is asked of a word once, and kept with it by the lexicon."""

    def __init__(self, str name not None) -> None:
        cdef bint known = name == "english"
        self._known = {}
        self.name = name
        self.elisions = name in ("french", "italian", "catalan")
        self._stem = _stemmer(name)
        self.stop = english.STOP if known else frozenset()
        self._cues = dict(cue_words) if known else {}

    cdef tuple describe(self, str word, int kind):
        """Return (stem or None for a stop word, the part that gives 4-grams, marks, cue) of a token's text."""
        cdef object known
        if kind == UNSPACED or kind == WHOLE:
            return word, "", 0, 0
        known = self._known.get(word)
        if known is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            known = self._known[word] = self._describe(word)
        return known

    cdef tuple _describe(self, str word):
        cdef int marks = 0
        cdef str head, stem
        if not word.isascii():
            word = normalize(word)
        head = word.partition("'")[0]
        if head.isdecimal():
            marks = NUMBER
        elif self._cues:
            if head in english.NUMBERS:
                marks = NUMBER
            elif head in english.FIRST_PERSON:
                marks = FIRST_PERSON
        if word in self.stop:
            return None, "", marks, self._cues.get(word, 0)
        stem = word.removesuffix("'s").replace("'", "")
        if self._stem is not None:
            try:
                stem = self._stem(stem)
            except UnicodeEncodeError:  # a lone surrogate: no language has stems for it
                pass
        return stem, "" if head in self.stop else head, marks, self._cues.get(word, 0)


def _stemmer(str name):
    if name == "none":
        return None
    import Stemmer

    if name not in Stemmer.algorithms():
        known = ", ".join(["none", *sorted(Stemmer.algorithms())])
        raise ValueError(f"language is {name!r}; allowed are {known}")
    stemmer = Stemmer.Stemmer(name)
    stemmer.maxCacheSize = 0  # Language remembers the common words
    return stemmer.stemWord


cdef str normalize(str word):
    import unicodedata

    # Words are short, so hostile runs of combining marks cost nothing here, as they would on whole texts.
    return unicodedata.normalize("NFKC", word).lower()


cdef Py_ssize_t lead_end(str text, Py_ssize_t limit) except -1:
    """Return where the lead of a text ends: at its limit or first code fence, at a sentence's end if near."""
    cdef Py_ssize_t cut, stop
    if len(text) <= limit:
        return len(text)
    cut = text.find("```")
    cut = limit if cut < 0 else min(cut, limit)
    stop = text.rfind(". ", 0, cut)
    return stop + 1 if stop > cut // 2 else cut


cdef bint asks(str text) except -1:
    """Tell whether the text ends in a question mark."""
    cdef int kind = PyUnicode_KIND(text)
    cdef void* data = PyUnicode_DATA(text)
    cdef Py_ssize_t i = PyUnicode_GET_LENGTH(text) - 1
    cdef uint32_t c
    while i >= 0 and Py_UNICODE_ISSPACE(PyUnicode_READ(kind, data, i)):
        i -= 1
    if i < 0:
        return False
    c = PyUnicode_READ(kind, data, i)
    return c == 0x3F or c == 0xFF1F or c == 0x61F


# A phrase is told by the cues of its last four words, one byte each, the newest lowest.
cdef dict cue_words = {}
cdef uint32_t[64] phrase_value
cdef uint32_t[64] phrase_mask
cdef int phrase_count = 0


cdef int learn_phrases() except -1:
    global phrase_count
    cdef uint32_t value
    for phrase in english.INSTRUCTIONS:
        value = 0
        for word in phrase.split():
            value = value << 8 | cue_words.setdefault(word, len(cue_words) + 1)
        phrase_value[phrase_count] = value
        phrase_mask[phrase_count] = <uint32_t>((<uint64_t>1 << (8 * len(phrase.split()))) - 1)
        phrase_count += 1
    return 0


learn_phrases()


cdef bint instructs(uint32_t history) noexcept nogil:
    """Tell whether the newest words of the history end a standing instruction."""
    cdef int i
    for i in range(phrase_count):
        if history & phrase_mask[i] == phrase_value[i]:
            return True
    return False
