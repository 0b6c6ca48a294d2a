"""Run the commands that README.md and the documents show, and write what they answered. Driven by ``make docs``.

A ``console`` block holds commands after ``$ `` (continued after ``> ``) and what they print; a ``transcript`` block
holds request lines after ``-> `` and reply lines after ``<- ``. Each document has a home and a daemon of its own, and
its commands run in the order in which they stand there, in one shell. Ids, times, paths and numbers that differ from
run to run do not count as a difference; a line ``...`` stands for any lines. A test does the same and writes nothing.
Usage: ``python docs/make_transcripts.py [--check]``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
READER = "/home/ada"  # what a reader sees in place of the temporary home
USER = "ada"
BLOCK = re.compile(r"(?ms)^```(console|transcript)\n(.*?)^```$")
MARK = "\x1eend of command\x1e"
VOLATILE = (
    (re.compile(r"\b(e|ep|in|b)_[0-9a-z]{16,}"), r"\1_ID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "TIME"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d"), "TIME"),
    (re.compile(r'("pid":|pid was |pid: )\d+'), r"\1PID"),
    (re.compile(r'("[a-z]+_ms":)\d+(\.\d+)?'), r"\1MS"),
    (re.compile(r"\t\d+\t(e|ep|in)_ID"), r"\tTOKENS\t\1_ID"),  # a random id may take a token more or less
    (re.compile(r'"tokens":\d+'), '"tokens":TOKENS'),
)


class Step(NamedTuple):
    """A command or request line, what the document says it answers, and where that stands in the text."""

    kind: str
    given: str
    expected: str
    start: int
    end: int


class Home:
    """A temporary home in which `engram` is a program, and whose daemon ends with it."""

    def __init__(self) -> None:
        # Sockets want short paths, so not below pytest's own folder.
        self.path = Path(tempfile.mkdtemp(prefix="eg-", dir="/tmp")).resolve()
        (self.path / "rt").mkdir(mode=0o700)
        (self.path / "bin").mkdir()
        self.env = {"HOME": str(self.path), "XDG_RUNTIME_DIR": str(self.path / "rt"), "LC_ALL": "C.UTF-8",
                    "PATH": f"{self.path / 'bin'}:{os.environ['PATH']}", "ENGRAM_USER": USER}
        program = self.path / "bin" / "engram"
        installed = Path(sys.executable).parent / "engram"
        if installed.exists():
            program.symlink_to(installed)
        else:  # a checkout whose kernel was built in place
            self.env["PYTHONPATH"] = str(ROOT)
            program.write_text(f"#!{sys.executable}\nimport sys\nfrom engram_cli._entry import main\n"
                               "sys.exit(main())\n")
            program.chmod(0o755)

    def __enter__(self) -> Home:
        return self

    def __exit__(self, *_: object) -> None:
        plain = {name: value for name, value in self.env.items() if not name.startswith("ENGRAM_")}
        done = subprocess.run([str(self.path / "bin/engram"), "daemon", "stop"], env=plain, cwd=self.path, text=True,
                              capture_output=True, check=False, timeout=60)
        shutil.rmtree(self.path, ignore_errors=True)
        if done.returncode:
            raise RuntimeError(f"the daemon of {self.path} still runs: {done.stderr}")

    def engram(self, *arguments: str) -> str:
        """Run one command."""
        return subprocess.run([str(self.path / "bin/engram"), *arguments], env=self.env, cwd=self.path, text=True,
                              capture_output=True, check=False, timeout=60).stdout

    def shell(self, commands: list[str]) -> list[str]:
        """Run commands one after the other in one shell and return what each wrote to stdout and stderr."""
        # Notes on stderr after the data on stdout, as they come on a terminal.
        script = "".join(f"{{ {one}\n}} 2>rt/err; s=$?; cat rt/err; printf %s '{MARK}'; (exit $s)\n"
                         for one in commands)
        done = subprocess.run(["bash", "-c", script], env=self.env, cwd=self.path, text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=300)
        answers = done.stdout.split(MARK)[:len(commands)]
        if len(answers) != len(commands):
            raise SystemExit(f"the shell ended early, after: {commands[len(answers) - 1]}\n{done.stdout}")
        return [one.replace(str(self.path), READER) for one in answers]

    def requests(self, lines: list[str]) -> list[str]:
        """Send request lines over one connection and return the reply to each."""
        path = json.loads(self.engram("status", "--json"))["socket"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(30)
            sock.connect(path)
            with sock.makefile("rw", encoding="utf-8", newline="\n") as file:
                replies = []
                for line in lines:
                    file.write(line + "\n")
                    file.flush()
                    replies.append(file.readline().replace(str(self.path), READER))
        return replies


def documents() -> list[Path]:
    """Return the documents that show a run."""
    return [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
            if BLOCK.search(path.read_text(encoding="utf-8"))]


def steps(text: str) -> Iterator[Step]:
    """Yield what a document runs, in its order."""
    for block in BLOCK.finditer(text):
        kind = block[1]
        first, more = ("$ ", "> ") if kind == "console" else ("-> ", "")
        at = block.start(2)
        given: list[str] = []
        start = at
        for line in [*block[2].splitlines(keepends=True), first]:
            if line.startswith(first):
                if given:
                    yield Step(kind, "\n".join(given), text[start:at], start, at)
                given, start = [line.removeprefix(first).rstrip("\n")], at + len(line)
            elif more and line.startswith((more, ">\n")) and start == at:
                given.append(line[len(more):].rstrip("\n"))
                start = at + len(line)
            at += len(line)


def run(text: str) -> list[tuple[Step, str]]:
    """Run a document from its top to its end; return each step with its answer."""
    found = list(steps(text))
    commands = [step for step in found if step.kind == "console"]
    requests = [step for step in found if step.kind == "transcript"]
    with Home() as home:
        answers = dict(zip(commands, home.shell([step.given for step in commands]), strict=True))
        if requests:
            replies = home.requests([step.given for step in requests])
            answers.update({step: f"<- {reply}" for step, reply in zip(requests, replies, strict=True)})
    return [(step, answers[step]) for step in found]


def normal(text: str) -> str:
    """Return a text with a word in place of everything that differs from run to run."""
    for pattern, word in VOLATILE:
        text = pattern.sub(word, text)
    return "\n".join(line.rstrip() for line in text.rstrip("\n").splitlines())


def same(expected: str, answer: str) -> bool:
    """Tell whether an answer is the expected one, volatile parts aside."""
    lines = [r".*(?:\n.*)*?" if line == "..." else re.escape(line) for line in normal(expected).splitlines()]
    return re.fullmatch("\n".join(lines), normal(answer)) is not None


def refreshed(text: str) -> str:
    """Return a document with the answers its commands give now; those that say the same are left alone."""
    for step, answer in reversed(run(text)):
        if "defect" in answer or "cannot start" in answer:
            raise SystemExit(f"{step.given}: {answer}")
        if not same(step.expected, answer):
            body = answer if answer.endswith("\n") or not answer else answer + "\n"
            text = text[:step.start] + body + text[step.end:]
    return text


def main() -> None:
    """Refresh every document that shows a run."""
    stale = []
    for path in documents():
        text = path.read_text(encoding="utf-8")
        found = refreshed(text)
        if found != text:
            stale.append(str(path.relative_to(ROOT)))
            if "--check" not in sys.argv:
                path.write_text(found, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.exit("not as it runs now: " + ", ".join(stale))
    print("refreshed: " + (", ".join(stale) or "nothing, every run is as shown"))


if __name__ == "__main__":
    main()
