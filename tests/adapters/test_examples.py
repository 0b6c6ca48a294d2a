"""The examples for LangGraph, run as they stand with the stand-in for a model, and the programs of the document."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "langgraph"


def run(folder: Path, *words: str, stdin: str = "") -> list[str]:
    found = subprocess.run([sys.executable, *words], input=stdin, text=True, capture_output=True, cwd=folder,
                           timeout=60, env={"HOME": str(folder), "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]})
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


def example(folder: Path, name: str, *words: str, stdin: str = "") -> list[str]:
    return run(folder, str(EXAMPLES / f"{name}.py"), *words, stdin=stdin)


def test_every_example_has_its_test() -> None:
    mine = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert path.stem == "stand_in" or f'"{path.stem}"' in mine, f"{path.name} is not run by a test"


def test_a_chat_remembers_across_threads_and_says_why(tmp_path: Path) -> None:
    told = example(tmp_path, "remembering_chat", "chat.db",
                   stdin="My cat is called Turing.\nWhat is my cat called?\n")
    assert told[:2] == ["Tell me more.", "You said: My cat is called Turing."]
    assert re.fullmatch(r"  because of 'My cat is called Turing.': it has cat, called, score \d\.\d\d", told[2])


def test_an_approval_is_given_in_another_process(tmp_path: Path) -> None:
    assert example(tmp_path, "approval", "trip.db", "start", "two seats to Lyon") == [
        "Book two seats to Lyon, 08:50, 42 EUR?"]
    assert example(tmp_path, "approval", "trip.db", "resume", "yes") == [
        "two seats to Lyon, 08:50, 42 EUR: booked"]
    history = example(tmp_path, "approval", "trip.db", "history")
    assert [line.split()[0] for line in history] == ["3", "2", "1", "0", "-1"] and "done" in history[0]


def test_a_supervisors_agents_share_what_the_tenant_knows(tmp_path: Path) -> None:
    assert example(tmp_path, "supervisor", "s.db") == [
        "Ada travels on Friday.", "By our rule: second class, booked a week ahead",
        "travel knows ['travel.rule', 'traveller']", "billing knows ['travel.rule']"]


def test_the_programs_of_the_document_print_what_it_says(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "langgraph.md").read_text(encoding="utf-8")
    programs = [one for one in re.findall(r"(?ms)^```python\n(.*?)^```$", text) if "print(" in one]
    assert programs
    for program in programs:
        expected = re.findall(r"print\(.*\)  # (.*)$", program, re.MULTILINE)
        assert run(tmp_path, "-c", program) == expected
