"""What a client sees of the running daemon: order, limits, patience, and that nobody else notices a bad neighbour."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from engram import BadInput, Memory, MethodNotFound, UnknownField
from tests.daemon_fixture import SCOPE, Home, ask, reply


def line(method: str, number: int = 1, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()


def event(text: str, number: int = 1, **more: Any) -> bytes:
    return line("append_event", number, event={"scope": SCOPE, "payload": text}, **more)


def lines(sock: socket.socket, count: int) -> list[dict[str, Any]]:
    data = b""
    while data.count(b"\n") < count:
        piece = sock.recv(1 << 18)
        assert piece
        data += piece
    return [json.loads(one) for one in data.splitlines()]


def status_ms(daemon: Home) -> float:
    with daemon.connect() as sock:
        began = time.perf_counter()
        assert "result" in ask(sock, line("status"))
        return (time.perf_counter() - began) * 1000


def test_hello_agrees_on_the_protocol(memory: Memory, daemon: Home) -> None:
    found = memory.hello()
    assert (found["server"], found["protocol"], found["pid"]) == ("engram", [1, 1], daemon.record()["pid"])
    with pytest.raises(Exception, match=r"speaks protocol 2 to 3, this daemon .* speaks 1 to 1"):
        memory.hello(protocol=(2, 3))


def test_an_appended_event_is_listed(memory: Memory) -> None:
    added = memory.append_event({"payload": {"role": "user", "content": "Ada moved to Lyon"}})
    assert (added["duplicate"], added["durability"]) == (False, "committed")
    events = memory.list_events({})
    assert [(e["event_id"], e["payload"]["content"]) for e in events] == [(added["event_id"], "Ada moved to Lyon")]


def test_status_tells_socket_database_scope_and_queue(memory: Memory, daemon: Home) -> None:
    memory.append_event({"payload": "x"})
    found = memory.status({"session_id": "s9"})
    assert (found["socket"], found["database"]) == (str(daemon.socket), str(daemon.database))
    assert found["scope"]["session_id"] == "s9"
    assert found["scope_sources"]["agent_id"] == "built-in"
    assert (found["counters"]["appends"], found["queue"], found["connections"]) == (1, 0, 1)


def test_unknown_methods_and_params_are_refused_by_name(memory: Memory) -> None:
    with pytest.raises(MethodNotFound, match="append_event"):
        memory.request("apend_event", {})
    with pytest.raises(UnknownField, match="scoop"):
        memory.request("status", {"scoop": {}})
    with pytest.raises(BadInput, match="timeout_ms"):
        memory.request("status", {"timeout_ms": 0.5})


def test_a_broken_line_is_answered_and_the_connection_goes_on(daemon: Home) -> None:
    with daemon.connect() as sock:
        assert ask(sock, b"{nonsense")["error"]["code"] == -32700
        assert ask(sock, b'[{"jsonrpc":"2.0"}]')["error"]["data"]["kind"] == "protocol"
        assert ask(sock, b"\n \n" + line("status", 7))["id"] == 7


def test_pipelined_lines_are_answered_in_their_order_and_read_their_own_writes(daemon: Home) -> None:
    sent = [event("a", 1), event("b", 2), b"broken", line("list_events", 4, scope=SCOPE), event("c", 5),
            line("list_events", 6, scope=SCOPE), line("status", 7)]
    with daemon.connect() as sock:
        sock.sendall(b"".join(one + b"\n" for one in sent))
        found = lines(sock, len(sent))
    assert [one["id"] for one in found] == [1, 2, None, 4, 5, 6, 7]
    assert [len(found[at]["result"]["events"]) for at in (3, 5)] == [2, 3]


def test_bytes_one_by_one_are_a_line_too(daemon: Home) -> None:
    with daemon.connect() as sock:
        for byte in line("status", 3) + b"\n":
            sock.sendall(bytes([byte]))
        assert reply(sock)["id"] == 3


def test_a_thousand_pipelined_writes_share_their_commits(daemon: Home) -> None:
    count = 1000
    with daemon.connect() as sock:
        sender = threading.Thread(target=sock.sendall, args=(b"".join(event(f"t{n}", n) + b"\n"
                                                                     for n in range(count)),))
        sender.start()
        found = lines(sock, count)
        sender.join()
    assert [one["id"] for one in found] == list(range(count))
    assert [one["result"]["seq"] for one in found] == list(range(1, count + 1))


def test_an_id_used_by_many_at_once_is_stored_once(daemon: Home, memory: Memory) -> None:
    results: list[dict[str, Any]] = []

    def append() -> None:
        with Memory.connect(cwd="/") as mine:
            results.append(mine.append_event({"event_id": "e_same", "payload": "x"}))

    threads = [threading.Thread(target=append) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one["duplicate"] for one in results) == [False] + [True] * 19
    assert len({one["seq"] for one in results}) == 1
    assert len(memory.list_events({})) == 1


def test_work_that_waited_past_its_deadline_is_dropped(daemon: Home, memory: Memory) -> None:
    sent = b"".join(event("filler", n) + b"\n" for n in range(200)) + event("late", 999, timeout_ms=1) + b"\n"
    with daemon.connect() as sock:
        sock.sendall(sent)
        last = lines(sock, 201)[-1]
    stored = {e["payload"] for e in memory.request("list_events", {"scope": SCOPE})["events"]}
    # Whether it was too late depends on the machine; what is reported must be what happened.
    assert ("late" in stored) == ("result" in last)
    if "error" in last:
        assert last["error"]["data"]["kind"] == "deadline"


def test_too_many_connections_are_told_to_retry(home: Home) -> None:
    home.start(ENGRAM_DAEMON_MAX_CONNECTIONS="3")
    held = [home.connect() for _ in range(3)]
    for sock in held:
        ask(sock, line("status"))
    with home.connect() as fourth:
        found = reply(fourth)
        assert (found["error"]["data"]["kind"], found["error"]["data"]["retryable"]) == ("busy", True)
        assert fourth.recv(1) == b""
    threading.Timer(0.2, held[0].close).start()
    with Memory.connect(timeout=5) as waiting:  # a client keeps trying until its deadline
        waiting.append_event({"scope": SCOPE, "payload": "x"})
        assert waiting.status()["connections"] == 3
    for sock in held:
        sock.close()


def test_a_line_beyond_the_limit_ends_the_connection(daemon: Home) -> None:
    with daemon.connect() as sock:
        try:
            sock.sendall(b"x" * (2 << 20))
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert "longer than 1048576" in reply(sock)["error"]["message"]
    assert status_ms(daemon) < 500


def test_half_a_line_is_dropped_after_five_seconds_and_disturbs_nobody(daemon: Home) -> None:
    with daemon.connect() as slow, daemon.connect() as silent:
        began = time.monotonic()
        slow.sendall(line("status")[:20])
        time.sleep(1)
        slow.sendall(b"e")  # more bytes do not buy more time
        assert status_ms(daemon) < 500
        assert reply(slow)["error"]["data"]["kind"] == "deadline"
        assert 4.5 < time.monotonic() - began < 6.5
        assert slow.recv(1) == b""
        assert ask(silent, line("status"))["id"] == 1  # silence between requests is no offence


def test_a_client_that_does_not_take_its_reply_is_dropped(daemon: Home, memory: Memory) -> None:
    for number in range(12):
        memory.append_event({"scope": SCOPE, "payload": f"{number}" + "x" * 500_000})
    with daemon.connect() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(line("list_events", scope=SCOPE) + b"\n")
        began = time.monotonic()
        daemon.wait_for(lambda: memory.status()["connections"] == 2)
        daemon.wait_for(lambda: memory.status()["connections"] == 1)
        assert 4.0 < time.monotonic() - began < 7.0
    assert status_ms(daemon) < 500


@pytest.mark.skipif(os.geteuid() != 0, reason="the daemon's descriptors are closed even to its own user")
def test_clients_that_come_and_go_leave_nothing_behind(daemon: Home) -> None:
    pid = daemon.record()["pid"]
    status_ms(daemon)
    before = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    for number in range(50):
        sock = daemon.connect()
        if number % 2:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.sendall(event("gone"))
        sock.close()
    daemon.wait_for(lambda: len(list(Path(f"/proc/{pid}/fd").iterdir())) <= before)


def test_fuzzed_lines_do_not_harm(daemon: Home) -> None:
    import random

    dice = random.Random(7)
    good = line("status")
    for _ in range(300):
        data = bytearray(good)
        for _ in range(dice.randint(1, 6)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        with daemon.connect() as sock:
            sock.sendall(bytes(data) + b"\n")
            assert sock.recv(1 << 16).endswith(b"}\n")
    assert status_ms(daemon) < 500


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_refused_before_a_byte_is_read(daemon: Home) -> None:
    for path in (daemon.path, daemon.runtime, daemon.socket.parent):
        path.chmod(0o755)
    daemon.socket.chmod(0o777)
    code = ("import os, socket; os.setuid(65534); s = socket.socket(socket.AF_UNIX)\n"
            f"s.connect({str(daemon.socket)!r})\n"
            "try:\n s.sendall(b'{}\\n'); got = s.recv(99)\nexcept OSError: got = b''\nprint(got)")
    import subprocess
    import sys

    found = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, timeout=20, cwd="/", check=True)
    assert found.stdout == b"b''\n"
    assert b"another user" in (daemon.path / "stderr").read_bytes()


def test_status_counts_what_was_asked(memory: Memory) -> None:
    memory.append_event({"scope": SCOPE, "payload": "one"})
    memory.append_events([{"scope": SCOPE, "payload": "two"}, {"scope": SCOPE, "payload": "three"}])
    memory.build_memory_packet({"scope": SCOPE})
    with pytest.raises(BadInput):
        memory.append_event({"scope": SCOPE, "kind": "nothing", "payload": "four"})
    counters = memory.status()["counters"]
    assert (counters["appends"], counters["packets"], counters["errors"]) == (3, 1, 1)
