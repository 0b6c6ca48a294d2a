"""What a packet reads from the database: never more than its candidates and the window, whatever is stored."""

from __future__ import annotations

import pytest

from tests.packet.world import World

STORED = 400


@pytest.fixture(scope="module")
def world() -> World:
    world = World()
    for number in range(STORED):
        world.say(f"Ana spoke of lamp {number} in Lisbon", event_id=f"e{number}")
    for number in range(STORED // 2):
        world.write("upsert_fact", fact={"fact_key": f"lamp{number}", "value": f"stands in Lisbon {number}",
                                         "sources": [f"e{number}"]})
    world.packet({"query": "warm"})  # the index is open from here on
    return world


@pytest.mark.parametrize("query", [None, "Which lamp did Ana see in Lisbon?"])
@pytest.mark.parametrize("budget", [700, 2048, 0])
def test_rows_read_are_bounded_by_the_candidates(world: World, query: str | None, budget: int) -> None:
    most, window = 100, 5
    request = {"query": query, "budget": {"max_tokens": budget},
               "policy": {"include_conversation_window": True, "conversation_window": window,
                          "max_total_candidates": most // 2}}  # two kinds have candidates here
    before = world.engine.store.reads.rows_read
    packet = world.packet(request)
    assert packet["long_term"]["facts"]
    assert world.engine.store.reads.rows_read - before <= most + window
