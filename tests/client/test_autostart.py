"""A client that finds no daemon: it starts one, exactly one, or says why not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from engram import AccessDenied, BadInput, Memory, NoDaemon
from tests.daemon_fixture import RUN_COMMAND, Home


def test_the_first_command_starts_a_daemon_that_stays(home: Home) -> None:
    found = home.engram("append", "hello")
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith(b"e_") and found.stderr == b""
    pid = home.record()["pid"]
    assert home.engram("append", "again").returncode == 0
    assert home.record()["pid"] == pid
    assert b"serves" in home.log.read_bytes()
    assert home.log.stat().st_mode & 0o077 == 0


def test_fifty_first_clients_get_one_daemon(home: Home) -> None:
    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(lambda n: home.engram("append", f"n{n}", "--timeout", "60", timeout=90), range(50)))
    assert [one.returncode for one in found] == [0] * 50, [one.stderr for one in found if one.returncode]
    assert home.pids() == {home.record()["pid"]}
    with Memory.connect(cwd="/") as memory:
        assert len(memory.list_events({})) == 50


def test_output_captured_by_a_shell_ends_with_the_command(home: Home) -> None:
    began = time.monotonic()
    command = f'x=$("{sys.executable}" -c "$CODE" status --json 7>&1 8>&1); printf %s "$x"'
    found = subprocess.run(["sh", "-c", command], env={**home.env, "CODE": RUN_COMMAND}, capture_output=True,
                           timeout=30)
    assert json.loads(found.stdout)["schema"] == "engram.status/1"
    assert time.monotonic() - began < 10
    if os.geteuid() != 0:
        return  # the daemon's descriptors are closed even to its own user
    links = {os.readlink(f"/proc/{home.record()['pid']}/fd/{fd}") for fd in (0, 1, 2)}
    assert links == {"/dev/null", str(home.log)}


def test_the_daemon_does_not_take_over_the_first_clients_scope(home: Home) -> None:
    assert home.engram("append", "mine", env={"ENGRAM_USER": "ada", "ENGRAM_SESSION": "s7"}).returncode == 0
    with Memory.connect(cwd="/") as memory:
        scope = memory.status({})["scope"]
    assert (scope["user_id"] != "ada", scope["session_id"]) == (True, "default")


def test_without_the_start_allowed_it_says_so(home: Home) -> None:
    for env in ({"ENGRAM_AUTOSTART": "0"}, {"ENGRAM_SUPERVISED": "1"}):
        found = home.engram("packet", env=env)
        assert found.returncode == 69
        assert b"engram daemon start" in found.stderr and found.stderr.count(b"\n") == 1
        found = home.engram("packet", "--json", env=env)
        assert json.loads(found.stderr)["error"]["exit"] == 69
    assert home.pids() == set()


def test_the_reason_of_a_failed_start_is_the_commands_error(home: Home) -> None:
    home.socket.parent.mkdir(mode=0o700)
    home.socket.mkdir()
    found = home.engram("append", "x")
    assert found.returncode == 77
    assert b"a folder" in found.stderr and str(home.socket).encode() in found.stderr
    assert found.stderr.count(b"\n") == 1


def test_a_database_that_is_none_is_named(home: Home) -> None:
    home.database.parent.mkdir(parents=True)
    home.database.write_bytes(b"this is no database" * 300)
    found = home.engram("append", "x")
    assert found.returncode == 74
    assert str(home.database).encode() in found.stderr
    assert home.database.read_bytes() == b"this is no database" * 300


def test_a_wrong_configuration_is_the_commands_error(home: Home) -> None:
    found = home.engram("append", "x", env={"ENGRAM_STORE_DURABILITY": "some"})
    assert found.returncode == 78
    assert b"ENGRAM_STORE_DURABILITY" in found.stderr


def test_the_recorded_endpoint_is_found_from_another_environment(home: Home) -> None:
    assert home.engram("append", "from cron", env={"XDG_RUNTIME_DIR": ""}).returncode == 0
    pid = home.record()["pid"]
    assert home.engram("append", "from the desktop").returncode == 0
    assert (home.record()["pid"], home.pids()) == (pid, {pid})


def test_another_socket_for_a_served_database_is_refused_with_the_right_one(daemon: Home) -> None:
    with pytest.raises(NoDaemon, match=str(daemon.socket)):
        Memory.connect(str(daemon.runtime / "other.sock")).status()


def test_a_stale_socket_is_replaced_by_the_next_command(home: Home) -> None:
    assert home.engram("append", "x").returncode == 0
    os.kill(home.record()["pid"], signal.SIGKILL)
    home.wait_for(lambda: not home.pids())
    assert home.socket.exists()
    assert home.engram("append", "y").returncode == 0


def test_a_recorded_pid_of_a_stranger_is_not_touched(home: Home) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        home.database.parent.mkdir(parents=True)
        home.database.with_name("engram.db.endpoint").write_text(
            json.dumps({"socket": str(home.socket), "pid": stranger.pid, "started": 0, "version": "0"}))
        assert home.engram("append", "x").returncode == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_client_in_the_middle_of_a_restart_does_not_notice(home: Home) -> None:
    home.start()
    with Memory.connect(cwd="/", timeout=20) as memory:
        first = memory.append_event({"payload": "a"})
        assert home.process is not None
        home.process.terminate()
        second = memory.append_event({"payload": "b"})
        home.process.wait()
        assert [e["event_id"] for e in memory.list_events({})] == [first["event_id"], second["event_id"]]


def test_a_long_socket_path_is_named(home: Home) -> None:
    with pytest.raises(BadInput, match="107"):
        Memory.connect("/tmp/" + "x" * 200)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may connect everywhere")
def test_a_forbidden_socket_is_permission_denied(daemon: Home) -> None:
    daemon.socket.chmod(0)
    with pytest.raises(AccessDenied):
        Memory.connect().status()
