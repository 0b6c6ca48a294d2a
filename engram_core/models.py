"""The memory kinds as pydantic models: every field, default and bound. Driven by the handlers and by generated docs.

What the store keeps about a memory (created_at, recall_count …) is accepted back and ignored, so that everything a
``list_*`` returns can be sent again. ``line()`` is the memory as a packet emits it: fields equal to their default are
left out, except those in ``SHOWN``.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, ValidationError, model_validator

from engram_core.errors import BadInput, UnknownField, nearest
from engram_core.values import ID_MAX, check_ms, check_text, derived_id, dump_json, format_time, parse_time, show

KEPT = frozenset(("created_at", "updated_at", "recalled_at", "recall_count", "pinned", "seq", "version", "replaces",
                  "replaced_by", "ended_at", "recency_score", "expired"))
"""What the store keeps; ignored on input."""


def _time(value: object) -> str:
    return format_time(check_ms("time", value) if type(value) is int else parse_time("time", value))


def _expiry(value: object) -> str:
    return "run_end" if value == "run_end" else _time(value)


def _text(value: object) -> object:
    return check_text("text", value) if type(value) is str else value


Text = Annotated[str, BeforeValidator(_text)]
Id = Annotated[Text, Field(min_length=1, max_length=ID_MAX, pattern=r"^[^\x00-\x1f\x7f]+$")]
Time = Annotated[str, BeforeValidator(_time), Field(description="RFC 3339 with a time zone, or milliseconds")]
Names = list[Text]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Model(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=False)
    SHOWN: ClassVar[tuple[str, ...]] = ()

    def line(self) -> str:
        """Write the memory as a packet emits it."""
        return dump_json(self.emitted(), type(self).__name__.lower())

    def emitted(self) -> dict[str, Any]:
        """Return the caller's fields without those that equal their default."""
        full = self.model_dump(mode="json")
        default = {name: field.get_default(call_default_factory=True, validated_data={})
                   for name, field in type(self).model_fields.items() if not field.is_required()}
        for name, value in default.items():
            if isinstance(value, BaseModel):
                default[name] = value.model_dump(mode="json")
        return {key: _lean(value) for key, value in full.items()
                if key in self.SHOWN or key not in default or value != default[key]}


def _lean(value: Any) -> Any:
    return {key: one for key, one in value.items() if one is not None} if type(value) is dict else value


class TimeRange(Model):
    """A stretch of time, inclusive at both ends; either end may be open."""

    start: Time | None = None
    end: Time | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_ms(cls, value: Any) -> Any:
        if isinstance(value, dict) and ("start_ms" in value or "end_ms" in value):
            value = dict(value)
            for end in ("start", "end"):
                ms = value.pop(end + "_ms", None)
                if ms is not None:
                    value[end] = ms
        return value

    @model_validator(mode="after")
    def _ordered(self) -> TimeRange:
        start, end = self.bounds()
        if start is not None and end is not None and end < start:
            raise ValueError(f"the end {self.end} lies before the start {self.start}")
        return self

    def bounds(self) -> tuple[int | None, int | None]:
        """Return both ends in milliseconds."""
        return (None if self.start is None else parse_time("start", self.start),
                None if self.end is None else parse_time("end", self.end))


class Evidence(Model):
    """What a tool found, in a working state."""

    evidence_id: Id
    summary: Text = ""
    kind: Text = "tool_result"


class WorkingState(Model):
    """What a run is doing: goal, plan and what it must not forget until it ends."""

    goal: Text = ""
    plan: Names = []
    slots: dict[Text, Any] = {}
    constraints: dict[Text, Any] = {}
    tool_evidence: list[Evidence] = []
    decisions: Names = []
    risks: Names = []
    open_loops: Names = []
    state_version: Annotated[int, Field(ge=0)] = 0


class KeyQuote(Model):
    """Words worth keeping, with the event they come from."""

    evidence_id: Id
    quote: Text
    role: Literal["user", "assistant", "tool", "system"] = "user"
    ts: Time | None = None


class ShortTerm(Model):
    """What a session is about so far."""

    rolling_summary: Text = ""
    key_quotes: list[KeyQuote] = []


class Validity(Model):
    """When a fact holds."""

    valid_from: Time | None = None
    valid_to: Time | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Validity:
        if self.valid_from and self.valid_to and parse_time("", self.valid_to) < parse_time("", self.valid_from):
            raise ValueError(f"valid_to {self.valid_to} lies before valid_from {self.valid_from}")
        return self


class Fact(Model):
    """Something that holds about the user or the world until another value replaces it."""

    SHOWN = ("fact_id", "fact_key", "value", "status", "confidence")
    fact_id: Id = ""
    fact_key: Annotated[Id, Field(description="what the fact is about; one active value per key and level")]
    value: Any
    status: Literal["active", "disputed", "deprecated"] = "active"
    validity: Validity = Validity()
    confidence: Share = 0.5
    sources: list[Id] = []
    scope_level: Literal["user", "agent", "tenant"] = "user"
    notes: Text = ""

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("fact_id") is None and isinstance(value.get("fact_key"), str):
            return value | {"fact_id": derived_id("f_", value["fact_key"])}
        return value


class Span(Model):
    """When an episode happened; an open end means it goes on or was a moment."""

    start: Time
    end: Time | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Span:
        if self.end and parse_time("", self.end) < parse_time("", self.start):
            raise ValueError(f"the end {self.end} lies before the start {self.start}")
        return self


class Episode(Model):
    """A stretch of the past, told."""

    SHOWN = ("episode_id", "summary")
    episode_id: Id
    time_range: Span
    summary: Text
    highlights: Names = []
    tags: Names = []
    entities: Names = []
    sources: list[Id] = []
    compression_level: Literal["raw", "phase_summary", "milestone", "theme"] = "raw"
    scope_level: Literal["user", "agent", "tenant"] = "user"


class Procedure(Model):
    """How a kind of task is done."""

    SHOWN = ("procedure_id", "task_type", "content")
    procedure_id: Id
    task_type: Id
    content: Any
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    sources: list[Id] = []
    applicability: dict[Text, Any] = {}
    scope_level: Literal["user", "agent", "tenant"] = "user"


class Insight(Model):
    """A thought of a run, kept until it is tested."""

    SHOWN = ("id", "type", "statement", "confidence", "validation_state")
    id: Id
    type: Literal["hypothesis", "strategy", "pattern"]
    statement: Text
    trigger: Literal["conflict", "failure", "synthesis", "analogy"] = "synthesis"
    confidence: Share = 0.3
    validation_state: Literal["unvalidated", "testing", "validated", "rejected"] = "unvalidated"
    tests_suggested: Names = []
    expires_at: Annotated[str, BeforeValidator(_expiry), Field(description='"run_end" or a time')] = "run_end"
    sources: list[Id] = []


class FactFilter(Model):
    """Which facts to list."""

    status: list[Literal["active", "disputed", "deprecated"]] = []
    fact_key: Id | None = None
    valid_at: Time | None = None
    valid_at_ms: int | None = None
    as_of: Time | None = None
    limit: Annotated[int, Field(ge=1)] | None = None


class EpisodeFilter(Model):
    """Which episodes to list; a range matches what it overlaps."""

    time_range: TimeRange | None = None
    tags: Names = []
    entities: Names = []
    limit: Annotated[int, Field(ge=1)] | None = None


class InsightFilter(Model):
    """Which insights to list."""

    validation_state: list[Literal["unvalidated", "testing", "validated", "rejected"]] = []
    limit: Annotated[int, Field(ge=1)] | None = None


class Selector(Model):
    """What to forget; at least one field."""

    ids: list[Id] = []
    kinds: list[Literal["event", "fact", "episode", "procedure", "insight", "working_state", "short_term", "build"]] = []
    session: StrictBool = False
    run: StrictBool = False
    before: Time | None = None
    all: StrictBool = False


M = TypeVar("M", bound=BaseModel)


def build(model: type[M], value: object, field: str, *, keep: bool = False) -> M:
    """Make the model from a caller's object; raise BadInput naming field, value and what is allowed.

    ``keep`` lets the store's own fields pass unread.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if type(value) is not dict:
        raise BadInput(f"{field} is {show(value)}; allowed is an object with {', '.join(model.model_fields)}")
    dump_json(value, field)
    if keep:
        value = {key: one for key, one in value.items() if key not in KEPT or key in model.model_fields}
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise explained(error, model, field) from None


def explained(error: ValidationError, model: type[BaseModel], field: str) -> BadInput:
    """Turn pydantic's first complaint into one line of ours."""
    first = error.errors(include_url=False)[0]
    path = field
    for part in first["loc"]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.isidentifier() or part in model.model_fields:
            path += f".{part}" if "-" not in part and part != "constrained-str" else ""
    given, kind = first["input"], first["type"]
    if kind == "extra_forbidden":
        known = _known(model, first["loc"][:-1])
        near = nearest(str(first["loc"][-1]), known)
        parent = path.rpartition(".")[0] or field
        return UnknownField(f"{parent} has the unknown key {show(first['loc'][-1])}; known are {', '.join(known)}",
                            hint=f"did you mean {near}?" if near else "remove it")
    if kind == "missing":
        return BadInput(f"{path} is missing", hint=f"give {path}")
    context = first.get("ctx", {})
    inner = context.get("error")
    if isinstance(inner, BadInput):
        return BadInput(inner.message.replace("time is", f"{path} is", 1).replace("text ", f"{path} ", 1), hint=inner.hint)
    if inner is not None:
        return BadInput(f"{path}: {inner}")
    if "expected" in context:
        options = str(context["expected"]).replace("'", "").replace(" or ", ", ")
        near = nearest(given, options.split(", ")) if isinstance(given, str) else ""
        return BadInput(f"{path} is {show(given)}; allowed are {options}", hint=f"did you mean {near}?" if near else "")
    return BadInput(f"{path} is {show(given)}; {_allowed(kind, context, first['msg'])}")


def _allowed(kind: str, context: dict[str, Any], message: str) -> str:
    for name, words in (("ge", "allowed is a number of at least"), ("gt", "allowed is a number above"),
                        ("le", "allowed is a number of at most"), ("lt", "allowed is a number below"),
                        ("max_length", "the most characters allowed are"), ("min_length", "the fewest characters allowed are")):
        if name in context:
            return f"{words} {context[name]}"
    types = {"string_type": "a text", "int_type": "a whole number", "float_type": "a number", "bool_type": "true or false",
             "list_type": "a list", "dict_type": "an object", "model_type": "an object", "finite_number": "a finite number",
             "string_pattern_mismatch": "text without control characters", "int_from_float": "a whole number"}
    return f"allowed is {types[kind]}" if kind in types else message


def _known(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    found: Any = model
    for part in path:
        if isinstance(part, int) or part not in getattr(found, "model_fields", {}):
            continue
        inner = found.model_fields[part].annotation
        options = [inner, *getattr(inner, "__args__", ())]
        found = next((one for one in options if isinstance(one, type) and issubclass(one, BaseModel)), found)
    return list(found.model_fields)
