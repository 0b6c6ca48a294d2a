"""Do to a well-known daemon what was done to ours: an empty connection, half a line, SIGSTOP, six starts at once.

The other one is mypy's dmypy, from the registry, as it is installed: a daemon of one user over a Unix socket, started
by its own client. Every experiment is the same for both, from outside. Goal: Engram's daemon survives each of them and
answers, or its client ends by its deadline with a code that says so; what dmypy does is reported as it is.

    python benchmarks/bench_neighbours.py        one line per experiment on stderr, the JSON on stdout
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WAIT_S = 20.0


class Subject:
    """One daemon in a home of its own, and how its client is called."""

    name = ""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "rt").mkdir(mode=0o700)
        self.env = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home / "rt"), "PATH": os.environ["PATH"],
                    "LC_ALL": "C.UTF-8"}

    def call(self, *args: str, timeout: float = WAIT_S) -> tuple[int | None, float, str]:
        """Run the client; return its exit code (None: it hangs), the seconds and what it wrote."""
        began = time.monotonic()
        process = subprocess.Popen([*self.client(), *args], env=self.env, cwd=self.home, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            out = process.communicate(timeout=timeout)[0].decode(errors="replace")
            return process.returncode, time.monotonic() - began, out
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return None, time.monotonic() - began, ""

    def client(self) -> list[str]:
        """Return the words that start the client."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the daemon."""
        raise NotImplementedError

    def ask(self) -> tuple[int | None, float, str]:
        """Ask something small."""
        raise NotImplementedError

    def pids(self) -> list[int]:
        """Return the daemons that run in this home."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                env, words = (path / "environ").read_bytes(), (path / "cmdline").read_bytes()
            except OSError:
                env, words = b"", b""
            mine = f"HOME={self.home}".encode() in env or self.recorded() == int(path.name)
            if mine and self.is_daemon(words.decode(errors="replace").split("\0")) and _runs(path):
                found.append(int(path.name))
        return found

    def recorded(self) -> int:
        """Return the pid that the daemon itself wrote down, 0 when none."""
        return 0

    def is_daemon(self, words: list[str]) -> bool:
        """Tell a daemon from a client by its command line."""
        raise NotImplementedError

    def socket(self) -> str:
        """Return the daemon's socket."""
        raise NotImplementedError

    def end(self) -> None:
        """End whatever runs in this home."""
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def _runs(path: Path) -> bool:
    try:
        return (path / "stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


class Engram(Subject):
    """Ours."""

    name = "engram"

    def client(self) -> list[str]:
        """Return our command."""
        return [str(Path(sys.executable).with_name("engram"))]

    def start(self) -> None:
        """Start it as a first command does."""
        assert self.call("append", "hello")[0] == 0

    def ask(self) -> tuple[int | None, float, str]:
        """Append something."""
        return self.call("append", "more", "--timeout", "5")

    def _record(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.home / ".local/share/engram/engram.db.endpoint").read_bytes())
            return found
        except (OSError, ValueError):
            return {}

    def recorded(self) -> int:
        """Return the pid of the endpoint record."""
        return int(self._record().get("pid", 0))

    def is_daemon(self, words: list[str]) -> bool:
        """Tell by the daemon's program; it is not dumpable, so its command line may be all there is."""
        return any(word.endswith("daemon/__main__.py") for word in words)

    def socket(self) -> str:
        """Return the recorded socket."""
        return str(self._record()["socket"])


class Dmypy(Subject):
    """Mypy's."""

    name = "dmypy"

    def client(self) -> list[str]:
        """Return its command."""
        return [str(Path(sys.executable).with_name("dmypy"))]

    def start(self) -> None:
        """Start it by its own command."""
        (self.home / "one.py").write_text("x: int = 1\n")
        assert self.call("start")[0] == 0

    def ask(self) -> tuple[int | None, float, str]:
        """Ask for its status."""
        return self.call("status")

    def is_daemon(self, words: list[str]) -> bool:
        """Tell by its program; it forks from the client that started it, and clients have ended when this is asked."""
        return any(os.path.basename(word) == "dmypy" for word in words)

    def socket(self) -> str:
        """Return the socket its status file names."""
        return str(json.loads((self.home / ".dmypy.json").read_text())["connection_name"])


def empty_connection(one: Subject) -> dict[str, Any]:
    """Connect and close at once, then ask."""
    before = one.pids()
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(one.socket())
            except OSError:
                break
        time.sleep(0.2)
    time.sleep(0.5)
    lives = bool(before) and one.pids() == before
    code, seconds, out = one.ask()
    return {"daemon lives": lives, "next call": code, "seconds": round(seconds, 2), "said": _last(out)}


def half_a_line(one: Subject) -> dict[str, Any]:
    """Connect, send a few bytes, and keep the connection open while another client asks."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(one.socket())
        sock.sendall(b"{")
        code, seconds, out = one.ask()
    time.sleep(0.3)
    return {"daemon lives": bool(one.pids()), "call beside it": "hangs" if code is None else code,
            "seconds": round(seconds, 2), "said": _last(out)}


def stopped(one: Subject) -> dict[str, Any]:
    """Stop the daemon with SIGSTOP and ask; let it go on and ask again."""
    pid = one.pids()[0]
    os.kill(pid, signal.SIGSTOP)
    code, seconds, out = one.ask()
    others = len(one.pids())
    os.kill(pid, signal.SIGCONT)
    time.sleep(1)
    after, _, later = one.ask()
    return {"call": "hangs" if code is None else code, "seconds": round(seconds, 2), "said": _last(out),
            "daemons": others, "call after SIGCONT": after, "said after": _last(later)}


def six_at_once(one: Subject) -> dict[str, Any]:
    """Let six clients come at once where no daemon runs."""
    one.end()
    time.sleep(0.3)
    words = ("append", "x") if one.name == "engram" else ("run", "--", "one.py")
    processes = [subprocess.Popen([*one.client(), *words], env=one.env, cwd=one.home, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(6)]
    codes: list[int | str] = []
    until = time.monotonic() + WAIT_S * 2
    for process in processes:
        try:
            codes.append(process.wait(max(0.1, until - time.monotonic())))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            codes.append("hangs")
    time.sleep(0.5)
    return {"exit codes": codes, "daemons": len(one.pids())}


EXPERIMENTS = {"empty connection": empty_connection, "half a line": half_a_line, "SIGSTOP": stopped,
               "six first clients": six_at_once}


def _last(out: str) -> str:
    rows = [row for row in out.strip().splitlines() if row.strip()]
    return rows[-1][:100] if rows else ""


def main() -> int:
    """Run every experiment on both, each in a home of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    if not Path(sys.executable).with_name("dmypy").exists():
        print(f"dmypy is not installed beside {sys.executable}; install it with: pip install mypy", file=sys.stderr)
        return 0
    figures: dict[str, dict[str, Any]] = {}
    for kind in (Engram, Dmypy):
        for name, experiment in EXPERIMENTS.items():
            one = kind(Path(tempfile.mkdtemp(prefix="en", dir="/tmp")))
            try:
                one.start()
                found = experiment(one)
            except (AssertionError, OSError, KeyError, IndexError) as exc:
                found = {"the experiment ended with": f"{type(exc).__name__}: {exc}"}
            finally:
                one.end()
                shutil.rmtree(one.home, ignore_errors=True)
            figures.setdefault(name, {})[one.name] = found
            print(f"{name:18} {one.name:7} " + ", ".join(f"{key}: {value}" for key, value in found.items()),
                  file=sys.stderr, flush=True)
    print(json.dumps(figures))
    ours = [figures[name]["engram"] for name in EXPERIMENTS]
    good = ours[0].get("daemon lives") and ours[0].get("next call") == 0 and ours[1].get("call beside it") == 0 and \
        ours[2].get("call") == 75 and ours[2].get("daemons") == 1 and ours[2].get("call after SIGCONT") == 0 and \
        ours[3].get("daemons") == 1 and set(ours[3].get("exit codes", ())) == {0}
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
