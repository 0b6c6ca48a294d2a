"""What calls take and return, for editors and type checkers; at run time all of it is plain dicts and lists.

Arguments may be dicts, these TypedDicts, or pydantic models. Results have at least the fields named here: a later
version may add some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, Protocol, TypedDict

__all__ = [
    "Appended", "BuildWritten", "Citation", "Deletion", "Episode", "EpisodeWritten", "Event", "Explanation", "Fact",
    "FactWritten", "Given", "Hit", "Insight", "InsightUpdated", "InsightWritten", "KeyQuote", "Model", "Packet",
    "PacketRequest", "Pinned", "Procedure", "ProcedureWritten", "RunEnded", "Scope", "ShortTerm", "StoredEpisode",
    "StoredEvent", "StoredFact", "StoredInsight", "StoredProcedure", "TimeRange", "WorkingState",
]

ScopeLevel = Literal["user", "agent", "tenant"]
Kind = Literal["event", "fact", "episode", "procedure", "insight"]
Durability = Literal["committed", "spooled"]


class Model(Protocol):
    """A pydantic model, as far as it matters here: what was set in it becomes the dict."""

    def model_dump(self, *, mode: Literal["json"], exclude_unset: bool) -> dict[str, Any]:
        """Return its fields as JSON values."""


Given = Mapping[str, Any] | Model
"""What an argument may be: a dict, a TypedDict or a pydantic model."""


# ---- what you send


class Scope(TypedDict):
    """Whose memory: five ids; the tenant may be left out."""

    tenant_id: NotRequired[str]
    user_id: str
    agent_id: str
    session_id: str
    run_id: str


class TimeRange(TypedDict, total=False):
    """A stretch of time, inclusive at both ends; either may be open."""

    start: str | int | None
    end: str | int | None
    start_ms: int
    end_ms: int


class Event(TypedDict):
    """Something that happened; a text as payload is a user's turn."""

    event_id: NotRequired[str]
    scope: Scope
    kind: NotRequired[Literal["message", "tool_result", "state_patch", "system"]]
    payload: Any
    ts: NotRequired[str]
    ts_ms: NotRequired[int]
    tags: NotRequired[list[str]]
    entities: NotRequired[list[str]]


class Validity(TypedDict, total=False):
    """When a fact holds."""

    valid_from: str | None
    valid_to: str | None


class Fact(TypedDict):
    """Something that holds until another value of its key replaces it."""

    fact_id: NotRequired[str]
    fact_key: str
    value: Any
    status: NotRequired[Literal["active", "disputed", "deprecated"]]
    validity: NotRequired[Validity]
    confidence: NotRequired[float]
    sources: NotRequired[list[str]]
    scope_level: NotRequired[ScopeLevel]
    notes: NotRequired[str]


class Span(TypedDict):
    """When an episode happened."""

    start: str | int
    end: NotRequired[str | int | None]


class Episode(TypedDict):
    """A stretch of the past, told."""

    episode_id: NotRequired[str]
    time_range: Span
    summary: str
    highlights: NotRequired[list[str]]
    tags: NotRequired[list[str]]
    entities: NotRequired[list[str]]
    sources: NotRequired[list[str]]
    compression_level: NotRequired[Literal["raw", "phase_summary", "milestone", "theme"]]
    scope_level: NotRequired[ScopeLevel]


class Procedure(TypedDict):
    """How a kind of task is done."""

    procedure_id: NotRequired[str]
    task_type: str
    content: Any
    priority: NotRequired[int]
    sources: NotRequired[list[str]]
    applicability: NotRequired[dict[str, Any]]
    scope_level: NotRequired[ScopeLevel]


class Insight(TypedDict):
    """A thought of a run, kept until it is tested."""

    id: NotRequired[str]
    type: Literal["hypothesis", "strategy", "pattern"]
    statement: str
    trigger: NotRequired[Literal["conflict", "failure", "synthesis", "analogy"]]
    confidence: NotRequired[float]
    validation_state: NotRequired[Literal["unvalidated", "testing", "validated", "rejected"]]
    tests_suggested: NotRequired[list[str]]
    expires_at: NotRequired[str]
    sources: NotRequired[list[str]]


class PacketRequest(TypedDict):
    """What a packet is for."""

    scope: Scope
    purpose: NotRequired[Literal["planner", "tool", "responder"]]
    task_type: NotRequired[str]
    query: NotRequired[str | None]
    cues: NotRequired[dict[str, Any]]
    budget: NotRequired[dict[str, Any]]
    policy_id: NotRequired[str]
    policy: NotRequired[dict[str, Any]]
    now: NotRequired[str | int]
    persist: NotRequired[bool]


# ---- what comes back


class Appended(TypedDict):
    """An event that is on disk."""

    event_id: str
    duplicate: bool
    seq: int
    redacted: int
    durability: Durability


class Kept(TypedDict):
    """What the store keeps about every memory."""

    created_at: str
    updated_at: str
    recall_count: int
    pinned: bool
    recalled_at: NotRequired[str]


class StoredEvent(Kept):
    """An event as it was stored."""

    event_id: str
    scope: Scope
    kind: str
    payload: Any
    ts: str
    tags: list[str]
    entities: list[str]
    seq: int


class KeyQuote(TypedDict):
    """Words worth keeping."""

    evidence_id: str
    quote: str
    role: NotRequired[str]
    ts: NotRequired[str]


class WorkingState(TypedDict):
    """What a run is doing."""

    goal: str
    plan: list[str]
    slots: dict[str, Any]
    constraints: dict[str, Any]
    tool_evidence: list[dict[str, Any]]
    decisions: list[str]
    risks: list[str]
    open_loops: list[str]
    state_version: int


class ShortTerm(TypedDict):
    """What a session is about so far."""

    rolling_summary: str
    key_quotes: list[KeyQuote]


class FactWritten(TypedDict):
    """What became of a fact: created, refreshed, superseded or disputed, and which version it replaced."""

    fact_id: str
    version: int
    outcome: str
    superseded: str | None
    redacted: int


class StoredFact(Kept):
    """A version of a fact."""

    fact_id: str
    fact_key: str
    value: Any
    status: str
    validity: Validity
    confidence: float
    sources: list[str]
    scope_level: str
    notes: str
    version: int
    replaces: str | None
    replaced_by: str | None


class EpisodeWritten(TypedDict):
    """An episode that is on disk."""

    episode_id: str
    redacted: int
    duplicate: bool


class StoredEpisode(Kept):
    """An episode, with how recent it is."""

    episode_id: str
    time_range: dict[str, str | None]
    summary: str
    highlights: list[str]
    tags: list[str]
    entities: list[str]
    sources: list[str]
    compression_level: str
    scope_level: str
    recency_score: float


class ProcedureWritten(TypedDict):
    """What became of a procedure: created, updated or unchanged."""

    procedure_id: str
    redacted: int
    outcome: str


class StoredProcedure(Kept):
    """A procedure."""

    procedure_id: str
    task_type: str
    content: Any
    priority: int
    sources: list[str]
    applicability: dict[str, Any]
    scope_level: str


class InsightWritten(TypedDict):
    """An insight that is on disk."""

    id: str
    redacted: int
    duplicate: bool


class StoredInsight(Kept):
    """An insight; ``expired`` is there when it has come to its end."""

    id: str
    type: str
    statement: str
    trigger: str
    confidence: float
    validation_state: str
    tests_suggested: list[str]
    expires_at: str
    sources: list[str]
    expired: NotRequired[bool]


class InsightUpdated(TypedDict):
    """An insight after its change, and what it was promoted to."""

    insight: dict[str, Any]
    promoted: dict[str, str] | None
    redacted: int


class Pinned(TypedDict):
    """A memory whose pin was set."""

    kind: str
    id: str
    pinned: bool


class RunEnded(TypedDict):
    """How many insights ended with the run."""

    expired_insights: int


class BuildWritten(TypedDict):
    """A packet that was stored."""

    build_id: str
    redacted: int


class Citation(TypedDict):
    """An event that something in a packet rests on."""

    id: str
    type: str
    ts: str
    summary: str


class Packet(TypedDict):
    """A memory packet; docs/packet.md says what each part holds."""

    meta: dict[str, Any]
    short_term: dict[str, Any]
    long_term: dict[str, Any]
    insight: dict[str, Any]
    citations: list[Citation]
    budget_report: dict[str, Any]
    explain: dict[str, Any]
    text: NotRequired[str]


class Hit(TypedDict):
    """A memory that a query found."""

    id: str
    kind: Kind
    score: float
    parts: dict[str, float]
    matched: list[str]
    tokens: int
    text: str
    ts: NotRequired[str]


Explanation = dict[str, Any]
"""The whole account of a packet: docs/explain.md."""
Deletion = dict[str, Any]
"""What was, or would be, deleted, counted by kind."""
