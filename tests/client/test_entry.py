"""The fast entry: what it serves, what it leaves to Typer, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys

import pytest

from engram import Memory
from engram_cli import _entry
from engram_core.ids import new_id
from tests.daemon_fixture import RUN_COMMAND, Home

SERVED = ["append x", "append - --role assistant", "append x --tag=a --tag b --entity c --json", "packet",
          "packet -q hello --max-tokens 800 --format text --bare", "packet --no-limit --no-persist", "status --json",
          "append x --timeout 0.5 --socket /tmp/s"]
LEFT = ["", "--help", "append --help", "append x y", "append x --rol user", "append x --role", "append x --role=",
        "append x --role -x", "append -x", "append --stdin-ndjson", "append -- x", "append x --json=1", "status",
        "packet x", "packet --max-tokens 0", "packet --max-tokens -5", "packet --max-tokens x", "packet -q=x",
        "packet --no-limit --max-tokens 5", "append x --timeout 0", "append x --timeout 1e3", "append x --timeout nan",
        "explain", "--json append x", "append x --color always", "packet --max-chars ²"]


@pytest.mark.parametrize("line", SERVED)
def test_plain_spellings_are_understood(line: str) -> None:
    assert _entry.understand(line.split()) is not None


@pytest.mark.parametrize("line", LEFT)
def test_everything_else_is_left_to_typer(line: str) -> None:
    assert _entry.understand(line.split()) is None
    assert _entry.understand(["append", ""]) is None


def test_ids_look_like_the_librarys() -> None:
    shape = re.compile(r"e_[0-9a-z]{22}")
    ids = [make for now in (0, 1, 1_800_000_000_000) for make in (_entry.new_id(now), new_id("e_", now))]
    assert all(shape.fullmatch(one) for one in ids)
    assert [one[:12] for one in ids[::2]] == [one[:12] for one in ids[1::2]]
    assert sorted(ids[::2]) == ids[::2]


def test_an_append_arrives_with_all_its_options(daemon: Home, memory: Memory) -> None:
    found = daemon.engram("append", "--role", "assistant", "--name=Bob", "--tag", "a", "--tag", "b", "--entity", "Élan",
                          "--id", "e_mine", "--ts", "2026-01-31T09:30:00Z", "--session", "s2", "--json",
                          'he said "no"\n\t\\ \x7f \N{GRINNING FACE}')
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["schema"] == "engram.append/1"
    [event] = memory.list_events({"session_id": "s2"})
    assert event["payload"] == {"role": "assistant", "content": 'he said "no"\n\t\\ \x7f \N{GRINNING FACE}',
                                "name": "Bob"}
    assert (event["event_id"], event["ts"], event["tags"], event["entities"]) == (
        "e_mine", "2026-01-31T09:30:00Z", ["a", "b"], ["Élan"])


def test_ids_come_from_flags_then_environment(daemon: Home, memory: Memory) -> None:
    env = {"ENGRAM_SESSION": "from-env", "ENGRAM_RUN": "r-env"}
    assert daemon.engram("append", "x", "--session", "from-flag", env=env).returncode == 0
    assert len(memory.list_events({"session_id": "from-flag", "run_id": "r-env"})) == 1


def test_a_repeated_append_with_an_id_is_one_event(daemon: Home) -> None:
    replies = [json.loads(daemon.engram("append", "x", "--id", "e_1", "--json").stdout) for _ in range(3)]
    assert [one["duplicate"] for one in replies] == [False, True, True]
    found = daemon.engram("append", "other", "--id", "e_1")
    assert (found.returncode, found.stdout) == (65, b"")


@pytest.mark.parametrize("args", [["append"], ["append", "-"]])
def test_text_from_a_pipe_loses_only_its_last_line_ends(daemon: Home, memory: Memory, args: list[str]) -> None:
    assert daemon.engram(*args, stdin=b" a\r\n\nb \n\n").returncode == 0
    assert memory.list_events({})[-1]["payload"] == " a\r\n\nb "


BAD = {
    "empty stdin": (["append"], b"", 65, "stdin is empty"),
    "stdin not UTF-8": (["append"], b"a\xff", 65, "byte 1"),
    "too long": (["append"], b"x" * (1 << 20), 65, "1048576"),
    "far too long": (["append"], b"x" * (17 << 20), 65, "16777216"),
    "no time": (["append", "x", "--ts", "soon"], None, 65, "soon"),
    "unknown kind": (["append", "x", "--kind", "mesage"], None, 65, "mesage"),
    "usage": (["append", "x", "y"], None, 2, ""),
}


@pytest.mark.parametrize(("args", "stdin", "code", "named"), BAD.values(), ids=BAD)
def test_bad_input_is_one_clear_line(daemon: Home, args: list[str], stdin: bytes | None, code: int,
                                     named: str) -> None:
    found = daemon.engram(*args, stdin=stdin)
    assert (found.returncode, found.stdout) == (code, b"")
    assert found.stderr.startswith(b"engram: ") and found.stderr.count(b"\n") == 1
    assert named in found.stderr.decode()
    found = daemon.engram(*args, "--json", stdin=stdin)
    error = json.loads(found.stderr)["error"]
    assert (error["exit"], found.stdout) == (code, b"")
    assert named in error["message"] + error["hint"]


@pytest.mark.parametrize("args", [[], ["--json"], ["--role", "user"]], ids=" ".join)
def test_without_text_on_a_terminal_the_answer_comes_at_once(daemon: Home, args: list[str]) -> None:
    ours, theirs = pty.openpty()
    try:
        found = subprocess.run([sys.executable, "-c", RUN_COMMAND, "append", *args], env=daemon.env, stdin=theirs,
                               capture_output=True, timeout=10)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (found.returncode, found.stdout) == (2, b"")
    assert b"no text given" in found.stderr


def test_arguments_that_are_no_text_are_refused(daemon: Home) -> None:
    found = subprocess.run([sys.executable, "-c", RUN_COMMAND, "append", b"a\xff"], env=daemon.env,
                           capture_output=True, stdin=subprocess.DEVNULL)
    assert (found.returncode, found.stderr.count(b"\n")) == (65, 1)


STREAMS = {"stdout full": ("append x >/dev/full", 74), "stdout closed": ("append x >&-", 74),
           "stdin closed": ("append <&-", 74), "stderr closed": ("append x --ts soon 2>&-", 65),
           "all closed": ("append x <&- >&- 2>&-", 74)}


@pytest.mark.parametrize(("line", "code"), STREAMS.values(), ids=STREAMS)
def test_closed_and_full_streams(daemon: Home, line: str, code: int) -> None:
    found = subprocess.run(["sh", "-c", f'"{sys.executable}" -c "$CODE" {line}'], capture_output=True,
                           env={**daemon.env, "CODE": RUN_COMMAND}, stdin=subprocess.DEVNULL)
    assert found.returncode == code, found.stderr
    assert b"Traceback" not in found.stderr and found.stderr.count(b"\n") <= 1


def test_a_reader_that_leaves_ends_the_command_quietly(daemon: Home) -> None:
    process = subprocess.Popen([sys.executable, "-c", RUN_COMMAND, "status", "--json"], env=daemon.env,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert (process.wait(10), process.stderr.read()) == (141, b"")


def test_what_another_home_or_data_folder_keeps_is_never_written_to(daemon: Home) -> None:
    """They share the folder of sockets, as under /run/user, and each has a daemon of its own."""
    assert daemon.engram("append", "at home").returncode == 0
    other = daemon.path / "other"
    other.mkdir()
    places = [{"XDG_DATA_HOME": str(other / "data")}, {"HOME": str(other)}]
    try:
        for env in places:
            for _ in range(2):  # the first starts a daemon, the second finds it
                found = daemon.engram("append", "elsewhere", env=env)
                assert found.returncode == 0, found.stderr
            said = daemon.engram("events", "--json", env=env).stdout
            assert b"elsewhere" in said and b"at home" not in said
    finally:
        for env in places:
            daemon.engram("daemon", "stop", env=env)
    said = daemon.engram("events", "--json").stdout
    assert b"at home" in said and b"elsewhere" not in said
