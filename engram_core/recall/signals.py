"""The signals of a memory's score: their names, and the weights a request gives them. Driven by gather and compose.

The values are made where they are cheapest, in kernel/table.pyx: relevance r/(1+r) of the text score r, recency
2^(-age/half-life), importance and cue overlap in [0, 1], layer 1, 1/2 and 1/4 for user, agent and tenant, use n/(n+5)
of n recalls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engram_core.policy import Policy, Weights

SIGNALS = ("relevance", "recency", "importance", "cues", "layer", "use")
LAYER_VALUES = {"user": 1.0, "agent": 0.5, "tenant": 0.25}
DAY_MS = 86_400_000.0


def effective(weights: Weights, *, text: bool, cues: bool) -> tuple[float, ...]:
    """Return the six weights for a request; what cannot be judged without words or cues is spread over the others.

    The spread keeps the sum, so that scores of requests with and without a query stay comparable.
    """
    given = [weights.relevance if text else 0.0, weights.recency, weights.importance, weights.cues if cues else 0.0,
             weights.layer, weights.use]
    whole = weights.relevance + weights.recency + weights.importance + weights.cues + weights.layer + weights.use
    left = sum(given)
    return tuple(one * whole / left for one in given) if left > 0 else tuple(given)


def half_life_ms(policy: Policy, kind: str) -> float:
    """Return the age in ms at which a kind's recency is one half."""
    return policy.half_life_days[kind] * DAY_MS
