"""The memory kinds as pydantic models: every field, default and bound. Driven by the handlers and by generated docs.

What the store keeps about a memory (created_at, recall_count …) is accepted back and ignored, so that everything a
``list_*`` returns can be sent again. ``line()`` is the memory as a packet emits it: fields equal to their default are
left out, except those in ``SHOWN``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, ValidationError, model_validator

from engram_core.errors import BadInput, UnknownField, nearest
from engram_core.events import check_role
from engram_core.values import (
    ID_MAX,
    INT_MAX,
    check_ms,
    check_text,
    derived_id,
    dump_json,
    format_time,
    parse_time,
    show,
)

KEPT = frozenset(("created_at", "updated_at", "recalled_at", "recall_count", "pinned"))
"""What the store keeps of every memory; ignored on input."""


def _time(value: object) -> str:
    return format_time(check_ms("time", value) if type(value) is int else parse_time("time", value))


def _expiry(value: object) -> str:
    if value == "run_end":
        return "run_end"
    try:
        return _time(value)
    except BadInput as error:
        raise BadInput(error.message.replace("allowed is", "allowed are run_end and"), hint=error.hint) from None


def _text(value: object) -> object:
    return check_text("text", value) if type(value) is str else value


Text = Annotated[str, BeforeValidator(_text)]
Id = Annotated[Text, Field(min_length=1, max_length=ID_MAX, pattern=r"^[^\x00-\x1f\x7f]+$")]
Time = Annotated[str, BeforeValidator(_time), Field(description="RFC 3339 with a time zone, or milliseconds")]
RfcTime = Annotated[str, BeforeValidator(lambda value: format_time(parse_time("time", value))),
                    Field(description="RFC 3339 with a time zone")]
Milliseconds = Annotated[int, Field(ge=-62135596800000, le=253402300799999,
                                    description="milliseconds since 1970-01-01 UTC, years 1 to 9999")]
Names = list[Text]
Tags = list[Annotated[Text, Field(min_length=1)]]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Model(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=False)
    SHOWN: ClassVar[tuple[str, ...]] = ()
    KEPT: ClassVar[frozenset[str]] = KEPT

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
        for name in full:
            if isinstance(getattr(self, name), BaseModel):  # an open end of a range; a null of the caller's own stays
                full[name] = {key: one for key, one in full[name].items() if one is not None}
                default[name] = {key: one for key, one in default.get(name, {}).items() if one is not None}
        return {key: value for key, value in full.items()
                if key in self.SHOWN or key not in default or value != default[key]}


class ScopeIds(Model):
    """Whose memory: five ids; the tenant may be left out."""

    tenant_id: Id | None = "default"
    user_id: Id
    agent_id: Id
    session_id: Id
    run_id: Id


class Event(Model):
    """Something that happened; checked as ``events.check_event`` does, which the daemon uses as it starts sooner."""

    KEPT = KEPT | {"seq"}
    event_id: Annotated[Id | None, Field(description="made when absent; names the event within its run")] = None
    scope: ScopeIds
    kind: Literal["message", "tool_result", "state_patch", "system"] = "message"
    payload: Annotated[Any, Field(description="any JSON; a text is a user's turn, an object has role and content")]
    ts: RfcTime | None = None
    ts_ms: Annotated[Milliseconds | None, Field(description="wins over ts; without both the time is now")] = None
    tags: Tags | None = None
    entities: Tags | None = None

    @model_validator(mode="after")
    def _known_role(self) -> Event:
        check_role(self.kind, self.payload)
        return self


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
    state_version: Annotated[int, Field(ge=0, le=INT_MAX)] = 0


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
    KEPT = KEPT | {"version", "replaces", "replaced_by"}
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
    KEPT = KEPT | {"recency_score"}
    episode_id: Id
    time_range: Span
    summary: Text
    highlights: Names = []
    tags: Tags = []
    entities: Tags = []
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
    KEPT = KEPT | {"expired"}
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
    valid_at_ms: Milliseconds | None = None
    as_of: Time | None = None
    limit: Annotated[int, Field(ge=1, le=INT_MAX)] | None = None


class EpisodeFilter(Model):
    """Which episodes to list; a range matches what it overlaps."""

    time_range: TimeRange | None = None
    tags: Tags = []
    entities: Tags = []
    limit: Annotated[int, Field(ge=1, le=INT_MAX)] | None = None


class InsightFilter(Model):
    """Which insights to list."""

    validation_state: list[Literal["unvalidated", "testing", "validated", "rejected"]] = []
    limit: Annotated[int, Field(ge=1, le=INT_MAX)] | None = None


class Selector(Model):
    """What to forget; at least one field."""

    ids: list[Id] = []
    kinds: list[Literal["event", "fact", "episode", "procedure", "insight", "working_state", "short_term",
                        "build"]] = []
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
        raise BadInput(f"{field} is {show(value)}; allowed is an object",
                       hint=f"its keys: {', '.join(known_keys(model))}")
    if keep:
        value = {key: one for key, one in value.items() if key not in getattr(model, "KEPT", KEPT)}
    dump_json(value, field)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _explained(error.errors(include_url=False)[0], model, field) from None


def problems(model: type[BaseModel], value: dict[str, Any], field: str) -> list[BadInput]:
    """Return everything that keeps an object from being the model, in words of ours."""
    try:
        model.model_validate(value)
    except ValidationError as error:
        return [_explained(one, model, field) for one in error.errors(include_url=False)]
    return []


def _explained(first: Mapping[str, Any], model: type[BaseModel], field: str) -> BadInput:
    """Turn one complaint of pydantic into one line of ours."""
    path, given, kind = _path(field, first["loc"]), first["input"], first["type"]
    context = first.get("ctx", {})
    if kind == "extra_forbidden":
        known = known_keys(_owner(model, first["loc"]))
        near = nearest(str(first["loc"][-1]), known)
        return UnknownField(f"{_path(field, first['loc'][:-1])} has the unknown key {show(first['loc'][-1])}; "
                            f"known are {', '.join(known)}", hint=f"did you mean {near}?" if near else "remove it")
    if kind == "missing":
        return BadInput(f"{path} is missing", hint=f"give {path}")
    inner = context.get("error")
    if isinstance(inner, BadInput):  # one of values.py, which does not know the path
        start, _, rest = inner.message.partition(" ")
        return BadInput(f"{path} {rest}" if start in ("time", "text") else inner.message, hint=inner.hint)
    if inner is not None:
        return BadInput(f"{path}: {inner}", hint="correct one of them")
    if kind == "literal_error":
        options = str(context["expected"]).replace("'", "").replace(" or ", ", ")
        near = nearest(given, options.split(", ")) if isinstance(given, str) else ""
        return BadInput(f"{path} is {show(given)}; allowed are {options}",
                        hint=f"did you mean {near}?" if near else f"choose one of them for {path}")
    if "max_length" in context or "min_length" in context:
        size = f"{len(given)} characters long" if given else "empty"
        if "max_length" not in context:
            return BadInput(f"{path} is empty; allowed is text of at least 1 character")
        return BadInput(f"{path} is {size}; allowed is text of 1 to {context['max_length']} characters")
    return BadInput(f"{path} is {show(given)}; allowed is {_allowed(kind, model, first['loc'], first['msg'])}")


def _path(field: str, location: tuple[int | str, ...]) -> str:
    for part in location:
        if isinstance(part, int):
            field += f"[{part}]"
        elif part.isidentifier():  # anything else is pydantic's own note on the kind of value
            field += f".{part}"
    return field


_TYPES = {"string_type": "a text", "int_type": "a whole number", "float_type": "a number", "bool_type": "true or false",
          "list_type": "a list", "dict_type": "an object", "model_type": "an object",
          "finite_number": "a finite number", "string_pattern_mismatch": "text without control characters",
          "int_from_float": "a whole number", "int_parsing_size": "a whole number"}


def _allowed(kind: str, model: type[BaseModel], location: tuple[int | str, ...], message: str) -> str:
    """Say what a field takes; of a bounded number always both bounds."""
    name = next((one for one in reversed(location) if isinstance(one, str)), "")
    field = _owner(model, location).model_fields.get(name)
    schema = str(field.annotation) + str(field.metadata) if field is not None else ""
    low, high = (re.search(rf"\b{sign}=(-?[0-9.]+)", schema) for sign in ("ge", "le"))
    words = "a whole number" if "int" in schema and kind != "float_type" else "a number"
    if (low or high) and (kind in _TYPES or kind.startswith(("less", "greater"))):
        return words + (f" from {low[1]}" if low else "") + (f" to {high[1]}" if high else "")
    return _TYPES.get(kind) or message.removeprefix("Input should be ")


def known_keys(model: type[BaseModel]) -> list[str]:
    """Return the keys a caller may write."""
    return [*model.model_fields, *(("start_ms", "end_ms") if model is TimeRange else ())]


def _owner(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the model that holds the last key of a path."""
    found: Any = model
    for part in location[:-1]:
        field = None if isinstance(part, int) else found.model_fields.get(part)
        found = _inner(field.annotation) or found if field is not None else found
    return found  # type: ignore[no-any-return]


def _inner(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in getattr(annotation, "__args__", ()) if (found := _inner(one))), None)
