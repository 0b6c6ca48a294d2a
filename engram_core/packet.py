"""The JSON contract of a memory packet: what may be asked and what comes back, as pydantic models.

The request models check what callers send; the packet models are the published JSON Schema and validate in the tests.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from engram_core.models import Id, KeyQuote, Model, Names, Text, TimeRange

SCHEMA_VERSION = "v1"
Purpose = Literal["planner", "tool", "responder"]
SectionName = Literal["working_state", "rolling_summary", "key_quotes", "conversation_window", "open_loops",
                      "last_tool_evidence", "facts", "preferences", "procedures", "episodes", "insights", "insight",
                      "citations"]


class Cues(Model):
    """What the memories should have to do with, beside the query; cues raise scores and never exclude."""

    tags: Names = []
    entities: Names = []
    keywords: Names = []
    time_range: TimeRange | None = None


class Budget(Model):
    """Tokens for the whole packet (0: unlimited) and hard limits for single sections."""

    max_tokens: Annotated[int, Field(ge=0, le=100_000_000)] = 2048
    per_section: dict[SectionName, Annotated[int, Field(ge=0, le=100_000_000)]] = {}


class PacketRequest(Model):
    """A request for a packet; the scope travels beside it, checked on its own."""

    purpose: Purpose = "responder"
    task_type: Id = "generic"
    query: Text | None = None
    cues: Cues = Cues()
    budget: Budget = Budget()
    policy_id: Id = "default"
    policy: dict[Text, Any] = {}
    now: Annotated[Any, Field(description="the moment to build for: RFC 3339 or milliseconds; the daemon's clock")] = None
    persist: bool = True


class Open(Model):
    """A model of the answer, open to fields of later versions."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Meta(Open):
    """Which packet this is."""

    schema_version: Literal["v1"]
    scope: dict[str, str]
    generated_at: str
    purpose: Purpose
    task_type: str
    cues: dict[str, Any]
    budget: dict[str, Any]
    policy_id: str
    build_id: str
    tokenizer: str


class Turn(Open):
    """One turn of the conversation."""

    role: str
    content: str
    evidence_id: str
    ts: str


class ShortTermPart(Open):
    """What the run is doing and what was said."""

    working_state: dict[str, Any]
    rolling_summary: str
    key_quotes: list[KeyQuote | dict[str, Any]]
    conversation_window: list[Turn]
    open_loops: list[str]
    last_tool_evidence: list[dict[str, Any]]


class LongTermPart(Open):
    """What is known for longer."""

    facts: list[dict[str, Any]]
    preferences: list[dict[str, Any]]
    procedures: list[dict[str, Any]]
    episodes: list[dict[str, Any]]


class InsightPart(Open):
    """Thoughts of the run, by type."""

    usage_policy: dict[str, bool]
    hypotheses: list[dict[str, Any]]
    strategy_sketches: list[dict[str, Any]]
    patterns: list[dict[str, Any]]


class Citation(Open):
    """An event that something in the packet rests on."""

    id: str
    type: str
    ts: str
    summary: str


class BudgetReport(Open):
    """How the budget was spent; ``used_tokens`` counts the emitted memories exactly."""

    max_tokens: int
    used_tokens: int
    used_tokens_est: int
    section_usage: dict[str, int]
    degradations: list[dict[str, Any]]
    omissions: list[dict[str, Any]]


class Explain(Open):
    """Why these memories; the whole arithmetic is in the explanation stored under the build_id."""

    policy_id: str
    candidate_counts: dict[str, int]
    candidate_limits: dict[str, int]
    time_window_days: int
    determinism: dict[str, Any]
    selected: list[dict[str, Any]]
    omitted: dict[str, Any]
    filters: list[dict[str, Any]]
    conflicts: list[dict[str, Any]]


class MemoryPacket(Open):
    """The memory packet, schema v1."""

    meta: Meta
    short_term: ShortTermPart
    long_term: LongTermPart
    insight: InsightPart
    citations: list[Citation]
    budget_report: BudgetReport
    explain: Explain
