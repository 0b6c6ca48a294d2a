"""A real daemon in a home of its own, for every test that needs one.

``home`` is an empty home directory that also becomes the test process's environment, so that ``Memory.connect()`` and
commands find it; ``daemon`` is that home with a daemon running in the foreground of a process of ours. Paths are
short, because a socket's may have 107 bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engram import Memory
from engram_core.dsn import identity
from engram_core.paths import digest

ROOT = Path(__file__).resolve().parent.parent
RUN_DAEMON = "import sys; from engram_core.daemon.process import run; sys.exit(run())"
RUN_COMMAND = "import sys; from engram_cli._entry import main; sys.exit(main())"
SCOPE = {"tenant_id": "default", "user_id": "ada", "agent_id": "cli", "session_id": "s1", "run_id": "r1"}


class Home:
    """Hold an empty home, and start, stop and ask the daemon that lives in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runtime = path / "rt"
        self.runtime.mkdir(mode=0o700)
        self.socket = self.runtime / "engram" / "engram.sock"
        self.database = path / ".local/share/engram/engram.db"
        self.log = path / ".local/state/engram/daemon.log"
        self.env = {"HOME": str(path), "XDG_RUNTIME_DIR": str(self.runtime), "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
        self.process: subprocess.Popen[bytes] | None = None

    # ---- the daemon

    def use(self, url: str) -> None:
        """Keep this home's memories in a database on a server."""
        self.env["ENGRAM_STORE_URL"] = url
        self.env["USER"] = os.environ.get("USER", "root")
        self.database = self.path / ".local/state/engram/servers" / digest(identity(url))

    def start(self, program: str = RUN_DAEMON, **env: str) -> subprocess.Popen[bytes]:
        """Start a daemon in the foreground and wait until it answers."""
        before = self.record().get("pid")
        with open(self.path / "stderr", "ab") as stderr:
            self.process = subprocess.Popen([sys.executable, "-c", program], env={**self.env, **env}, cwd="/",
                                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr)
        process = self.process
        self.wait_for(lambda: process.poll() is not None or self.record().get("pid") not in (None, before))
        assert process.poll() is None, (self.path / "stderr").read_text()
        return process

    def stop(self) -> None:
        """End every daemon of this home: the one we started and one a command started."""
        pid = self.record().get("pid")
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
        if pid is not None and (self.process is None or pid != self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def record(self) -> dict[str, Any]:
        """Return the endpoint record, {} when there is none."""
        try:
            found = json.loads(Path(f"{self.database}.endpoint").read_bytes())
        except (OSError, ValueError):
            return {}
        assert isinstance(found, dict)
        return found

    def pids(self) -> set[int]:
        """Return the processes that hold the lock of this home's database."""
        try:
            inode = Path(f"{self.database}.lock").stat().st_ino
        except FileNotFoundError:
            return set()
        rows = [row.split() for row in Path("/proc/locks").read_text().splitlines()]
        return {int(row[4]) for row in rows if row[1] == "FLOCK" and row[5].endswith(f":{inode}")}

    @staticmethod
    def wait_for(condition: Callable[[], object], seconds: float = 10.0) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.005)

    # ---- asking it

    def connect(self) -> socket.socket:
        """Return a raw connection."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(30)
        sock.connect(str(self.socket))
        return sock

    def engram(self, *args: str, stdin: bytes | None = None, timeout: float = 30.0,
               env: dict[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run a command line as its own process."""
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        return subprocess.run([sys.executable, "-c", RUN_COMMAND, *args], env={**self.env, **(env or {})},
                              timeout=timeout, cwd=str(self.path), **given,
                              **{"capture_output": True, **options})


def ask(sock: socket.socket, line: bytes) -> dict[str, Any]:
    """Send one line and return the reply."""
    sock.sendall(line + b"\n")
    return reply(sock)


def reply(sock: socket.socket) -> dict[str, Any]:
    """Return the next reply of a connection that has one line under way."""
    data = b""
    while not data.endswith(b"\n"):
        piece = sock.recv(1 << 16)
        assert piece, "the daemon hung up"
        data += piece
    found = json.loads(data)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """Give an empty home that is also this process's environment."""
    found = Home(Path(tempfile.mkdtemp(prefix="eg", dir="/tmp")))
    for name in list(os.environ):
        if name.startswith(("ENGRAM_", "XDG_", "LISTEN_")) or name == "NOTIFY_SOCKET":
            monkeypatch.delenv(name)
    for name, value in found.env.items():
        monkeypatch.setenv(name, value)
    try:
        yield found
    finally:
        found.stop()
        shutil.rmtree(found.path, ignore_errors=True)


@pytest.fixture
def daemon(home: Home) -> Home:
    """Give a home with a daemon running."""
    home.start()
    return home


@pytest.fixture
def memory(daemon: Home) -> Iterator[Memory]:
    """Give a Memory that talks to a running daemon, completing scopes as the command line does."""
    with Memory.connect(cwd="/", timeout=10) as found:
        yield found
