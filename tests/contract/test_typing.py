"""The package is typed for those who use it: mypy knows what calls take and give, and refuses what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NotRequired, get_origin, get_type_hints

import pytest

import engram
from engram import Memory, types
from tests.contract.calls import ASK, CALLS, SCOPE
from tests.contract.transports import NOW

FOLDER = Path(__file__).parent
ROOT = Path(engram.__file__).parent.parent


def test_the_package_says_that_it_is_typed() -> None:
    for name in ("engram", "engram_core"):
        assert (ROOT / name / "py.typed").is_file()


def test_mypy_agrees_with_how_programs_use_it(tmp_path: Path) -> None:
    found = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path),
                            str(FOLDER / "typed_usage.py")], capture_output=True, text=True, cwd=ROOT)
    assert found.returncode == 0, found.stdout


RESULTS: dict[str, type] = {
    "append_event": types.Appended, "append_events": types.Appended, "list_events": types.StoredEvent,
    "patch_working_state": types.WorkingState, "get_stm": types.ShortTerm, "upsert_fact": types.FactWritten,
    "list_facts": types.StoredFact, "append_episode": types.EpisodeWritten, "list_episodes": types.StoredEpisode,
    "upsert_procedure": types.ProcedureWritten, "list_procedures": types.StoredProcedure,
    "append_insight": types.InsightWritten, "list_insights": types.StoredInsight,
    "update_insight": types.InsightUpdated, "set_pinned": types.Pinned, "end_run": types.RunEnded,
    "write_context_build": types.BuildWritten, "search": types.Hit, "build_memory_packet": types.Packet,
}


def test_results_have_the_fields_that_their_types_name() -> None:
    seen: dict[str, list[Any]] = {}
    with Memory(in_memory=True) as memory:
        for method, args, named in CALLS:
            if method == "forget" or "format" in named:
                continue
            try:
                found = getattr(memory, method)(*args, **named)
            except engram.EngramError:
                continue
            seen.setdefault(method, []).extend(found if isinstance(found, list) else [found])
    for method, result in RESULTS.items():
        hints = get_type_hints(result, include_extras=True)
        known, needed = set(hints), {name for name, hint in hints.items() if get_origin(hint) is not NotRequired}
        rows = [row for row in seen[method] if row is not None]
        assert rows, method
        for row in rows:
            assert needed <= set(row), (method, needed - set(row))
            assert set(row) <= known, (method, set(row) - known)


@pytest.mark.parametrize("name", ["Event", "Fact", "Episode", "Procedure", "Insight", "Scope"])
def test_the_types_of_what_is_sent_are_those_of_the_models(name: str) -> None:
    from engram_core import models

    model = getattr(models, "ScopeIds" if name == "Scope" else name)
    assert set(get_type_hints(getattr(types, name))) == set(model.model_fields)


def test_a_request_has_the_fields_of_its_model() -> None:
    from engram_core.packet import PacketRequest

    assert set(get_type_hints(types.PacketRequest)) == {"scope", *PacketRequest.model_fields}


def test_pydantic_models_are_taken_everywhere() -> None:
    from engram_core import models

    with Memory(in_memory=True) as memory:
        scope = models.ScopeIds(**SCOPE)
        memory.append_event(models.Event(scope=scope, payload="typed", ts_ms=NOW))
        memory.upsert_fact(scope, models.Fact(fact_key="k", value=1))
        memory.append_event({"scope": scope, "payload": "a model inside", "ts_ms": NOW + 1})
        assert [event["payload"] for event in memory.list_events(scope)] == ["typed", "a model inside"]
        memory.patch_working_state(scope, models.WorkingState(goal="g"))
        assert [fact["value"] for fact in memory.list_facts(scope, models.FactFilter(status=["active"]))] == [1]
        assert json.dumps(memory.build_memory_packet(ASK))
