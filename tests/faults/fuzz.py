"""Malformed lines without end, against the parser, the request checks and a running daemon: ``make fuzz``.

With atheris (a wheel exists for CPython 3.11 to 3.13) the inputs follow the code's branches and those that found
new ones are kept in a corpus folder; without it hypothesis makes them. Either way an input may be refused, by an
EngramError with a text, and nothing else may happen.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from engram_core.errors import EngramError
from engram_core.protocol.lines import LineBuffer, write_error
from engram_core.protocol.messages import OPERATIONS, check_params
from engram_core.protocol.requests import read_request
from tests.daemon_fixture import SCOPE, Home

METHODS = [*OPERATIONS, "", "stat", "append_event\u0000", "x" * 300]
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4), max_leaves=12)
_REQUESTS = st.fixed_dictionaries({}, optional={
    "jsonrpc": st.sampled_from(["2.0", "1.0", 2]), "id": st.integers() | st.text(max_size=300) | st.none(),
    "method": st.sampled_from(METHODS) | st.integers(), "params": st.dictionaries(
        st.sampled_from(["event", "scope", "request", "timeout_ms", "cwd", "selector", "x"]), _VALUES, max_size=4)
    | st.lists(_VALUES, max_size=2)})
LINES = (st.binary(max_size=4000) | _REQUESTS.map(lambda one: json.dumps(one).encode())
         | st.tuples(_REQUESTS, st.integers(0, 200), st.binary(min_size=1, max_size=3)).map(
             lambda three: _spoiled(json.dumps(three[0]).encode(), three[1], three[2])))

SEEDS = [
    b'{"jsonrpc":"2.0","id":1,"method":"status","params":{"timeout_ms":10000}}',
    json.dumps({"jsonrpc": "2.0", "id": 2, "method": "append_event",
                "params": {"event": {"scope": SCOPE, "event_id": "e1", "payload": {"role": "user", "content": "hé"},
                                     "tags": ["a"], "ts": "2026-01-31T09:30:00Z"}, "at_ms": 1}}).encode(),
    json.dumps({"jsonrpc": "2.0", "id": "x", "method": "build_memory_packet", "params": {
        "request": {"scope": SCOPE, "query": "q", "budget": {"max_tokens": 100}, "cues": {"tags": ["t"]}},
        "format": "text", "render": True}}).encode(),
    json.dumps({"jsonrpc": "2.0", "id": 3, "method": "list_events", "params": {
        "scope": SCOPE, "time_range": {"start": "2026-01-01", "end": None}, "limit": 5}}).encode(),
    json.dumps({"jsonrpc": "2.0", "id": 4, "method": "upsert_fact", "params": {
        "scope": SCOPE, "fact": {"fact_key": "k", "value": [1, {"a": None}], "confidence": 0.5}}}).encode(),
    b'{"jsonrpc":"2.0","id":5,"method":"hello","params":{"protocol":[1,1],"client":"x","version":"1"}}',
    b'[[[[[[[[[[[[{"a":"\\ud83d\\ude00"}]]]]]]]]]]]]', b'{"a":1e309,"b":-0,"c":[true,false,null]}', b"",
    b"\xef\xbb\xbf{}",
]
_BITS = [b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\x00", b"\xff", b"\\ud800", b"1e999", b"NaN", b"null",
         b"-", b"9" * 40, b"\xf0\x9f\x98\x80", b'"id":1,', b"[" * 70, b'{"a":' * 70]


def _spoiled(data: bytes, at: int, what: bytes) -> bytes:
    at = min(at, len(data))
    return data[:at] + what + data[at + 1:]


def mutate(data: bytes, dice: random.Random) -> bytes:
    """Return a line that was valid, with a few things wrong."""
    out = bytearray(data)
    for _ in range(dice.randint(1, 5)):
        at, way = dice.randint(0, len(out)), dice.randrange(5)
        if way == 0 and out:
            out[at % len(out)] = dice.randrange(256)
        elif way == 1:
            out[at:at] = dice.choice(_BITS)
        elif way == 2:
            del out[at:at + dice.randint(1, 12)]
        elif way == 3:
            out[at:at] = out[max(0, at - dice.randint(1, 30)):at]
        else:
            other = dice.choice(SEEDS)
            out[at:] = other[dice.randint(0, len(other)):]
    return bytes(out).replace(b"\n", b" ")


def one_input(data: bytes) -> None:
    """Read a line and check its parameters as the daemon does; raise for anything but a refusal with a text."""
    buffer = LineBuffer(1 << 20)
    buffer.feed(data.replace(b"\n", b" "))  # one line: how bytes are cut into lines has a test of its own
    buffer.feed(b"\n")
    found = buffer.take()
    assert found is not None
    request = read_request(found)
    error = request.error
    if error is None:
        try:
            check_params(request.method, request.params)
            handler = handlers().get(request.method)
            if handler is not None:  # what it returns would run; its checks are over
                handler(_engine, request.params)
        except EngramError as refusal:
            error = refusal
    if error is not None:
        assert error.message and json.loads(write_error(request.id, error))["error"]["message"]


_engine: Any = None


def handlers() -> dict[str, Any]:
    """Return what checks the parameters of each write, by method."""
    from engram_core.daemon import writing
    from engram_core.daemon.handlers import Engine
    from engram_core.settings import load

    global _engine
    if _engine is None:
        _engine = Engine(load(env={"HOME": "/nowhere"}), ":memory:")
    return writing.HANDLERS


def feed_and_check(home: Home, *, count: int, seed: int) -> None:
    """Send spoiled lines to a running daemon over connections that are used as long as they live."""
    dice = random.Random(seed)
    sock: socket.socket | None = None
    for _ in range(count):
        if sock is None:
            sock = home.connect()
        data = mutate(dice.choice(SEEDS), dice)
        if not data.strip():
            continue
        try:
            sock.sendall(data + b"\n")
            reply = b""
            while not reply.endswith(b"\n"):
                piece = sock.recv(1 << 20)
                if not piece:
                    break
                reply += piece
        except OSError:
            reply = b""
        if not reply.endswith(b"\n"):
            sock.close()
            sock = None
            continue
        found = json.loads(reply.splitlines()[0])
        assert ("result" in found) != ("error" in found), data
        if "error" in found:
            assert found["error"]["message"] and found["error"]["data"]["kind"] != "internal", (data, found)
    if sock is not None:
        sock.close()


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--corpus", default="tests/faults/corpus")
    given = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        return _without_atheris(given.inputs)
    return _with_atheris(given.inputs, Path(given.corpus))


def _with_atheris(inputs: int, corpus: Path) -> int:
    """Run all inputs in one process; what reached something new, and what fails, goes to the corpus."""
    began = time.monotonic()
    corpus.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        found, seeds = Path(folder, "found"), Path(folder, "seeds")
        found.mkdir()
        seeds.mkdir()
        for at, data in enumerate(SEEDS):
            (seeds / f"{at}").write_bytes(data)
        code = subprocess.run([sys.executable, "-m", "tests.faults.fuzz_target", "-max_len=1024", f"-runs={inputs}",
                               "-print_final_stats=1", f"-artifact_prefix={corpus}/",
                               str(found), str(corpus), str(seeds)]).returncode
        new = [shutil.copy(path, corpus) for path in found.iterdir()]
    print(f"fuzz: {inputs} inputs with atheris in one run, exit {code}, {time.monotonic() - began:.0f} s; "
          f"{len(new)} new in the corpus of {len(list(corpus.iterdir()))}")
    return code


def _without_atheris(inputs: int) -> int:
    """Do the same with lines spoiled at random, half of the inputs, and with hypothesis, the other half."""
    from hypothesis import given, settings

    began = time.monotonic()
    dice = random.Random(1)
    for _ in range(inputs // 2):
        one_input(mutate(dice.choice(SEEDS), dice))

    @settings(max_examples=inputs - inputs // 2, deadline=None, database=None)
    @given(LINES)
    def rest(data: bytes) -> None:
        one_input(data)

    rest()
    print(f"fuzz: {inputs} inputs without atheris, {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
