# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Match a question against the postings: words, 4-grams, pairs, feedback, and the sessions' own scores.

Driven by the index, which adds what stands around a text. Only the postings of the question's terms are read. What
they come to is added up by document in one sum; what a part of it comes to in one document is asked of `evidence`.
"""

from libc.math cimport log
from libc.stdlib cimport free
from libc.string cimport memcmp, memset

from engram_core.kernel.documents cimport ALIVE, EXTRA, Listing
from engram_core.kernel.growable cimport NONE, fetch, reserve
from engram_core.kernel.lexicon cimport Gram, Lexicon, Posting, Spellings, Stem, Word, places, postings, spell, spelled
from engram_core.kernel.question cimport MOST_EXPANDED, Relative, Term, Typical
from engram_core.kernel.ranking cimport add_grams, most_typical

cdef enum:
    MOST_BEST = 16
    AHEAD = 8  # documents whose words are asked for before they are looked at
    COMMON_PLACES = 4000  # a 4-gram in more places is not read if these are also more than
    COMMON_PART = 25  # one for so many documents

cdef inline double idf(double documents, double holding) noexcept nogil:
    return log(1 + (documents - holding + 0.5) / (holding + 0.5))


cdef void norms_of(Documents documents, const Recipe* recipe, Norms* norms) noexcept:
    """Work out what documents of each size pay."""
    cdef double total = documents.lead_total + recipe.body * <double>documents.body_total
    cdef int size
    norms.rest, norms.body = recipe.k1 * (1 - recipe.b), recipe.body
    norms.word_share = <float>(recipe.k1 * recipe.b * documents.live / max(total, 1e-9))
    norms.gram_share = <float>(recipe.k1 * recipe.b * documents.live / <double>max(documents.gram_total, 1))
    for size in range(256):
        norms.words[size] = norms.rest + norms.word_share * <float>size
        norms.grams[size] = norms.rest + norms.gram_share * <float>size


cdef uint32_t side_by_side(Documents documents, uint32_t doc, const Spellings* firsts, const Spellings* seconds) noexcept:
    """Return how often one stem stands right before another in the lead of a document."""
    cdef const Word* words = documents.lexicon.words
    cdef const Listing* listing = &documents.listings[doc]
    cdef uint32_t k, times = 0
    cdef bint before = False
    for k in range(listing.lead):
        if listing.words[k] & EXTRA:
            continue
        times += before and spelled(words, seconds, listing.words[k])
        before = spelled(words, firsts, listing.words[k])
    return times


cdef class Matching:
    """Scratch memory for one question at a time."""

    def __dealloc__(self):
        free(self.tally)
        free(self.weighed)
        free(self.touched)
        free(self.hits)
        free(self.session_counts)
        free(self.touched_sessions)
        free(self.session_scores)
        free(self.stems)
        free(self.values)

    cdef int _room(self, Documents documents) except -1:
        cdef Py_ssize_t before = self.tally_capacity
        reserve(<void**>&self.tally, &self.tally_capacity, documents.n, sizeof(uint8_t))
        memset(self.tally + before, 0, self.tally_capacity - before)
        before = self.weighed_capacity
        reserve(<void**>&self.weighed, &self.weighed_capacity, documents.n, sizeof(float))
        memset(self.weighed + before, 0, (self.weighed_capacity - before) * sizeof(float))
        reserve(<void**>&self.touched, &self.touched_capacity, documents.n + 1, sizeof(uint32_t))
        before = self.session_capacity
        reserve(<void**>&self.session_counts, &self.session_capacity, documents.session_count, sizeof(uint32_t))
        memset(self.session_counts + before, 0, (self.session_capacity - before) * sizeof(uint32_t))
        reserve(<void**>&self.touched_sessions, &self.touched_sessions_capacity, documents.session_count + 1,
                sizeof(uint32_t))
        reserve(<void**>&self.session_scores, &self.session_scores_capacity, documents.session_count, sizeof(double))
        memset(self.session_scores, 0, documents.session_count * sizeof(double))
        return 0

    cdef int match(self, Documents documents, Question question, const Recipe* recipe, Sheet* to,
                   float* sessions, Scales* scales) except -1:
        """Fill the sheet (its sums zeroed by the caller) and sessions."""
        cdef uint32_t[MOST_BEST] best
        cdef double[MOST_BEST] weight
        cdef int wanted = 0
        cdef Py_ssize_t i
        cdef double total
        self.read = 0
        self._room(documents)
        norms_of(documents, recipe, &self.norms)
        self._words(documents, question, recipe, to, sessions)
        if question.related_count:
            self._related(documents, question, recipe, to)
        total = self._grams(documents, question, to) if recipe.grams else 0
        scales.grams = recipe.grams / total if total else 0
        if recipe.feedback and len(documents.speakers) != 1:  # one person's notes have no words in common but theirs
            wanted = min(<int>recipe.feedback_documents, MOST_BEST)
        if total or wanted > 0:
            wanted = add_grams(to.base, to.grams, documents.flags, documents.n, <float>scales.grams, wanted, best,
                               weight)
        total = self._pairs(documents, question, recipe, to) if recipe.pairs else 0
        scales.pairs = recipe.pairs / total if total else 0
        if scales.pairs:
            for i in range(self.hit_count):
                to.base[self.hits[i].doc] += <float>(scales.pairs * self.hits[i].value)
        if wanted > 0:
            self._feedback(documents, question, recipe, to, best, weight, wanted)
        return 0

    cdef int _words(self, Documents documents, Question question, const Recipe* recipe, Sheet* to,
                    float* sessions) except -1:
        cdef double live = documents.live, ideal = 0, most = 0
        cdef int t
        cdef Term* term
        cdef uint32_t holding
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
            self.session_touched = 0
            self._hold(documents, places(documents.lexicon.words, &documents.lexicon.stems[term.stem]),
                       <float>(term.worth / (ideal or 1)), to, t, term.weight > 0)
            if self.session_touched:
                self._sessions(documents, recipe, term.weight)
        for t in range(documents.session_count):
            most = max(most, self.session_scores[t])
        most = max(most, recipe.session_least * ideal)
        for t in range(documents.session_count):
            sessions[t] = <float>(self.session_scores[t] / most) if most else 0
        question.ideal = ideal
        return 0

    cdef void _hold(self, Documents documents, Places found, float worth, Sheet* to, int term,
                    bint sessions) noexcept:
        """Score a term of the question and note which documents and sessions hold it.

        Sums of removed documents are never looked at, so that it need not be asked here who is alive.
        """
        cdef const Norms* norms = &self.norms
        cdef const uint8_t* sizes = documents.word_sizes
        cdef const Lengths* lengths = documents.lengths
        cdef const int32_t* session_of = documents.session
        cdef uint32_t* counts = self.session_counts
        cdef uint32_t* touched = self.touched_sessions
        cdef Py_ssize_t touched_count = 0
        cdef float* base = to.base
        cdef uint8_t* terms = to.terms + (term >> 3) * to.stride
        cdef uint8_t bit = <uint8_t>(1 << (term & 7))
        cdef const Posting* one
        cdef int32_t session
        cdef uint32_t i
        self.read += found.n
        for i in range(found.n):
            one = &found.at[i]
            base[one.doc] += worth * said(one, norms, sizes, lengths)
            terms[one.doc] |= bit
            if sessions:
                session = session_of[one.doc]
                if session >= 0:
                    touched[touched_count] = session
                    touched_count += counts[session] == 0
                    counts[session] += <uint32_t>one.lead + one.body
        self.session_touched = touched_count

    cdef void _say(self, Documents documents, Places found, float worth, Sheet* to) noexcept:
        """Score a stem that is none of the question's."""
        cdef const Norms* norms = &self.norms
        cdef const uint8_t* sizes = documents.word_sizes
        cdef const Lengths* lengths = documents.lengths
        cdef float* base = to.base
        cdef uint32_t i
        self.read += found.n
        for i in range(found.n):
            base[found.at[i].doc] += worth * said(&found.at[i], norms, sizes, lengths)

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
        cdef int r = 0, first, t
        cdef Py_ssize_t i
        cdef uint32_t doc
        cdef float worth, times
        cdef double most
        while r < question.related_count:
            t, first = question.related[r].term, r
            self.touched_count = 0
            while r < question.related_count and question.related[r].term == t:
                self._weigh(documents, &question.related[r])
                r += 1
            most = min(question.terms[t].worth, question.terms[t].weight * idf(documents.live, self.touched_count))
            worth = <float>(recipe.related * most / (question.ideal or 1))
            if question.terms[t].stem != NONE:  # a memory that says it in the very word comes first
                worth *= recipe.related_beside
            for i in range(first, r):
                question.related[i].worth = worth
            for i in range(self.touched_count):
                doc = self.touched[i]
                times = self.weighed[doc]
                self.weighed[doc] = 0
                to.base[doc] += worth * times / (
                    times + word_norm(&self.norms, doc, documents.word_sizes, documents.lengths))

    cdef void _weigh(self, Documents documents, const Relative* relative) noexcept:
        """Gather the postings of a related stem in weighed and touched."""
        cdef Places found = places(documents.lexicon.words, &documents.lexicon.stems[relative.stem])
        cdef float times
        cdef uint32_t i, doc
        self.read += found.n
        for i in range(found.n):
            doc = found.at[i].doc
            times = relative.share * occurrences(&found.at[i], &self.norms)
            if times > 0 and documents.flags[doc] & ALIVE:
                self.touched[self.touched_count] = doc
                self.touched_count += self.weighed[doc] == 0
                self.weighed[doc] += times

    cdef double _grams(self, Documents documents, Question question, Sheet* to) noexcept:
        """Return the sum of the 4-grams' idf, by which what the column holds is to be divided, 0 when none was found.

        Those that no memory holds count as well, so that a few letters alike are not taken for the whole question.
        """
        cdef Lexicon lexicon = documents.lexicon
        cdef double total = 0, absent = question.missing_count, worth
        cdef const uint8_t* sizes = documents.gram_sizes
        cdef const uint8_t* flags = documents.flags
        cdef const Norms* norms = &self.norms
        cdef float share, times
        cdef float* grams = to.grams
        cdef uint8_t* tally = self.tally
        cdef uint32_t* met = self.touched
        cdef Gram* gram
        cdef Word* word
        cdef const Posting* found
        cdef Py_ssize_t touched
        cdef uint32_t w, i, doc
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
                    count = found[i].lead
                    if count and (all_live or flags[found[i].doc] & ALIVE):
                        doc = found[i].doc
                        met[touched] = doc
                        touched += tally[doc] == 0
                        tally[doc] = <uint8_t>min(<int>tally[doc] + count, 255)
            if not touched:
                absent += alike
                continue
            worth = alike * idf(documents.live, touched)
            total += worth
            share = <float>worth
            for i in range(touched):
                doc = met[i]
                times = <float>tally[doc]
                tally[doc] = 0
                grams[doc] += share * times / (times + gram_norm(norms, doc, sizes, documents.lengths))
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

    cdef double _pairs(self, Documents documents, Question question, const Recipe* recipe, Sheet* to) except -1:
        """Fill hits; return the sum of the pairs' idf, by which their values are to be divided."""
        cdef Lexicon lexicon = documents.lexicon
        cdef double total = 0
        cdef uint32_t first, second
        cdef Py_ssize_t i, before
        cdef int p, one, other
        self.hit_count = 0
        for p in range(question.pair_count):
            one, other = question.pairs[p].first, question.pairs[p].second
            first, second = question.terms[one].stem, question.terms[other].stem
            question.pairs[p].worth = 0
            if first == NONE or second == NONE:
                continue
            before = self.hit_count
            self._neighbours(documents, first, second, to.terms + (one >> 3) * to.stride, <uint8_t>(1 << (one & 7)),
                             to.terms + (other >> 3) * to.stride, <uint8_t>(1 << (other & 7)))
            if self.hit_count == before:
                continue
            question.pairs[p].worth = idf(documents.live, self.hit_count - before)
            total += question.pairs[p].worth
            for i in range(before, self.hit_count):
                self.hits[i].value = <float>(
                    question.pairs[p].worth * self.hits[i].value / (self.hits[i].value + recipe.k1))
        return total

    cdef int _neighbours(self, Documents documents, uint32_t first, uint32_t second, const uint8_t* firsts,
                         uint8_t first_bit, const uint8_t* seconds, uint8_t second_bit) except -1:
        """Add a hit for every document in whose lead first stands right before second, with how often."""
        cdef Lexicon lexicon = documents.lexicon
        cdef const Stem* rarer = &lexicon.stems[first]
        cdef Places found
        cdef const Listing* listings = documents.listings
        cdef Spellings one, other
        cdef uint32_t* met = self.touched
        cdef uint32_t i, doc, times, count = 0
        if lexicon.stems[second].documents < rarer.documents:
            rarer = &lexicon.stems[second]
        found = places(lexicon.words, rarer)
        for i in range(found.n):
            doc = found.at[i].doc
            met[count] = doc  # taken back where not both are there, which no branch could foretell
            count += (firsts[doc] & first_bit != 0) & (seconds[doc] & second_bit != 0)
        reserve(<void**>&self.hits, &self.hit_capacity, self.hit_count + count, sizeof(Hit))
        spell(lexicon, first, &one)
        spell(lexicon, second, &other)
        for i in range(count):
            if i + 2 * AHEAD < count:
                fetch(&listings[met[i + 2 * AHEAD]])
            if i + AHEAD < count:
                fetch(listings[met[i + AHEAD]].words)
            times = side_by_side(documents, met[i], &one, &other)
            if times:
                self.hits[self.hit_count] = Hit(met[i], <float>times)
                self.hit_count += 1
        return 0

    cdef int _feedback(self, Documents documents, Question question, const Recipe* recipe, Sheet* to,
                       const uint32_t* best, const double* weight, int count) except -1:
        """Add the score of the words typical of the best documents (RM3), the question's own left out."""
        cdef uint32_t[MOST_EXPANDED] chosen
        cdef double[MOST_EXPANDED] value
        cdef double total = 0
        cdef Lexicon lexicon = documents.lexicon
        cdef Typical* typical
        cdef int found, i
        documents.operation += 1
        for i in range(question.term_count):
            if question.terms[i].stem != NONE and question.terms[i].weight:
                lexicon.stems[question.terms[i].stem].seen = documents.operation
                lexicon.stems[question.terms[i].stem].place = NONE
        found = self._typical(documents, best, weight, count)
        count = most_typical(lexicon, self.stems, self.values, found, min(<int>recipe.feedback_terms, MOST_EXPANDED),
                             chosen, value)
        for i in range(count):
            value[i] *= idf(documents.live, lexicon.stems[chosen[i]].documents)
            total += value[i]
        for i in range(count):
            typical = &question.typical[i]
            typical.stem, typical.worth = chosen[i], <float>(value[i] / total)
            self._say(documents, places(lexicon.words, &lexicon.stems[typical.stem]), recipe.feedback * typical.worth,
                      to)
        question.typical_count = count
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
            (self.touched_capacity + self.weighed_capacity) * 4 + self.tally_capacity
            + self.hit_capacity * sizeof(Hit) + self.session_capacity * 4
            + self.touched_sessions_capacity * 4 + self.session_scores_capacity * 8
            + self.stem_capacity * 4 + self.value_capacity * 8
        )


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
