"""The spool: what is appended while no daemon can be reached is stored by the next one, once, in order, bounded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engram import Memory, spool
from engram_core.errors import AccessDenied, Busy
from tests.daemon_fixture import RUN_COMMAND, RUN_DAEMON, Home
from tests.faults.world import Faults, wait_until

ALONE = {"ENGRAM_AUTOSTART": "0"}


def folder(home: Home) -> Path:
    return home.database.with_name("engram.db.spool")


def spooled(home: Home) -> list[Path]:
    return sorted(path for path in folder(home).iterdir() if path.name.isdigit()) if folder(home).exists() else []


def payloads(home: Home) -> list[str]:
    with Memory.connect(cwd="/") as memory:
        return [event["payload"] for event in memory.request("list_events", {"scope": {}})["events"]]


def line(number: int, text: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "append_event", "params": {
        "event": {"event_id": f"e_{number}", "scope": {}, "payload": text}, "at_ms": 1_800_000_000_000 + number,
        "cwd": "/"}}).encode() + b"\n"


def test_an_append_without_a_daemon_is_kept_said_and_stored_by_the_next_one(home: Home) -> None:
    found = home.engram("append", "first", env=ALONE)
    assert (found.returncode, found.stdout[:2]) == (0, b"e_")
    assert found.stderr.startswith(b"engram: spooled") and found.stderr.count(b"\n") == 1
    answer = json.loads(home.engram("append", "second", "--json", env=ALONE).stdout)
    assert (answer["schema"], answer["durability"]) == ("engram.append/1", "spooled")
    for path in (folder(home), *spooled(home)):
        assert path.stat().st_mode & 0o077 == 0
    started = home.engram("append", "third", "--json")
    assert json.loads(started.stdout)["durability"] == "committed"
    assert payloads(home) == ["first", "second", "third"]
    assert spooled(home) == []
    with Memory.connect(cwd="/") as memory:
        ids = [event["event_id"] for event in memory.list_events({})]
    assert ids[0] == found.stdout.decode().strip() and ids[1] == answer["event_id"]


def test_with_require_commit_it_is_75_and_nothing_is_kept(home: Home) -> None:
    for args in (["append", "x", "--require-commit"], ["append", "x", "--require-commit", "--color", "never"]):
        found = home.engram(*args, env=ALONE)
        assert (found.returncode, found.stdout, found.stderr.count(b"\n")) == (75, b"", 1)
        assert b"not committed" in found.stderr
    assert spooled(home) == []


def test_what_no_daemon_would_take_is_refused_at_once(home: Home) -> None:
    for args in (["append", "x", "--kind", "mesage"], ["append", "x", "--ts", "soon"],
                 ["append", "x", "--color", "never", "--kind", "mesage"]):
        found = home.engram(*args, env=ALONE)
        assert found.returncode == 65, found
    assert spooled(home) == []


def test_a_stream_without_a_daemon_answers_each_line(home: Home) -> None:
    sent = b'{"payload":"a"}\nwrong\n{"payload":"b","event_id":"mine"}\n'
    found = home.engram("append", "--stdin-ndjson", stdin=sent, env=ALONE)
    answers = [json.loads(row) for row in found.stdout.splitlines()]
    assert found.returncode == 65 and [one.get("durability") for one in answers] == ["spooled", None, "spooled"]
    assert answers[2]["event_id"] == "mine" and found.stderr.count(b"\n") == 1
    home.start()
    assert payloads(home) == ["a", "b"]


def test_status_counts_what_waits(home: Home) -> None:
    home.start()
    spool.keep(str(home.database), line(1, "x"))
    with Memory.connect(cwd="/") as memory:
        assert memory.status()["spool"] == 1
    assert b"spool: 1\n" in home.engram("status").stdout


def test_the_self_check_stores_what_was_spooled_beside_a_running_daemon(home: Home) -> None:
    program = "import sys; from engram_core.daemon import selfcheck; selfcheck.CHECK_S = 0.2; " + RUN_DAEMON
    home.process = subprocess.Popen([sys.executable, "-c", program], env=home.env, stdin=subprocess.DEVNULL)
    assert wait_until(lambda: home.record().get("pid") == home.process.pid)  # type: ignore[union-attr]
    spool.keep(str(home.database), line(1, "x"))
    assert wait_until(lambda: not spooled(home), 5)
    assert payloads(home) == ["x"]


@pytest.mark.parametrize("point", ["spool.before", "spool.after"])
def test_a_client_killed_at_each_step_leaves_a_whole_event_or_none(home: Home, point: str) -> None:
    assert home.engram("append", "one", env=ALONE).returncode == 0
    found = home.engram("append", "two", "--id", "e_two", env={**ALONE, "ENGRAM_FAILPOINT": f"{point}=kill"})
    assert found.returncode == -9
    assert len(spooled(home)) == (2 if point == "spool.after" else 1)
    assert home.engram("append", "two", "--id", "e_two", env=ALONE).returncode == 0  # as its caller would
    assert home.engram("append", "three", env=ALONE).returncode == 0
    assert not list(folder(home).glob(".new-*"))
    home.start()
    assert payloads(home) == ["one", "two", "three"]


@pytest.mark.parametrize("spec", ["replay.before=kill", "replay.committed=kill", "replay.deleted=kill@3",
                                  "commit.before=kill", "commit.after=kill"])
def test_a_daemon_killed_at_each_step_of_the_replay_repeats_nothing(home: Home, spec: str) -> None:
    texts = [f"text {number}" for number in range(10)]
    for number, text in enumerate(texts):
        spool.keep(str(home.database), line(number, text))
    process = subprocess.Popen([sys.executable, "-c", RUN_DAEMON], env={**home.env, "ENGRAM_FAILPOINT": spec},
                               stdin=subprocess.DEVNULL)
    assert process.wait(10) == -9
    home.start()
    assert payloads(home) == texts
    assert wait_until(lambda: not spooled(home))


def test_ten_thousand_are_kept_in_order_and_one_more_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.database.parent.mkdir(parents=True, mode=0o700)
    folder(home).mkdir(mode=0o700)
    for number in range(1, spool.MAX_EVENTS + 1):
        path = folder(home) / f"{number:020d}"
        path.write_bytes(line(number, f"text {number}"))
        path.chmod(0o600)
    found = home.engram("append", "too much", env=ALONE)
    assert (found.returncode, found.stderr.count(b"\n")) == (75, 1) and b"is full" in found.stderr
    began = time.monotonic()
    home.start()
    assert time.monotonic() - began < 3.0  # the daemon serves while it replays
    assert home.engram("status", "--json").returncode == 0
    assert wait_until(lambda: not spooled(home), 60)
    with Memory.connect(cwd="/", timeout=30) as memory:
        ids: list[str] = []
        after = 0
        while True:
            page = memory.request("list_events", {"scope": {}, "after_seq": after, "limit": 5000})
            ids += [event["event_id"] for event in page["events"]]
            if page.get("next") is None or not page["events"]:
                break
            after = page["next"]
    assert ids == [f"e_{number}" for number in range(1, spool.MAX_EVENTS + 1)]


def test_many_large_events_are_bounded_by_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MAX_BYTES", 3 << 20)
    database = str(tmp_path / "x.db")
    big = b"x" * (1 << 20)
    assert spool.keep(database, big) and spool.keep(database, big)
    with pytest.raises(Busy, match="is full"):
        for _ in range(4):
            spool.keep(database, big)


def test_what_the_daemon_refuses_is_put_aside_with_the_reason_and_holds_nobody_up(home: Home) -> None:
    spool.keep(str(home.database), line(1, "good"))
    bad = {"no JSON": b"nonsense\n", "no append": b'{"jsonrpc":"2.0","id":1,"method":"forget","params":{}}\n',
           "no event": line(2, "x").replace(b"payload", b"paylod")}
    for sent in bad.values():
        spool.keep(str(home.database), sent)
    spool.keep(str(home.database), line(3, "better"))
    (folder(home) / "00000000000000000099").symlink_to("/etc/passwd")
    home.start()
    assert payloads(home) == ["good", "better"]
    aside = folder(home) / "refused"
    assert len(list(aside.glob("*.why"))) == 4
    assert "forget is nothing that is spooled" in "".join(path.read_text() for path in aside.glob("*.why"))
    with Memory.connect(cwd="/") as memory:
        assert (memory.status()["spool"], memory.status()["spool_refused"]) == (0, 4)


def test_a_spool_that_is_not_ours_alone_is_not_written(home: Home) -> None:
    home.database.parent.mkdir(parents=True)
    folder(home).symlink_to("/tmp")
    assert home.engram("append", "x", env=ALONE).returncode == 77
    folder(home).unlink()
    folder(home).mkdir(mode=0o777)
    folder(home).chmod(0o777)
    found = home.engram("append", "x", env=ALONE)
    assert found.returncode == 77 and b"chmod 700" in found.stderr
    with pytest.raises(AccessDenied):
        spool.keep(str(home.database), line(1, "x"))


def test_forgetting_reaches_what_waits_in_the_spool(home: Home) -> None:
    home.start()
    spool.keep(str(home.database), line(7, "a secret"))
    with Memory.connect(cwd="/") as memory:
        memory.request("forget", {"scope": {}, "selector": {"ids": ["e_7"]}})
    assert spooled(home) == [] and payloads(home) == []
    assert wait_until(lambda: b"a secret" not in b"".join(
        path.read_bytes() for path in home.database.parent.rglob("*") if path.is_file()))


def test_what_was_called_spooled_survives_a_power_cut(faults: Faults) -> None:
    (faults.folder / "shadow").mkdir()
    home = faults.home
    for number in range(3):
        assert home.engram("append", f"text {number}", env={**ALONE, **faults.env}).returncode == 0
    shadow, inode = faults.folder / "shadow", folder(home).stat().st_ino
    names = dict(reversed(row.split(" ", 1)) for row in (shadow / f"dir-{inode}").read_text().splitlines())
    kept = [(shadow / f"ino-{names[path.name]}").read_bytes() for path in spooled(home)]
    assert [json.loads(data)["params"]["event"]["payload"] for data in kept] == ["text 0", "text 1", "text 2"]


def test_spooling_a_line_loads_no_more_than_it_needs(home: Home) -> None:
    found = subprocess.run([sys.executable, "-X", "importtime", "-c", RUN_COMMAND, "append", "x"],
                           env={**home.env, **ALONE}, capture_output=True, stdin=subprocess.DEVNULL)
    names = {row.rpartition("|")[2].strip() for row in found.stderr.decode().splitlines()}
    assert found.returncode == 0 and "engram.spool" in names
    assert not names & {"asyncio", "pydantic", "rich", "sqlite3", "typer"}
    assert os.environ
