"""A home with a running daemon, and a person who types commands into it."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engram_cli.main import main

ROOT = Path(__file__).parents[2]
ENTRY = ("import sys; sys.path.insert(0, {root!r}); sys.argv[0] = 'engram'; from engram_cli.{module} import main; "
         "sys.exit(main())")


class Answer(NamedTuple):
    """What a command wrote, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """The JSON lines on stdout."""
        return [json.loads(line) for line in self.out.splitlines()]


class Person:
    """Types commands; in this process, or as one of their own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._patch, self._capture = monkeypatch, capfd

    def __call__(self, *args: str, stdin: str | bytes | None = None) -> Answer:
        """Run a command through Typer in this process."""
        data = stdin.encode() if isinstance(stdin, str) else stdin or b""
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        self._capture.readouterr()
        code = main(args)
        out, err = self._capture.readouterr()
        return Answer(code, out, err)

    def done(self, *args: str, stdin: str | bytes | None = None) -> Answer:
        """Run a command that has to succeed."""
        answer = self(*args, stdin=stdin)
        assert answer.code == 0, answer
        return answer

    def shell(self, script: str, *, module: str = "main") -> Answer:
        """Run a shell script in which `engram` is a program."""
        run = subprocess.run(["bash", "-c", f'engram() {{ "$PYTHON" -c "$ENTRY" "$@"; }}\n{script}'], text=True,
                             capture_output=True, check=False, timeout=60, env={
                                 **os.environ, "PYTHON": sys.executable,
                                 "ENTRY": ENTRY.format(root=str(ROOT), module=module)})
        return Answer(run.returncode, run.stdout, run.stderr)


@pytest.fixture(scope="session")
def engram_home() -> Iterator[Path]:
    """A temporary home whose daemon is stopped at the end."""
    home = Path(tempfile.mkdtemp(prefix="eg-", dir="/tmp"))  # sockets want short paths
    yield home
    environment = {**os.environ, "HOME": str(home)}
    for name in list(environment):
        if name.startswith(("XDG_", "ENGRAM_")):
            del environment[name]
    subprocess.run([sys.executable, "-c", ENTRY.format(root=str(ROOT), module="main"), "daemon", "stop"],
                   env=environment, capture_output=True, check=False, timeout=30)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def environment(engram_home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """The environment of a plain login in that home, as a user of the test's own."""
    for name in list(os.environ):
        if name.startswith(("XDG_", "ENGRAM_")) or name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(engram_home))
    monkeypatch.setenv("ENGRAM_USER", request.node.name[:80].replace("[", "-").replace("]", ""))
    monkeypatch.chdir(engram_home)
    return engram_home


@pytest.fixture
def engram(environment: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Person:
    """Someone at the command line."""
    return Person(monkeypatch, capfd)
