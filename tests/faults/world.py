"""What the fault tests share: calls that fail on demand, a client that logs, a checker that compares log and database.

The rules of the checker are those of the promise: what was acknowledged is there exactly once and as it was sent, no
batch is there in part, nothing is there that was not sent, and the database is whole.
"""

from __future__ import annotations

import json
import random
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.daemon_fixture import SCOPE, Home


class Faults:
    """Ask the library under a home's daemon for failures."""

    def __init__(self, home: Home, library: str) -> None:
        self.home, self.folder = home, home.path / "faults"
        self.folder.mkdir(mode=0o700)
        self.env = {"LD_PRELOAD": library, "ENGRAM_FAULTS": str(self.folder),
                    "ENGRAM_FAULTS_BELOW": str(home.database.parent)}

    def ask(self, what: str, text: str = "") -> None:
        """Let a kind of call fail from now on, or set what the file says."""
        temporary = self.folder / f".{what}"
        temporary.write_text(text)
        temporary.rename(self.folder / what)

    def end(self, what: str) -> None:
        """Let the calls succeed again."""
        (self.folder / what).unlink()

    def start(self, **env: str) -> None:
        """Start the daemon on top of the library."""
        self.home.start(**self.env, **env)


class Log:
    """What a client sent, and what it was told: the other half of the checker's question."""

    def __init__(self) -> None:
        self.sent: dict[str, str] = {}
        self.acknowledged: set[str] = set()
        self.refused: dict[str, str] = {}
        self._lock = threading.Lock()

    def send(self, event_id: str, payload: str) -> None:
        """Note an event before it is sent."""
        with self._lock:
            self.sent[event_id] = payload

    def told(self, event_id: str, reply: dict[str, Any]) -> None:
        """Note a reply."""
        with self._lock:
            if "result" in reply:
                assert reply["result"]["event_id"] == event_id
                self.acknowledged.add(event_id)
            else:
                self.refused[event_id] = reply["error"]["data"]["kind"]


class Verdict:
    """What the checker found; ``lost`` and ``doubled`` must be empty."""

    def __init__(self, log: Log, rows: list[tuple[str, str]], *, integrity: str, batches: Iterable[set[str]]) -> None:
        stored = [event_id for event_id, _ in rows]
        texts = dict(rows)
        self.stored = set(stored)
        self.lost = sorted(log.acknowledged - self.stored)
        self.doubled = sorted(one for one in self.stored if stored.count(one) > 1) if len(
            stored) != len(self.stored) else []
        self.strange = sorted(self.stored - set(log.sent))
        self.changed = sorted(one for one in self.stored & set(log.sent) if texts[one] != log.sent[one])
        self.torn = [sorted(batch) for batch in batches if 0 < len(batch & self.stored) < len(batch)]
        self.integrity = integrity

    def __bool__(self) -> bool:
        return not (self.lost or self.doubled or self.strange or self.changed or self.torn) and self.integrity == "ok"

    def __repr__(self) -> str:
        return f"Verdict({[(name, value) for name, value in vars(self).items() if name != 'stored' and value]})"


def check(database: Path, log: Log, batches: Iterable[set[str]] = (), *, integrity: bool = True) -> Verdict:
    """Compare a client's log with the database that is left."""
    with_log = sqlite3.connect(f"file:{database}?mode=rw", uri=True, timeout=20)
    try:
        found = with_log.execute("PRAGMA integrity_check").fetchone()[0] if integrity else "ok"
        rows = with_log.execute("SELECT event_id, body FROM events").fetchall()
        revision = with_log.execute("SELECT coalesce(sum(revision), 0) FROM owners").fetchone()[0]
        changes = with_log.execute("SELECT count(*) FROM changes").fetchone()[0]
    finally:
        with_log.close()
    if revision != changes:
        found = f"{revision} revisions, {changes} changes"
    return Verdict(log, [(one, json.loads(body)["payload"]) for one, body in rows], integrity=found, batches=batches)


def line(method: str, number: int = 1, **params: Any) -> bytes:
    """Return a request line."""
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode() + b"\n"


def event_line(event_id: str, payload: str, number: int = 1, **more: Any) -> bytes:
    """Return the line of an append."""
    return line("append_event", number, event={"scope": SCOPE, "event_id": event_id, "payload": payload}, **more)


def append(sock: socket.socket, log: Log, event_id: str, payload: str) -> dict[str, Any]:
    """Send one append on a raw connection, log it, and return the reply."""
    log.send(event_id, payload)
    sock.sendall(event_line(event_id, payload))
    data = b""
    while not data.endswith(b"\n"):
        piece = sock.recv(1 << 16)
        if not piece:
            raise ConnectionResetError
        data += piece
    found: dict[str, Any] = json.loads(data)
    log.told(event_id, found)
    return found


class Writers:
    """Eight clients that append without end over one connection each, several lines under way, until it breaks."""

    def __init__(self, home: Home, log: Log, *, name: str, count: int = 8, window: int = 4, seed: int = 0) -> None:
        self.home, self.log, self.window = home, log, window
        self.batches: list[set[str]] = []
        self.in_flight = 0
        self._stop = False
        self._threads = [threading.Thread(target=self._write, args=(f"{name}-{n}", random.Random(f"{seed}{name}{n}")),
                                          daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def _write(self, name: str, dice: random.Random) -> None:
        number = 0
        waiting: list[list[str]] = []
        try:
            sock = self.home.connect()
        except OSError:
            return
        data = b""
        try:
            while not self._stop:
                while len(waiting) < self.window:
                    size = dice.choice((1, 1, 1, 5))
                    ids = [f"{name}-{number + k}" for k in range(size)]
                    number += size
                    texts = [f"{one} " + "x" * dice.randint(0, 800) for one in ids]
                    for one, text in zip(ids, texts, strict=True):
                        self.log.send(one, text)
                    waiting.append(ids)
                    self.in_flight += size
                    if size == 1:
                        sock.sendall(event_line(ids[0], texts[0]))
                    else:
                        self.batches.append(set(ids))
                        sock.sendall(line("append_events", 1, events=[
                            {"scope": SCOPE, "event_id": one, "payload": text}
                            for one, text in zip(ids, texts, strict=True)]))
                piece = sock.recv(1 << 16)
                if not piece:
                    return
                *lines, data = (data + piece).split(b"\n")
                for found in lines:
                    ids = waiting.pop(0)
                    self.in_flight -= len(ids)
                    reply = json.loads(found)
                    for at, one in enumerate(ids):
                        inner = reply["result"]["results"][at] if "results" in reply.get("result", {}) else None
                        self.log.told(one, {"result": inner} if inner else reply)
        except OSError:
            return
        finally:
            sock.close()

    def end(self) -> None:
        """Stop and wait."""
        self._stop = True
        for thread in self._threads:
            thread.join(20)


def start(home: Home, program: str, **env: str) -> subprocess.Popen[bytes]:
    """Start a daemon from a program of one's own, for shorter waits, and wait until it answers."""
    with open(home.path / "stderr", "ab") as stderr:
        process = home.process = subprocess.Popen([sys.executable, "-c", program], env={**home.env, **env}, cwd="/",
                                                  stdin=subprocess.DEVNULL, stderr=stderr)
    assert wait_until(lambda: home.record().get("pid") == process.pid), (home.path / "stderr").read_text()
    return process


def wait_until(condition: Any, seconds: float = 10.0) -> bool:
    """Wait for a condition; tell whether it came true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.002)
    return bool(condition())
