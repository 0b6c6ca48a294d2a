"""Recall by meaning: an embedding model adds one signal, its vectors follow the memories, and nothing depends on it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engram import Memory
from engram_core.daemon import vectors
from engram_core.store import backup, records
from engram_core.store.connection import Options
from engram_core.store.copying import copy
from engram_core.store.store import open_database
from tests.daemon_fixture import Home
from tests.engine import embedders
from tests.engine.conftest import SCOPE, Asked

WORDS = "tests.engine.embedders:words"
MEANS = {"recipe": {"meaning": 1.0}}
QUESTION = "xyloq"
ANSWER = "hound barked"


@pytest.fixture(autouse=True)
def _no_texts_yet() -> Iterator[None]:
    embedders.EMBEDDED.clear()
    yield


def settled(memory: Asked) -> None:
    """Wait for the model and have all open indexes embedded and stored."""
    embedding = memory.engine.embedding
    assert embedding is not None
    end = time.monotonic() + 10
    while not (embedding.model_id or embedding.problem):
        assert time.monotonic() < end
        time.sleep(0.005)
    memory.packet("anything")  # opens the index
    for _ in range(1000):
        if not memory.engine.after_commit():
            return
    raise AssertionError("there is always more to embed")


def filled(make: Callable[..., Asked], model: str = WORDS, **configured: Any) -> Asked:
    memory = make(embed__model=model, **configured)
    fill(memory)
    settled(memory)
    return memory


def fill(memory: Asked) -> None:
    for number, text in enumerate([ANSWER, "red paint", "green tea", "blue ink", "grey stone"]):
        memory.event(text, event_id=f"e{number}", ts="2026-01-01T00:00:00Z")


def stored(memory: Asked) -> list[tuple[Any, ...]]:
    """Return seq, model and digest of every vector in the database."""
    writer = memory.engine.store.database.writer()
    return sorted(tuple(row) for row in writer.execute("SELECT seq, model, digest FROM vectors"))


def quotes(memory: Asked, query: str, **request: Any) -> list[str]:
    """Return the ids of a packet's quotes, best first."""
    found = memory.packet(query, now="2026-01-01T00:00:00Z", **request)["short_term"]["key_quotes"]
    return [one["evidence_id"] for one in found]


def rows(memory: Asked, query: str, **policy: Any) -> dict[str, Any]:
    """Return the explanation of a packet and its events' rows by id."""
    account = memory.read("explain", request={"scope": SCOPE, "query": query, "purpose": "planner", "policy": policy})
    return {"account": account, **{one["id"]: one for one in account["candidates"] if one["kind"] == "event"}}


def test_it_finds_what_shares_no_word_and_says_so(make: Callable[..., Asked]) -> None:
    memory = filled(make)
    assert quotes(memory, QUESTION, policy=MEANS)[0] == "e0"
    found = rows(memory, QUESTION, **MEANS)
    assert found["account"]["meaning"] == {"model": "words/1", "absent": ""}
    assert found["e0"]["relevance"]["meaning"] == pytest.approx(1.0, abs=0.01)
    assert found["e0"]["rank"] == 1
    memory.engine.policies.load("default", {}).recipe["meaning"] = 0.5
    hit = memory.read("search", query=QUESTION)["hits"][0]
    assert hit["id"] == "e0" and hit["parts"]["meaning"] == pytest.approx(0.5, abs=0.01)
    assert hit["score"] == pytest.approx(sum(hit["parts"].values()), abs=1e-5)


def test_without_weight_nothing_changes(make: Callable[..., Asked]) -> None:
    memory, plain = filled(make), make()
    fill(plain)
    for query in (QUESTION, "red hound", "tea"):
        embedders.EMBEDDED.clear()
        assert quotes(memory, query) == quotes(plain, query)
        assert memory.read("search", query=query) == plain.read("search", query=query)
        assert embedders.EMBEDDED == []  # the model was not even asked
        assert "meaning" not in rows(memory, query)["account"]


def test_vectors_are_kept_over_a_restart_with_their_model(make: Callable[..., Asked]) -> None:
    memory = filled(make)
    assert [model for _, model, _ in stored(memory)] == ["words/1"] * 5
    embedders.EMBEDDED.clear()
    memory.reopen()
    settled(memory)
    assert quotes(memory, QUESTION, policy=MEANS)[0] == "e0"
    assert embedders.EMBEDDED == [QUESTION]


def test_another_model_computes_them_anew_and_never_meets_the_old_ones(make: Callable[..., Asked]) -> None:
    memory = filled(make)
    memory.engine.close()
    memory._configured["embed.model"] = "tests.engine.embedders:other"
    memory.open()
    embedding = memory.engine.embedding
    assert embedding is not None
    while not embedding.model_id:
        time.sleep(0.005)
    found = rows(memory, QUESTION, **MEANS)  # nothing has a vector of this model yet
    assert all("meaning" not in row.get("relevance", {}) for name, row in found.items() if name != "account")
    settled(memory)
    assert [model for _, model, _ in stored(memory)] == ["words/2"] * 5
    assert quotes(memory, QUESTION, policy=MEANS)[0] == "e0"


def test_what_is_written_later_or_changes_gets_its_vector(make: Callable[..., Asked]) -> None:
    memory = filled(make)
    memory.event("automobile", event_id="e9")
    memory.write("append_episode", episode={"episode_id": "p1", "summary": "green tea again",
                                            "time_range": {"start": "2026-01-01T00:00:00Z"}})
    memory.write("upsert_procedure", procedure={"procedure_id": "r1", "task_type": "walk", "content": "take shoes"})
    settled(memory)
    assert quotes(memory, "car", policy=MEANS)[0] == "e9"
    before = {seq: digest for seq, _, digest in stored(memory)}
    assert len(before) == 8
    memory.write("upsert_procedure", procedure={"procedure_id": "r1", "task_type": "walk", "content": "take a lead"})
    settled(memory)
    after = {seq: digest for seq, _, digest in stored(memory)}
    changed = [seq for seq in after if before.get(seq) != after[seq]]
    assert len(changed) == 1
    assert embedders.EMBEDDED.count(ANSWER) == 1


def test_the_forgotten_have_no_vector(make: Callable[..., Asked]) -> None:
    memory = filled(make)
    gone = stored(memory)
    memory.write("forget", selector={"ids": ["e0"]}, dry_run=True)
    assert stored(memory) == gone
    memory.write("forget", selector={"ids": ["e0", "e1"]})
    assert len(stored(memory)) == 3
    memory.write("forget", selector={"all": True})
    assert stored(memory) == []


def test_what_is_forgotten_while_the_model_works_gets_none(make: Callable[..., Asked]) -> None:
    memory = filled(make)
    memory.event("hound again", event_id="e9")
    memory.packet("anything")
    assert memory.engine.after_commit()  # the text is with the model
    memory.write("forget", selector={"all": True})
    settled(memory)
    assert stored(memory) == []


def test_a_failing_model_never_fails_a_packet(make: Callable[..., Asked], caplog: pytest.LogCaptureFixture,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "PAUSE_S", 0.0)
    with caplog.at_level(logging.INFO):
        memory = filled(make, "tests.engine.embedders:failing")
        memory.event("a bad secret", event_id="e9")
        settled(memory)
        assert len(stored(memory)) == 5  # all but the one it cannot read
        assert quotes(memory, QUESTION, policy=MEANS)[0] == "e0"
        for query in ("bad hound", "bad tea"):
            assert quotes(memory, query, policy=MEANS) == quotes(memory, query)
            absent = rows(memory, query, **MEANS)["account"]["meaning"]
            assert absent == {"model": "failing/1", "absent": "the model failing/1 failed with RuntimeError"}
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    assert [one for one in told if "meaning" in one] == [
        "no meaning in recall: the model failing/1 failed with RuntimeError"]
    assert "secret" not in "".join(told)


def test_a_slow_model_is_not_waited_for(make: Callable[..., Asked]) -> None:
    memory = filled(make, "tests.engine.embedders:slow", embed__timeout_ms=50)
    begin = time.monotonic()
    assert quotes(memory, "slowly tea", policy=MEANS)[0] == "e2"
    assert "within 0.05 s" in rows(memory, "slowly ink", **MEANS)["account"]["meaning"]["absent"] or \
        "busy" in rows(memory, "slowly ink", **MEANS)["account"]["meaning"]["absent"]
    assert time.monotonic() - begin < 1.0


@pytest.mark.parametrize("text", ["nan", "zero", "short", "lost"])
def test_vectors_that_are_none_count_as_a_failure(make: Callable[..., Asked], text: str,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "PAUSE_S", 0.0)
    memory = filled(make, "tests.engine.embedders:odd")
    memory.event(f"{text} one", event_id="e9")
    memory.event("hound two", event_id="e10")
    settled(memory)
    assert quotes(memory, QUESTION, policy=MEANS)[0] in ("e0", "e10")
    memory.packet(f"{text} question", policy=MEANS)
    assert len(stored(memory)) >= 6


@pytest.mark.parametrize(("model", "said"), [
    ("tests.engine.embedders:broken", "cannot be loaded: ValueError: no such weights"),
    ("tests.engine.embedders:nothing", "cannot be loaded: AttributeError"),
    ("no.such.module:words", "cannot be loaded: ModuleNotFoundError"),
    ("/nowhere/model", "cannot be loaded: FileNotFoundError: there is no folder /nowhere/model"),
])
def test_a_model_that_cannot_be_loaded_is_named(make: Callable[..., Asked], model: str, said: str) -> None:
    memory = make(embed__model=model)
    memory.event(ANSWER, event_id="e0")
    settled(memory)
    assert quotes(memory, "hound", policy=MEANS) == ["e0"]
    assert said in rows(memory, "hound", **MEANS)["account"]["meaning"]["absent"]
    facts = memory.engine.status()["embedding"]
    assert facts["model"] == model and not facts["ready"] and said in facts["problem"]


def test_a_long_text_and_many_texts(make: Callable[..., Asked]) -> None:
    memory = filled(make)
    for number in range(50):
        memory.event(f"{'hound ' * 2000}{number}", event_id=f"long{number}")
    settled(memory)
    assert len(stored(memory)) == 55
    assert max(map(len, embedders.EMBEDDED)) <= 2000


def test_exports_and_copies_leave_them_out_and_backups_keep_them(make: Callable[..., Asked], tmp_path: Path,
                                                                 backend: str) -> None:
    memory = filled(make)
    assert "vectors" not in {table.name for table in records.OWNED}
    target = str(tmp_path / "copy.db")
    copy(memory.url, target, source=Options(), target=Options())
    opened = open_database(target, Options())
    assert opened.reader().execute("SELECT count(*) FROM vectors") == [(0,)]
    assert opened.reader().execute("SELECT count(*) FROM events") == [(5,)]
    opened.close()
    if backend == "sqlite":
        backup.back_up(memory.url, str(tmp_path / "backup.db"), lambda done: None)
        opened = open_database(str(tmp_path / "backup.db"), Options())
        assert opened.reader().execute("SELECT count(*) FROM vectors") == [(5,)]
        opened.close()


def test_a_daemon_embeds_in_quiet_moments(home: Home) -> None:
    home.start(ENGRAM_EMBED_MODEL=WORDS)
    with Memory.connect(cwd="/", timeout=10) as client:
        client.append_events([{"scope": SCOPE, "payload": text, "event_id": id_}
                              for id_, text in (("e0", ANSWER), ("e1", "red paint"))])
        request = {"scope": SCOPE, "query": QUESTION, "purpose": "planner", "policy": MEANS, "persist": False}
        home.wait_for(lambda: client.build_memory_packet(request)["short_term"]["key_quotes"][0]["evidence_id"] == "e0")
    status = json.loads(home.engram("status", "--json").stdout)
    assert status["embedding"] == {"model": "words/1", "ready": True, "problem": ""}
