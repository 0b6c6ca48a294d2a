"""Several programs on one database at once, each with the engine in its own process, alone or beside a daemon.

Each test runs twice, once for each durability; ENGRAM_ROUNDS=20 repeats both that often.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engram import Memory
from tests.daemon_fixture import SCOPE, Home

WRITER = Path(__file__).with_name("writer.py")
ROUNDS = range(int(os.environ.get("ENGRAM_ROUNDS", "1")))
PROCESSES, EVENTS = 8, 1000
IDS = {"user_id": "ada", "agent_id": "bot", "session_id": "s"}


class Programs:
    """Programs that wait for a sign and then all begin."""

    def __init__(self, home: Home, names: list[str], count: int, path: Path, others: list[str], **env: str) -> None:
        self.start = home.path / "start"
        self.start.unlink(missing_ok=True)
        self.running = [subprocess.Popen(
            [sys.executable, str(WRITER), str(path), name, str(count), str(self.start), ",".join(others)],
            env={**home.env, **env}, cwd=home.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for name in names]
        for one in self.running:
            assert one.stdout is not None and one.stdout.readline() == "here\n"

    def run(self) -> list[dict[str, float]]:
        """Give the sign and return what each reports."""
        self.start.touch()
        said = [one.communicate(timeout=300) for one in self.running]
        failed = [f"{one.args[3]} ended with {one.returncode}: {err}"  # of all: those that wait for it fail with it
                  for one, (_, err) in zip(self.running, said, strict=True) if one.returncode or err]
        assert not failed, "\n".join(failed)
        return [json.loads(out) for out, _ in said]


def check(path: Path, names: list[str], count: int) -> None:
    """Look into the database afterwards: everything once, in each writer's order."""
    with Memory(path=path) as memory:
        for name in names:
            events = memory.list_events({**IDS, "run_id": name})
            assert [event["event_id"] for event in events] == [f"{name}-{number}" for number in range(count)]


@pytest.mark.parametrize("durability", ["normal", "full"])
@pytest.mark.parametrize("turn", ROUNDS)
def test_eight_programs_begin_at_once_and_lose_nothing(home: Home, turn: int, durability: str) -> None:
    path = home.path / "shared" / "memory.db"
    names = [f"w{number}" for number in range(PROCESSES)]
    programs = Programs(home, names, EVENTS, path, names, ENGRAM_STORE_DURABILITY=durability)
    assert len(programs.run()) == PROCESSES
    check(path, names, EVENTS)


@pytest.mark.parametrize("durability", ["normal", "full"])
@pytest.mark.parametrize("turn", ROUNDS)
def test_eight_programs_beside_a_running_daemon(home: Home, turn: int, durability: str) -> None:
    home.env["ENGRAM_STORE_DURABILITY"] = durability
    home.start()
    names = [f"w{number}" for number in range(PROCESSES)]
    programs = Programs(home, names, EVENTS, home.database, [*names, "daemon"])
    programs.start.touch()
    scope = {**IDS, "run_id": "daemon"}
    with Memory.connect(timeout=60) as memory:
        for number in range(EVENTS):
            memory.append_event({"scope": scope, "event_id": f"daemon-{number}", "payload": f"{number} of daemon"})
        programs.run()
        for name in names:
            hits = memory.search({**scope, "run_id": "r"}, f"{EVENTS - 1} of {name}", limit=100)
            assert any(hit["id"] == f"{name}-{EVENTS - 1}" for hit in hits), f"the daemon has not seen {name}'s writes"
        assert memory.status()["durability"] == durability
        assert memory.status()["pid"] != os.getpid() and memory.list_events(SCOPE) == []
    check(home.database, [*names, "daemon"], EVENTS)
