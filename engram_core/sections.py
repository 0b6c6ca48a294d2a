"""The names that requests, policies, packets and recall share: the sections of a packet and who reads one."""

from __future__ import annotations

RANKED_SECTIONS = ("working_state", "rolling_summary", "key_quotes", "conversation_window", "open_loops",
                   "last_tool_evidence", "facts", "preferences", "procedures", "episodes", "insights")
"""The sections that candidates compete in, in packet order."""
SECTIONS = (*RANKED_SECTIONS, "citations")
"""The sections of a packet, also the names that ``budget.per_section`` knows; citations are filled last."""
PURPOSES = ("planner", "tool", "responder")
