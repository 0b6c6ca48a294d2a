"""The README and the documents: every command in them is run, and what they show is what it answers."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"(?ms)^```(\w*)\n(.*?)^```$")

# What cannot run inside the tests, and the file of the check that runs it.
ELSEWHERE = {
    "python3 -m pip install .": ("Makefile", "$(PIP_INSTALL) ."),
    "bash .ci/run": (".ci/run", "make test"),
    **dict.fromkeys((
        "export OPENAI_BASE_URL=https://api.deepseek.com", "export OPENAI_API_KEY=…",
        "export OPENAI_MODEL=deepseek-chat", "python examples/python/chat_agent.py chat.db",
    ), ("tests/examples/test_python.py", "OPENAI_BASE_URL")),
}


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


TRANSCRIPTS = load("make_transcripts")


@pytest.mark.parametrize("path", TRANSCRIPTS.documents(), ids=lambda path: path.name)
def test_what_a_document_shows_is_what_happens(path: Path) -> None:
    for step, answer in TRANSCRIPTS.run(path.read_text(encoding="utf-8")):
        assert TRANSCRIPTS.same(step.expected, answer), (
            f"{path.name}: {step.given}\n--- shown\n{TRANSCRIPTS.normal(step.expected)}\n"
            f"--- answered\n{TRANSCRIPTS.normal(answer)}\nmake docs writes it anew")


def test_no_shown_command_ends_in_a_defect() -> None:
    shown = [step.expected for path in TRANSCRIPTS.documents()
             for step in TRANSCRIPTS.steps(path.read_text(encoding="utf-8"))]
    assert len(shown) > 20
    assert not [text for text in shown if "defect" in text or "Traceback" in text]


def test_the_tour_shows_the_main_job() -> None:
    commands = [step.given for step in TRANSCRIPTS.steps(README)]
    for verb in ("append", "packet", "fact", "explain", "search", "forget", "state"):
        assert any(f"engram {verb}" in command for command in commands), verb


def test_the_tour_shows_memories_found_and_memories_left_out() -> None:
    """Keep `make docs` from committing a tour in which nothing is found."""
    shown = {step.given: step.expected for step in TRANSCRIPTS.steps(README)}
    packets = [text for given, text in shown.items() if given.startswith("engram packet")]
    assert "none that leaves before nine" in packets[0]
    assert "- home.city: Lyon" in packets[1] and "- plan: book the train" in packets[2]
    assert "+    1 f_" in shown["engram explain"] and "omitted budget_total" in shown["engram explain"]
    assert "4711" not in shown['engram search "door code"']


def test_every_language_of_a_block_is_known() -> None:
    for path in DOCUMENTS:
        known = {"console", "transcript", "sh", "toml", "python", "json", ""}
        assert {block[1] for block in FENCE.finditer(path.read_text(encoding="utf-8"))} <= known, path.name


def shell_lines() -> list[str]:
    blocks = [block[2] for path in DOCUMENTS for block in FENCE.finditer(path.read_text(encoding="utf-8"))
              if block[1] == "sh"]
    return sorted({line.partition("  #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()})


@pytest.mark.parametrize("line", shell_lines())
def test_commands_of_the_checkout_exist(line: str) -> None:
    if line in ELSEWHERE:
        file, text = ELSEWHERE[line]
        assert text in (ROOT / file).read_text(encoding="utf-8")
        return
    assert line.startswith("make "), f"{line} is run by no test"
    target = line.split()[1]
    plan = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert plan.returncode == 0, plan.stderr
    assert {"quickstart": "examples/quickstart.sh", "test": "pytest"}.get(target, "") in plan.stdout


def test_the_python_of_the_readme_runs() -> None:
    programs = [block[2] for block in FENCE.finditer(README) if block[1] == "python"]
    assert programs
    with TRANSCRIPTS.Home() as home:
        for program in programs:
            done = subprocess.run([sys.executable, "-c", program], cwd=home.path, capture_output=True, text=True,
                                  env={"PYTHONPATH": str(ROOT), **home.env}, timeout=60, check=False)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout == "The cat is called Miso.\n"


def anchors(path: Path) -> set[str]:
    """Return the names of a document's headings, as GitHub makes them."""
    headings = re.findall(r"(?m)^#+ (.+)$", path.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{path.name} links to {target}"
        assert not anchor or anchor in anchors(found), f"{path.name} links to {target}"


def test_the_documents_are_linked_from_the_readme() -> None:
    for path in (ROOT / "docs").glob("*.md"):
        assert f"docs/{path.name}" in README, f"no way leads from the README to {path.name}"


@pytest.mark.parametrize(("given", "shown", "equal"), [
    ("e_01m82web2rj2z72z3x4nn9\n", "e_01m82wvrfvyrbaketeddxg\n", True),
    ("a\n...\nd\n", "a\nb\nc\nd\n", True),
    ("a\n...\nd\n", "a\nb\nc\n", False),
    ("created home.city\n", "superseded home.city\n", False),
    ("at 2026-11-23T00:21:09Z\n", "at 2027-01-02T03:04:05.678Z\n", True),
    ("", "anything\n", False),
    ("no pattern (x|y)*\n", "no pattern (x|y)*\n", True),
])
def test_only_what_differs_from_run_to_run_may_differ(given: str, shown: str, equal: bool) -> None:
    assert TRANSCRIPTS.same(given, shown) is equal
