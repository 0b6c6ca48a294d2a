"""The daemon exactly as its unit starts it: socket, notices, watchdog, environment, and no other place to write."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from engram import Memory
from engram_core import shipped
from tests.daemon_fixture import RUN_COMMAND, SCOPE, Home, ask, reply
from tests.faults.world import line
from tests.repo.test_units import settings

UNITS = {"user": ("systemd/user", "engram"), "system": ("systemd/system", "engram@")}
WATCHDOG_USEC = 400_000


class Manager:
    """Do for one service what systemd does: listen, start, take its messages."""

    def __init__(self, home: Home, kind: str) -> None:
        self.home = home
        folder, name = UNITS[kind]
        self.service = settings(Path(shipped.path(*folder.split("/"), f"{name}.service")))
        self.socket_unit = settings(Path(shipped.path(*folder.split("/"), f"{name}.socket")))
        # %h, %t and %i as the manager would replace them; the system's folders lie below the home here.
        self.names = {"%h": str(home.path), "%t": str(home.runtime), "%i": "acct", "/run/": f"{home.path}/run/",
                      "/var/lib/": f"{home.path}/lib/"}
        self.notices: list[str] = []
        self.inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.inbox.bind(str(home.path / "notify"))
        self.inbox.settimeout(20)
        path = Path(self.filled(self.socket_unit["ListenStream"][0]))
        path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        path.parent.chmod(0o700)
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        path.chmod(int(self.socket_unit["SocketMode"][0], 8))
        self.listening.listen()
        self.path = path
        self.process: subprocess.Popen[bytes] | None = None

    def filled(self, text: str) -> str:
        for name, value in self.names.items():
            if not text.startswith(str(self.home.path)):
                text = text.replace(name, value)
        return text

    def environment(self) -> dict[str, str]:
        keep = ("HOME", "PATH", "PYTHONPATH", "LC_ALL", "XDG_RUNTIME_DIR")
        env = {key: value for key, value in self.home.env.items() if key in keep}
        for row in self.service.get("Environment", []):
            for pair in row.split():
                key, _, value = pair.partition("=")
                env[key] = self.filled(value)
        return {**env, "NOTIFY_SOCKET": str(self.home.path / "notify"), "WATCHDOG_USEC": str(WATCHDOG_USEC),
                "LISTEN_FDS": "1", "LISTEN_FDNAMES": "engram.socket", "JOURNAL_STREAM": "1:2",
                "INVOCATION_ID": "0" * 32}

    def writable(self) -> list[str]:
        found = [self.filled(one.lstrip("-")) for row in self.service.get("ReadWritePaths", []) for one in row.split()]
        return found + [f"{self.home.path}/lib/{self.filled(one)}" for one in self.service.get("StateDirectory", [])]

    def start(self, *, read_only: bool = False) -> None:
        """Start the program of ExecStart; with ``read_only`` nothing but the unit's paths can be written."""
        for path in self.writable():
            Path(path).mkdir(parents=True, mode=0o700, exist_ok=True)
        words = self.service["ExecStart"][0].split()
        assert words == ["engram", "daemon", "run"]
        code = (f"import os, sys; os.environ['LISTEN_PID'] = os.environ['WATCHDOG_PID'] = str(os.getpid()); "
                f"os.umask(0o{self.service['UMask'][0]}); os.dup2({self.listening.fileno()}, 3); "
                f"sys.argv = {words!r}; " + RUN_COMMAND)
        command = [sys.executable, "-c", code]
        if read_only:
            binds = "; ".join(f"mount --bind {path} {path}" for path in [*self.writable(), "/dev"])
            script = f"mount --make-rprivate /; {binds}; mount -o remount,bind,ro /; exec \"$@\""
            command = ["unshare", "-m", "sh", "-c", script, "sh", *command]
        with open(self.home.path / "stderr", "ab") as stderr:
            self.process = self.home.process = subprocess.Popen(
                command, pass_fds=[self.listening.fileno()], env=self.environment(), cwd="/", stdin=subprocess.DEVNULL,
                stdout=stderr, stderr=stderr)

    def wait_for(self, notice: str, seconds: float = 30) -> float:
        """Wait for a notification and return when it came."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                got = self.inbox.recv(4096).decode().split("\n")
            except TimeoutError:
                break
            self.notices += got
            if notice in got:
                return time.monotonic()
        raise AssertionError((notice, self.notices, (self.home.path / "stderr").read_text()))


@pytest.fixture(params=UNITS)
def manager(home: Home, request: pytest.FixtureRequest) -> Iterator[Manager]:
    found = Manager(home, request.param)
    try:
        yield found
    finally:
        found.listening.close()
        found.inbox.close()


def test_as_the_unit_starts_it_it_is_ready_feeds_the_watchdog_and_stops(manager: Manager) -> None:
    early = socket.socket(socket.AF_UNIX)  # a client that came before the daemon was there
    early.settimeout(10)
    early.connect(str(manager.path))
    early.sendall(line("status"))
    manager.start()
    manager.wait_for("READY=1")
    status = reply(early)["result"]
    assert manager.process is not None and status["pid"] == manager.process.pid
    assert status["socket"] == str(manager.path)
    beats = [manager.wait_for("WATCHDOG=1") for _ in range(4)]
    gaps = [later - sooner for sooner, later in pairwise(beats)]
    assert max(gaps) < WATCHDOG_USEC / 1e6
    with Memory.connect(str(manager.path), timeout=30, cwd="/") as memory:
        memory.append_event({"payload": "x"})
    manager.process.terminate()
    manager.wait_for("STOPPING=1")
    assert manager.process.wait(int(manager.service["TimeoutStopSec"][0].removesuffix("s"))) == 0
    assert manager.path.exists()  # the manager's own


def test_a_reload_is_announced(manager: Manager) -> None:
    assert manager.service["ExecReload"] == ["kill -HUP $MAINPID"]
    manager.start()
    manager.wait_for("READY=1")
    assert manager.process is not None
    manager.process.send_signal(signal.SIGHUP)
    manager.wait_for("RELOADING=1")
    manager.wait_for("READY=1")


def test_everything_it_writes_lies_in_the_units_paths(manager: Manager) -> None:
    allowed = manager.writable()
    before = set(manager.home.path.rglob("*"))
    manager.start()
    manager.wait_for("READY=1")
    with Memory.connect(str(manager.path), timeout=30, cwd="/") as memory:
        memory.append_event({"payload": "Ada moved to Lyon"})
        memory.build_memory_packet({"query": "Ada"})
        pid = memory.status()["pid"]
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target, flags = os.readlink(fd), int(Path(f"/proc/{pid}/fdinfo/{fd.name}").read_text().split()[3], 8)
        except OSError:
            continue
        if flags & (os.O_WRONLY | os.O_RDWR) and target.startswith("/") and not target.startswith("/dev/"):
            assert target == str(manager.home.path / "stderr") or any(
                target.startswith(place + "/") for place in allowed), target
    made = {path for path in manager.home.path.rglob("*") if path.is_file()} - before
    strange = [path for path in made if not any(str(path).startswith(place + "/") for place in allowed)
               and path.name not in ("stderr", "notify") and "__pycache__" not in path.parts]
    assert not strange, strange
    assert all(stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0 for path in made if path.name != "stderr")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="only root can make the rest read-only")
def test_it_works_where_nothing_else_can_be_written(manager: Manager) -> None:
    if subprocess.run(["unshare", "-m", "mount", "--make-rprivate", "/"], capture_output=True).returncode:
        pytest.skip("no mount namespace can be made here")
    manager.start(read_only=True)
    manager.wait_for("READY=1")
    with Memory.connect(str(manager.path), timeout=30, cwd="/") as memory:
        for number in range(20):
            assert memory.append_event({"payload": f"text {number}"})["durability"] == "committed"
        packet = memory.build_memory_packet({"query": "text"})
        assert memory.explain({}, packet["meta"]["build_id"])
        memory.request("forget", {"scope": {}, "selector": {"all": True}})
    assert b"Read-only" not in (manager.home.path / "stderr").read_bytes()


def test_a_hanging_writer_stops_the_watchdog_and_a_busy_one_does_not(home: Home) -> None:
    manager = Manager(home, "user")
    try:
        manager.start()
        manager.wait_for("READY=1")
        with home.connect() as sock:
            for number in range(200):
                ask(sock, line("append_event", event={"scope": SCOPE, "payload": str(number)}).strip())
        manager.wait_for("WATCHDOG=1")
        assert manager.process is not None
        manager.process.send_signal(signal.SIGSTOP)
        manager.inbox.settimeout(0.05)
        try:
            while manager.inbox.recv(100):
                pass
        except TimeoutError:
            pass
        manager.inbox.settimeout(WATCHDOG_USEC / 1e6 * 2)
        with pytest.raises(TimeoutError):
            manager.inbox.recv(100)
        manager.process.send_signal(signal.SIGCONT)
    finally:
        manager.listening.close()
        manager.inbox.close()


def test_a_writer_that_hangs_alone_starves_the_watchdog(home: Home) -> None:
    manager = Manager(home, "user")
    real = manager.environment

    def slow() -> dict[str, str]:
        return {**real(), "ENGRAM_FAILPOINT": "commit.before=sleep@1+", "WATCHDOG_USEC": "100000"}

    manager.environment = slow  # type: ignore[method-assign]
    try:
        manager.start()
        manager.wait_for("READY=1")
        with home.connect() as sock:
            sock.sendall(b"".join(line("append_event", n, event={"scope": SCOPE, "payload": str(n)})
                                  for n in range(3)))
            time.sleep(0.4)
            manager.inbox.settimeout(0.01)
            try:
                while manager.inbox.recv(100):
                    pass
            except TimeoutError:
                pass
            manager.inbox.settimeout(0.3)  # the writer is asleep in its commit, the loop is not
            with pytest.raises(TimeoutError):
                manager.inbox.recv(100)
            with home.connect() as other:
                assert "result" in ask(other, line("status").strip())
        manager.inbox.settimeout(5)
        manager.wait_for("WATCHDOG=1")
    finally:
        manager.listening.close()
        manager.inbox.close()


def test_the_unit_caps_restarts() -> None:
    for folder, name in UNITS.values():
        unit = settings(Path(shipped.path(*folder.split("/"), f"{name}.service")))
        assert unit["Restart"] == ["on-failure"] and unit["StartLimitBurst"] == ["5"]
        assert int(unit["StartLimitIntervalSec"][0]) >= 10
