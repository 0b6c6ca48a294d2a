"""Search: the text ranking alone, over every kind, with its parts. Driven by the daemon's handler.

With a token budget, hits are chosen by score over cost (a hit costs at most 200 tokens) and returned by score.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from engram_core.recall import timex
from engram_core.recall.budget import LINE_COLUMN
from engram_core.recall.index import KINDS, text_of
from engram_core.scope import SCOPE_LEVELS
from engram_core.values import day_of

if TYPE_CHECKING:
    from engram_core.policy import Policy
    from engram_core.recall.index import IndexCache, OwnerIndex
    from engram_core.scope import Scope
    from engram_core.store.reads import Reads

HIT_TOKENS = 200
_DEFAULT_LIMIT = 20
Hit = tuple[float, float, int, str, int, "OwnerIndex", Any, int]


def search(scope: Scope, query: str, *, kinds: list[str], limit: int | None, max_tokens: int | None, policy: Policy,
           now_ms: int, reads: Reads, cache: IndexCache) -> list[dict[str, Any]]:
    """Return the best hits, best first; none for a query without a known word."""
    intervals = timex.resolve(query, day_of(now_ms))
    found: list[dict[str, Any]] = []
    for level in SCOPE_LEVELS:
        index = cache.get(scope.layer(level), reads)
        scores = index.text.query(query, weights=policy.recipe or None, intervals=intervals)
        raw = scores.raw()
        for doc in range(len(raw)):
            if raw[doc] > 0 and index.table.alive(doc):
                about = index.table.about(doc)
                kind = KINDS[about[0]]
                if about[3] == 0 and kind in kinds and (kind not in ("event", "insight") or level == "user"):
                    cost = index.table.costs(doc)[0][0]
                    found.append({"id": index.ids[doc], "kind": kind, "score": raw[doc], "tokens": cost, "seq": about[1],
                                  "doc": doc, "index": index, "scores": scores})
    chosen = _within(found, max_tokens, policy.cost_exponent) if max_tokens is not None else found
    chosen.sort(key=lambda hit: (-hit["score"], hit["id"]))
    if limit is not None or max_tokens is None:
        del chosen[limit or _DEFAULT_LIMIT:]
    return [_shown(hit, reads) for hit in chosen]


def _within(found: list[dict[str, Any]], budget: int, exponent: float) -> list[dict[str, Any]]:
    found.sort(key=lambda hit: (-hit["score"] / max(1, min(HIT_TOKENS, hit["tokens"])) ** exponent, hit["id"]))
    chosen = []
    for hit in found:
        cost = min(HIT_TOKENS, hit["tokens"])
        if cost <= budget:
            budget -= cost
            chosen.append(hit)
    return chosen


def _shown(hit: dict[str, Any], reads: Reads) -> dict[str, Any]:
    index, scores, kind = hit["index"], hit["scores"], hit["kind"]
    rows = reads.memories(kind, index.owner, ("seq", LINE_COLUMN[kind]), [hit["seq"]])
    value = json.loads(rows[0][1]) if rows else {}
    parts = {name: round(part, 6) for name, part in scores.parts(hit["doc"]).items() if part}
    text = value.get("quote") or value.get("summary") or value.get("statement")
    if text is None:
        text = f"{value.get('fact_key', value.get('task_type', ''))}: {text_of(value.get('value', value.get('content')))}"
    return {"id": hit["id"], "kind": kind, "score": round(hit["score"], 6), "parts": parts,
            "matched": scores.matched(hit["doc"]), "tokens": hit["tokens"], "text": text,
            **({"ts": value["ts"]} if "ts" in value else {})}
