"""Kill a daemon with SIGKILL again and again while eight clients write, and count what it lost: ``make torture``.

Each cycle starts the daemon (which recovers what the kill before it left), compares what all clients were told with
what the database holds, lets the clients write until at least 20 events of the cycle are acknowledged, and kills it
while writes are in flight: at the next fail point before or after a commit or a reply, or at a random moment. Every 50
cycles begin with an empty database.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.daemon_fixture import Home
from tests.faults.world import Log, Writers, check, wait_until

ACKS = 20
PER_HOME = 50
POINTS = ("commit.before", "commit.after", "reply.before", "reply.after")


class Torture:
    """Run cycles and keep the score."""

    def __init__(self, cycles: int, seed: int, *, verbose: bool) -> None:
        self.cycles, self.seed, self.verbose = cycles, seed, verbose
        self.dice = random.Random(seed)
        self.done = self.acknowledged = self.lost = self.doubled = self.at_points = 0
        self.fewest = 1 << 30
        self.fewest_in_flight = 1 << 30
        self.faults: list[str] = []
        self.starts: list[float] = []

    def run(self) -> bool:
        """Run all cycles; tell whether nothing was lost, doubled or otherwise wrong."""
        began = time.monotonic()
        left = self.cycles
        while left > 0:
            self._one_home(min(left, PER_HOME))
            left -= PER_HOME
        starts = sorted(self.starts)
        print(f"torture: {self.done} cycles ({self.at_points} at fail points), {self.acknowledged} acknowledged, "
              f"{self.lost} lost, {self.doubled} doubled, {len(self.faults)} other faults; "
              f"at least {self.fewest} acknowledged and {self.fewest_in_flight} in flight at each kill; "
              f"restart {statistics.median(starts) * 1000:.0f} ms, at most {starts[-1] * 1000:.0f} ms; "
              f"seed {self.seed}; "
              f"{time.monotonic() - began:.0f} s", flush=True)
        for fault in self.faults[:20]:
            print(fault)
        return not (self.lost or self.doubled or self.faults)

    def _one_home(self, cycles: int) -> None:
        home = Home(Path(tempfile.mkdtemp(prefix="et", dir="/tmp")))
        log = Log()
        batches: list[set[str]] = []
        point = ""
        try:
            for cycle in range(cycles + 1):
                point = self.dice.choice(POINTS) if cycle < cycles and cycle % 2 else ""
                gate = home.path / "gate"
                gate.unlink(missing_ok=True)
                spec = f"{point}=kill@{gate}" if point else ""
                began = time.monotonic()
                home.start(**({"ENGRAM_FAILPOINT": spec} if spec else {}))
                self.starts.append(time.monotonic() - began)
                verdict = check(home.database, log, batches)
                if not verdict:
                    self.lost += len(verdict.lost)
                    self.doubled += len(verdict.doubled)
                    self.faults.append(f"seed {self.seed} cycle {self.done}: {verdict}")
                if cycle < cycles:
                    self._kill(home, log, batches, spec, gate)
            self.acknowledged += len(log.acknowledged)
        finally:
            home.stop()
            shutil.rmtree(home.path, ignore_errors=True)

    def _kill(self, home: Home, log: Log, batches: list[set[str]], spec: str, gate: Path) -> None:
        before = len(log.acknowledged)
        process = home.process
        assert process is not None
        writers = Writers(home, log, name=f"c{self.done}", seed=self.seed)
        wait_until(lambda: len(log.acknowledged) - before >= ACKS and writers.in_flight > 0, 20)
        time.sleep(self.dice.uniform(0, 0.03))
        if spec:
            gate.touch()
            if not wait_until(lambda: process.poll() is not None, 20):
                self.faults.append(f"cycle {self.done}: {spec} was not reached")
            self.at_points += 1
        in_flight = writers.in_flight
        process.kill()
        process.wait()
        writers.end()
        acks = len(log.acknowledged) - before
        batches += writers.batches
        self.done += 1
        self.fewest, self.fewest_in_flight = min(self.fewest, acks), min(self.fewest_in_flight, in_flight)
        if acks < ACKS or in_flight <= 0:
            self.faults.append(f"cycle {self.done}: {acks} acknowledged, {in_flight} in flight at the kill ({spec})")
        if self.verbose and self.done % 25 == 0:
            print(f"{self.done} cycles, {self.acknowledged + len(log.acknowledged)} acknowledged", flush=True)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    return 0 if Torture(given.cycles, given.seed, verbose=True).run() else 1


if __name__ == "__main__":
    sys.exit(main())
