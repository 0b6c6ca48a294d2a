"""EngramSaver beyond the public suite: large values, order, pages, allow lists, damage, retention and bad input."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance.test_utils import generate_checkpoint, generate_config, generate_metadata
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME

from engram import BadInput, EngramError, Memory
from engram.adapters.langgraph import EngramSaver
from engram.adapters.langgraph.values import INLINE, PIECE, pack, unpack
from engram_core.daemon.handlers import Engine
from engram_core.errors import StoreCorrupt
from tests.daemon_fixture import Home


@pytest.fixture
def saver(tmp_path: Path) -> Any:
    with EngramSaver(tmp_path / "g.db") as found:
        yield found


def put(saver: BaseCheckpointSaver[Any], values: dict[str, Any], thread: str = "t1", ns: str = "",
        parent: Any = None, **metadata: Any) -> Any:
    """Put a checkpoint whose channels all have new versions."""
    config: Any = parent or generate_config(thread, checkpoint_ns=ns)
    versions: Any = {channel: saver.get_next_version(None, None) for channel in values}
    checkpoint = generate_checkpoint(channel_values=values, channel_versions=versions)
    return saver.put(config, checkpoint, generate_metadata(**metadata), versions)


@given(st.binary(max_size=2000) | st.binary(max_size=20).map(lambda part: part * 1000))
def test_bytes_come_back_whatever_they_are(data: bytes) -> None:
    text = pack(data)
    assert unpack(text, "x") == data
    assert text.isascii() and len(text) <= 1 + -(-len(data) // 3) * 4


@pytest.mark.parametrize("text", ["", "q", "rA", "r*AAA", "z", "zAAAA", "r=", "rQUJ D"])
def test_a_damaged_text_is_said(text: str) -> None:
    with pytest.raises(StoreCorrupt, match="the stored value of channel 'a'"):
        unpack(text, "value of channel 'a'")


@pytest.mark.parametrize("place", ["file", "socket"])
def test_large_values_come_back(home: Home, place: str) -> None:
    if place == "socket":
        home.start()
    mib = int(os.environ.get("ENGRAM_LARGE_MIB", "8"))  # 64 is the promise, and takes seconds
    large = {"random": os.urandom(mib << 20), "text": "Ada moved to Lyon. " * 100_000, "small": [1, {"a": None}]}
    large |= {f"many{n}": os.urandom(INLINE // 2) for n in range(40)}
    with EngramSaver(Memory.connect(timeout=60) if place == "socket" else home.path / "g.db") as saver:
        stored = put(saver, large)
        saver.put_writes(stored, [("random", large["random"]), ("small", 1)], "task")
        for found in (saver.get_tuple(stored), next(saver.list(generate_config("t1")))):
            assert found is not None and found.checkpoint["channel_values"] == large
            assert found.pending_writes == [("task", "random", large["random"]), ("task", "small", 1)]


def test_small_values_stand_in_the_checkpoint_and_are_all_there(saver: EngramSaver, tmp_path: Path) -> None:
    values = {"none": None, "yes": True, "n": 1 << 60, "x": -0.5, "short": "é" * 64, "long": "a" * 65, "list": [1]}
    first = put(saver, values)
    second = put(saver, {"n": 2}, parent=first, source="loop")
    assert tables(tmp_path / "g.db")["channel_blobs"] == 2
    for config, wanted in ((first, values), (second, {"n": 2})):
        found = saver.get_tuple(config)
        assert found is not None and found.checkpoint["channel_values"] == wanted
    assert [one.checkpoint["channel_values"] for one in saver.list(generate_config("t1"))] == [{"n": 2}, values]
    history = saver.get_delta_channel_history(config=second, channels=["n", "list", "none"])
    assert history == {"n": {"writes": [], "seed": 1 << 60}, "list": {"writes": [], "seed": [1]},
                       "none": {"writes": [], "seed": None}}
    saver.copy_thread("t1", "t2")
    saver.prune(["t2"])
    kept = [one.checkpoint["channel_values"] for one in saver.list(generate_config("t2"))]
    assert kept == [{"n": 2}]


def test_prune_keeps_the_ancestor_with_a_small_value_that_a_delta_channel_is_made_from(saver: EngramSaver) -> None:
    first = put(saver, {"sum": 5})
    second = put(saver, {"other": [1]}, parent=first)
    third = put(saver, {"other": [2]}, parent=second, counters_since_delta_snapshot={"sum": (2, 2)})
    saver.put_writes(second, [("sum", 7)], "k")
    saver.prune(["t1"])
    assert len([*saver.list(generate_config("t1"))]) == 3
    assert saver.get_delta_channel_history(config=third, channels=["sum"]) == {
        "sum": {"writes": [("k", "sum", 7)], "seed": 5}}


def test_versions_grow_and_go_on_from_those_of_other_savers(saver: EngramSaver) -> None:
    version: Any = None
    for _ in range(1000):
        assert version is None or saver.get_next_version(version, None) > version
        version = saver.get_next_version(version, None)
    official = "00000000000000000000000000001000.0.8410209"
    assert saver.get_next_version(official, None) > official
    assert int(saver.get_next_version(7, None).partition(".")[0]) == 8


def test_a_thread_deleted_and_written_in_one_go_is_there(tmp_path: Path) -> None:
    with Memory(tmp_path / "g.db") as memory:
        saver = EngramSaver(memory)
        stored = put(saver, {"n": 1})
        space = {"scope": saver._scope, "thread_id": "t1", "ns": ""}
        writes = [["task", 0, "", "n", "msgpack", pack(b"\x01"), 0]]
        checkpoint_id = stored["configurable"]["checkpoint_id"]
        engine: Any = memory._transport._engine  # type: ignore[attr-defined]
        outcomes = engine.engine.write([
            ("put_checkpoint_writes", {**space, "checkpoint_id": checkpoint_id, "writes": writes}),
            ("delete_checkpoints", {"scope": saver._scope, "thread_ids": ["t1"]}),
            ("put_checkpoint", {**space, "checkpoint_id": "c2", "metadata": "{}",
                                "body": ["msgpack", pack(b"\x81\xa2id\xa2c2"), 0]})])
        assert not [one for one in outcomes if isinstance(one, EngramError)]
        assert [one.checkpoint["id"] for one in saver.list(None)] == ["c2"]


@pytest.mark.parametrize("place", ["inside", "socket"])
@pytest.mark.parametrize(("method", "given", "said"), [
    ("put_checkpoint", {"versions": {"a\ud800": "1"}}, "surrogate"),
    ("put_checkpoint", {"versions": {"a": 1}}, r"versions\.a is 1; allowed is text"),
    ("put_checkpoint", {"versions": {"a": "1"}, "values": {"a": ["t", "r", -1]}}, r"values\.a\[2\] is -1"),
    ("put_checkpoint", {"values": {"a": ["t", "r", 0]}}, "values has 'a', whose version"),
    ("put_checkpoint", {"body": ["t", 5, 0]}, r"body\[1\] is 5"),
    ("put_checkpoint", {"metadata": "[]"}, "metadata is '\\[\\]'; allowed"),
    ("put_checkpoint", {"metadata": "{} "}, "metadata is '{} '; allowed"),
    ("put_checkpoint_writes", {"writes": [["k", 0, "", "a", "t", "r", 0], ["k", "0", "", "a", "t", "r", 0]]},
     r"writes\[1\]\[1\] is '0'"),
    ("put_checkpoint_writes", {"writes": [["k" * 111, 0, "", "a", "t", "r", 0]]}, r"writes\[0\]\[0\] is 111"),
])
def test_a_malformed_request_names_the_part(home: Home, place: str, method: str, given: dict[str, Any],
                                            said: str) -> None:
    if place == "socket":
        home.start()
    with Memory.connect() if place == "socket" else Memory(home.path / "g.db") as memory:
        whole: dict[str, Any] = {"put_checkpoint": {"metadata": "{}", "body": ["t", "r", 0]}, "put_checkpoint_writes": {
            "writes": []}}[method]
        with pytest.raises(BadInput, match=said):
            memory.request(method, {"scope": {"user_id": "u", "agent_id": "a"}, "thread_id": "t", "ns": "",
                                    "checkpoint_id": "c", **whole, **given})


def test_a_value_is_stored_once_for_all_checkpoints_that_have_it(saver: EngramSaver, tmp_path: Path) -> None:
    large = os.urandom(4 * PIECE)
    version = saver.get_next_version(None, None)
    config = generate_config("t1")
    for step in range(20):
        checkpoint = generate_checkpoint(channel_values={"doc": large}, channel_versions={"doc": version})
        config = saver.put(config, checkpoint, generate_metadata(step=step), {} if step else {"doc": version})
    found = list(saver.list(generate_config("t1")))
    assert len(found) == 20 and all(one.checkpoint["channel_values"]["doc"] == large for one in found)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 8 * PIECE


def test_pending_writes_are_sorted_and_stay_or_go_as_they_should(saver: EngramSaver) -> None:
    stored = put(saver, {})
    saver.put_writes(stored, [("b", 1), ("a", 2)], "t2", "~x")
    saver.put_writes(stored, [("c", 3)], "t9", "")
    saver.put_writes(stored, [("d", 4)], "t1", "~x")
    saver.put_writes(stored, [("b", "late"), ("a", "late"), ("new", 5)], "t2", "~x")
    saver.put_writes(stored, [(ERROR, "first"), (INTERRUPT, "i")], "t1", "~x")
    saver.put_writes(stored, [(ERROR, "second")], "t1", "~x")
    saver.put_writes(stored, [(RESUME, "kept"), ("d", "late")], "t1", "~x")
    saver.put_writes(stored, [(RESUME, "late"), ("d", "later")], "t1", "~x")
    found = saver.get_tuple(stored)
    assert found is not None and found.pending_writes == [
        ("t9", "c", 3), ("t1", RESUME, "kept"), ("t1", INTERRUPT, "i"), ("t1", ERROR, "second"), ("t1", "d", 4),
        ("t1", "d", "late"), ("t2", "b", 1), ("t2", "a", 2), ("t2", "new", 5)]


def test_versions_grow(saver: EngramSaver) -> None:
    versions: list[str] = []
    for _ in range(1200):
        versions.append(saver.get_next_version(versions[-1] if versions else None, None))
    assert versions == sorted(versions) and len({*versions}) == 1200
    assert saver.get_next_version(7, None) > saver.get_next_version(6, None)


def test_a_list_may_be_read_slowly_while_others_write(saver: EngramSaver) -> None:
    config = None
    for step in range(45):
        config = put(saver, {"n": step}, parent=config, step=step, even=step % 2 == 0)
    listed = saver.list(generate_config("t1"))
    seen = [next(listed)]
    other = put(saver, {"n": "new"}, parent=config, step=45)
    saver.delete_thread("t2")
    seen += listed
    assert [one.checkpoint["channel_values"]["n"] for one in seen] == [*range(44, -1, -1)]
    assert [one.metadata["step"] for one in saver.list(None, filter={"even": True}, limit=21)] == [*range(44, 3, -2)]
    assert [one.metadata["step"] for one in saver.list(generate_config("t1"), before=other, limit=2)] == [44, 43]
    assert list(saver.list(generate_config("t1"), limit=0)) == []


def test_a_list_is_over_threads_and_namespaces_newest_first(saver: EngramSaver) -> None:
    ids = [put(saver, {"n": n}, thread=f"t{n % 3}", ns=f"ns{n % 2}", kind={"a": [n % 2, None]})["configurable"]
           ["checkpoint_id"] for n in range(30)]
    assert [one.config["configurable"]["checkpoint_id"] for one in saver.list(None)] == ids[::-1]
    one_thread: Any = {"configurable": {"thread_id": "t1"}}
    assert [one.checkpoint["id"] for one in saver.list(one_thread)] == ids[1::3][::-1]
    assert [one.checkpoint["id"] for one in saver.list(generate_config("t1", checkpoint_ns="ns1"))] == ids[1::6][::-1]
    assert [one.checkpoint["id"] for one in saver.list(None, filter={"kind": {"a": [1, None]}})] == ids[1::2][::-1]


def test_scopes_do_not_see_each_other(tmp_path: Path) -> None:
    with Memory(tmp_path / "g.db") as memory:
        one, other = EngramSaver(memory), EngramSaver(memory, scope={"tenant_id": "other"})
        put(one, {"a": 1})
        assert other.get_tuple(generate_config("t1")) is None and list(other.list(None)) == []
        other.delete_thread("t1")
        assert one.get_tuple(generate_config("t1")) is not None


def test_metadata_may_hold_what_json_cannot(saver: EngramSaver) -> None:
    put(saver, {}, when={1, 2}, text="\N{GRINNING FACE} \x01", half="\ud800", number=1.5)
    found = saver.get_tuple(generate_config("t1"))
    assert found is not None and {name: found.metadata[name] for name in ("when", "text", "half", "number")} == {  # type: ignore[literal-required]
        "when": {1, 2}, "text": "\N{GRINNING FACE} \x01", "half": "\ud800", "number": 1.5}


class Secret:
    """A type that no serializer knows."""

    def __init__(self, word: str) -> None:
        self.word = word


def test_the_allow_list_of_a_serializer_is_honoured(tmp_path: Path) -> None:
    with EngramSaver(tmp_path / "g.db", serde=JsonPlusSerializer(allowed_msgpack_modules=())) as strict:
        clone = strict.with_allowlist([("tests.adapters.test_saver", "Secret")])
        assert isinstance(clone, EngramSaver) and clone is not strict and clone.serde is not strict.serde
        stored = put(strict, {"n": 1})
        found = clone.get_tuple(stored)
        assert found is not None and found.checkpoint["channel_values"] == {"n": 1}


def test_what_is_encrypted_is_stored_as_it_is(tmp_path: Path) -> None:
    class Cipher:
        def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
            return "xor", bytes(one ^ 0x5A for one in plaintext)

        def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
            return bytes(one ^ 0x5A for one in ciphertext)

    with EngramSaver(tmp_path / "g.db", serde=EncryptedSerializer(Cipher())) as saver:
        put(saver, {"word": "Lisbon" * 3})
        found = saver.get_tuple(generate_config("t1"))
        assert found is not None and found.checkpoint["channel_values"] == {"word": "Lisbon" * 3}
    with EngramSaver(tmp_path / "g.db") as other, pytest.raises(NotImplementedError, match="xor"):
        other.get_tuple(generate_config("t1"))


# ---- damage, and what does not go


def test_a_damaged_blob_names_its_channel(tmp_path: Path) -> None:
    with EngramSaver(tmp_path / "g.db") as saver:
        put(saver, {"notes": ["a", "b"]})
    database = sqlite3.connect(tmp_path / "g.db")
    for data, said in (("rAAA", "is damaged"), ("x1", "packed in a way this version does not know"),
                       ("rkgE=", "cannot be read by the serializer")):
        database.execute("UPDATE channel_blobs SET data=?", (data,))
        database.commit()
        with EngramSaver(tmp_path / "g.db") as saver, pytest.raises(StoreCorrupt, match=f"channel 'notes'.*{said}"):
            saver.get_tuple(generate_config("t1"))
    database.execute("UPDATE channel_blobs SET type='msgpack9'")
    database.commit()
    database.close()
    with EngramSaver(tmp_path / "g.db") as saver, pytest.raises(NotImplementedError, match="msgpack9"):
        saver.get_tuple(generate_config("t1"))


def test_a_missing_piece_is_said(tmp_path: Path) -> None:
    with EngramSaver(tmp_path / "g.db") as saver:
        put(saver, {"doc": os.urandom(4 * PIECE)})
    database = sqlite3.connect(tmp_path / "g.db")
    database.execute("DELETE FROM checkpoint_pieces WHERE piece=5")
    database.commit()
    with EngramSaver(tmp_path / "g.db") as saver, pytest.raises(StoreCorrupt, match=r"channel 'doc'.* (lacks|damaged)"):
        saver.get_tuple(generate_config("t1"))


def test_a_deleted_parent_leaves_the_child_whole(saver: EngramSaver) -> None:
    first = put(saver, {"a": 1, "b": 2}, run_id="r1")
    versions = saver.get_tuple(first).checkpoint["channel_versions"]  # type: ignore[union-attr]
    later = generate_checkpoint(channel_values={"a": 1, "b": 3}, channel_versions={**versions, "b": "2"})
    child = saver.put(first, later, generate_metadata(run_id="r2"), {"b": "2"})
    saver.put_writes(first, [("a", 1)], "k")
    saver.delete_for_runs(["r1", "never"])
    found = saver.get_tuple(child)
    assert found is not None and found.checkpoint["channel_values"] == {"a": 1, "b": 3}
    assert found.parent_config == first and saver.get_tuple(first) is None
    assert saver.get_delta_channel_history(config=child, channels=["a"]) == {"a": {"writes": []}}


@pytest.mark.parametrize(("config", "said"), [
    ({"thread_id": "x" * 10_000}, "thread_id is 10000 characters long"),
    ({"thread_id": ""}, "thread_id is empty"),
    ({"thread_id": "a\0b"}, "thread_id.*control characters"),
    ({"thread_id": "t", "checkpoint_ns": "a\0b"}, "ns.*NUL"),
    ({"thread_id": "t", "checkpoint_ns": "n" * 5000}, "ns is 5000 characters long; allowed are 4096"),
    ({"thread_id": "t", "checkpoint_id": "c" * 200}, "checkpoint_id is 200 characters long"),
])
def test_bad_input_names_the_field(saver: EngramSaver, config: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        saver.get_tuple({"configurable": config})
    with pytest.raises(BadInput, match=said.replace("checkpoint_id", "parent_id")):
        saver.put({"configurable": config}, generate_checkpoint(), generate_metadata(), {})


def test_a_thread_id_that_is_no_text_and_a_namespace_with_dots_will_do(saver: EngramSaver) -> None:
    config: Any = {"configurable": {"thread_id": 7, "checkpoint_ns": "a.b|c:d"}}
    saver.put(config, generate_checkpoint(), generate_metadata(), {})
    found = saver.get_tuple(config)
    assert found is not None and found.config["configurable"]["thread_id"] == "7"


def test_the_rest_of_bad_input(saver: EngramSaver) -> None:
    with pytest.raises(BadInput, match="strategy is 'keep'; allowed are keep_latest, delete"):
        saver.prune(["t"], strategy="keep")
    with pytest.raises(BadInput, match=r"mongodb:// is no database of Engram"):
        EngramSaver("mongodb://localhost/x")
    with pytest.raises(BadInput, match="value d has 0 of its 2 pieces; nothing was stored"):
        saver._place.run(iter_one("put_checkpoint_writes", {
            **saver._space(generate_config("t1")), "checkpoint_id": "c", "writes": [["k", 0, "", "a", "t", "d", 2]]}))
    assert saver.get_tuple(generate_config("t1")) is None


def iter_one(method: str, params: dict[str, Any]) -> Any:
    return (yield method, params)


# ---- what is left, and what goes by rule


def tables(path: Path) -> dict[str, int]:
    """Return how many rows the tables of checkpoints have."""
    with sqlite3.connect(path) as database:
        return {name: database.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in (
            "threads", "checkpoints", "channel_blobs", "checkpoint_writes", "checkpoint_pieces")}


@pytest.mark.parametrize("how", ["thread", "runs", "prune"])
def test_nothing_is_left_of_what_was_deleted(saver: EngramSaver, tmp_path: Path, how: str) -> None:
    for n in range(3):
        stored = put(saver, {"doc": os.urandom(PIECE), "n": n}, ns=f"ns{n}", run_id="r1")
        saver.put_writes(stored, [("doc", "x" * n)], "k")
    assert tables(tmp_path / "g.db")["checkpoint_pieces"] == 6
    if how == "thread":
        saver.delete_thread("t1")
    elif how == "runs":
        saver.delete_for_runs(["r1"])
    else:
        saver.prune(["t1"], strategy="delete")
    assert set(tables(tmp_path / "g.db").values()) == {0}


def test_old_threads_and_lost_pieces_go_by_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "engram.toml"
    config.write_text("[retention]\ncheckpoints_days = 2\n")
    config.chmod(0o600)
    clock = [1_700_000_000_000]
    monkeypatch.setattr(Engine, "now_ms", staticmethod(lambda: clock[0]))
    with Memory(tmp_path / "g.db") as memory:
        saver = EngramSaver(memory)
        put(saver, {"doc": os.urandom(PIECE)}, thread="old")
        clock[0] += 2 * 86_400_000
        put(saver, {"doc": os.urandom(PIECE)}, thread="new")
        space = {"scope": saver._scope, "thread_id": "new", "ns": ""}
        memory.request("put_checkpoint_piece", {**space, "digest": "lost", "piece": 0, "data": "r"})
    clock[0] += 86_400_000 + 1
    with Memory(tmp_path / "g.db", config=str(config)) as memory:
        until = time.monotonic() + 10
        while tables(tmp_path / "g.db")["checkpoint_pieces"] != 2:
            assert time.monotonic() < until
            memory.request("get_checkpoint", {**space})
            time.sleep(0.1)
        assert [one.config["configurable"]["thread_id"] for one in EngramSaver(memory).list(None)] == ["new"]


def test_the_core_install_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins
    import sys

    real = builtins.__import__

    def without(name: str, *args: Any, **named: Any) -> Any:
        if name.startswith("langgraph"):
            raise ImportError(name=name)
        return real(name, *args, **named)

    for name in [name for name in sys.modules if name.startswith(("engram.adapters.langgraph", "langgraph"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EngramError, match=r"LangGraph is not installed.*pip install 'engram\[langgraph\]'"):
        import engram.adapters.langgraph  # noqa: F401
