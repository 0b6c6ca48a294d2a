"""What the benches of an installed Engram share: its interpreter, homes of their own, and lines to a daemon.

Driven by ``bench_startup``, ``bench_append`` and ``bench_memory``. Start-up is only that of users when Engram lies in
site-packages as compiled files, installed by the pip a new venv brings along, so ``from_wheel`` makes exactly that;
``ENGRAM_BENCH_PYTHON`` names an interpreter that has it already.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RUN_DAEMON = "import sys; from engram_core.daemon.process import run; sys.exit(run())"
SCOPE = {"tenant_id": "default", "user_id": "ada", "agent_id": "cli", "session_id": "s0", "run_id": "r0"}
NOT_COPIED = (".*", "build", "dist", "tests", "__pycache__", "*.so", "*.c", "*.egg-info")


@contextmanager
def from_wheel() -> Iterator[str]:
    """Give the interpreter of ENGRAM_BENCH_PYTHON, or that of a new venv with a wheel of this checkout in it."""
    named = os.environ.get("ENGRAM_BENCH_PYTHON")
    if named:
        yield ready(named)
        return
    with tempfile.TemporaryDirectory(prefix="engram-bench-") as made:
        place = Path(made)
        shutil.copytree(ROOT, place / "source", ignore=shutil.ignore_patterns(*NOT_COPIED))
        quiet = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*quiet, "wheel", "--no-deps", "--wheel-dir", made, str(place / "source")], check=True,
                       stdout=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(place / "venv")], check=True)
        python = str(place / "venv/bin/python3")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *map(str, place.glob("*.whl"))], check=True, stdout=sys.stderr)
        yield ready(python)


def interpreter() -> str:
    """Return the interpreter of ENGRAM_BENCH_PYTHON, or this one."""
    return os.environ.get("ENGRAM_BENCH_PYTHON") or sys.executable


def ready(python: str) -> str:
    """Return the interpreter after all it will import has been compiled."""
    subprocess.run([python, "-m", "compileall", "-q", "-j", "0", folder(python)], stdout=sys.stderr, check=False)
    return python


def folder(python: str) -> str:
    """Return where the interpreter finds Engram."""
    code = "import engram_core, os; print(os.path.dirname(os.path.dirname(engram_core.__file__)))"
    found = subprocess.run([python, "-P", "-c", code], check=True, capture_output=True, text=True, cwd="/",
                           env=environment(python, "/"))
    return found.stdout.strip()


def environment(python: str, home: str) -> dict[str, str]:
    """Return the whole environment of a child: nothing of the caller's but where to find programs.

    Our own interpreter may find Engram by PYTHONPATH; another one has it installed, and is to use that.
    """
    names = ("PATH", "PYTHONPATH") if python == sys.executable else ("PATH",)
    return {**{name: os.environ[name] for name in names if os.environ.get(name)}, "HOME": home,
            "XDG_RUNTIME_DIR": f"{home}/run", "LC_ALL": "C.UTF-8", "ENGRAM_DAEMON_LOG_LEVEL": "warning"}


class Home:
    """Hold an empty home on the file system that TMPDIR names, and the daemon that lives in it."""

    def __init__(self, python: str) -> None:
        self.path = tempfile.mkdtemp(prefix="eb")
        os.mkdir(f"{self.path}/run", 0o700)
        self.python, self.env = python, environment(python, self.path)
        self.database = f"{self.path}/.local/share/engram/engram.db"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Home:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.path, ignore_errors=True)

    def start(self, *wrapper: str) -> int:
        """Run a daemon, below another program if one is given, and return its pid once it serves."""
        self._process = subprocess.Popen([*wrapper, self.python, "-c", RUN_DAEMON], env=self.env, cwd="/",
                                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while not self.record():
            if self._process.poll() is not None or time.monotonic() > end:
                raise SystemExit("the daemon does not start")
            time.sleep(0.01)
        return int(self.record()["pid"])

    def record(self) -> dict[str, Any]:
        """Return what the daemon wrote about itself."""
        try:
            found: dict[str, Any] = json.loads(Path(f"{self.database}.endpoint").read_bytes())
        except (OSError, ValueError):
            return {}
        return found

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the home's daemon, however it was started."""
        pid = self.record().get("pid")
        if pid is not None:
            try:
                os.kill(pid, number)
                while number == signal.SIGTERM and self.record() and os.path.exists(f"/proc/{pid}"):
                    time.sleep(0.002)
            except ProcessLookupError:
                pass
        if self._process is not None:
            self._process.wait()
            self._process = None

    def connect(self) -> socket.socket:
        """Return a connection to the daemon."""
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(self.record()["socket"])
        return peer

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        """Send one request and return its result."""
        with self.connect() as peer:
            peer.sendall(request(method, params))
            data = b""
            while not data.endswith(b"\n"):
                data += peer.recv(1 << 20)
        found = json.loads(data)
        if "error" in found:
            raise SystemExit(f"{method}: {found['error']}")
        return found["result"]


def request(method: str, params: dict[str, Any]) -> bytes:
    """Return a request line."""
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params},
                      ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def texts(count: int, *, seed: int = 7) -> list[str]:
    """Return texts of 5 to 30 words over a vocabulary with a long tail."""
    chance = random.Random(seed)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(3, 9))) for _ in range(6000)]
    return [" ".join(words[min(5999, int(chance.paretovariate(0.6)))] for _ in range(chance.randint(5, 30)))
            for _ in range(count)]


def fsync_ms(where: str, *, times: int = 50) -> float:
    """Return the median milliseconds of writing 4 KiB and having the disk confirm it."""
    taken = []
    with tempfile.TemporaryFile(dir=where) as file:
        for _ in range(times):
            os.write(file.fileno(), b"x" * 4096)
            start = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - start)
    return round(statistics.median(taken) * 1e3, 3)
