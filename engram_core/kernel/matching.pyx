# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Match a question against the postings: words, 4-grams, pairs, feedback, and the sessions' own scores.

Driven by the index, which adds what stands around a text. Only the postings of the question's terms are read. A stem
or 4-gram gathers the postings of its words in `counts` first, because occurrences of different words add up before
they saturate, and is then scored document by document.
"""

from libc.math cimport log
from libc.stdlib cimport free
from libc.string cimport memcmp, memset

from engram_core.kernel.documents cimport ALIVE, EXTRA, Listing
from engram_core.kernel.growable cimport NONE, fetch, reserve
from engram_core.kernel.lexicon cimport Gram, Lexicon, Posting, Spellings, Stem, postings, spell, spelled
from engram_core.kernel.question cimport Relative, Term
from engram_core.kernel.ranking cimport best_documents, most_typical

cdef enum:
    MOST_BEST = 16
    MOST_EXPANDED = 64
    AHEAD = 8  # documents whose words are asked for before they are looked at
    COMMON_PLACES = 4000  # a 4-gram in more places is not read if these are also more than
    COMMON_PART = 25  # one for so many documents
    # A document's counts of one stem lie in one number, so that adding needs no unpacking.
    CAPTION_SHIFT = 20
    BODY_SHIFT = 40
    FIELD_MASK = (1 << 20) - 1

cdef inline double idf(double documents, double holding) noexcept nogil:
    return log(1 + (documents - holding + 0.5) / (holding + 0.5))


cdef class Matching:
    """Scratch memory for one question at a time."""

    def __dealloc__(self):
        free(self.counts)
        free(self.tally)
        free(self.weighed)
        free(self.touched)
        free(self.session_counts)
        free(self.touched_sessions)
        free(self.session_scores)
        free(self.stems)
        free(self.values)

    cdef int _room(self, Documents documents) except -1:
        cdef Py_ssize_t before = self.counts_capacity
        reserve(<void**>&self.counts, &self.counts_capacity, documents.n + 1, sizeof(uint64_t))
        memset(self.counts + before, 0, (self.counts_capacity - before) * sizeof(uint64_t))
        before = self.tally_capacity
        reserve(<void**>&self.tally, &self.tally_capacity, documents.n + 1, sizeof(uint32_t))
        memset(self.tally + before, 0, (self.tally_capacity - before) * sizeof(uint32_t))
        before = self.weighed_capacity
        reserve(<void**>&self.weighed, &self.weighed_capacity, documents.n + 1, sizeof(float))
        memset(self.weighed + before, 0, (self.weighed_capacity - before) * sizeof(float))
        reserve(<void**>&self.touched, &self.touched_capacity, documents.n + 2, sizeof(uint32_t))
        before = self.session_capacity
        reserve(<void**>&self.session_counts, &self.session_capacity, documents.session_count, sizeof(uint32_t))
        memset(self.session_counts + before, 0, (self.session_capacity - before) * sizeof(uint32_t))
        reserve(<void**>&self.touched_sessions, &self.touched_sessions_capacity, documents.session_count + 1,
                sizeof(uint32_t))
        reserve(<void**>&self.session_scores, &self.session_scores_capacity, documents.session_count, sizeof(double))
        memset(self.session_scores, 0, documents.session_count * sizeof(double))
        return 0

    cdef int match(self, Documents documents, Question question, const Recipe* recipe, Sheet* to,
                   float* sessions, Scales* scales, list expanded) except -1:
        """Fill the sheet (its slots zeroed by the caller) and sessions; name the stems feedback added in expanded."""
        cdef double total
        self.read = 0
        self._room(documents)
        self._norms(documents, recipe)
        self._words(documents, question, recipe, to, sessions)
        if question.related_count:
            self._related(documents, question, recipe, to)
        total = self._grams(documents, question, recipe, to) if recipe.grams else 0
        scales.grams = recipe.grams / total if total else 0
        total = self._pairs(documents, question, recipe, to) if recipe.pairs else 0
        scales.pairs = recipe.pairs / total if total else 0
        if recipe.feedback and len(documents.speakers) != 1:  # one person's notes have no words in common but theirs
            self._feedback(documents, question, recipe, to, scales.grams, expanded)
        return 0

    cdef void _norms(self, Documents documents, const Recipe* recipe) noexcept:
        """Work out what documents of each size pay."""
        cdef Norms* norms = &self.norms
        cdef double total = documents.lead_total + recipe.body * <double>documents.body_total + \
            recipe.caption * <double>documents.caption_total
        cdef int size
        norms.rest, norms.body, norms.caption = recipe.k1 * (1 - recipe.b), recipe.body, recipe.caption
        norms.word_share = <float>(recipe.k1 * recipe.b * documents.live / max(total, 1e-9))
        norms.gram_share = <float>(recipe.k1 * recipe.b * documents.live / <double>max(documents.gram_total, 1))
        for size in range(256):
            norms.words[size] = norms.rest + norms.word_share * <float>size
            norms.grams[size] = norms.rest + norms.gram_share * <float>size

    cdef void _collect(self, Documents documents, uint32_t stem, Sheet* to) noexcept:
        """Gather the stem's postings in live documents into counts and touched."""
        cdef Lexicon lexicon = documents.lexicon
        cdef uint32_t word = lexicon.stems[stem].first, i, slot
        cdef const Posting* found
        cdef Py_ssize_t touched = 0
        cdef bint all_live = documents.live == documents.n
        while word != NONE:
            found = postings(&lexicon.words[word])
            self.read += lexicon.words[word].n
            for i in range(lexicon.words[word].n):
                if all_live or documents.flags[found[i].doc] & ALIVE:
                    slot = slot_of(to, found[i].doc)
                    self.touched[touched] = slot
                    touched += self.counts[slot] == 0
                    self.counts[slot] += <uint64_t>found[i].lead | <uint64_t>found[i].caption << CAPTION_SHIFT | \
                        <uint64_t>found[i].body << BODY_SHIFT
            word = lexicon.words[word].next
        self.touched_count = touched

    cdef int _words(self, Documents documents, Question question, const Recipe* recipe, Sheet* to,
                    float* sessions) except -1:
        cdef double live = documents.live, ideal = 0, most = 0
        cdef int t
        cdef Py_ssize_t i
        cdef Term* term
        cdef const Word* word
        cdef uint32_t holding
        cdef uint64_t count
        cdef float share
        for t in range(question.term_count):
            term = &question.terms[t]
            holding = 0 if term.stem == NONE else documents.lexicon.stems[term.stem].documents
            if holding == 0:
                term.stem = NONE
            term.worth = <float>(term.weight * idf(live, holding))
            ideal += term.weight * idf(live, holding)
        for t in range(question.term_count):
            term = &question.terms[t]
            if term.stem == NONE:
                continue
            word = &documents.lexicon.words[documents.lexicon.stems[term.stem].first]
            share = <float>(term.worth / (ideal or 1))
            self.session_touched = 0
            if word.next == NONE:
                self._alone(documents, word, recipe, to, WORDS, share, <uint64_t>1 << t, term.weight > 0)
            else:
                self._collect(documents, term.stem, to)
                for i in range(self.touched_count):
                    to.cells[self.touched[i]].mask |= <uint64_t>1 << t
                score(self, documents, share, to, WORDS)
                if term.weight:
                    for i in range(self.touched_count):
                        count = self.counts[self.touched[i]]
                        self._count_session(documents, to.cells[self.touched[i]].tail.doc, <uint32_t>(
                            (count & FIELD_MASK) + (count >> CAPTION_SHIFT & FIELD_MASK) + (count >> BODY_SHIFT)))
                clear(self)
            if self.session_touched:
                self._sessions(documents, recipe, term.weight)
        for t in range(documents.session_count):
            most = max(most, self.session_scores[t])
        most = max(most, recipe.session_least * ideal)
        for t in range(documents.session_count):
            sessions[t] = <float>(self.session_scores[t] / most) if most else 0
        question.ideal = ideal
        return 0

    cdef void _alone(self, Documents documents, const Word* word, const Recipe* recipe, Sheet* to, int column,
                     float worth, uint64_t bit, bint sessions) noexcept:
        """Score a stem that is written one way only, straight from its postings: every document has one at most."""
        cdef const Posting* found = postings(word)
        cdef float times, body = recipe.body, caption = recipe.caption
        cdef bint all_live = documents.live == documents.n
        cdef uint32_t i, doc
        cdef Cell* cell
        self.read += word.n
        for i in range(word.n):
            doc = found[i].doc
            if not all_live and not documents.flags[doc] & ALIVE:
                continue
            cell = held(to, doc)
            cell.mask |= bit
            times = found[i].lead
            if found[i].body or found[i].caption:
                times += caption * <float>found[i].caption + body * <float>found[i].body
            if times > 0:
                cell.sums[column] += worth * times / (times + word_norm(&self.norms, documents, doc))
            if sessions:
                self._count_session(documents, doc, <uint32_t>found[i].lead + found[i].caption + found[i].body)

    cdef void _count_session(self, Documents documents, uint32_t doc, uint32_t count) noexcept:
        cdef int32_t session = documents.session[doc]
        if session >= 0:
            self.touched_sessions[self.session_touched] = session
            self.session_touched += self.session_counts[session] == 0
            self.session_counts[session] += count

    cdef void _sessions(self, Documents documents, const Recipe* recipe, double weight) noexcept:
        """Add a term's part to the sessions' BM25, from the counts of their turns."""
        cdef Py_ssize_t i
        cdef int32_t session
        cdef uint32_t total
        cdef double worth, rest = recipe.k1 * (1 - recipe.session_b), share
        share = recipe.k1 * recipe.session_b * documents.live_sessions / max(documents.session_total, 1)
        worth = weight * idf(documents.live_sessions, self.session_touched)
        for i in range(self.session_touched):
            session = self.touched_sessions[i]
            total = self.session_counts[session]
            self.session_counts[session] = 0
            self.session_scores[session] += worth * total / (total + rest + share * documents.sessions[session].length)

    cdef void _related(self, Documents documents, Question question, const Recipe* recipe, Sheet* to) noexcept:
        """Score the words related to the terms that hardly any document holds, all those of a term as one word."""
        cdef int r = 0, t
        cdef Py_ssize_t i
        cdef uint32_t slot
        cdef float worth, times
        cdef double most
        while r < question.related_count:
            t = question.related[r].term
            self.touched_count = 0
            while r < question.related_count and question.related[r].term == t:
                self._weigh(documents, &question.related[r], recipe, to)
                r += 1
            most = min(question.terms[t].worth, question.terms[t].weight * idf(documents.live, self.touched_count))
            worth = <float>(recipe.related * most / (question.ideal or 1))
            if question.terms[t].stem != NONE:  # a memory that says it in the very word comes first
                worth *= recipe.related_beside
            for i in range(self.touched_count):
                slot = self.touched[i]
                times = self.weighed[slot]
                self.weighed[slot] = 0
                to.cells[slot].sums[RELATED] += worth * times / (
                    times + word_norm(&self.norms, documents, to.cells[slot].tail.doc))

    cdef void _weigh(self, Documents documents, const Relative* relative, const Recipe* recipe, Sheet* to) noexcept:
        """Gather the postings of a related stem in weighed and touched."""
        cdef uint32_t word = documents.lexicon.stems[relative.stem].first, i, slot
        cdef const Posting* found
        cdef float times
        while word != NONE:
            found = postings(&documents.lexicon.words[word])
            self.read += documents.lexicon.words[word].n
            for i in range(documents.lexicon.words[word].n):
                times = relative.share * (
                    found[i].lead + recipe.caption * <float>found[i].caption + recipe.body * <float>found[i].body)
                if times > 0 and documents.flags[found[i].doc] & ALIVE:
                    slot = slot_of(to, found[i].doc)
                    self.touched[self.touched_count] = slot
                    self.touched_count += self.weighed[slot] == 0
                    self.weighed[slot] += times
            word = documents.lexicon.words[word].next

    cdef double _grams(self, Documents documents, Question question, const Recipe* recipe, Sheet* to) noexcept:
        """Return the sum of the 4-grams' idf, by which what the column holds is to be divided, 0 when none was found.

        Those that no memory holds count as well, so that a few letters alike are not taken for the whole question.
        """
        cdef Lexicon lexicon = documents.lexicon
        cdef double total = 0, absent = question.missing_count, worth
        cdef float share, times
        cdef uint32_t* tally = self.tally
        cdef Gram* gram
        cdef Word* word
        cdef const Posting* found
        cdef Py_ssize_t touched
        cdef uint32_t w, i, slot
        cdef int g, count, alike
        cdef bint all_live = documents.live == documents.n
        for g in range(question.gram_count):
            gram = &lexicon.grams[question.grams[g]]
            alike = like_grams(lexicon, question, g)
            if not alike or self._common(documents, gram):
                continue
            touched = 0
            for w in range(gram.n):
                word = &lexicon.words[gram.words[w]]
                found = postings(word)
                self.read += word.n
                for i in range(word.n):
                    count = found[i].lead + found[i].caption
                    if count and (all_live or documents.flags[found[i].doc] & ALIVE):
                        slot = slot_of(to, found[i].doc)
                        self.touched[touched] = slot
                        touched += tally[slot] == 0
                        tally[slot] += count
            if not touched:
                absent += alike
                continue
            worth = alike * idf(documents.live, touched)
            total += worth
            share = <float>worth
            for i in range(touched):
                slot = self.touched[i]
                times = <float>tally[slot]
                tally[slot] = 0
                to.cells[slot].sums[GRAMS] += share * times / (
                    times + gram_norm(&self.norms, documents, to.cells[slot].tail.doc))
        return total + absent * idf(documents.live, 0) if total else 0

    cdef bint _common(self, Documents documents, const Gram* gram) noexcept:
        """Tell whether the 4-gram stands in so many places that it says nothing and would cost the most."""
        cdef uint32_t w, i
        cdef Py_ssize_t places = 0, most = max(<Py_ssize_t>COMMON_PLACES, documents.live // COMMON_PART)
        cdef const Word* word
        cdef const Posting* found
        for w in range(gram.n):
            word = &documents.lexicon.words[gram.words[w]]
            if documents.live == documents.n:
                places += word.n
            else:
                found = postings(word)
                for i in range(word.n):
                    places += documents.flags[found[i].doc] & ALIVE
            if places > most:
                return True
        return False

    cdef double _pairs(self, Documents documents, Question question, const Recipe* recipe, Sheet* to) noexcept:
        """Return the sum of the pairs' idf, by which what the column holds is to be divided."""
        cdef Lexicon lexicon = documents.lexicon
        cdef double total = 0, worth
        cdef uint32_t first, second, word, slot
        cdef Py_ssize_t i
        cdef int p
        for p in range(question.pair_count):
            first = question.terms[question.pairs[p].first].stem
            second = question.terms[question.pairs[p].second].stem
            if first == NONE or second == NONE:
                continue
            self.touched_count = 0
            word = lexicon.stems[first].first
            if lexicon.stems[second].documents < lexicon.stems[first].documents:
                word = lexicon.stems[second].first
            while word != NONE:
                self._neighbours(documents, &lexicon.words[word], first, second,
                                 <uint64_t>1 << question.pairs[p].first | <uint64_t>1 << question.pairs[p].second,
                                 to)
                word = lexicon.words[word].next
            if not self.touched_count:
                continue
            worth = idf(documents.live, self.touched_count)
            total += worth
            for i in range(self.touched_count):
                slot = self.touched[i]
                to.cells[slot].sums[PAIRS] += <float>(worth * self.counts[slot] / (self.counts[slot] + recipe.k1))
            clear(self)
        return total

    cdef void _neighbours(self, Documents documents, const Word* word, uint32_t first, uint32_t second, uint64_t both,
                          Sheet* to) noexcept:
        """Count where first stands right before second in the leads of the documents that hold the word."""
        cdef const Posting* found = postings(word)
        cdef const Word* words = documents.lexicon.words
        cdef const Listing* listings = documents.listings
        cdef const Listing* listing
        cdef Spellings firsts, seconds
        cdef uint32_t* met = self.touched + self.touched_count
        cdef uint32_t i, k, slot, count = 0
        cdef uint64_t times
        cdef bint before
        spell(documents.lexicon, first, &firsts)
        spell(documents.lexicon, second, &seconds)
        for i in range(word.n):
            slot = to.slots[found[i].doc]
            # A dead document has no cell; one with a count was met through another word of the stem.
            if found[i].lead and to.cells[slot].mask & both == both and not self.counts[slot]:
                met[count] = slot
                count += 1
                fetch(&listings[found[i].doc])
        for i in range(count):
            if i + AHEAD < count:
                fetch(listings[to.cells[met[i + AHEAD]].tail.doc].words)
            slot = met[i]
            listing = &listings[to.cells[slot].tail.doc]
            before = False
            times = 0
            for k in range(listing.lead):
                if listing.words[k] & EXTRA:
                    continue
                times += before and spelled(words, &seconds, listing.words[k])
                before = spelled(words, &firsts, listing.words[k])
            if times:
                self.counts[slot] = times
                self.touched[self.touched_count] = slot
                self.touched_count += 1

    cdef int _feedback(self, Documents documents, Question question, const Recipe* recipe, Sheet* to,
                       double grams, list expanded) except -1:
        """Add the score of the words typical of the best documents (RM3), the question's own left out."""
        cdef uint32_t[MOST_BEST] best
        cdef double[MOST_BEST] weight
        cdef uint32_t[MOST_EXPANDED] chosen
        cdef double[MOST_EXPANDED] value
        cdef double total = 0, strength
        cdef int count = 0, found, i
        cdef const Word* word
        count = best_documents(to, grams, min(<int>recipe.feedback_documents, MOST_BEST), best, weight)
        if not count:
            return 0
        strength = min(1, weight[0] / recipe.feedback_least) if recipe.feedback_least else 1
        documents.operation += 1
        for i in range(question.term_count):
            if question.terms[i].stem != NONE and question.terms[i].weight:
                documents.lexicon.stems[question.terms[i].stem].seen = documents.operation
                documents.lexicon.stems[question.terms[i].stem].place = NONE
        found = self._typical(documents, best, weight, count)
        count = most_typical(documents.lexicon, self.stems, self.values, found,
                             min(<int>recipe.feedback_terms, MOST_EXPANDED), chosen, value)
        for i in range(count):
            value[i] *= idf(documents.live, documents.lexicon.stems[chosen[i]].documents)
            total += value[i]
        for i in range(count):
            word = &documents.lexicon.words[documents.lexicon.stems[chosen[i]].first]
            if word.next == NONE:
                self._alone(documents, word, recipe, to, FEEDBACK, <float>(strength * value[i] / total), 0, False)
            else:
                self._collect(documents, chosen[i], to)
                score(self, documents, <float>(strength * value[i] / total), to, FEEDBACK)
                clear(self)
            expanded.append(chosen[i])
        return 0

    cdef int _typical(self, Documents documents, const uint32_t* best, const double* weight, int count) except -1:
        """Put the stems of the best documents' leads into self.stems and their values beside; return how many."""
        cdef const Listing* listing
        cdef Stem* stem
        cdef uint32_t number
        cdef Py_ssize_t k, found = 0
        cdef double share
        cdef int i
        for i in range(count):
            listing = &documents.listings[best[i]]
            if not documents.lengths[best[i]].lead:
                continue
            share = weight[i] / documents.lengths[best[i]].lead
            reserve(<void**>&self.stems, &self.stem_capacity, found + listing.lead, sizeof(uint32_t))
            reserve(<void**>&self.values, &self.value_capacity, found + listing.lead, sizeof(double))
            for k in range(listing.lead):
                if listing.words[k] & EXTRA:
                    continue
                number = documents.lexicon.words[listing.words[k]].stem
                stem = &documents.lexicon.stems[number]
                if stem.seen != documents.operation:
                    stem.seen = documents.operation
                    stem.place = <uint32_t>found
                    self.stems[found] = number
                    self.values[found] = 0
                    found += 1
                if stem.place != NONE:
                    self.values[stem.place] += share
        for k in range(found):
            self.values[k] *= idf(documents.live, documents.lexicon.stems[self.stems[k]].documents)
        return <int>found

    cdef int64_t nbytes(self) noexcept:
        return (
            self.counts_capacity * 8 + self.touched_capacity * 4 + (self.tally_capacity + self.weighed_capacity) * 4
            + self.session_capacity * 4
            + self.touched_sessions_capacity * 4 + self.session_scores_capacity * 8
            + self.stem_capacity * 4 + self.value_capacity * 8
        )


cdef inline void clear(Matching matching) noexcept:
    cdef Py_ssize_t i
    for i in range(matching.touched_count):
        matching.counts[matching.touched[i]] = 0


cdef int like_grams(Lexicon lexicon, Question question, int g) noexcept:
    """Return how many of the question's 4-grams stand in the very words of this one, 0 when an earlier one does.

    Most 4-grams of a rare word stand in no other; their postings are then read once instead of once for each.
    """
    cdef const Gram* gram = &lexicon.grams[question.grams[g]]
    cdef const Gram* other
    cdef int i, count = 0
    for i in range(question.gram_count):
        other = &lexicon.grams[question.grams[i]]
        if other.n == gram.n and memcmp(other.words, gram.words, gram.n * sizeof(uint32_t)) == 0:
            if i < g:
                return 0
            count += 1
    return count


cdef void score(Matching matching, Documents documents, float worth, Sheet* to, int column) noexcept:
    """Add to the column what the gathered counts are worth."""
    cdef Py_ssize_t i
    cdef uint64_t count
    cdef float times, body = matching.norms.body, caption = matching.norms.caption
    cdef Cell* cell
    for i in range(matching.touched_count):
        cell = &to.cells[matching.touched[i]]
        count = matching.counts[matching.touched[i]]
        times = <float>(count & FIELD_MASK)
        if count > FIELD_MASK:
            times += caption * <float>(count >> CAPTION_SHIFT & FIELD_MASK) + body * <float>(count >> BODY_SHIFT)
        if times > 0:
            cell.sums[column] += worth * times / (times + word_norm(&matching.norms, documents, cell.tail.doc))
