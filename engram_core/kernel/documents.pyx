# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Hold what is known of every document: its words, lengths, neighbours, session, speaker, time and cues.

Driven by the index, which adds and removes documents; the matching reads the arrays. Numbers of documents are never
used again. All totals are whole numbers, so an index that lost a document equals one that never had it.
"""

from libc.stdint cimport int8_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from engram_core.kernel.analysis cimport (
    FIRST_PERSON, NUMBER, PART, UNSPACED, WHOLE, WORD, asks, instructs, lead_end,
)
from engram_core.kernel.growable cimport NONE, fetch, reserve
from engram_core.kernel.lexicon cimport BODY, LEAD, Stem, Word, postings

ROLES = frozenset(["user", "assistant", "system", "tool", "human", "ai"])
ASSISTANTS = frozenset(["assistant", "ai", "tool", "system"])
OBEYING = frozenset(["assistant", "ai"])  # what they say is no instruction

cdef enum:
    LEAD_SIZE = 600  # characters of a text that count in full
    DAY_MS = 86400000
    EPOCH = 719163  # the ordinal of 1970-01-01
    PURGE = 1024  # removed documents before their postings are dropped
    MOST_KEPT = 1 << 16  # tokens; the room a larger text took is given back


cdef inline int8_t away(int32_t doc, int32_t other) noexcept nogil:
    return <int8_t>(other - doc) if other >= 0 else 0


cdef class Documents:
    """Arrays by document, by session and by speaker."""

    def __init__(self, str language) -> None:
        self.lexicon = Lexicon(language)
        self.tokens = Tokens()
        self.session_numbers = {}
        self.speaker_numbers = {}
        self.speaker_names = []
        self.speaker_turns = []
        self.speakers = set()
        self.patterns[0] = Beside(0, 0, 0, 0)
        self.pattern_count = 1

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.n):
            free(self.listings[i].words)
        free(self.flags)
        free(self.links)
        free(self.beside)
        free(self.session)
        free(self.speaker)
        free(self.day)
        free(self.lengths)
        free(self.word_sizes)
        free(self.gram_sizes)
        free(self.listings)
        free(self.sessions)
        free(self.intervals)
        free(self.instructions)
        free(self.buffer)

    cdef Py_ssize_t add(self, str text, str session, str speaker, bint dialogue, int64_t ts_ms,
                        object intervals) except -1:
        cdef Py_ssize_t doc = self.n
        cdef int64_t day = ts_ms // DAY_MS - (ts_ms % DAY_MS < 0)
        cdef list spans = [(int(first), int(last)) for first, last in intervals]
        for first, last in spans:
            if not -2**31 < first <= last < 2**31:
                raise ValueError(f"intervals has {(first, last)}; each must be two day ordinals, the earlier first")
        self._room()
        self.flags[doc] = DIALOGUE if dialogue else 0
        self.links[doc].before = self.links[doc].after = -1
        self.beside[doc] = 0
        self.session[doc] = self.speaker[doc] = -1
        self.day[doc] = <int32_t>(day + EPOCH) if ts_ms and -10**8 < day < 10**8 else NO_DAY
        for first, last in spans:
            reserve(<void**>&self.intervals, &self.interval_capacity, self.interval_count + 1, sizeof(Interval))
            self.intervals[self.interval_count] = Interval(<uint32_t>doc, first, last)
            self.interval_count += 1
            self.flags[doc] |= HAS_TIME
        self._words(text, doc)
        if dialogue:
            self._enter_speaker(doc, speaker.lower())
            self._enter_session(doc, session)
        else:
            self.flags[doc] &= ~(QUESTION | INSTRUCTION)
        if self.flags[doc] & INSTRUCTION:
            reserve(<void**>&self.instructions, &self.instruction_capacity, self.instruction_count + 1,
                    sizeof(uint32_t))
            self.instructions[self.instruction_count] = <uint32_t>doc
            self.instruction_count += 1
        self.flags[doc] |= ALIVE
        self.n += 1
        self.live += 1
        return doc

    cdef int _room(self) except -1:
        cdef Py_ssize_t n = self.n + 1
        reserve(<void**>&self.flags, &self.capacity[0], n, sizeof(uint8_t))
        reserve(<void**>&self.links, &self.capacity[1], n, sizeof(Link))
        reserve(<void**>&self.session, &self.capacity[2], n, sizeof(int32_t))
        reserve(<void**>&self.speaker, &self.capacity[3], n, sizeof(int32_t))
        reserve(<void**>&self.day, &self.capacity[4], n, sizeof(int32_t))
        reserve(<void**>&self.lengths, &self.capacity[5], n, sizeof(Lengths))
        reserve(<void**>&self.listings, &self.capacity[6], n, sizeof(Listing))
        reserve(<void**>&self.beside, &self.capacity[7], n, sizeof(uint8_t))
        reserve(<void**>&self.word_sizes, &self.capacity[8], n, sizeof(uint8_t))
        reserve(<void**>&self.gram_sizes, &self.capacity[9], n, sizeof(uint8_t))
        return 0

    cdef int _words(self, str text, Py_ssize_t doc) except -1:
        """Analyse the document and enter its words; sets the cues that lie in the text."""
        cdef Py_ssize_t cut = lead_end(text, LEAD_SIZE), lead
        cdef Listing* listing = &self.listings[doc]
        cdef Lengths* lengths = &self.lengths[doc]
        cdef bint elisions = self.lexicon.language.elisions
        self.operation += 1
        self.tokens.clear()
        self.tokens.scan(text, 0, cut, elisions)
        lead = self.tokens.n
        if cut < len(text):
            self.tokens.scan(text, cut, len(text), elisions)
        reserve(<void**>&self.buffer, &self.buffer_capacity, self.tokens.n, sizeof(uint32_t))
        listing.n = listing.lead = 0
        self.first_person = False
        self._post(doc, lead)
        listing.words = NULL
        if listing.n:
            listing.words = <uint32_t*>malloc(listing.n * sizeof(uint32_t))
            if listing.words == NULL:
                raise MemoryError()
            memcpy(listing.words, self.buffer, listing.n * sizeof(uint32_t))
            self.listing_bytes += (listing.n * 4 + 8 + 15) & ~15
        if asks(text) and not self.first_person:
            self.flags[doc] |= QUESTION
        self.lead_total += lengths.lead
        self.body_total += lengths.body
        self.gram_total += lengths.grams
        self.word_sizes[doc] = lengths.lead if not lengths.body and lengths.lead < 256 else 0
        self.gram_sizes[doc] = lengths.grams if lengths.grams < 256 else 0
        if self.tokens.capacity > MOST_KEPT:
            self.tokens = Tokens()
        return 0

    cdef int _intern(self) except -1:
        """Put the tokens' words into the buffer.

        In a large index each step finds its memory out of the cache; asked for ahead, it comes side by side.
        """
        cdef Lexicon lexicon = self.lexicon
        cdef Py_ssize_t i
        cdef Word* word
        for i in range(self.tokens.n):
            fetch(&lexicon.word_table.slots[self.tokens.tokens[i].hash & lexicon.word_table.mask])
        for i in range(self.tokens.n):
            self.buffer[i] = lexicon.intern(self.tokens, i)
            word = &lexicon.words[self.buffer[i]]
            if word.stem != NONE:
                fetch(&lexicon.stems[word.stem])
                fetch(postings(word) + word.n)
        return 0

    cdef int _post(self, Py_ssize_t doc, Py_ssize_t lead) except -1:
        cdef Lexicon lexicon = self.lexicon
        cdef Lengths* lengths = &self.lengths[doc]
        cdef Listing* listing = &self.listings[doc]
        cdef Py_ssize_t i
        cdef uint32_t number, history = 0
        cdef int field, kind
        cdef Word* word
        cdef Stem* stem
        lengths.lead = lengths.body = lengths.grams = 0
        self._intern()
        for i in range(self.tokens.n):
            field = LEAD if i < lead else BODY
            kind = self.tokens.tokens[i].kind
            number = self.buffer[i]
            word = &lexicon.words[number]
            if kind == WORD:
                history = (history << 8 if self.tokens.tokens[i].after_space else 0) | word.cue
                if word.marks:
                    self.flags[doc] |= HAS_NUMBER if word.marks & NUMBER else 0
                    self.first_person |= word.marks & FIRST_PERSON != 0
                if word.cue and self.tokens.tokens[i].end <= LEAD_SIZE and instructs(history):
                    self.flags[doc] |= INSTRUCTION
            if word.stem == NONE:
                continue
            stem = &lexicon.stems[word.stem]
            if stem.seen != self.operation:
                stem.seen = self.operation
                stem.documents += 1
            lexicon.post(number, <uint32_t>doc, field)
            if kind == PART or kind == WHOLE:
                number |= EXTRA
            elif field == LEAD:
                lengths.lead += 1
                lengths.grams += word.grams
            else:
                lengths.body += 1
            self.buffer[listing.n] = number
            listing.n += 1
            if field == LEAD:
                listing.lead = listing.n
        return 0

    cdef int _enter_speaker(self, Py_ssize_t doc, str speaker) except -1:
        cdef object number = self.speaker_numbers.get(speaker)
        if number is None:
            number = self.speaker_numbers[speaker] = len(self.speaker_turns)
            self.speaker_turns.append(0)
            self.speaker_names.append(speaker)
        if self.speaker_turns[number] == 0:
            self.speakers.add(speaker)
            self.speakers_version += 1
        self.speaker_turns[number] += 1
        self.speaker[doc] = number
        if speaker in ASSISTANTS:
            self.flags[doc] |= ASSISTANT
        if speaker in OBEYING:
            self.flags[doc] &= ~INSTRUCTION
        if speaker not in ROLES:
            self.named_turns += 1
        return 0

    cdef int _enter_session(self, Py_ssize_t doc, str name) except -1:
        cdef object number = self.session_numbers.get(name)
        cdef Session* session
        cdef Lengths* lengths = &self.lengths[doc]
        if number is None:
            number = self.session_numbers[name] = self.session_count
            reserve(<void**>&self.sessions, &self.session_capacity, self.session_count + 1, sizeof(Session))
            self.sessions[self.session_count] = Session(-1, 0, 0)
            self.session_count += 1
        self.session[doc] = number
        session = &self.sessions[self.session[doc]]
        if session.last >= 0:
            self.links[doc].before = session.last
            self.links[session.last].after = <int32_t>doc
        session.last = <int32_t>doc
        self.live_sessions += session.live == 0
        session.live += 1
        session.length += <int64_t>lengths.lead + lengths.body
        self.session_total += <int64_t>lengths.lead + lengths.body
        self._talk(doc)
        self._surround(<int32_t>doc)
        return 0

    cdef int _talk(self, Py_ssize_t doc) except -1:
        cdef int32_t before = self.links[doc].before
        self.flags[doc] &= ~TALK
        if before >= 0 and self.speaker[before] != self.speaker[doc]:
            self.flags[doc] |= TALK
        return 0

    cdef void _surround(self, int32_t doc) noexcept:
        """Tell a turn and the two on either side of it whom they share with now."""
        cdef const Link* links = self.links
        cdef int i
        for i in range(2):
            if links[doc].before >= 0:
                doc = links[doc].before
        for i in range(5):
            self.beside[doc] = self._pattern(doc)
            doc = links[doc].after
            if doc < 0:
                return

    cdef uint8_t _pattern(self, int32_t doc) noexcept:
        """Return the number of the pattern in which others stand around a turn, a new one while there is room."""
        cdef Around around = self.around(doc)
        cdef Beside beside
        cdef int i
        if max(doc, around.after, around.second_after) - doc > 127 or (
                around.before >= 0 and doc - around.before > 127) or (
                around.second_before >= 0 and doc - around.second_before > 127):
            return FAR
        beside = Beside(away(doc, around.before), away(doc, around.second_before), away(doc, around.after),
                        away(doc, around.second_after))
        for i in range(self.pattern_count):
            if memcmp(&self.patterns[i], &beside, sizeof(Beside)) == 0:
                return i
        if self.pattern_count == FAR:
            return FAR
        self.patterns[self.pattern_count] = beside
        self.pattern_count += 1
        return self.pattern_count - 1

    cdef Around around(self, Py_ssize_t doc) noexcept:
        """Return the turns a turn shares with; the document may be none of a dialogue."""
        cdef const Link* links = self.links
        cdef Around around
        cdef int32_t other
        around.before = links[doc].before if self.flags[doc] & TALK else -1
        other = around.before
        around.second_before = links[other].before if other >= 0 and self.flags[other] & TALK else -1
        other = links[doc].after
        around.after = other if other >= 0 and self.flags[other] & TALK else -1
        other = links[other].after if around.after >= 0 else -1
        around.second_after = other if other >= 0 and self.flags[other] & TALK else -1
        return around

    cdef int remove(self, Py_ssize_t doc) except -1:
        cdef Lexicon lexicon = self.lexicon
        cdef Listing* listing
        cdef Stem* stem
        cdef uint32_t i
        if doc < 0 or doc >= self.n or not self.flags[doc] & ALIVE:
            raise ValueError(f"doc is {doc}; it must be the number of a live document, of which there are {self.live}")
        listing = &self.listings[doc]
        self.operation += 1
        for i in range(listing.n):
            stem = &lexicon.stems[lexicon.words[listing.words[i] & ~EXTRA].stem]
            if stem.seen != self.operation:
                stem.seen = self.operation
                stem.documents -= 1
        self.listing_bytes -= (listing.n * 4 + 8 + 15) & ~15 if listing.n else 0
        free(listing.words)
        listing.words = NULL
        listing.n = listing.lead = 0
        if self.flags[doc] & DIALOGUE:
            self._leave_dialogue(doc)
        self.lead_total -= self.lengths[doc].lead
        self.body_total -= self.lengths[doc].body
        self.gram_total -= self.lengths[doc].grams
        self.flags[doc] = 0
        self.live -= 1
        self.unpurged += 1
        if self.unpurged > PURGE and self.unpurged > self.live:
            lexicon.purge(self.flags, ALIVE)
            self.unpurged = 0
        return 0

    cdef int _leave_dialogue(self, Py_ssize_t doc) except -1:
        cdef Link* link = &self.links[doc]
        cdef Session* session = &self.sessions[self.session[doc]]
        cdef Lengths* lengths = &self.lengths[doc]
        cdef int32_t number = self.speaker[doc]
        if link.before >= 0:
            self.links[link.before].after = link.after
        if link.after >= 0:
            self.links[link.after].before = link.before
            self._talk(link.after)
            self._surround(link.after)
        else:
            session.last = link.before
            if link.before >= 0:
                self._surround(link.before)
        session.live -= 1
        self.live_sessions -= session.live == 0
        session.length -= <int64_t>lengths.lead + lengths.body
        self.session_total -= <int64_t>lengths.lead + lengths.body
        self.session[doc] = -1
        self.speaker_turns[number] -= 1
        self.named_turns -= self.speaker_names[number] not in ROLES
        if self.speaker_turns[number] == 0:
            self.speakers.discard(self.speaker_names[number])
            self.speakers_version += 1
        self.speaker[doc] = -1
        return 0

    cdef Py_ssize_t first_interval(self, Py_ssize_t doc) noexcept:
        """Return where the document's intervals begin, or would."""
        cdef Py_ssize_t low = 0, high = self.interval_count, middle
        while low < high:
            middle = (low + high) // 2
            if self.intervals[middle].doc < <uint32_t>doc:
                low = middle + 1
            else:
                high = middle
        return low

    cdef int64_t nbytes(self) noexcept:
        return (
            self.lexicon.nbytes() + self.listing_bytes
            + self.capacity[0] + self.capacity[1] * sizeof(Link) + self.capacity[2] * 4 + self.capacity[3] * 4
            + self.capacity[4] * 4 + self.capacity[5] * sizeof(Lengths)
            + self.capacity[6] * sizeof(Listing) + self.capacity[7] + self.capacity[8] + self.capacity[9]
            + self.session_capacity * sizeof(Session)
            + self.interval_capacity * sizeof(Interval) + (self.buffer_capacity + self.instruction_capacity) * 4
        )
