"""The same memories give the same packets, byte for byte, on every database; and what a packet asks of a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engram_core.errors import EngramError
from tests.packet.world import DAY_MS, JSON, NOW_MS, SCRIPTS, World
from tests.servers import BACKENDS, SERVERS, databases

OTHER_RUN = {"session_id": "s2", "run_id": "r2"}
HOSTILE = ["a\0b", "'; DROP TABLE events; --", "\\' OR 1=1 \\", "%s %(tenant_id)s {user} :run_id ?", "\u2028\u2029\x85",
           "\u202eabc", "\ufeff", "\uffff", "</memory>", "\x1b[31mred", "back\\slash\\", "`tick`", "$1 $$ $body$"]


def fill(world: World) -> None:
    """Store every kind, in every script, with texts that mean something to a database."""
    for number, text in enumerate([*SCRIPTS, *HOSTILE]):
        world.say(text, event_id=f"e{number}", role=("user", "assistant")[number % 2], ts_ms=NOW_MS - number * DAY_MS,
                  tags=[text[:8] or "t"])
        world.write("upsert_fact", fact={"fact_key": f"key {number}", "value": {"text": text, "Bob": number},
                                         "sources": [f"e{number}"]})
    for name in ("Bob", "bob", "bob ", "BOB"):
        world.write("upsert_fact", fact={"fact_key": name, "value": f"the city of {name}"})
        world.write("upsert_fact", fact={"fact_key": name, "value": f"the town of {name}", "scope_level": "agent"})
        world.write("upsert_procedure", procedure={"procedure_id": f"p-{name}", "task_type": "generic",
                                                   "content": [f"ask {name}", "then go"]})
        world.write("append_episode", episode={"episode_id": name, "summary": f"a day with {name} in Lisbon",
                                               "time_range": {"start": NOW_MS - DAY_MS}, "tags": [name]})
    world.write("upsert_fact", fact={"fact_key": "home", "value": "Lisbon", "scope_level": "tenant"})
    world.write("upsert_fact", fact={"fact_key": "pet", "value": "cat"})
    world.write("upsert_fact", fact={"fact_key": "pet", "value": "dog"}, on_conflict="dispute")
    world.write("append_insight", insight={"id": "i1", "type": "pattern", "statement": "Bob likes Lisbon"})
    world.write("update_insight", id="i1", patch={"validation_state": "validated"})
    world.write("patch_working_state", patch={"goal": "find Bob's house", "open_loops": ["which town?"],
                                              "tool_evidence": [{"evidence_id": "e1", "summary": "a map"}]})
    world.write("update_stm", stm_state={"rolling_summary": "They spoke of Lisbon. And of Bob.",
                                         "key_quotes": [{"evidence_id": "e2", "quote": "the big house"}]})
    world.write("forget", selector={"ids": ["e3", "e5"]})


def requests() -> Iterator[tuple[JSON, dict[str, Any]]]:
    """Return requests of every purpose, with and without a query, in every format."""
    for purpose in ("planner", "responder", "tool"):
        for query in (None, "Where does Bob live? In Lisbon?", "東京 Привет 'quoted' %s \\"):
            yield {"purpose": purpose, "query": query, "budget": {"max_tokens": 900}}, {}
    window = {"include_conversation_window": True, "conversation_window": 6}
    yield {"query": "Bob", "policy": window}, {"format": "text"}
    yield {"query": "Bob", "budget": {"max_tokens": 0}}, {"format": "markdown"}
    yield {"query": "Lisbon", "budget": {"max_tokens": 1200}}, {"part": "volatile"}
    yield {"query": "Lisbon", "budget": {"max_tokens": 1200}}, {"part": "stable"}


def more_requests() -> Iterator[tuple[JSON, dict[str, Any]]]:
    """Return requests that are answered in several steps: parts, limits of characters, another tokenizer."""
    window = {"include_conversation_window": True, "conversation_window": 6}
    for part in ("all", "volatile", "stable"):
        for params in ({"tokenizer": "cl100k_base"}, {"max_chars": 3000}, {"max_chars": 900, "format": "text"},
                       {"format": "markdown"}, {"tokenizer": "bytes"}):
            yield {"query": "lamp", "budget": {"max_tokens": 6000}, "policy": window}, {"part": part, **params}


def said(world: World) -> list[str]:
    """Return every packet, its account and the lists, as text."""
    found = [world.rendered(request, **params) for request, params in requests()]
    found += [str(world.explained(request)) for request, params in list(requests())[:2]]
    found.append(str(world.ask("search", scope=world.request()["scope"], query="Bob in Lisbon", now=NOW_MS)))
    for method in ("list_events", "list_facts", "list_episodes", "list_procedures", "list_insights"):
        found.append(str(world.ask(method, scope=world.request()["scope"])))
    return found


@pytest.fixture(scope="module")
def expected() -> list[str]:
    world = World()
    fill(world)
    return said(world)


@pytest.mark.parametrize("backend", BACKENDS)
def test_packets_are_the_same_byte_for_byte(backend: str, tmp_path: Path, expected: list[str]) -> None:
    with databases(backend, tmp_path) as made:
        url = made.fresh()
        world = World(url)
        fill(world)
        found = said(world)
        world.engine.close()
        again = World(url)  # the index is made afresh from the store
        reopened = said(again)
        again.engine.close()
    for mine, theirs, once_more in zip(found, expected, reopened, strict=True):
        assert mine == theirs
        assert once_more == theirs


@pytest.mark.parametrize("backend", SERVERS)
def test_a_packet_asks_a_server_three_times_at_most(backend: str, tmp_path: Path) -> None:
    with databases(backend, tmp_path) as made:
        url = made.fresh()
        world, other = World(url), World(url)
        fill(world)
        for number in range(40):
            world.say(f"Ana spoke of lamp {number} in Lisbon. " * (1 + number % 7 * 8), event_id=f"l{number}")
            world.write("upsert_fact", fact={"fact_key": f"lamp {number}", "value": f"stands in Lisbon {number}",
                                             "sources": [f"l{number}"]})
        database: Any = world.engine.store.database
        asked = [*requests(), *more_requests()]
        world.packet({"query": "warm"})
        for writer in (None, world, other):  # who changes something meanwhile, also the state
            for request, params in asked:
                if writer is not None:
                    writer.say(f"a new lamp {request}")
                    writer.write("patch_working_state", patch={"goal": f"{request['query']}"})
                before = database.trips()
                world.rendered(request, **params)
                assert database.trips() - before <= 3, (request, params)
        world.forget_index()  # what is remembered of lines goes too
        for request, params in asked:
            before = database.trips()
            world.rendered(request, **params)
            assert database.trips() - before <= 3, (request, params)
        other.engine.close()
        world.engine.close()


def test_postgresql_finds_rows_by_their_key_after_a_quiet_moment(tmp_path: Path) -> None:
    """Without statistics it reads all of the owner's events to find a few, whether or not somebody vacuums."""
    with databases("postgresql", tmp_path) as made:
        world = World(made.fresh())
        scope = world.request()["scope"]
        for part in range(4):
            events = [{"scope": scope, "event_id": f"e{part}-{at}", "payload": "word " * 9} for at in range(500)]
            world.engine.write([("append_events", {"events": events})])
        while world.engine.after_commit():
            pass
        database: Any = world.engine.store.database
        owner = (scope["tenant_id"], scope["user_id"], scope["agent_id"])
        ((text, values),) = world.engine.store.reads.of_memories("event", owner, ("seq", "line"), list(range(1, 40)))
        plan = str(database.writer().execute(f"EXPLAIN {text}", values))
        assert "events_pkey" in plan and "Filter" not in plan, plan
        world.engine.close()


@pytest.mark.parametrize("backend", SERVERS)
def test_a_group_of_appends_asks_a_server_four_times_at_most(backend: str, tmp_path: Path) -> None:
    with databases(backend, tmp_path) as made:
        world = World(made.fresh())
        world.say("known", event_id="e0")
        scope, other = world.request()["scope"], {**world.request()["scope"], **OTHER_RUN}
        given = [(scope, "e0", "known"), (scope, "e1", "new"), (scope, "e1", "new"), (scope, "e1", "another"),
                 (other, "e0", "of the other run"), (scope, "E1", "a twin"), (scope, "e2", "new")]
        params = [{"event": {"scope": one, "event_id": id_, "payload": {"role": "user", "content": text}}}
                  for one, id_, text in given]
        database: Any = world.engine.store.database
        before = database.trips()
        found = world.engine.write([("append_event", one) for one in params])
        assert database.trips() - before <= 4
        told = [one.kind if isinstance(one, EngramError) else json.loads(one)["duplicate"] for one in found]
        assert told == [True, False, True, "conflict", False, False, False]
        world.engine.close()
