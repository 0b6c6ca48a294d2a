"""What a packet is made from: candidates, the units that the budget keeps or drops. Driven by gather and budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engram_core.recall.index import OwnerIndex

INSIGHT_ARRAY = {"hypothesis": "hypotheses", "strategy": "strategy_sketches", "pattern": "patterns"}
"""Where an insight of a type is emitted."""
STATE_KINDS = frozenset(("working_state", "rolling_summary", "quote", "open_loop", "tool_evidence", "turn"))


class Candidate:
    """One memory, or one part of the state, that may be emitted.

    ``forms`` are (name, line) pairs where the lines are known; ``costs`` the (inner, last) tokens of each form. ``reason``
    is why it is out before the budget is looked at. ``index`` and ``doc`` name a ranked memory in its layer.
    """

    __slots__ = ("array", "costs", "doc", "forms", "id", "index", "kept", "kind", "layer", "miss", "pinned", "place",
                 "rank", "reason", "score", "section", "seq", "shortest", "signals")

    def __init__(self, kind: str, section: str, array: str, id_: str, *, layer: str = "user", score: float = 0.0,
                 signals: tuple[float, ...] = (), index: OwnerIndex | None = None, doc: int = -1, seq: int = 0,
                 costs: list[tuple[int, int]] | None = None, forms: list[tuple[str, str]] | None = None,
                 pinned: bool = False, rank: float = 0.0, reason: str = "") -> None:
        self.kind, self.section, self.array, self.id = kind, section, array, id_
        self.layer, self.score, self.signals, self.index, self.doc, self.seq = layer, score, signals, index, doc, seq
        self.costs: list[tuple[int, int]] = costs or []
        self.forms: list[tuple[str, str]] = forms or []
        self.pinned, self.rank, self.reason = pinned, rank, reason
        self.kept = -1
        self.miss = 0
        self.place = 0
        self.shortest = 0

    def form_name(self) -> str:
        """Return the kept form's name."""
        if self.kept <= 0:
            return "full"
        return self.forms[self.kept][0] if self.kept < len(self.forms) else f"short{self.kept}"

    def outcome(self) -> str:
        """Return kept, degraded:<form> or omitted."""
        if self.kept < 0:
            return "omitted"
        return "kept" if self.kept == 0 else f"degraded:{self.form_name()}"


Json = dict[str, Any]
