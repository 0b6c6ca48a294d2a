"""Search: the text ranking alone, over every kind, with its parts. Driven by the daemon's handler.

With a token budget, hits are chosen by score over cost and returned by score. What a hit costs is its line as a reader
would see it (day, speaker, text), counted by the tokenizer but never as less than a quarter of its characters, because
the reader's own tokenizer may be a coarser one; of a long text an excerpt is returned.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from engram_core import tokens
from engram_core.recall import timex
from engram_core.recall.excerpts import MOST_TOKENS, quote_sentences
from engram_core.recall.index import KINDS, text_of
from engram_core.recall.lines import LINE_COLUMN
from engram_core.values import day_of

if TYPE_CHECKING:
    from engram_core.kernel.index import Scores
    from engram_core.policy import Policy
    from engram_core.recall.cache import IndexCache
    from engram_core.recall.index import OwnerIndex
    from engram_core.scope import Scope
    from engram_core.store.reads import Reads

MOST = 2000
"""Of each kind and layer at most this many of the best are weighed against a budget."""
_DEFAULT_LIMIT = 20
_ENVELOPE = 28
"""About what a stored line spends on id, role and time, to guess a text's tokens before it is read."""
_SPARE = 1000
"""Tokens of further hits that are read, because what a hit costs is only guessed before."""
_ONLY_TEXT = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
_WIDE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")  # what such a tokenizer spends a token on
_TEXT_FIELDS = ("quote", "summary", "statement")


class Hit:
    """A memory found, before and after its line was read."""

    __slots__ = ("cost", "doc", "id", "index", "kind", "scores", "seq", "stored", "text", "value", "worth")

    def __init__(self, kind: str, index: OwnerIndex, scores: Scores, doc: int) -> None:
        self.kind, self.index, self.scores, self.doc = kind, index, scores, doc
        self.id = index.ids[doc]
        self.worth = scores.score(doc)
        self.seq: int = index.table.about(doc)[1]
        self.stored: int = index.table.costs(doc)[0][0]
        self.cost = min(MOST_TOKENS, max(1, self.stored - _ENVELOPE))
        self.value: dict[str, Any] = {}
        self.text = ""

    def count(self) -> int:
        """Return what the text costs."""
        return max(self._count(self.text), coarse(self._head() + self.text))

    def cut(self) -> None:
        """Leave of a long text the sentences that matter; one that cannot be cut costs what it has."""
        room = MOST_TOKENS - coarse(self._head())
        self.text = quote_sentences(self.text, self.scores.matched(self.doc), room,
                                    lambda part: max(self._count(part), coarse(part)))
        self.cost = max(MOST_TOKENS, self.count())

    def _head(self) -> str:
        """Return what a reader sees before the text."""
        return f"[{self.value.get('ts', '')[:10]}] {self.value.get('name', self.value.get('role', ''))}: "

    def _count(self, text: str) -> int:
        return tokens.get(self.index.tokenizer_name).count(text)

    def best(self) -> tuple[float, str]:
        """Order hits by score, equal ones by id."""
        return -self.worth, self.id

    def shown(self) -> dict[str, Any]:
        """Return the hit as the reply has it."""
        parts = {name: round(part, 6) for name, part in self.scores.parts(self.doc).items() if part}
        return {"id": self.id, "kind": self.kind, "score": round(self.worth, 6), "parts": parts,
                "matched": self.scores.matched(self.doc), "tokens": self.cost, "text": self.text,
                **({"ts": self.value["ts"]} if "ts" in self.value else {})}


def coarse(text: str) -> int:
    """Return tokens by the rule of thumb."""
    wide = 0 if text.isascii() else len(_WIDE.findall(text))
    return wide + (len(text) - wide + 3) // 4


def search(scope: Scope, query: str, *, kinds: list[str], limit: int | None, max_tokens: int | None, policy: Policy,
           now_ms: int, reads: Reads, cache: IndexCache) -> list[dict[str, Any]]:
    """Return the best hits, best first; none for a query without a known word."""
    most = limit or _DEFAULT_LIMIT if max_tokens is None else min(MOST, max(100, max_tokens // 8))
    found = _find(scope, query, kinds, most, policy, now_ms, reads, cache)
    if max_tokens is None:
        found.sort(key=Hit.best)
        del found[most:]
        _read(found, reads)
        for hit in found:
            hit.cost = hit.stored
    else:
        found = _within(found, max_tokens, policy.cost_exponent, reads)
        found.sort(key=Hit.best)
        del found[limit or len(found):]
    return [hit.shown() for hit in found if hit.value]


def _find(scope: Scope, query: str, kinds: list[str], most: int, policy: Policy, now_ms: int, reads: Reads,
          cache: IndexCache) -> list[Hit]:
    """Return the best of every kind and layer by their text alone."""
    intervals = timex.resolve(query, day_of(now_ms))
    found: list[Hit] = []
    layers = cache.layers(scope, reads)
    meaning = cache.meaning(query, policy.recipe)
    for level, index in layers:
        scores = index.text.query(query, weights=policy.recipe or None, intervals=intervals,
                                  meaning=meaning and meaning.vector)
        raw = scores.raw()
        for kind in kinds:
            if level == "user" or kind not in ("event", "insight"):
                selection = index.table.select(KINDS.index(kind), most, now=now_ms, weights=_ONLY_TEXT, half_life=1.0,
                                               layer=0.0, scores=scores, moments=kind == "episode")
                found += [Hit(kind, index, scores, doc) for doc in selection.docs if raw[doc] > 0]
    return found


def _within(found: list[Hit], budget: int, exponent: float, reads: Reads) -> list[Hit]:
    """Fill the budget in the order of score over cost, which is guessed first so that few lines are read.

    Room that is then left goes to those after them that may fit, which are read for it once more.
    """
    def order(hit: Hit) -> tuple[float, str]:
        return -hit.worth / hit.cost**exponent, hit.id

    found.sort(key=order)
    chosen = []
    for _ in range(2):
        likely, found = _likely(found, budget)
        _read(likely, reads)
        for hit in likely:
            hit.cost = MOST_TOKENS if hit.stored > 2 * MOST_TOKENS else min(MOST_TOKENS, hit.count())
        likely.sort(key=order)
        for hit in likely:
            if hit.cost == MOST_TOKENS and hit.cost <= budget:
                hit.cut()
            if hit.value and hit.cost <= budget:
                budget -= hit.cost
                chosen.append(hit)
    return chosen


def _likely(found: list[Hit], budget: int) -> tuple[list[Hit], list[Hit]]:
    """Return the first of those that may fit, enough of them to fill the budget, and all that come after them."""
    likely: list[Hit] = []
    guessed = 0
    for at, hit in enumerate(found):
        if guessed > 2 * budget + _SPARE:
            return likely, found[at:]
        if hit.cost <= budget + _ENVELOPE:
            likely.append(hit)
            guessed += hit.cost
    return likely, []


def _read(hits: list[Hit], reads: Reads) -> None:
    """Read the lines of hits, in one statement for each kind and layer."""
    groups: dict[tuple[str, tuple[str, str, str]], list[Hit]] = {}
    for hit in hits:
        groups.setdefault((hit.kind, hit.index.owner), []).append(hit)
    for (kind, owner), members in groups.items():
        lines = dict(reads.memories(kind, owner, ("seq", LINE_COLUMN[kind]), [hit.seq for hit in members]))
        for hit in members:
            if hit.seq in lines:  # else it was forgotten since it was ranked
                hit.value = json.loads(lines[hit.seq])
                hit.text = _text(hit.value)


def _text(value: dict[str, Any]) -> str:
    for name in _TEXT_FIELDS:
        if value.get(name) is not None:
            return str(value[name])
    return f"{value.get('fact_key', value.get('task_type', ''))}: {text_of(value.get('value', value.get('content')))}"
