"""Score texts as the kernel must, in plain Python and without any index: the meaning of RECIPE, one part at a time."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import log

import Stemmer

from engram_core.kernel import english
from engram_core.kernel.index import RECIPE
from engram_core.kernel.related import related

NEAR = 1e-6  # less is no difference when texts or words are ranked
ROLES = {"user", "assistant", "system", "tool", "human", "ai"}
ASSISTANTS = {"assistant", "ai", "tool", "system"}
RUNS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u2e80-\u2fdf\u3005-\u3007"
    "\u3040-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua960-\ua97f\uaa60-\uaa7f\uac00-\ud7ff\uf900-\ufaff"
    "\uff66-\uffdc\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)
stem_word = Stemmer.Stemmer("english").stemWord


def class_of(c: str) -> str:
    """Return the class of a character as one letter: a text's classes can then be matched like a text."""
    category = unicodedata.category(c)
    if c in "'\u2019\u02bc\uff07":
        return "'"
    if c in "_-./:@\\":
        return "_"
    if c.isspace():
        return " "
    if c in "\xad\u200c\u200d":
        return "f"
    if category[0] in "LMN":
        if RUNS.match(c):
            return "R"
        return {"M": "m", "N": "d" if category == "Nd" else "a"}.get(category[0], "a")
    return "a" if category == "Cs" else "?"


def lower(text: str) -> str:
    return "".join(c.lower()[0] for c in text).replace("ς", "σ")


@dataclass
class Word:
    text: str
    kind: str
    start: int
    end: int


def words_of(text: str) -> list[Word]:
    """Return what the kernel's tokens() does, in another order."""
    classes = "".join(map(class_of, text))
    found: list[Word] = []
    chain: list[Word] = []
    end = 0
    while match := re.compile("[amd][amdf]*|R+").search(classes, end):
        start, end = match.span()
        if classes[start] == "R":
            pairs = [(i, min(i + 2, end)) for i in range(start, max(end - 1, start + 1))]
            found += [Word(text[i:j], "unspaced", i, j) for i, j in pairs]
            continue
        if not set(match.group()) & set("ad"):
            continue
        places = [i for i in range(start, end) if classes[i] != "f"][:64]
        written = name = lower("".join(text[i] for i in places))
        if suffix := re.compile("'a[amf]*").match(classes, end):
            end = suffix.end()
            rest = "".join(text[i] for i in range(suffix.start() + 1, end) if classes[i] != "f")
            written += "'" + lower(rest[: 64 - len(places)])
        if not (chain and start == chain[-1].end + 1 and classes[start - 1] == "_"):
            found += whole(text, chain)
            chain = []
        chain.append(Word(written, "word", start, end))
        found += [chain[-1], *parts(text, classes, places, name, start, end)]
    return [*found, *whole(text, chain)]


def parts(text: str, classes: str, places: list[int], written: str, start: int, end: int) -> Iterator[Word]:
    cuts = []
    for n, i in enumerate(places):
        after_small = n > 0 and classes[places[n - 1]] == "a" and not text[places[n - 1]].isupper()
        before_small = len(text[i + 1 : i + 3]) == 2 and all(c.islower() for c in text[i + 1 : i + 3])
        if n and text[i].isupper() and (after_small or before_small):
            cuts.append(n)
    cuts = cuts[:8]
    for first, last in zip([0, *cuts], [*cuts, len(written)], strict=True):
        if cuts and len(written[first:last].encode("utf-8", "surrogatepass")) > 1:
            yield Word(written[first:last], "part", start, end)


def whole(text: str, chain: list[Word]) -> Iterator[Word]:
    size = sum(1 + len(word.text.encode("utf-8", "surrogatepass")) for word in chain)
    if 2 <= len(chain) <= 12 and size <= 128 and not any("'" in word.text for word in chain):
        joined = "".join(word.text + text[word.end : word.end + 1] for word in chain[:-1]) + chain[-1].text
        yield Word(joined, "whole", chain[0].start, chain[-1].end)


def stem_of(word: Word) -> str | None:
    if word.kind in ("unspaced", "whole"):
        return word.text
    text = normal(word.text)
    if text in english.STOP:
        return None
    text = text.removesuffix("'s").replace("'", "")
    return text if re.search("[\ud800-\udfff]", text) else stem_word(text)


def normal(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFKC", text).lower()


def grams_of(word: Word) -> list[str]:
    head = normal(word.text).partition("'")[0]
    if word.kind in ("unspaced", "whole") or stem_of(word) is None or head in english.STOP or len(head) < 3:
        return []
    return [f"^{head}$"[i : i + 4] for i in range(len(head) - 1)]


@dataclass
class Document:
    """One text, taken apart."""

    text: str
    session: str
    speaker: str
    dialogue: bool
    day: int | None
    intervals: Sequence[tuple[int, int]]
    live: bool = True
    fields: list[list[Word]] = field(default_factory=list)

    def __post_init__(self) -> None:
        cut = lead_end(self.text)
        self.fields = [words_of(self.text[:cut]), words_of(self.text[cut:])]
        self.counts = [Counter(stem for w in words if (stem := stem_of(w)) is not None) for words in self.fields]
        self.lists = [[stem for w in words if (stem := primary(w)) is not None] for words in self.fields]
        self.grams = Counter(g for w in self.fields[0] for g in grams_of(w))
        self.gram_length = sum(len(grams_of(w)) for w in self.fields[0] if w.kind != "part")
        self.speaker = self.speaker.lower()
        self.has_number = any(is_number(w) for words in self.fields for w in words if w.kind == "word")
        heads = {w.text.partition("'")[0] for words in self.fields for w in words if w.kind == "word"}
        self.asks = self.text.rstrip().endswith(("?", "？", "؟")) and not heads & english.FIRST_PERSON
        wishes = "|".join(re.escape(phrase).replace(r"\ ", r"\s") for phrase in english.INSTRUCTIONS)
        self.wishes = self.speaker not in ("assistant", "ai") and bool(
            re.search(rf"(?<![\w'])({wishes})(?![\w'])", self.text[:600].lower().replace("’", "'"))
        )

    def length(self, recipe: dict[str, float]) -> float:
        lead, body = (len(words) for words in self.lists)
        return lead + recipe["body"] * body

    def times(self, stem: str, recipe: dict[str, float]) -> float:
        lead, body = (counts[stem] for counts in self.counts)
        return lead + recipe["body"] * body


def primary(word: Word) -> str | None:
    return stem_of(word) if word.kind in ("word", "unspaced") else None


def is_number(word: Word) -> bool:
    head = normal(word.text).partition("'")[0]
    return head.isdecimal() or head in english.NUMBERS


def lead_end(text: str) -> int:
    if len(text) <= 600:
        return len(text)
    fence = text.find("```")
    cut = 600 if fence < 0 else min(fence, 600)
    stop = text.rfind(". ", 0, cut)
    return stop + 1 if stop > cut // 2 else cut


def idf(documents: int, holding: int) -> float:
    return log(1 + (documents - holding + 0.5) / (holding + 0.5))


class ReferenceIndex:
    """The documents, and everything counted anew for every question."""

    def __init__(self) -> None:
        self.documents: list[Document] = []

    def add(
        self,
        text: str,
        *,
        session: str = "",
        speaker: str = "",
        dialogue: bool = True,
        ts_ms: int = 0,
        intervals: Sequence[tuple[int, int]] = (),
    ) -> int:
        day = ts_ms // 86400000 + 719163 if ts_ms else None
        self.documents.append(Document(text, session, speaker, dialogue, day, intervals))
        return len(self.documents) - 1

    def remove(self, doc: int) -> None:
        self.documents[doc].live = False

    def query(
        self,
        text: str,
        *,
        weights: dict[str, float] | None = None,
        intervals: Sequence[tuple[int, int]] = (),
        keywords: Iterable[str] = (),
    ) -> list[dict[str, float]]:
        """Return the parts of every document's score; a removed one has none."""
        live = [doc for doc in self.documents if doc.live]
        asked = Asked(live, text, RECIPE | (weights or {}), intervals, keywords)
        scored = iter(asked.parts())
        return [next(scored) if doc.live else {} for doc in self.documents]


class Asked:
    """One question put to the live documents."""

    def __init__(
        self,
        documents: list[Document],
        text: str,
        recipe: dict[str, float],
        intervals: Sequence[tuple[int, int]],
        keywords: Iterable[str],
    ) -> None:
        self.documents, self.text, self.recipe, self.intervals = documents, text, recipe, intervals
        self.n = len(documents)
        self.turns = [i for i, doc in enumerate(documents) if doc.dialogue]
        self.speakers = {documents[i].speaker for i in self.turns}
        self.known = {stem for doc in documents for counts in doc.counts for stem in counts}
        self.terms: dict[str, float] = {}
        self.pairs: list[tuple[str, str]] = []
        self.grams: list[str] = []
        names = {stem for name in self.speakers for w in words_of(name) if (stem := primary(w))}
        self._read(text, names)
        for keyword in keywords:
            self._read(keyword, None)
        if not any(self.terms.values()):
            self.terms = dict.fromkeys(self.terms, 1.0)
        self.holding = {t: sum(any(c[t] for c in doc.counts) for doc in documents) for t in self.known}
        self.ideal = sum(w * self.idf(t) for t, w in self.terms.items()) or 1.0

    def _read(self, text: str, names: set[str] | None) -> None:
        before, known = None, False
        # The kernel gives a word's pieces right behind it.
        for word in sorted(words_of(text), key=lambda w: (w.start, w.kind == "part", w.kind == "whole")):
            stem = stem_of(word)
            if stem is None:
                continue
            if word.kind in ("part", "whole"):
                if (word.kind == "part" and not known) or (word.kind == "whole" and stem in self.known):
                    self.terms[stem] = 1.0
                continue
            known = stem in self.known
            weight = 0.0 if names is not None and stem in names else 1.0
            self.terms[stem] = max(self.terms.get(stem, 0.0), weight)
            if names is None or word.text not in {" ".join(w.text for w in words_of(name)) for name in self.speakers}:
                self.grams += [g for g in grams_of(word) if g not in self.grams]
            if names is not None:
                if before is not None and (before, stem) not in self.pairs:
                    self.pairs.append((before, stem))
                before = stem

    def idf(self, stem: str) -> float:
        return idf(self.n, self.holding.get(stem, 0))

    def bm25(self, terms: dict[str, float]) -> list[float]:
        """Return BM25F against the best a short text could reach, 0 to 1."""
        k1, b = self.recipe["k1"], self.recipe["b"]
        average = sum(doc.length(self.recipe) for doc in self.documents) / max(self.n, 1) or 1e-9
        scores = []
        for doc in self.documents:
            norm = k1 * (1 - b + b * doc.length(self.recipe) / average)
            times = {stem: doc.times(stem, self.recipe) for stem in terms}
            scores.append(sum(w * self.idf(t) * times[t] / (times[t] + norm) for t, w in terms.items() if times[t]))
        return scores

    def related(self) -> list[float]:
        """Return what the words are worth that are related to those of the question that hardly any document holds."""
        recipe = self.recipe
        average = sum(doc.length(recipe) for doc in self.documents) / max(self.n, 1) or 1e-9
        scores = [0.0] * self.n
        for stem, weight in self.terms.items():
            near = [(s, share) for s, share in related(stem) if s in self.known and s not in self.terms]
            if not weight or not recipe["related"] or self.holding.get(stem, 0) > recipe["related_documents"]:
                continue
            times = [sum(share * doc.times(s, recipe) for s, share in near) for doc in self.documents]
            worth = weight * min(self.idf(stem), idf(self.n, sum(t > 0 for t in times)))
            worth *= recipe["related_beside"] if self.holding.get(stem, 0) else 1
            for i, doc in enumerate(self.documents):
                norm = recipe["k1"] * (1 - recipe["b"] + recipe["b"] * doc.length(recipe) / average)
                scores[i] += recipe["related"] * worth / self.ideal * times[i] / (times[i] + norm) if times[i] else 0.0
        return scores

    def gram_scores(self) -> list[float]:
        k1, b = self.recipe["k1"], self.recipe["b"]
        average = sum(doc.gram_length for doc in self.documents) / max(self.n, 1) or 1.0
        worth = {g: idf(self.n, sum(doc.grams[g] > 0 for doc in self.documents)) for g in self.grams}
        most = max(4000, self.n // 25)
        if sum(len(counts) for doc in self.documents for counts in doc.counts) > most:  # else no 4-gram can be common
            worth = {g: value for g, value in worth.items() if self.places(g) <= most}
        norms = [k1 * (1 - b + b * doc.gram_length / average) for doc in self.documents]
        total = sum(worth.values()) or 1.0
        return [
            sum(w * doc.grams[g] / (doc.grams[g] + norm) for g, w in worth.items() if doc.grams[g]) / total
            for doc, norm in zip(self.documents, norms, strict=True)
        ]

    def places(self, gram: str) -> int:
        """Return in how many documents the words that have the 4-gram stand, one after the other."""
        holding = ({w.text for words in doc.fields for w in words if gram in grams_of(w)} for doc in self.documents)
        return sum(map(len, holding))

    def pair_scores(self) -> list[float]:
        found = [Counter(pairwise(doc.lists[0])) for doc in self.documents]
        worth = {p: idf(self.n, n) for p in self.pairs if (n := sum(pairs[p] > 0 for pairs in found))}
        total = sum(worth.values()) or 1.0
        k1 = self.recipe["k1"]
        return [sum(w * pairs[p] / (pairs[p] + k1) for p, w in worth.items()) / total for pairs in found]

    def feedback(self, scores: list[float]) -> list[float]:
        best: list[int] = []
        if len(self.speakers) == 1:  # notes of one person
            return [0.0] * self.n
        known = [a + b > 0 for a, b in zip(self.bm25(self.terms), self.related(), strict=True)]
        scores = [score if held else 0.0 for score, held in zip(scores, known, strict=True)]
        for i, score in enumerate(scores):
            place = len(best)
            while place and score > scores[best[place - 1]] + NEAR:
                place -= 1
            if score > 0:
                best.insert(place, i)
                del best[int(self.recipe["feedback_documents"]) :]
        values: dict[str, float] = {}
        total = sum(scores[i] for i in best)
        for i in best:
            lead = self.documents[i].lists[0]
            for stem in lead:
                values[stem] = values.get(stem, 0.0) + scores[i] / total / len(lead)
        values = {s: v * self.idf(s) for s, v in values.items() if not self.terms.get(s)}
        chosen: list[str] = []
        for stem, value in values.items():
            place = len(chosen)
            while place and ahead(value, stem, values[chosen[place - 1]], chosen[place - 1]):
                place -= 1
            chosen.insert(place, stem)
            del chosen[int(self.recipe["feedback_terms"]) :]
        ideal = sum(values[s] * self.idf(s) for s in chosen) or 1.0
        return [score / ideal for score in self.bm25({s: values[s] for s in chosen})]

    def session_scores(self) -> dict[str, float]:
        k1, b = self.recipe["k1"], self.recipe["session_b"]
        counts: dict[str, Counter[str]] = {}
        lengths: Counter[str] = Counter()
        for i in self.turns:
            doc = self.documents[i]
            counts.setdefault(doc.session, Counter()).update(sum(doc.counts, Counter()))
            lengths[doc.session] += sum(map(len, doc.lists))
        average = lengths.total() / max(len(counts), 1) or 1.0
        scores = dict.fromkeys(counts, 0.0)
        for stem, weight in self.terms.items():
            holding = sum(found[stem] > 0 for found in counts.values())
            for name, found in counts.items():
                norm = k1 * (1 - b + b * lengths[name] / average)
                if found[stem]:
                    scores[name] += weight * idf(len(counts), holding) * found[stem] / (found[stem] + norm)
        most = max(*scores.values(), self.recipe["session_least"] * self.ideal, 0.0) or 1.0
        return {name: score / most for name, score in scores.items()}

    def neighbour(self, i: int, steps: int) -> int | None:
        """Return the turn so many steps on in the session, if every step changes the speaker."""
        if not self.documents[i].dialogue:
            return None
        same = [j for j in self.turns if self.documents[j].session == self.documents[i].session]
        here, there = same.index(i), same.index(i) + steps
        if not 0 <= there < len(same):
            return None
        speakers = [self.documents[j].speaker for j in same[min(here, there) : max(here, there) + 1]]
        return same[there] if all(a != b for a, b in pairwise(speakers)) else None

    def named_speaker(self) -> str | None:
        words = [w.text for w in words_of(self.text) if w.kind in ("word", "unspaced")]
        spoken = " " + " ".join(words) + " "
        heads = " " + " ".join(word.partition("'")[0] for word in words) + " "
        named = []
        for name in self.speakers:
            name_words = [w.text for w in words_of(name) if w.kind in ("word", "unspaced")]
            wanted = " ".join(name_words)
            if 0 < len(name_words) <= 5 and (f" {wanted} " in spoken or f" {wanted} " in heads):
                named.append(name)
        return named[0] if len(named) == 1 else None

    def parts(self) -> list[dict[str, float]]:
        recipe = self.recipe
        words = [score / self.ideal for score in self.bm25(self.terms)]
        grams, pairs = self.gram_scores(), self.pair_scores()
        related = self.related()
        feedback = self.feedback(
            [w + r + recipe["grams"] * g for w, r, g in zip(words, related, grams, strict=True)])
        named = self.named_speaker()
        rows: list[dict[str, float]] = []
        for i, doc in enumerate(self.documents):
            factor = self.factor(doc)
            row = {"bm25": words[i], "related": related[i], "grams": recipe["grams"] * grams[i]}
            row["pairs"] = recipe["pairs"] * pairs[i]
            row["feedback"] = recipe["feedback"] * feedback[i]
            row = {name: factor * value for name, value in row.items()}
            own = sum(row.values())
            row["speaker"] = recipe["speaker"] * min(1, 4 * own) if doc.dialogue and doc.speaker == named else 0.0
            rows.append(row)
        bases = [sum(row.values()) for row in rows]
        sessions = self.session_scores()
        for i, doc in enumerate(self.documents):
            self._around(i, rows[i], bases, sessions)
            self._cues(doc, rows[i])
            rows[i]["instruction"] = recipe["instruction"] * self.share(i) * (doc.wishes and doc.dialogue)
        return rows

    def factor(self, doc: Document) -> float:
        chat = {self.documents[i].speaker for i in self.turns} <= ROLES
        asked = "assistant_asked" if re.search(english.ASKS_ASSISTANT, self.text, re.I) else "assistant"
        return self.recipe[asked] if chat and doc.dialogue and doc.speaker in ASSISTANTS else 1.0

    def _around(self, i: int, row: dict[str, float], bases: list[float], sessions: dict[str, float]) -> None:
        doc, recipe = self.documents[i], self.recipe
        shares = {-1: "previous", 1: "next", -2: "second_previous", 2: "second_next"}
        turns = ((name, self.neighbour(i, step)) for step, name in shares.items())
        near = sum(recipe[name] * bases[j] for name, j in turns if j is not None)
        row["neighbours"] = self.factor(doc) * near
        context = bases[i] + row["neighbours"]
        session = sessions[doc.session] if doc.dialogue else 0.0
        row["session"] = recipe["session"] * session * (0.2 + min(1, 4 * context))

    def _cues(self, doc: Document, row: dict[str, float]) -> None:
        recipe = self.recipe
        near = [
            1 - max(doc.day - last, first - doc.day, 0) / (recipe["time_days"] + 1)
            for first, last in self.intervals
            if doc.day is not None
        ]
        row["time"] = recipe["time"] * max([*near, 0.0])
        met = any(a <= last and first <= b for a, b in doc.intervals for first, last in self.intervals)
        asks_when = re.search(english.ASKS_WHEN, self.text, re.I) and not self.intervals
        counts = re.search(english.ASKS_NUMBER, self.text, re.I) and doc.has_number
        row["asked"] = recipe["asked"] * (met + bool(asks_when and doc.intervals) + bool(counts))
        row["question"] = -recipe["question"] * (doc.asks and doc.dialogue)

    def share(self, i: int) -> float:
        """Return the share of the question's worth that a text and its neighbours hold."""
        near = [j for j in (i, self.neighbour(i, -1), self.neighbour(i, 1)) if j is not None]
        held = {t for t in self.terms if any(c[t] for j in near for c in self.documents[j].counts)}
        return sum(self.terms[t] * self.idf(t) for t in held) / self.ideal


def ahead(value: float, stem: str, other: float, beside: str) -> bool:
    return value > other if abs(value - other) > NEAR * max(value, other) else stem < beside
