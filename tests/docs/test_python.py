"""The document for Python: it names every operation, and its programs run and print what it says."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from engram import Memory, Session
from engram_core.protocol.messages import ADAPTED, OPERATIONS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
PROGRAM = "".join(re.findall(r"(?ms)^```python\n(.*?)^```$", DOCUMENT))


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - ADAPTED))
def test_every_operation_is_documented_with_its_arguments(name: str) -> None:
    row = next((line for line in DOCUMENT.splitlines()
                if line.startswith("| `") and f"`{name}`" in line.split(" | ")[0]),
               None)
    assert row, f"docs/python.md has no row for {name}"
    if "(" in row:
        for argument in list(inspect.signature(getattr(Memory, name)).parameters)[1:]:
            assert argument.removesuffix("_or_request") in row, f"docs/python.md does not name {argument} of {name}"


def test_every_method_of_a_session_is_documented() -> None:
    for name, _ in inspect.getmembers(Session, inspect.isfunction):
        assert name.startswith("_") or f"`{name}(" in DOCUMENT, name


def test_the_programs_print_what_they_say(tmp_path: Path) -> None:
    expected = re.findall(r"(?m)print\(.*\)(?:  |\n)# (.*)$", PROGRAM)
    assert len(expected) == PROGRAM.count("print(")
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=tmp_path, timeout=120,
                           env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PATH": os.environ["PATH"]})
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.splitlines() == expected
