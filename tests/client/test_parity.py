"""The fast entry and Typer are one command line: the same words give the same request, output and exit code.

A relay between client and daemon writes down what each sends.
"""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.daemon_fixture import RUN_COMMAND, Home

RUN_TYPER = "import sys; from engram_cli.main import main; sys.exit(main())"
LINES = [
    "append hello",
    "append --role assistant --name Bob 'well, hello'",
    "append --role=tool x --tag a --tag=b --entity c --id e_1 --ts 2026-01-31T09:30:00+01:00",
    "append x --kind system --tenant t --user u --agent a --session s --run r --require-commit",
    "append x --json --timeout 7.5 --id e_2",
    "append 'quotes \" and \\ back, tab\t, line\n, \N{GRINNING FACE}' --name 'Zo\u00eb'",
    "append x --ts yesterday-ish",
    "append x --kind nonsense --json",
    "append x --id e_1",
    "append",
    "append -",
    "packet",
    "packet -q 'where is Ada' --purpose planner --max-tokens 700 --task-type deploy --no-persist",
    "packet --query x --tag a --entity b --keyword c --keyword d --now 2030-01-01T00:00:00Z --format text",
    "packet --no-limit --bare --part all --tokenizer bytes --json",
    "packet --format markdown --max-chars 9000 --policy default",
    "packet --max-tokens 1",
    "packet --purpose poet",
    "packet --policy none-such --json",
    "status --json",
    "status --json --session other",
]
VOLATILE = ("at_ms", "timeout_ms", "render")  # render only shapes the output, which is compared itself


class Relay:
    """Pass bytes between clients and the daemon, and remember the request lines."""

    def __init__(self, home: Home) -> None:
        self.path = str(home.runtime / "relay")
        self.target = str(home.socket)
        self.requests: list[dict[str, Any]] = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            daemon = socket.socket(socket.AF_UNIX)
            daemon.connect(self.target)
            threading.Thread(target=self._pass, args=(client, daemon, True), daemon=True).start()
            threading.Thread(target=self._pass, args=(daemon, client, False), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, asking: bool) -> None:
        data = b""
        while piece := source.recv(1 << 16):
            if asking:
                *lines, data = (data + piece).split(b"\n")
                self.requests += [json.loads(line) for line in lines]
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def relay(daemon: Home) -> Iterator[Relay]:
    found = Relay(daemon)
    yield found
    found.listener.close()


def run(home: Home, relay: Relay, code: str, args: list[str]) -> tuple[int, bytes, bytes, list[dict[str, Any]]]:
    relay.requests.clear()
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, timeout=30, cwd=home.path,
                          env={**home.env, "ENGRAM_SOCKET": relay.path, "ENGRAM_RUN": "from-env"},
                          input=b"from a pipe\n" if args[-1] in ("append", "-") else b"")
    return done.returncode, done.stdout, done.stderr, [plain(one) for one in relay.requests]


def plain(request: dict[str, Any]) -> dict[str, Any]:
    """Return method and params without what differs from run to run; a made id counts as an id."""
    params = {key: value for key, value in request["params"].items() if key not in VOLATILE}
    if isinstance(params.get("event"), dict) and params["event"]["event_id"].startswith("e_0"):
        params["event"] = {**params["event"], "event_id": "made"}
    return {"method": request["method"], **{key: value for key, value in params.items() if value != {}}}


def shown(output: bytes) -> object:
    """Return output in a form that can be compared: the shape of ids, times and counters is enough."""
    text = output.decode()
    if text.startswith("e_0"):
        return "an id"
    try:
        return sorted(json.loads(text))
    except ValueError:
        return text


@pytest.mark.parametrize("line", LINES)
def test_both_ways_are_one(daemon: Home, relay: Relay, line: str) -> None:
    args = shlex.split(line)
    fast = run(daemon, relay, RUN_COMMAND, args)
    slow = run(daemon, relay, RUN_TYPER, args)
    assert fast[3] == slow[3]
    assert (fast[0], shown(fast[1])) == (slow[0], shown(slow[1]))
    assert fast[2] == slow[2]
