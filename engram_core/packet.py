"""The JSON contract of a memory packet: what may be asked and what comes back, as pydantic models.

The request models check what callers send; the packet models are the published JSON Schema and validate in the tests.
"""

# ruff: noqa: RUF012  (pydantic copies a model's defaults)

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field

from engram_core.models import Id, Model, Tags, Text, TimeRange
from engram_core.sections import PURPOSES, SECTIONS

SCHEMA_VERSION = "v1"
if TYPE_CHECKING:
    Purpose = str
    SectionName = str
else:  # pydantic checks the names, whoever looks one up has a plain text
    Purpose = Literal[PURPOSES]
    SectionName = Literal[(*SECTIONS, "insight")]  # the last is what earlier requests call the insights


class Cues(Model):
    """What the memories should have to do with, beside the query; cues raise scores and never exclude."""

    tags: Tags = []
    entities: Tags = []
    keywords: Annotated[Tags, Field(description="words of a query, one by one")] = []
    time_range: TimeRange | None = None


class Budget(Model):
    """Tokens for the whole packet (0: unlimited) and hard limits for single sections."""

    max_tokens: Annotated[int, Field(ge=0, le=100_000_000, description="for the whole packet; 0 is no limit")] = 2048
    per_section: Annotated[
        dict[SectionName, Annotated[int, Field(ge=0, le=100_000_000)]],
        Field(description="hard limits for sections; 0 empties one"),
    ] = {}


class PacketRequest(Model):
    """A request for a packet; the scope travels beside it, checked on its own."""

    purpose: Annotated[Purpose, Field(description="who reads it")] = "responder"
    task_type: Annotated[Id, Field(description="what is being done; procedures of other types stay away")] = "generic"
    query: Annotated[Text | None, Field(description="free text, usually the user's turn")] = None
    cues: Cues = Cues()
    budget: Budget = Budget()
    policy_id: Annotated[Id, Field(description="the policy's name; beside `policy` it may be any label")] = "default"
    policy: Annotated[dict[Text, Any], Field(description="single fields of the policy, for this request")] = {}
    now: Annotated[Any, Field(description="the moment to build for: RFC 3339 or milliseconds; the daemon's clock")] = (
        None
    )
    persist: Annotated[bool, Field(description="keep packet and explanation for `engram explain`")] = True


class Open(Model):
    """A part of the answer, open to fields of later versions."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)


Score = Annotated[float, Field(ge=0, le=1)]
Tokens = Annotated[int, Field(ge=0)]


class Meta(Open):
    """Which packet this is."""

    schema_version: Annotated[Literal["v1"], Field(description="the version of this layout")]
    scope: Annotated[dict[str, str], Field(description="the five ids of the scope it was built for")]
    generated_at: Annotated[str, Field(description="the `now` of the request, or the daemon's clock, in UTC")]
    purpose: Purpose
    task_type: str
    query: str | None
    cues: dict[str, Any]
    budget: Annotated[dict[str, Any], Field(description="the budget as it was asked for")]
    policy_id: str
    policy: Annotated[dict[str, Any], Field(description="the policy's fields that the request overrode")]
    build_id: Annotated[
        str, Field(description="a hash of request, policy, `now` and what was stored; names its explanation")
    ]
    tokenizer: Annotated[str, Field(description="what counted the tokens")]


class EmittedState(Open):
    """The run's working state: every key, empty where the purpose does not show it."""

    goal: str
    plan: list[str]
    slots: dict[str, Any]
    constraints: dict[str, Any]
    tool_evidence: Annotated[list[Any], Field(max_length=0, description="always empty: see `last_tool_evidence`")]
    decisions: list[str]
    risks: list[str]
    open_loops: Annotated[list[Any], Field(max_length=0, description="always empty: see `short_term.open_loops`")]
    state_version: Annotated[int, Field(ge=0)]


class EmittedQuote(Open):
    """What somebody said, from the session's own quotes or from an event of any session."""

    evidence_id: Annotated[str, Field(description="the event it is from")]
    quote: Annotated[
        str, Field(description="the words, of a long text the sentences that matter, `…` where some are left out")
    ]
    role: Literal["user", "assistant", "tool", "system"] = "user"
    ts: Annotated[str | None, Field(description="when it was said")] = None
    name: Annotated[str | None, Field(description="who said it, where the event names a speaker")] = None


class Turn(Open):
    """One of the newest turns of the session."""

    role: Literal["user", "assistant", "tool", "system"]
    content: str
    evidence_id: str
    ts: str
    name: str | None = None


class EmittedEvidence(Open):
    """What a tool found."""

    evidence_id: str
    summary: str = ""
    kind: str = "tool_result"


class ShortTermPart(Open):
    """What the run is doing and what was said."""

    working_state: EmittedState
    rolling_summary: Annotated[str, Field(description="the session's summary, whole or its first sentences")]
    key_quotes: Annotated[
        list[EmittedQuote], Field(description="the session's own quotes, then what the query finds, best first")
    ]
    conversation_window: Annotated[
        list[Turn], Field(description="the newest turns in their order, when the policy asks for them")
    ]
    open_loops: list[str]
    last_tool_evidence: Annotated[list[EmittedEvidence], Field(description="the newest first")]


class EmittedFact(Open):
    """A fact; its last four fields only when they are not the default and there was room."""

    fact_id: str
    fact_key: str
    value: Any
    status: Literal["active", "disputed"]
    confidence: Score
    validity: dict[str, str] = {}
    sources: list[str] = []
    scope_level: Literal["user", "agent", "tenant"] = "user"
    notes: str = ""


class EmittedProcedure(Open):
    """A procedure, or its outline."""

    procedure_id: str
    task_type: str
    content: Any
    priority: int = 0
    sources: list[str] = []
    applicability: dict[str, Any] = {}
    scope_level: Literal["user", "agent", "tenant"] = "user"


class EmittedSpan(Open):
    """When an episode happened."""

    start: str
    end: str | None = None


class EmittedEpisode(Open):
    """An episode: whole, or only its summary, its highlights, or its id and time."""

    episode_id: str
    time_range: EmittedSpan
    summary: str = ""
    highlights: list[str] = []
    tags: list[str] = []
    entities: list[str] = []
    sources: list[str] = []
    compression_level: Literal["raw", "phase_summary", "milestone", "theme"] = "raw"
    scope_level: Literal["user", "agent", "tenant"] = "user"


class LongTermPart(Open):
    """What is known for longer, each list best first."""

    facts: list[EmittedFact]
    preferences: Annotated[
        list[EmittedFact],
        Field(description="facts whose key begins with `preference`, when the policy has `split_preferences`"),
    ]
    procedures: list[EmittedProcedure]
    episodes: list[EmittedEpisode]


class EmittedInsight(Open):
    """A thought of the run."""

    id: str
    type: Literal["hypothesis", "strategy", "pattern"]
    statement: str
    confidence: Score
    validation_state: Literal["unvalidated", "testing", "validated"]
    trigger: Literal["conflict", "failure", "synthesis", "analogy"] = "synthesis"
    tests_suggested: list[str] = []
    expires_at: str = "run_end"
    sources: list[str] = []


class UsagePolicy(Open):
    """What may be done with insights."""

    allow_in_responder: bool


class InsightPart(Open):
    """Thoughts of the run, by type."""

    usage_policy: UsagePolicy
    hypotheses: list[EmittedInsight]
    strategy_sketches: list[EmittedInsight]
    patterns: list[EmittedInsight]


class Citation(Open):
    """An event that something in the packet rests on and that is not quoted itself."""

    id: str
    type: Annotated[str, Field(description="`message`, or the event's kind")]
    ts: str
    summary: Annotated[str, Field(description="its first words")]


class Degradation(Open):
    """A memory that is kept in a shorter form."""

    section: SectionName
    id: str
    from_: Annotated[str, Field(alias="from")]
    to: str
    saved: Annotated[int, Field(description="tokens saved")]


class Omission(Open):
    """A candidate that is not in the packet."""

    section: SectionName
    id: str
    reason: Annotated[str, Field(description="why, as a code; see below")]


class BudgetReport(Open):
    """How the budget was spent."""

    max_tokens: Annotated[Tokens, Field(description="as asked for; 0 is no limit")]
    used_tokens: Annotated[Tokens, Field(description="what the emitted memories take, exactly")]
    used_tokens_est: Annotated[Tokens, Field(description="the same number, under its name of before")]
    section_usage: Annotated[dict[SectionName, int], Field(description="tokens of each section that holds something")]
    degradations: list[Degradation]
    omissions: list[Omission]


class Selected(Open):
    """A kept candidate."""

    id: str
    section: SectionName
    score: float


class Filter(Open):
    """How many memories of a kind a hard filter excluded."""

    kind: str
    filter: str
    excluded: int


class Conflict(Open):
    """Facts of one key that contradict each other."""

    fact_key: str
    ids: list[str]


class Explain(Open):
    """Why these memories; the whole arithmetic is in the explanation stored under the build_id."""

    policy_id: str
    candidate_counts: Annotated[dict[str, int], Field(description="by kind, before trimming")]
    candidate_limits: Annotated[dict[str, int], Field(description="the policy's limits")]
    time_window_days: int
    determinism: dict[str, Any]
    selected: list[Selected]
    omitted: Annotated[dict[SectionName, dict[str, int]], Field(description="omissions counted by section and reason")]
    filters: list[Filter]
    conflicts: list[Conflict]


class MemoryPacket(Open):
    """The memory packet, schema v1."""

    meta: Meta
    short_term: ShortTermPart
    long_term: LongTermPart
    insight: InsightPart
    citations: list[Citation]
    budget_report: BudgetReport
    explain: Explain
