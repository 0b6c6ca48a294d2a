"""The numbers by which the kernel knows kinds, arrays, sections and reasons.

Driven by gather, budget and compose.
"""

from __future__ import annotations

from engram_core import layout
from engram_core.recall.index import KINDS
from engram_core.sections import RANKED_SECTIONS

SECTIONS = RANKED_SECTIONS
ARRAYS = ("working_state", "rolling_summary", *layout.ARRAYS[:-1])
"""Where a candidate is emitted: the arrays of a packet, in their order, and before them the two that are no arrays."""
SECTION_OF_ARRAY = bytes(SECTIONS.index(layout.SECTION_OF.get(name, name)) for name in ARRAYS)
CANDIDATE_KINDS = (*KINDS, "working_state", "rolling_summary", "quote", "open_loop", "tool_evidence", "turn")
REASONS = ("", "duplicate", "in_window", "applicability", "shadowed", "in_stable_part", "not_for_purpose",
           "nothing_to_show", "forgotten",
           "max_facts", "max_procedures", "max_episodes", "max_insights", "max_key_quotes", "last_tool_evidence_limit",
           "budget_section", "budget_total", "max_items")
"""Why a candidate is out; "" is in."""
SECTION = {name: at for at, name in enumerate(SECTIONS)}
ARRAY = {name: at for at, name in enumerate(ARRAYS)}
KIND = {name: at for at, name in enumerate(CANDIDATE_KINDS)}
REASON = {name: at for at, name in enumerate(REASONS)}
REFERRING = {KIND["event"], KIND["episode"], KIND["quote"]}
"""Kinds whose last form, where they have several, is a bare reference."""
