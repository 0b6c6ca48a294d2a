"""Puts a newer wheel under the running daemon of an older one, as `pip install -U` does, and loses nothing.

Run by ``.ci/run`` after the wheel is built. N-1 is built from the commit that ended the issue before this one; where
the history does not reach that far there is nothing to check, and it says so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

PREVIOUS = "428c1d1"
ROOT = Path(__file__).resolve().parents[2]
# The number that the newer program says it has, until releases differ by themselves. It is longer than the one it
# replaces: a file of the same size, written within the same second, is taken for the one that pip has compiled.
NEWER = "0.1.0.post1"


def build_previous(folder: Path, python: str) -> Path | None:
    """Build the wheel of N-1 from the history; None when the clone does not hold it."""
    archive = subprocess.run(["git", "archive", PREVIOUS], cwd=ROOT, capture_output=True)
    if archive.returncode:
        return None
    source = folder / "previous"
    source.mkdir()
    subprocess.run(["tar", "-x", "-C", str(source)], input=archive.stdout, check=True)
    pip_wheel(python, source, folder)
    return next(folder.glob("engram-*.whl"))


def pip_wheel(python: str, source: Path, folder: Path) -> None:
    """Build a wheel of a source tree."""
    subprocess.run([python, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--wheel-dir",
                    str(folder), str(source)], check=True)


class Person:
    """Someone with an installation of their own, whose commands are watched."""

    def __init__(self, folder: Path, python: str) -> None:
        self.home = folder / "home"
        (self.home / "rt").mkdir(parents=True, mode=0o700)
        subprocess.run([python, "-m", "venv", str(folder / "venv")], check=True)
        self.bin = folder / "venv/bin"
        self.env = {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.home / "rt"), "LC_ALL": "C.UTF-8",
                    "PATH": f"{self.bin}:{os.defpath}"}
        self.acknowledged: list[str] = []

    def install(self, wheel: Path, *options: str) -> None:
        """Install a wheel over whatever is there."""
        subprocess.run([str(self.bin / "pip"), "install", "--quiet", "--disable-pip-version-check", *options,
                        str(wheel)], check=True)

    def engram(self, *words: str, code: int = 0) -> str:
        """Run a command; what it says when it fails is the finding."""
        done = subprocess.run([str(self.bin / "engram"), *words], env=self.env, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=60, cwd=str(self.home))
        if done.returncode != code:
            raise SystemExit(f"engram {' '.join(words)} ended with {done.returncode}, not {code}: {done.stderr}")
        return done.stdout

    def append(self, text: str) -> None:
        """Append and remember what was acknowledged."""
        self.acknowledged.append(json.loads(self.engram("append", text, "--json"))["event_id"])

    def status(self) -> dict[str, Any]:
        """Return the daemon's status."""
        found: dict[str, Any] = json.loads(self.engram("status", "--json"))
        return found

    def stored(self) -> list[str]:
        """Return the events there are."""
        return [event["event_id"] for event in json.loads(
            self.engram("events", "list", "--json", "-n", "100000"))["events"]]


def check(person: Person, old: Path, new: Path) -> None:
    """Install the older wheel, use it, install the newer one under its daemon while another command writes, go on."""
    person.install(old)
    for number in range(20):
        person.append(f"before {number}")
    before = person.status()["pid"]
    for words in (("packet", "-q", "before"), ("explain",), ("search", "before"), ("doctor",)):
        person.engram(*words)  # N-1 imports late what these need, and would find the newer version's modules then
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            try:
                person.append(f"meanwhile {number}")
            except SystemExit as failed:
                # While pip replaces the files there is, for a moment, no program or half of one.
                if "NotFound" not in str(failed) and "Error" not in str(failed):
                    raise
            except FileNotFoundError:
                time.sleep(0.05)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.5)
    person.install(new, "--no-deps", "--force-reinstall")
    version = next((person.bin.parent / "lib").glob("python*/site-packages/engram_core/_version.py"))
    text = version.read_text()
    version.write_text(text.replace('__version__ = "0.1.0"', f'__version__ = "{NEWER}"'))
    time.sleep(0.5)
    stop.set()
    writer.join()
    # The next commands work, those the older daemon knows and those it does not.
    person.append("after the upgrade")
    person.engram("packet", "-q", "before")
    person.engram("explain")
    person.engram("search", "before")
    person.engram("doctor")
    shown = person.engram("status")
    assert "version" in shown
    person.engram("daemon", "restart")
    found = person.status()
    assert found["version"] == NEWER and found["pid"] != before, found
    person.append("with the newer one")
    person.engram("backup", str(person.home / "copy.db"))
    lost = set(person.acknowledged) - set(person.stored())
    assert not lost, lost
    print(f"upgrade: {len(person.acknowledged)} acknowledged across it, none lost")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", type=Path, help="the older wheel; built from the history when it is not given")
    parser.add_argument("--new", type=Path, required=True)
    parser.add_argument("--python", default=sys.executable)
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="eu", dir="/tmp") as name:
        folder = Path(name)
        old = given.old or build_previous(folder, given.python)
        if old is None:
            print(f"upgrade: not checked, the history of this clone does not reach {PREVIOUS}")
            return 0
        person = Person(folder, given.python)
        try:
            check(person, old.resolve(), given.new.resolve())
        finally:
            subprocess.run([str(person.bin / "engram"), "daemon", "stop"], env=person.env, capture_output=True)
    print(f"upgrade: {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
