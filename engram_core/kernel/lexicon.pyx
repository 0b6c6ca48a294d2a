# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Hold every word of one owner's memories once: its stem, its 4-grams, and the documents it stands in.

Driven by the index. Postings are kept per word as written. A 4-gram is the list of the words that hold it and is
answered from their postings, so that it costs nothing per occurrence, in memory or in time, only once per distinct word.
A stem that is written in one way is answered from those of its word; one that is written in several has postings of its
own besides, so that a question reads one list in the order of documents and need not add up what several say.
"""

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from engram_core.kernel.analysis cimport language as shared_language
from engram_core.kernel.growable cimport NONE, enter, find, hashed, mixed, reserve, table_bytes

cdef enum:
    SHORTEST = 3  # a shorter word has no 4-grams
    MOST_GRAMS = 255


cdef inline uint32_t room(uint32_t n) noexcept nogil:
    """Return how many items an array of n has room for: 2, 3, 4, 6, 8, 12, 16 ... kept nowhere, always the same."""
    cdef uint32_t size = 2
    while size < n:
        if size + (size >> 1) >= n:
            return size + (size >> 1)
        size <<= 1
    return size


cdef inline int64_t held(int64_t size) noexcept nogil:
    """Return what the allocator takes for an array of that many bytes: its own word, rounded to 16."""
    return (size + 8 + 15) & ~15


cdef class Lexicon:
    """Words, stems and 4-grams with their postings."""

    def __init__(self, str language) -> None:
        self.language = shared_language(language)

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.word_count):
            if self.words[i].n > 1:
                free(self.words[i].postings.many)
        for i in range(self.stem_count):
            if self.stems[i].n > 1:
                free(self.stems[i].postings.many)
        for i in range(self.gram_count):
            free(self.grams[i].words)
        free(self.words)
        free(self.stems)
        free(self.grams)
        free(self.word_table.slots)
        free(self.stem_table.slots)
        free(self.gram_table.slots)
        free(self.text)
        free(self.cut)

    cdef uint32_t intern(self, Tokens tokens, Py_ssize_t i) except? 0:
        """Return the number of a token's word, which is analysed when it is met for the first time."""
        cdef uint64_t hash = tokens.tokens[i].hash
        cdef uint32_t number = find(&self.word_table, hash, self.words, sizeof(Word))
        cdef Py_ssize_t g
        cdef Word* word
        if number != NONE:
            return number
        stem, head, marks, cue = self.language.describe(tokens.word(i), tokens.tokens[i].kind)
        reserve(<void**>&self.words, &self.word_capacity, self.word_count + 1, sizeof(Word))
        number = <uint32_t>self.word_count
        word = &self.words[number]
        word.hash = hash
        word.stem = word.next = NONE
        word.n = 0
        word.marks = marks
        word.cue = cue
        word.grams = 0
        if stem is not None:
            word.stem = self._enter_stem(stem)
            self._share(number, word.stem)
            self.cut_grams(head)
            word.grams = <uint8_t>self.cut_count
            for g in range(self.cut_count):
                self._enter_gram(self.cut[g], number)
        enter(&self.word_table, hash, number, self.words, sizeof(Word))
        self.word_count += 1
        return number

    cdef uint32_t stem(self, str text) except? 0:
        """Return the number of a stem, NONE when no memory ever held it."""
        cdef bytes raw = text.encode("utf-8", "surrogatepass")
        return find(&self.stem_table, hashed(raw, len(raw)), self.stems, sizeof(Stem))

    cdef bint holds(self, str text) except -1:
        """Tell whether a live document holds the stem."""
        cdef uint32_t number = self.stem(text)
        return number != NONE and self.stems[number].documents > 0

    cdef uint32_t _enter_stem(self, str text) except? 0:
        cdef bytes raw = text.encode("utf-8", "surrogatepass")
        cdef uint64_t hash = hashed(raw, len(raw))
        cdef uint32_t number = find(&self.stem_table, hash, self.stems, sizeof(Stem))
        cdef Stem* stem
        if number != NONE:
            return number
        reserve(<void**>&self.stems, &self.stem_capacity, self.stem_count + 1, sizeof(Stem))
        reserve(<void**>&self.text, &self.text_capacity, self.text_size + len(raw), 1)
        number = <uint32_t>self.stem_count
        stem = &self.stems[number]
        stem.hash = hash
        stem.documents = stem.seen = stem.place = stem.n = 0
        stem.first = NONE
        stem.offset = <uint32_t>self.text_size
        stem.size = <uint32_t>len(raw)
        memcpy(self.text + self.text_size, <char*>raw, len(raw))
        self.text_size += len(raw)
        enter(&self.stem_table, hash, number, self.stems, sizeof(Stem))
        self.stem_count += 1
        return number

    cdef int _share(self, uint32_t number, uint32_t stem) except -1:
        """Enter the word among those of its stem; the second has the stem keep postings, at first those of the first."""
        cdef Stem* root = &self.stems[stem]
        cdef const Word* before
        if root.first != NONE and self.words[root.first].next == NONE:
            before = &self.words[root.first]
            root.postings = before.postings
            if before.n > 1:
                root.postings.many = <Posting*>malloc(room(before.n) * sizeof(Posting))
                if root.postings.many == NULL:
                    raise MemoryError()
                memcpy(root.postings.many, before.postings.many, before.n * sizeof(Posting))
                self.posting_bytes += held(room(before.n) * sizeof(Posting))
            root.n = before.n
        self.words[number].next = root.first
        root.first = number
        return 0

    cdef str stem_text(self, uint32_t stem):
        cdef Stem* found = &self.stems[stem]
        return self.text[found.offset:found.offset + found.size].decode("utf-8", "surrogatepass")

    cdef int cut_grams(self, str head) except -1:
        """Put the hashes of the 4-grams of ^head$ into self.cut."""
        cdef Py_ssize_t i, size = len(head) + 2
        cdef uint64_t first, second
        self.cut_count = 0
        if size < SHORTEST + 2:
            return 0
        head = f"^{head}$"
        reserve(<void**>&self.cut, &self.cut_capacity, size, sizeof(uint64_t))
        for i in range(min(size - 3, <Py_ssize_t>MOST_GRAMS)):
            first = <uint64_t>head[i] << 32 | <uint64_t>head[i + 1]
            second = <uint64_t>head[i + 2] << 32 | <uint64_t>head[i + 3]
            self.cut[i] = mixed(mixed(first) ^ second)
            self.cut_count += 1
        return 0

    cdef uint32_t gram(self, uint64_t hash) noexcept:
        return find(&self.gram_table, hash, self.grams, sizeof(Gram))

    cdef int _enter_gram(self, uint64_t hash, uint32_t word) except -1:
        cdef uint32_t number = find(&self.gram_table, hash, self.grams, sizeof(Gram))
        cdef Gram* gram
        cdef uint32_t* moved
        if number == NONE:
            reserve(<void**>&self.grams, &self.gram_capacity, self.gram_count + 1, sizeof(Gram))
            number = <uint32_t>self.gram_count
            gram = &self.grams[number]
            gram.hash = hash
            gram.n = 0
            gram.words = NULL
            enter(&self.gram_table, hash, number, self.grams, sizeof(Gram))
            self.gram_count += 1
        gram = &self.grams[number]
        if gram.n == 0 or gram.n == room(gram.n):
            moved = <uint32_t*>realloc(gram.words, room(gram.n + 1) * sizeof(uint32_t))
            if moved == NULL:
                raise MemoryError()
            self.gram_bytes += held(room(gram.n + 1) * 4) - (held(room(gram.n) * 4) if gram.n else 0)
            gram.words = moved
        gram.words[gram.n] = word
        gram.n += 1
        return 0

    cdef int post(self, uint32_t number, uint32_t doc, int field) except -1:
        """Count one more occurrence of the word in the document, which is the newest."""
        cdef Word* word = &self.words[number]
        cdef Stem* stem = &self.stems[word.stem]
        self._count(&word.n, &word.postings, doc, field)
        if word.next != NONE or stem.first != number:
            self._count(&stem.n, &stem.postings, doc, field)
        return 0

    cdef int _count(self, uint32_t* n, Postings* to, uint32_t doc, int field) except -1:
        cdef Posting* last = NULL
        cdef Posting* moved
        if n[0]:
            last = &to.one if n[0] == 1 else &to.many[n[0] - 1]
        if last == NULL or last.doc != doc:
            if n[0] == 1:
                moved = <Posting*>malloc(room(2) * sizeof(Posting))
                if moved == NULL:
                    raise MemoryError()
                moved[0] = to.one
                to.many = moved
                self.posting_bytes += held(room(2) * sizeof(Posting))
            elif n[0] > 1 and n[0] == room(n[0]):
                moved = <Posting*>realloc(to.many, room(n[0] + 1) * sizeof(Posting))
                if moved == NULL:
                    raise MemoryError()
                to.many = moved
                self.posting_bytes += held(room(n[0] + 1) * sizeof(Posting)) - held(n[0] * sizeof(Posting))
            last = &to.many[n[0]] if n[0] else &to.one
            last.doc = doc
            last.lead = last.body = 0
            n[0] += 1
        if field == LEAD:
            last.lead += last.lead < 65535
        else:
            last.body += last.body < 65535
        return 0

    cdef int purge(self, const uint8_t* flags, uint8_t alive) except -1:
        """Drop the postings of documents that are gone."""
        cdef Py_ssize_t i
        for i in range(self.word_count):
            self._drop(&self.words[i].n, &self.words[i].postings, flags, alive)
        for i in range(self.stem_count):
            self._drop(&self.stems[i].n, &self.stems[i].postings, flags, alive)
        return 0

    cdef void _drop(self, uint32_t* count, Postings* list, const uint8_t* flags, uint8_t alive) noexcept:
        cdef uint32_t n, kept = 0
        cdef Posting* many = list.many
        cdef Posting one
        if count[0] < 2:
            if count[0] and not flags[list.one.doc] & alive:
                count[0] = 0
            return
        for n in range(count[0]):
            if flags[many[n].doc] & alive:
                many[kept] = many[n]
                kept += 1
        if kept == count[0]:
            return
        self.posting_bytes -= held(room(count[0]) * sizeof(Posting))
        count[0] = kept
        if kept < 2:
            one = many[0]
            free(many)
            list.one = one
            return
        self.posting_bytes += held(room(kept) * sizeof(Posting))
        many = <Posting*>realloc(many, room(kept) * sizeof(Posting))
        if many != NULL:
            list.many = many

    cdef int64_t nbytes(self) noexcept:
        return (
            self.word_capacity * sizeof(Word) + self.stem_capacity * sizeof(Stem) + self.gram_capacity * sizeof(Gram)
            + table_bytes(&self.word_table) + table_bytes(&self.stem_table) + table_bytes(&self.gram_table)
            + self.text_capacity + self.cut_capacity * 8 + self.posting_bytes + self.gram_bytes
        )
