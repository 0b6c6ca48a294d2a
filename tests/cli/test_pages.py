"""The generated files are fresh, man pages are sound, and completion works in the shells at hand."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.test_help import PAGES

ROOT = Path(__file__).parents[2]
GENERATED = PAGES.generated()


@pytest.mark.parametrize("path", GENERATED)
def test_each_generated_file_is_fresh(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == GENERATED[path], "run: make docs"


def test_no_page_of_a_command_that_is_no_more_is_left() -> None:
    there = {f"{folder}/{path.name}" for folder in ("man", "completions") for path in (ROOT / folder).iterdir()}
    assert there <= set(GENERATED)


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_man_pages_are_set_without_a_warning() -> None:
    pages = [str(ROOT / path) for path in GENERATED if path.startswith("man/")]
    run = subprocess.run(["groff", "-man", "-Tutf8", "-ww", *pages], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    assert "EXIT STATUS" in re.sub(".\x08", "", run.stdout)  # bold is typed twice


CASES = [
    ("pa", ["packet"]), ("fact re", ["retract"]), ("fact set --conf", ["--confidence"]),
    ("state slot ", ["remove", "set"]),
    ("packet --purpose ", ["planner", "responder", "tool"]), ("packet --purpose pl", ["planner"]),
    ("pin ep", ["episode"]), ("--user zz", []), ("daemon r", ["restart", "run"]),
]


def bash(line: str) -> list[str]:
    last = " ''" if line.endswith(" ") else ""
    script = (f"source completions/engram.bash; COMP_WORDS=(engram {line.rstrip()}{last});"
              "COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); _engram; printf '%s\\n' \"${COMPREPLY[@]}\"")
    return run("bash", "--norc", "-c", script)


def zsh(line: str) -> list[str]:
    last = " ''" if line.endswith(" ") else ""
    script = ("compdef() { }; _describe() { local w; for w in \"${(@P)2}\"; do "
              "[[ ${w%%:*} == ${words[CURRENT]}* ]] && print -r -- ${w%%:*}; done }; _files() { }; "
              "source completions/_engram; "
              f"words=(engram {line.rstrip()}{last}); CURRENT=${{#words}}; _engram; true")
    return run("zsh", "-f", "-c", script)


def fish(line: str) -> list[str]:
    script = f"source completions/engram.fish; complete -C 'engram {line}'"
    return [word.split("\t")[0] for word in run("fish", "--no-config", "-c", script)]


def run(*command: str) -> list[str]:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    assert done.stderr == ""
    return sorted(word.strip() for word in done.stdout.splitlines() if word.strip())


@pytest.mark.parametrize("shell", [bash, zsh, fish])
@pytest.mark.parametrize(("line", "words"), CASES)
def test_a_shell_completes(shell: object, line: str, words: list[str]) -> None:
    name = shell.__name__  # type: ignore[attr-defined]
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    assert shell(line) == words  # type: ignore[operator]


def test_the_images_a_page_shows_are_there_and_small() -> None:
    shown = re.findall(r"images/[\w-]+\.svg", (ROOT / "docs/explain.md").read_text())
    assert shown
    for name in shown:
        file = ROOT / "docs" / name
        assert 1000 < file.stat().st_size < 200_000 and file.read_text().startswith("<svg"), name
