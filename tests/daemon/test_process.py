"""The daemon's life: one per database, what lies at its paths, signals, reload, the service manager, the end."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from engram import Memory
from tests.daemon_fixture import ROOT, RUN_DAEMON, SCOPE, Home, ask


def run_daemon(home: Home, **env: str) -> subprocess.CompletedProcess[bytes]:
    """Run a daemon that is expected to refuse."""
    return subprocess.run([sys.executable, "-c", RUN_DAEMON], env={**home.env, **env}, capture_output=True, timeout=20,
                          stdin=subprocess.DEVNULL, cwd="/")


def refused(found: subprocess.CompletedProcess[bytes], code: int, *named: str) -> None:
    text = found.stderr.decode()
    assert found.returncode == code, text
    assert text.startswith("engram: ") and text.count("\n") == 1
    for word in named:
        assert word in text


def test_everything_it_makes_is_private(daemon: Home, memory: Memory) -> None:
    memory.append_event({"payload": "x"})
    for path in (daemon.socket, daemon.database, *daemon.database.parent.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE(daemon.socket.parent.stat().st_mode) == 0o700
    limits = Path(f"/proc/{daemon.record()['pid']}/limits").read_text()
    assert next(row.split()[4:6] for row in limits.splitlines() if row.startswith("Max core")) == ["0", "0"]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not show what is loaded")
def test_it_has_loaded_what_packets_need_soon_even_while_somebody_writes(daemon: Home, memory: Memory) -> None:
    """Or an upgrade that comes then would put modules of the newer version beside its own."""
    pid = daemon.record()["pid"]

    def loaded() -> bool:
        memory.append_event({"payload": "one more"})
        return "kernel/pool" in Path(f"/proc/{pid}/maps").read_text()

    Home.wait_for(loaded)


def test_a_second_daemon_on_the_database_refuses_and_names_the_first(daemon: Home) -> None:
    refused(run_daemon(daemon), 75, str(daemon.database), str(daemon.socket), "engram daemon stop")
    refused(run_daemon(daemon, ENGRAM_SOCKET=str(daemon.runtime / "other.sock")), 75, str(daemon.socket))
    assert ask(daemon.connect(), b'{"jsonrpc":"2.0","id":1,"method":"status"}')["id"] == 1


def test_a_live_socket_of_another_database_is_not_stolen(daemon: Home) -> None:
    found = run_daemon(daemon, ENGRAM_STORE_URL=str(daemon.path / "other.db"), ENGRAM_SOCKET=str(daemon.socket))
    refused(found, 75, str(daemon.socket))
    with Memory.connect(str(daemon.socket)) as memory:
        assert memory.status()["database"] == str(daemon.database)


def test_a_database_of_its_own_gets_a_socket_of_its_own(daemon: Home) -> None:
    other = subprocess.Popen([sys.executable, "-c", RUN_DAEMON], stderr=subprocess.DEVNULL,
                             env={**daemon.env, "ENGRAM_STORE_URL": str(daemon.path / "other.db")})
    try:
        Home.wait_for((daemon.path / "other.db.endpoint").exists)
        assert len(list(daemon.socket.parent.iterdir())) == 2
    finally:
        other.terminate()
        assert other.wait() == 0


def test_after_kill_9_the_next_one_replaces_the_stale_socket_and_has_every_event(home: Home) -> None:
    acknowledged = []
    for _ in range(3):
        process = home.start()
        with Memory.connect(cwd="/") as memory:
            acknowledged += [memory.append_event({"payload": f"{n}"})["event_id"] for n in range(5)]
        process.kill()
        process.wait()
        assert home.socket.exists()
    home.start()
    with Memory.connect(cwd="/") as memory:
        assert [event["event_id"] for event in memory.list_events({})] == acknowledged


OBSTACLES = {"file": (lambda path: path.write_text("mine"), "a file"),
             "folder": (lambda path: path.mkdir(), "a folder"),
             "link": (lambda path: path.symlink_to("/nowhere"), "a link")}


@pytest.mark.parametrize(("put", "named"), OBSTACLES.values(), ids=OBSTACLES)
def test_what_is_no_socket_is_left_alone(home: Home, put, named: str) -> None:  # type: ignore[no-untyped-def]
    home.socket.parent.mkdir(mode=0o700)
    put(home.socket)
    before = os.lstat(home.socket)
    refused(run_daemon(home), 77, str(home.socket), named)
    assert os.lstat(home.socket) == before


def test_a_folder_others_can_enter_is_refused(home: Home) -> None:
    home.socket.parent.mkdir(mode=0o755)
    home.socket.parent.chmod(0o755)
    refused(run_daemon(home), 77, "mode 0755", "chmod 700")


def test_a_folder_that_is_a_link_is_refused(home: Home) -> None:
    (home.path / "elsewhere").mkdir(mode=0o700)
    home.socket.parent.symlink_to(home.path / "elsewhere")
    refused(run_daemon(home), 77, "symbolic link")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of another user")
def test_a_folder_of_another_user_is_refused(home: Home) -> None:
    home.socket.parent.mkdir(mode=0o700)
    os.chown(home.socket.parent, 65534, 65534)
    refused(run_daemon(home), 77, "uid 65534")


def test_too_long_a_socket_path_names_path_length_and_limit(home: Home) -> None:
    path = str(home.path / ("x" * 120))
    refused(run_daemon(home, ENGRAM_SOCKET=path), 65, path, str(len(path)), "107")


def test_a_long_home_still_works(home: Home) -> None:
    deep = home.path / ("h" * 200)
    deep.mkdir(mode=0o700)
    env = {"HOME": str(deep), "XDG_RUNTIME_DIR": ""}
    found = home.engram("append", "from far away", env=env)
    try:
        assert found.returncode == 0, found.stderr
        shown = json.loads(home.engram("status", "--json", env=env).stdout)
        assert len(shown["socket"]) <= 107
        assert shown["counters"]["appends"] == 1
    finally:
        os.kill(json.loads((deep / ".local/share/engram/engram.db.endpoint").read_bytes())["pid"], signal.SIGKILL)


def test_a_wrong_configuration_stops_the_start(home: Home) -> None:
    refused(run_daemon(home, ENGRAM_STORE_DURABILITY="some"), 78, "ENGRAM_STORE_DURABILITY", "full")


def test_sigterm_finishes_what_was_accepted_and_refuses_the_rest(daemon: Home) -> None:
    process = daemon.process
    assert process is not None
    sent = b"".join(json.dumps({"jsonrpc": "2.0", "id": n, "method": "append_event", "params": {
        "event": {"scope": SCOPE, "event_id": f"e_{n}", "payload": "x"}}}).encode() + b"\n" for n in range(100))
    sock = daemon.connect()
    ask(sock, b'{"jsonrpc":"2.0","id":1,"method":"status"}')
    sock.sendall(sent)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    data = b""
    while data.count(b"\n") < 100:
        data += sock.recv(1 << 16)
    assert process.wait(5) == 0
    assert time.monotonic() - began < 2
    replies = [json.loads(one) for one in data.splitlines()]
    assert [one["id"] for one in replies] == list(range(100))
    done = {one["result"]["event_id"] for one in replies if "result" in one}
    assert all(one["error"]["data"]["retryable"] for one in replies if "error" in one)
    assert not daemon.socket.exists()
    assert daemon.record() == {}
    daemon.start()
    with Memory.connect() as memory:
        stored = {event["event_id"] for event in memory.list_events(SCOPE)}
    assert done <= stored


def test_shutdown_answers_and_then_ends(daemon: Home, memory: Memory) -> None:
    assert daemon.process is not None
    assert memory.shutdown() == {"pid": daemon.process.pid}
    assert daemon.process.wait(3) == 0


def test_the_end_leaves_a_socket_that_someone_else_made(daemon: Home) -> None:
    daemon.socket.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(daemon.socket))
        assert daemon.process is not None
        daemon.process.terminate()
        assert daemon.process.wait(3) == 0
        assert daemon.socket.exists()


def test_sighup_and_reload_take_a_new_configuration_whole_or_not_at_all(daemon: Home, memory: Memory) -> None:
    config = daemon.path / ".config/engram/engram.toml"
    config.parent.mkdir(parents=True)
    config.write_text("[daemon]\nmax_connections = 9\n")
    config.chmod(0o600)
    assert memory.reload() == {"config": str(config), "changed": True}
    assert memory.reload()["changed"] is False
    assert memory.status()["config"] == [str(config)]
    config.write_text("[daemon]\nmax_conections = 7\n")
    with pytest.raises(Exception, match="max_conections"):
        memory.reload()
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for(lambda: b"max_conections" in (daemon.path / "stderr").read_bytes())
    assert memory.status()["pid"] == daemon.process.pid


def test_systemd_gets_its_messages_and_gives_its_socket(home: Home) -> None:
    messages: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, socket.socket(socket.AF_UNIX) as listening:
        manager.bind(str(home.path / "notify"))
        manager.settimeout(10)
        home.socket.parent.mkdir(mode=0o700)
        listening.bind(str(home.socket))
        listening.listen()
        code = ("import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); "
                f"os.dup2({listening.fileno()}, 3); " + RUN_DAEMON)
        process = subprocess.Popen(
            [sys.executable, "-c", code], pass_fds=[listening.fileno()], stderr=subprocess.DEVNULL,
            env={**home.env, "LISTEN_FDS": "1", "NOTIFY_SOCKET": str(home.path / "notify"), "WATCHDOG_USEC": "200000"})
        try:
            while messages.count(b"WATCHDOG=1") < 2:
                messages.append(manager.recv(200))
            with Memory.connect() as memory:
                assert memory.status()["pid"] == process.pid
            process.terminate()
            assert process.wait(5) == 0
            while b"STOPPING=1" not in messages:
                messages.append(manager.recv(200))
        finally:
            process.kill()
            process.wait()
        assert messages[0] == b"READY=1"
        assert home.socket.exists()  # it is the service manager's


def test_a_stopped_daemon_is_busy_not_dead(daemon: Home) -> None:
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGSTOP)
    for args in (("append", "x"), ("status", "--json"), ("events", "list")):
        began = time.monotonic()
        found = daemon.engram(*args, "--timeout", "1")
        assert found.returncode == 75, (args, found.stderr)
        assert 0.9 < time.monotonic() - began < 4
        assert found.stderr.count(b"\n") == 1
    assert daemon.pids() == {daemon.process.pid}
    daemon.process.send_signal(signal.SIGCONT)
    assert daemon.engram("append", "y").returncode == 0


def test_a_full_backlog_is_busy(daemon: Home) -> None:
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGSTOP)
    waiting = []
    while True:
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        try:
            sock.connect(str(daemon.socket))
        except BlockingIOError:
            break
        waiting.append(sock)
        assert len(waiting) < 5000
    found = daemon.engram("append", "x", "--timeout", "1")
    assert (found.returncode, found.stderr.count(b"\n")) == (75, 1), found.stderr
    for sock in waiting:
        sock.close()
    daemon.process.send_signal(signal.SIGCONT)
    assert daemon.engram("append", "y").returncode == 0


def test_the_log_does_not_hold_texts(daemon: Home) -> None:
    threads = [threading.Thread(target=daemon.engram, args=("append", "my secret is blue"))]
    for thread in threads:
        thread.start()
        thread.join()
    assert b"blue" not in (daemon.path / "stderr").read_bytes()
    assert str(ROOT) not in (daemon.path / "stderr").read_text()
