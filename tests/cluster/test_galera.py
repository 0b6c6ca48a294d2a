"""Three daemons on three Galera nodes that are stopped, killed and restarted under load: nothing lost or doubled."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from engram_core.store.store import Store
from tests.cluster.galera import Cluster, missing
from tests.daemon.test_coherence import SCOPE, ask
from tests.daemon_fixture import Home

CLIENTS = 2  # of each daemon
pytestmark = pytest.mark.xdist_group("cluster")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Start three nodes."""
    if not os.environ.get("ENGRAM_CLUSTER_TEST"):
        pytest.skip("takes minutes; run: make cluster-test")
    why = missing()
    if why:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
    found = Cluster()
    yield found
    found.close()


@pytest.fixture(scope="module")
def daemons(cluster: Cluster) -> Iterator[list[Home]]:
    """Start a daemon beside each node; it goes to the others while its own is away."""
    with TemporaryDirectory(prefix="ec", dir="/tmp") as folder:
        homes: list[Home] = []
        try:
            for number in range(len(cluster.nodes)):
                path = Path(folder, str(number))
                path.mkdir()
                homes.append(Home(path))
                homes[-1].use(cluster.url(number))
                homes[-1].start(ENGRAM_STORE_BUSY_TIMEOUT_MS="3000")
                homes[-1].socket = Path(homes[-1].record()["socket"])
            yield homes
        finally:
            for home in homes:
                home.stop()
                print((home.path / "stderr").read_text()[-2000:])


def scope_of(client: str) -> dict[str, str]:
    """Return whose memories a client writes: each daemon has a user, as hosts have, whom its clients share."""
    return {**SCOPE, "user_id": f"user{client.partition('x')[0]}"}


class Load:
    """Clients that append and set facts without end, repeat what was not acknowledged, and note what was."""

    def __init__(self, daemons: list[Home]) -> None:
        self.acks: list[str] = []
        self.refused: list[dict[str, Any]] = []
        self.longest = 0.0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._client, args=(home, f"{at}x{number}"), daemon=True)
                         for at, home in enumerate(daemons) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _client(self, home: Home, name: str) -> None:
        number, scope = 0, scope_of(name)
        while not self._stop.is_set():
            id_ = f"{name}-{time.monotonic_ns()}"
            start = time.monotonic()
            self._insist(home, "append_event", {"event": {"scope": scope, "event_id": id_, "payload": id_}})
            self.longest = max(self.longest, time.monotonic() - start)
            self.acks.append(id_)
            number += 1
            if number % 5 == 0:
                self._insist(home, "upsert_fact", {"scope": scope, "fact": {"fact_key": "last", "value": id_}})

    def _insist(self, home: Home, method: str, params: dict[str, Any]) -> None:
        while not self._stop.is_set() or method == "append_event":
            reply = ask(home.socket, method, {**params, "timeout_ms": 8000})
            if "result" in reply:
                return
            self.refused.append(reply["error"])
            if not reply["error"]["data"]["retryable"]:
                raise AssertionError(reply)
            if self._stop.is_set():
                raise SystemExit  # this one was not acknowledged
            time.sleep(0.05)

    def run_for(self, seconds: float, *, patience: float = 45.0) -> None:
        """Let it go on for a while, until every client has had an acknowledgement."""
        before = len(self.acks)
        time.sleep(seconds)
        until = time.monotonic() + patience
        while len({ack.partition("-")[0] for ack in self.acks[before:]}) < len(self._threads):
            assert time.monotonic() < until, (len(self.acks) - before, self.refused[-1:])
            time.sleep(0.1)

    def end(self) -> None:
        """Stop the clients."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()


def check(cluster: Cluster, acks: list[str], kinds: list[dict[str, Any]]) -> None:
    """Compare what was acknowledged with what every node has."""
    assert len(acks) == len(set(acks))
    assert all(error["data"]["exit"] == 75 for error in kinds)
    for number in range(len(cluster.nodes)):
        store = Store(f"mysql://root@127.0.0.1:{cluster.nodes[number].port}/engram")
        for user in range(len(cluster.nodes)):
            owner = (SCOPE["tenant_id"], f"user{user}", SCOPE["agent_id"])
            mine = {ack for ack in acks if ack.startswith(f"{user}x")}
            stored = [row[0] for row in store.reads.memories("event", owner, ("event_id",))]
            assert len(stored) == len(set(stored)), "an event is there twice"
            assert mine <= set(stored), f"lost: {sorted(mine - set(stored))[:5]}"
            changes = [one.revision for one in store.reads.changes(owner, 0)]
            assert changes == list(range(1, store.reads.revision(owner) + 1))
            facts = store.reads.memories("fact", owner, ("status",))
            assert facts.count(("active",)) <= 1
        store.close()


def test_a_node_stopped_killed_and_restarted_under_load(cluster: Cluster, daemons: list[Home]) -> None:
    load = Load(daemons)
    try:
        load.run_for(4)
        for node, number in ((cluster.nodes[1], signal.SIGTERM), (cluster.nodes[2], signal.SIGKILL)):
            node.stop(number)
            load.run_for(8)  # all clients go on with the other nodes
            node.start()
            node.await_synced(3)
            load.run_for(3)
        cluster.nodes[0].stop(signal.SIGKILL)  # the one that began it
        load.run_for(8)
        cluster.nodes[0].start()
        cluster.nodes[0].await_synced(3)
        load.run_for(3)
    finally:
        load.end()
    print(f"{len(load.acks)} acknowledged, {len(load.refused)} told to try again, longest wait {load.longest:.1f} s")
    check(cluster, load.acks, load.refused)


def test_a_write_on_one_node_is_in_the_next_packet_on_another(cluster: Cluster, daemons: list[Home]) -> None:
    for turn in range(5):
        for at, writer in enumerate(daemons):
            word = f"zebra{turn}x{at}"
            ask(writer.socket, "append_event", {"event": {"scope": SCOPE, "payload": f"I saw {word}"}})
            for reader in daemons:
                found = ask(reader.socket, "build_memory_packet", {"request": {
                    "scope": SCOPE, "purpose": "planner", "query": word, "budget": {"max_tokens": 2000}}})
                assert word in str(found["result"]["short_term"]), (turn, at)
