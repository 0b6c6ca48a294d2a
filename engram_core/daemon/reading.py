"""The reading operations that list what is stored. Driven by the engine; recall has handlers of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from engram_core.errors import BadInput
from engram_core.values import check_count, check_id, parse_time, show

if TYPE_CHECKING:
    from engram_core.daemon.handlers import Engine
    from engram_core.models import Model

Params = dict[str, Any]
M = TypeVar("M", bound="Model")


def limit_of(params: Params, name: str = "limit") -> int | None:
    """Return the limit parameter; raise BadInput unless it is absent or a whole number from 1."""
    limit = params.get(name)
    return None if limit is None else check_count(name, limit, least=1)


def _filter(model: type[M], params: Params, name: str) -> M:
    from engram_core.models import build

    given = params.get(name)
    return build(model, {} if given is None else given, name)


def list_events(engine: Engine, params: Params) -> Any:
    """List events of the run, the session or the owner."""
    level = params.get("level", "run")
    if level not in ("run", "session", "owner"):
        raise BadInput(f"level is {show(level)}; allowed are run, session, owner")
    after = params.get("after_seq")
    if after is not None:
        check_count("after_seq", after)
    start = end = None
    if params.get("time_range") is not None:
        from engram_core.models import TimeRange, build

        start, end = build(TimeRange, params["time_range"], "time_range").bounds()
    events, following = engine.store.reads.list_events(
        engine.scope(params), level=level, start=start, end=end, limit=limit_of(params), after_seq=after)
    return {"events": events, "next": following}


def get_working_state(engine: Engine, params: Params) -> Any:
    """Return the run's working state or null."""
    body = engine.store.reads.working_state(engine.scope(params))
    return {"working_state": None if body is None else json.loads(body)}


def get_stm(engine: Engine, params: Params) -> Any:
    """Return the session's short-term state or null."""
    body = engine.store.reads.short_term(engine.scope(params))
    return {"stm": None if body is None else json.loads(body)}


def _full(kind: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fill the defaults that a stored line leaves out."""
    from engram_core import models

    kinds: dict[str, type[models.Model]] = {"fact": models.Fact, "episode": models.Episode,
                                            "procedure": models.Procedure, "insight": models.Insight}
    model = kinds[kind]
    names = model.model_fields
    return [{**model.model_validate({key: one for key, one in row.items() if key in names})
             .model_dump(mode="json", exclude_none=False), **{key: one for key, one in row.items() if key not in names}}
            for row in rows]


def list_facts(engine: Engine, params: Params) -> Any:
    """List facts by status, key or time."""
    from engram_core.models import FactFilter

    wanted = _filter(FactFilter, params, "fact_filter")
    return {"facts": _full("fact", engine.store.reads.list_facts(engine.scope(params), wanted))}


def list_episodes(engine: Engine, params: Params) -> Any:
    """List episodes by time, tag or entity, with how recent each is by the default policy's half-life."""
    from engram_core.models import EpisodeFilter

    wanted = _filter(EpisodeFilter, params, "episode_filter")
    found = _full("episode", engine.store.reads.list_episodes(engine.scope(params), wanted))
    policy = engine.policies.load(engine.settings.get("packet.policy"), {})
    half_life = policy.half_life_days["episode"] * 86_400_000
    for one in found:
        span = one["time_range"]
        age = max(0, engine.now_ms() - parse_time("end", span["end"] or span["start"]))
        one["recency_score"] = round(2 ** (-age / half_life), 4)
    return {"episodes": found}


def list_procedures(engine: Engine, params: Params) -> Any:
    """List procedures for a task type."""
    task = params.get("task_type")
    if task is not None:
        check_id("task_type", task)
    found = engine.store.reads.list_procedures(engine.scope(params), task, limit_of(params))
    return {"procedures": _full("procedure", found)}


def list_insights(engine: Engine, params: Params) -> Any:
    """List the run's insights."""
    from engram_core.models import InsightFilter

    wanted = _filter(InsightFilter, params, "insight_filter")
    found = engine.store.reads.list_insights(engine.scope(params), wanted, engine.now_ms())
    return {"insights": _full("insight", found)}


def list_context_builds(engine: Engine, params: Params) -> Any:
    """List the run's stored packets."""
    return {"builds": [json.loads(one) for one in engine.store.reads.builds(engine.scope(params), limit_of(params))]}


HANDLERS: Mapping[str, Callable[[Engine, Params], Any]] = {
    "list_events": list_events, "get_working_state": get_working_state, "get_stm": get_stm, "list_facts": list_facts,
    "list_episodes": list_episodes, "list_procedures": list_procedures, "list_insights": list_insights,
    "list_context_builds": list_context_builds,
}
