"""What the engine does when nobody waits: counts that were missing are stored, indexes over the limit are let go."""

from __future__ import annotations

from typing import Any

from engram_core.daemon.handlers import Engine
from engram_core.settings import load
from tests.packet.world import NOW, SCOPE, World


def tokens(engine: Engine, table: str) -> list[Any]:
    return [row[0] for row in engine.store.writer_reads._connection.execute(f"SELECT tokens FROM {table} ORDER BY seq")]


def idle(engine: Engine) -> None:
    while engine.after_commit():
        pass


def test_tokens_counted_for_an_index_are_stored_for_the_next_one() -> None:
    world = World()
    world.say("Ana moved to Lisbon", event_id="e1")  # no tokenizer is loaded yet, and no append waits for it
    world.write("upsert_fact", fact={"fact_key": "city", "value": "Lisbon"})
    assert tokens(world.engine, "events") == [None] and tokens(world.engine, "facts") == [None]
    first = world.rendered({"query": "Lisbon", "persist": False})
    idle(world.engine)
    assert [one.split(":")[0] for one in (*tokens(world.engine, "events"), *tokens(world.engine, "facts"))] == [
        "o200k_base", "o200k_base"]
    world.forget_index()
    assert world.rendered({"query": "Lisbon", "persist": False}) == first
    assert not any(index.counted for index in world.engine.cache._open.values())


def test_a_row_changed_meanwhile_keeps_its_own_count() -> None:
    world = World()
    world.write("upsert_fact", fact={"fact_key": "city", "value": "Lisbon", "fact_id": "f1"})
    world.rendered({"persist": False})
    world.write("upsert_fact", fact={"fact_key": "city", "value": "Lisbon", "fact_id": "f1", "confidence": 0.9,
                                     "notes": "she said so twice, and once more"})
    kept = tokens(world.engine, "facts")
    idle(world.engine)
    assert tokens(world.engine, "facts") == kept and kept[0] is not None


def test_indexes_over_the_limit_are_let_go_the_least_used_first() -> None:
    engine = Engine(load(env={"ENGRAM_RECALL_INDEX_MEMORY_MB": "1"}), ":memory:")
    world = World.__new__(World)
    world.engine = engine
    for user in range(30):
        scope = {**SCOPE, "user_id": f"u{user}"}
        for at in range(40):
            said = " ".join(f"word{user}x{at}x{number}" for number in range(20))
            world.write("append_event", scope=scope, event={"payload": said})
        asked = {"scope": scope, "query": f"word{user}x1x1", "now": NOW, "persist": False}
        engine.read("build_memory_packet", {"request": asked})
    facts = engine.status()["index"]
    assert facts["bytes"] <= 1 << 20 and 0 < facts["owners"] < 30 * 3
    assert engine.cache.is_warm(("t", "u29", "a"), 1000) and not engine.cache.is_warm(("t", "u0", "a"), 1000)
    again = {**asked, "scope": {**SCOPE, "user_id": "u0"}, "query": "word0x1x1"}
    assert b"word0x1x2" in engine.read("build_memory_packet", {"request": again, "render": True, "bare": True})
