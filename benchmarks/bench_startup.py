"""Time commands, as whole processes, against ``python3 -c pass`` of the same venv, in interleaved pairs.

Engram is installed from a wheel (see ``installed.py``); ENGRAM_BENCH_PYTHON names the interpreter of a venv that has
it. An append ends only after the daemon has committed it: the daemon is asked afterwards how many it has, and the time
of an fsync of that file system is printed beside. Wall time is from spawn to the child's end, CPU time what the kernel
charged to that process, without the daemon's; ratios are those of the medians.

Goals: append at most 1.35 x (hoped for: 1.15), packet 1.6 x, any command that Typer reads 9 x, and the first append of
a machine without a daemon, which starts one and makes the database, 12 x.

    python benchmarks/bench_startup.py [--pairs 200] [--only append,packet,typer,first]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from installed import Home, folder, from_wheel, fsync_ms, texts

GOALS = {"append": 1.35, "packet": 1.6, "typer": 9.0, "first": 12.0}
COMMANDS = {
    "append": [["append", "Ada moved to Lyon in May"]],
    "packet": [["packet"], ["packet", "--query", "where does Ada live", "--max-tokens", "800"]],
    "typer": [["--help"], ["append", "--help"], ["fact", "list"], ["search", "Ada"], ["explain"], ["events"],
              ["status"], ["config", "show"], ["policy", "list"], ["policy", "show"],
              ["policy", "check"]],
    "first": [["append", "Ada moved to Lyon in May"]],
}
Times = tuple[float, float]


def child(command: list[str], env: dict[str, str]) -> Times:
    """Run a command to its end and return its wall and its CPU seconds."""
    quiet = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
    start = time.perf_counter()
    pid = os.posix_spawn(command[0], command, env, file_actions=quiet)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return wall, usage.ru_utime + usage.ru_stime


def pairs(count: int, bare: Callable[[], Times], measured: Callable[[], Times]) -> dict[str, float]:
    """Run both in turn and return the ratios of their medians, with the medians in milliseconds."""
    one, other = [], []
    for at in range(count):
        if at % 2:
            one.append(bare())
            other.append(measured())
        else:
            other.append(measured())
            one.append(bare())
    out: dict[str, float] = {}
    for at, name in enumerate(("wall", "cpu")):
        floor, taken = (statistics.median(run[at] for run in runs) * 1e3 for runs in (one, other))
        out |= {name: round(taken / floor, 2), f"{name}_ms": round(taken, 2), f"python_{name}_ms": round(floor, 2)}
    return out


class Bench:
    """Hold the installed program and how often each of its commands is run."""

    def __init__(self, python: str, count: int) -> None:
        self.python, self.count = python, count
        self.program = str(Path(python).parent / "engram")
        self.place = folder(python)

    def running(self, name: str) -> dict[str, Any]:
        """Measure commands with a daemon that has been at work."""
        with Home(self.python) as home:
            home.start()
            for text in texts(200):
                home.ask("append_event", {"event": {"scope": {}, "payload": text}, "cwd": "/"})
            home.ask("build_memory_packet", {"request": {"scope": {}}, "cwd": "/"})
            before = home.ask("status", {})["counters"]["appends"]
            found = {" ".join(one): self.measure(one, home) for one in COMMANDS[name]}
            if name == "append":
                status = home.ask("status", {})
                found["append"] = found.pop(" ".join(COMMANDS[name][0]))
                found["append"] |= {"committed": status["counters"]["appends"] - before, "asked": self.count,
                                    "synchronous": status["sqlite"]["synchronous"], "fsync_ms": fsync_ms(home.path)}
            return found

    def measure(self, command: list[str], home: Home) -> dict[str, Any]:
        """Measure one command in a home."""
        bare = [self.python, "-c", "pass"]
        return pairs(self.count, lambda: child(bare, home.env), lambda: child([self.program, *command], home.env))

    def first(self) -> dict[str, Any]:
        """Measure the first append of an empty home; each one gets a new home, and its daemon is ended at once."""
        def append() -> Times:
            with Home(self.python) as home:
                taken = child([self.program, *COMMANDS["first"][0]], home.env)
                home.stop(signal.SIGKILL)
            return taken

        with Home(self.python) as home:
            return {"first append": pairs(self.count, lambda: child([self.python, "-c", "pass"], home.env), append)}


def main() -> int:
    """Measure, print, and return 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--only", default=",".join(GOALS))
    given = parser.parse_args()
    rows, worst = {}, {}
    with from_wheel() as python:
        bench = Bench(python, given.pairs)
        wrapper = Path(bench.program).read_text()
        for name in given.only.split(","):
            rows[name] = bench.first() if name == "first" else bench.running(name)
            worst[name] = max(max(one["wall"], one["cpu"]) for one in rows[name].values())
    met = {name: worst[name] <= GOALS[name] for name in worst}
    if "append" in rows:
        met["every append committed"] = rows["append"]["append"]["committed"] == given.pairs
    print(json.dumps({"bench": "startup", "pairs": given.pairs, "installed_in": bench.place,
                      "wrapper_imports_re": "import re" in wrapper,
                      "rows": rows, "worst": worst, "goals": GOALS, "met": met}, indent=1))
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
