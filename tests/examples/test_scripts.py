"""The example scripts: POSIX sh; the quick start stops with one clear line and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS = sorted(EXAMPLES.rglob("*.sh"))


def quickstart(temporary: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(EXAMPLES / "quickstart.sh"), *arguments],
        capture_output=True, text=True, check=False, timeout=60,
        env=os.environ | {"TMPDIR": str(temporary)} | variables)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
@pytest.mark.parametrize("shell", ["sh", "dash", "bash"])
def test_every_shell_reads_the_script(shell: str, script: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert script.read_text(encoding="utf-8").startswith("#!/bin/sh\n")
    assert os.access(script, os.X_OK)


def test_a_failing_step_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    done = quickstart(tmp_path, shutil.which("false") or "/bin/false")
    assert done.returncode == 1
    assert done.stderr.startswith("quickstart: importing the events from ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("arguments", "says"), [
    ((), "give the path of the engram executable"),
    (("/nowhere/engram",), "/nowhere/engram is not an executable file"),
])
def test_a_wrong_executable_is_named(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    done = quickstart(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"quickstart: {says}")


def test_a_folder_without_events_is_named(tmp_path: Path) -> None:
    done = quickstart(tmp_path, shutil.which("true") or "/bin/true", ENGRAM_HISTORY=str(tmp_path))
    assert done.returncode == 1
    assert f"{tmp_path}/events.ndjson cannot be read" in done.stderr
