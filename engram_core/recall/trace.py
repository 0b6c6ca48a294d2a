"""What the log tells of a packet at DEBUG: every candidate, its score and parts, and each decision to trim.

Driven by build, which asks first whether anybody listens. The logger is ``engram.recall``; ``engram_store``, under
which the earlier library told the same, is served too. Texts of memories stand here and nowhere above DEBUG.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engram_core.recall.compose import Composed
    from engram_core.store.reads import Reads

_LOG = logging.getLogger("engram.recall")
_EARLIER = logging.getLogger("engram_store")


def listener() -> logging.Logger | None:
    """Return the logger that wants to know, None when neither does."""
    if _LOG.isEnabledFor(logging.DEBUG):
        return _LOG
    return _EARLIER if _EARLIER.isEnabledFor(logging.DEBUG) else None


def tell(log: logging.Logger, packet: Composed, reads: Reads) -> None:
    """Log a packet: a line for the whole, for each section, for each candidate in rank order."""
    from engram_core.recall.account import explanation  # late: only who listens needs it

    account = explanation(packet, reads)
    budget, rows = account["budget"], sorted(account["candidates"], key=lambda row: row["rank"])
    outcomes = [row["outcome"].partition(":")[0] for row in rows]
    log.debug("packet %s for the %s, query %r: %d candidates, %d kept, %d degraded, %d omitted; %d of %d tokens",
              account["build_id"], account["purpose"], account["query"], len(rows), outcomes.count("kept"),
              outcomes.count("degraded"), outcomes.count("omitted"), budget["used_tokens"], budget["max_tokens"])
    for one in account["filters"]:
        log.debug("filter %s: %d of kind %s are no candidates", one["filter"], one["excluded"], one["kind"])
    for one in budget["sections"]:
        log.debug("section %s: %d tokens of at most %d (share %.2f); %d kept, %d degraded, %d omitted", one["section"],
                  one["used"], one["cap"], one["share"], one["kept"], one["degraded"], one["omitted"])
    for row in rows:
        log.debug("candidate %d: %s %s in %s, score=%.4f%s: %s; %s", row["rank"], row["kind"], row["id"],
                  row["section"], row["score"], _parts(row), _decision(row), row["text"])


def _parts(row: dict[str, Any]) -> str:
    parts = [f"{name} {one['value'] * one['weight']:.3f}" for name, one in row.get("signals", {}).items()]
    return f" ({', '.join(parts)})" if parts else ""


def _decision(row: dict[str, Any]) -> str:
    """Say what became of a candidate: trimming is an omission or a shorter form."""
    outcome, _, form = row["outcome"].partition(":")
    if outcome == "omitted":
        return f"trimmed, {row['reason']}" + (f", {row['miss']}" if row["miss"] else "")
    return f"kept with {row['used_tokens']} tokens" + (f", trimmed to its {form}" if form else "")
