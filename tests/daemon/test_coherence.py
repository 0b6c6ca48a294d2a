"""Several daemons on one database: what one acknowledged is in the next packet of every other, and nothing is lost."""

from __future__ import annotations

import json
import socket as connection
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.daemon_fixture import Home
from tests.daemon_fixture import ask as exchange
from tests.servers import SERVERS, databases

DAEMONS, CLIENTS, WRITES = 4, 8, 12
SCOPE = {"tenant_id": "t", "user_id": "ada", "agent_id": "bot", "session_id": "s1", "run_id": "r1"}
pytestmark = pytest.mark.xdist_group("coherence")


@pytest.fixture(params=SERVERS)
def daemons(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Home]]:
    """Start daemons as on hosts of their own, each with its own home, on one database."""
    with databases(request.param, tmp_path) as made, TemporaryDirectory(prefix="ec", dir="/tmp") as folder:
        url = made.fresh()
        homes = []
        try:
            for number in range(DAEMONS):
                path = Path(folder, str(number))
                path.mkdir()
                home = Home(path)
                home.use(url)
                home.start(ENGRAM_STORE_BUSY_TIMEOUT_MS="20000")
                home.socket = Path(home.record()["socket"])
                homes.append(home)
            yield homes
        finally:
            for home in homes:
                home.stop()


def ask(socket: Path, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Ask a daemon on a connection of its own."""
    with connection.socket(connection.AF_UNIX) as peer:
        peer.settimeout(60)
        peer.connect(str(socket))
        line = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"timeout_ms": 50_000, **params}}
        return exchange(peer, json.dumps(line).encode())


def packet(home: Home, query: str) -> dict[str, Any]:
    found: dict[str, Any] = ask(home.socket, "build_memory_packet", {
        "request": {"scope": SCOPE, "purpose": "planner", "query": query, "budget": {"max_tokens": 4000}}})["result"]
    return found


def test_a_write_is_in_the_next_packet_of_every_other(daemons: list[Home]) -> None:
    for home in daemons:
        packet(home, "warm")  # its index is open from here on
    for turn in range(3):
        for writer in daemons:
            word = f"zebra{turn}x{daemons.index(writer)}"
            ask(writer.socket, "append_event", {"event": {"scope": SCOPE, "payload": f"I saw {word} today"}})
            ask(writer.socket, "patch_working_state", {"scope": SCOPE, "patch": {"goal": f"find {word}"}})
            ask(writer.socket, "upsert_fact", {"scope": SCOPE, "fact": {"fact_key": "animal", "value": word}})
            for reader in daemons:
                found = json.dumps(packet(reader, word))
                assert f"I saw {word} today" in found
                assert f'"find {word}"' in found
                assert f'"value": "{word}"' in found


def test_all_at_once_on_one_owner(daemons: list[Home]) -> None:
    """Every client appends, sets facts and changes a shared counter by compare-and-set; a checker looks at it all."""
    acks: list[list[tuple[str, int]]] = []
    counted = [0] * (DAEMONS * CLIENTS)
    errors: list[Any] = []
    gate = threading.Barrier(DAEMONS * CLIENTS)

    def client(home: Home, name: int, mine: list[tuple[str, int]]) -> None:
        gate.wait()
        for number in range(WRITES):
            event = {"scope": SCOPE, "payload": f"{name} {number}", "event_id": f"e{name}-{number}"}
            for _ in range(1 + number % 2):  # every other one is sent twice, as after a lost reply
                reply = retried(home, "append_event", {"event": event})
            mine.append((event["event_id"], reply["result"]["seq"]))
            retried(home, "upsert_fact", {"scope": SCOPE, "fact": {"fact_key": f"k{number % 3}",
                                                                   "value": f"{name}-{number}"}})
            state = retried(home, "get_working_state", {"scope": SCOPE})["result"]["working_state"]
            version = state["state_version"] if state else 0
            count = (state or {}).get("slots", {}).get("count", 0)
            patched = retried(home, "patch_working_state", {
                "scope": SCOPE, "expected_version": version, "patch": {}, "merge_slots": {"count": count + 1}})
            if "result" in patched:
                counted[name] += 1
            elif patched["error"]["data"]["kind"] != "conflict":
                errors.append(patched)

    def retried(home: Home, method: str, params: dict[str, Any]) -> dict[str, Any]:
        while True:
            reply = ask(home.socket, method, params)
            if not (reply.get("error") or {}).get("data", {}).get("retryable"):
                return reply

    threads = []
    for at in range(DAEMONS * CLIENTS):
        acks.append([])
        threads.append(threading.Thread(target=client, args=(daemons[at % DAEMONS], at, acks[-1])))
        threads[-1].start()
    for thread in threads:
        thread.join(240)
        assert not thread.is_alive()
    assert not errors
    told = [one for mine in acks for one in mine]
    for home in daemons:
        events = ask(home.socket, "list_events", {"scope": SCOPE, "level": "owner"})["result"]["events"]
        assert sorted((event["event_id"], event["seq"]) for event in events) == sorted(told)  # all, once, as told
        active = {"scope": SCOPE, "fact_filter": {"status": ["active"]}}
        facts = ask(home.socket, "list_facts", active)["result"]["facts"]
        assert sorted(fact["fact_key"] for fact in facts) == ["k0", "k1", "k2"]  # one active value each
        state = ask(home.socket, "get_working_state", {"scope": SCOPE})["result"]["working_state"]
        assert state["slots"]["count"] == sum(counted) == state["state_version"]
        packets = packet(home, "31 11")
        assert packets["meta"]
    check_trail(daemons[0])


def test_appends_fly_in_the_order_of_their_lines_beside_other_writes(daemons: list[Home]) -> None:
    """Clients send without waiting; their appends share commits, and nothing overtakes them on a connection."""
    home, seen = daemons[0], {}
    ask(home.socket, "append_event", {"event": {"scope": SCOPE, "payload": "first"}})

    def client(name: int) -> None:
        wanted = []
        with connection.socket(connection.AF_UNIX) as peer:
            peer.settimeout(60)
            peer.connect(str(home.socket))
            for number in range(WRITES):
                event = {"scope": SCOPE, "payload": f"{name} {number}", "event_id": f"e{name}-{number}"}
                wanted += [("append_event", {"event": event}), ("append_event", {"event": event})]
                if number % 4 == name % 4:
                    wanted.append(("patch_working_state", {"scope": SCOPE, "patch": {"goal": f"{name} {number}"}}))
            peer.sendall(b"".join(json.dumps({"jsonrpc": "2.0", "id": at, "method": method, "params": {
                "timeout_ms": 50_000, **params}}).encode() + b"\n" for at, (method, params) in enumerate(wanted)))
            with peer.makefile("rb") as lines:
                seen[name] = [json.loads(lines.readline()) for _ in wanted]

    threads = [threading.Thread(target=client, args=(name,)) for name in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    for replies in seen.values():
        assert [reply["id"] for reply in replies] == list(range(len(replies)))
        appended = [reply["result"] for reply in replies if "seq" in reply["result"]]
        assert [one["duplicate"] for one in appended] == [False, True] * WRITES
        assert [one["seq"] for one in appended] == sorted(one["seq"] for one in appended)
        assert [one["seq"] for one in appended[::2]] == [one["seq"] for one in appended[1::2]]
    check_trail(home)


def check_trail(home: Home) -> None:
    """Look at the audit trail itself: revisions without gaps, and the owner's is the last."""
    from engram_core.store.store import Store

    store = Store(home.env["ENGRAM_STORE_URL"])
    owner = ("t", "ada", "bot")
    revisions = [one.revision for one in store.reads.changes(owner, 0)]
    assert revisions == list(range(1, store.reads.revision(owner) + 1))
    seqs = [row[0] for kind in ("event", "fact") for row in store.reads.memories(kind, owner, ("seq",))]
    assert len(seqs) == len(set(seqs))
    store.close()


def test_one_daemon_per_host_and_database(daemons: list[Home]) -> None:
    again = daemons[0].engram("daemon", "run")
    assert again.returncode == 75
    assert b"another daemon serves" in again.stderr
