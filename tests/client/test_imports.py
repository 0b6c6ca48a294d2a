"""What the client's way may load: start-up is a budget, and every module in these lists has been paid for on purpose.

Modules of the standard library that others pull in are not listed by name; what must not come, is.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from tests.daemon_fixture import RUN_COMMAND, SCOPE, Home, ask

HOT = {"engram_cli", "engram_cli._entry", "_socket", "_json"}
CLIENT = {"engram", "engram.transport", "engram_core", "engram_core._version", "engram_core.errors"}
STARTER = {*CLIENT, "engram.autostart", "engram_core.dsn", "engram_core.paths", "engram_core.places",
           "engram_core.settings", "engram_cli", "engram_cli._entry"}
LIBRARY = {*CLIENT, "engram.calls", "engram.memory", "engram_core.ids",
           "engram_core.protocol", "engram_core.protocol.lines"}
SLOW = {"asyncio", "dataclasses", "datetime", "email", "hashlib", "http", "inspect", "logging", "pathlib", "pydantic",
        "rich", "shutil", "socket", "sqlite3", "subprocess", "tempfile", "tomllib", "traceback", "typer",
        "typing", "urllib", "uuid"}
NOT_AT_START = {"hashlib", "_hashlib", "pydantic", "rich", "sqlite_utils", "_ssl", "Stemmer", "tomllib", "typer",
                "engram_core.models", "engram_core.recall", "engram_core.tokens"}
FIRST_KERNEL = {"hints", "jsonread"}  # what reads a request
LATE_WARMING = "import sys; from engram_core.daemon import process; process.WARM_S = 600; sys.exit(process.run())"


def loaded(home: Home, program: str, *args: str, code: int = 0) -> set[str]:
    """Return what a program imports beyond what Python itself does."""
    return _imports(home, program, args, code) - _imports(home, "pass", (), 0)


def _imports(home: Home, program: str, args: tuple[str, ...], code: int) -> set[str]:
    found = subprocess.run([sys.executable, "-X", "importtime", "-c", program, *args], env=home.env, cwd=home.path,
                           capture_output=True, stdin=subprocess.DEVNULL)
    assert found.returncode == code, found.stderr
    return _names(found.stderr)


def _names(stderr: bytes) -> set[str]:
    rows = [row for row in stderr.decode().splitlines() if row.startswith("import time:")]
    return {row.rpartition("|")[2].strip() for row in rows}


def ours(names: set[str]) -> set[str]:
    return {name for name in names if name.startswith("engram")}


@pytest.mark.parametrize("args", [["append", "x"], ["append", "x", "--json"], ["packet"], ["packet", "-q", "x"],
                                  ["status", "--json"]], ids=" ".join)
def test_a_hot_command_loads_two_c_modules_and_itself(daemon: Home, args: list[str]) -> None:
    assert loaded(daemon, RUN_COMMAND, *args) <= HOT


def test_an_append_that_starts_the_daemon_loads_what_starting_takes(home: Home) -> None:
    found = loaded(home, RUN_COMMAND, "append", "x")
    assert ours(found) <= STARTER
    assert not found & SLOW


def test_the_library_loads_its_transport_and_lines(home: Home) -> None:
    found = loaded(home, "from engram import Memory")
    assert ours(found) <= LIBRARY
    assert not found & SLOW


def test_an_error_of_a_hot_command_loads_no_typer(daemon: Home) -> None:
    found = loaded(daemon, RUN_COMMAND, "append", "x", "--kind", "soon", code=65)
    assert not found & {"asyncio", "pydantic", "rich", "sqlite3", "typer"}


@pytest.mark.parametrize("args", [["policy"], ["policy", "show"], ["policy", "check"], ["policy", "check", "p.toml"],
                                  ["fact"]], ids=" ".join)
def test_a_command_leaves_to_the_daemon_what_takes_long_to_load(daemon: Home, args: list[str]) -> None:
    (daemon.path / "p.toml").write_text("max_facts = 3\n")
    assert not loaded(daemon, RUN_COMMAND, *args) & {"asyncio", "engram_core.models", "pydantic", "sqlite3", "tomli_w"}


def test_a_daemon_takes_its_first_append_without_what_only_packets_need(home: Home) -> None:
    home.database.parent.mkdir(parents=True)
    process = subprocess.Popen([sys.executable, "-X", "importtime", "-c", LATE_WARMING], env=home.env, cwd="/",
                               stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    home.process = process
    home.wait_for(lambda: home.record().get("socket"))
    params = {"event": {"scope": SCOPE, "payload": "x"}}
    with home.connect() as peer:
        assert "result" in ask(peer, json.dumps({"jsonrpc": "2.0", "id": 1, "method": "append_event",
                                                 "params": params}).encode())
    process.send_signal(signal.SIGTERM)
    found = _names(process.communicate(timeout=10)[1])
    assert "engram_core.daemon.writing" in found
    assert not found & NOT_AT_START
    assert {name.rpartition(".")[2] for name in found if name.startswith("engram_core.kernel.")} == FIRST_KERNEL
