"""The quick start, run with the installed engram: it answers from the history it is given and leaves nothing behind."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engram_core.events import turn_of
from tests.reference_tokens import count

ROOT = Path(__file__).resolve().parents[2]
HISTORY = ROOT / "examples" / "history"


def load_transcripts() -> Any:
    spec = importlib.util.spec_from_file_location("make_transcripts", ROOT / "docs/make_transcripts.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["make_transcripts"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def home() -> Iterator[Any]:
    with load_transcripts().Home() as found:
        yield found


def quickstart(home: Any, **variables: str) -> subprocess.CompletedProcess[str]:
    temporary = home.path / "t"
    temporary.mkdir(exist_ok=True)
    return subprocess.run(["sh", str(ROOT / "examples/quickstart.sh"), str(home.path / "bin/engram")],
                          capture_output=True, text=True, check=False, timeout=120, cwd=home.path,
                          env={**home.env, "TMPDIR": str(temporary), **variables})


def block(output: str) -> str:
    """Return the packet that the quick start showed."""
    return output[output.index("<memory>"):output.index("</memory>") + len("</memory>\n")]


def daemons(home: Any) -> list[str]:
    """Return the daemons that the quick start left behind."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace") if entry.name.isdigit() else ""
        except OSError:  # it ended meanwhile
            continue
        if f"{home.path}/t/" in line:
            found.append(line)
    return found


def questions() -> list[tuple[str, str]]:
    rows = [line.split("\t") for line in (HISTORY / "questions.txt").read_text(encoding="utf-8").splitlines()]
    return [(row[0], row[1]) for row in rows]


def text_of(event_id: str) -> str:
    for line in (HISTORY / "events.ndjson").read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["event_id"] == event_id:
            turn = turn_of(event["kind"], event["payload"])
            assert turn is not None
            return turn.text
    raise AssertionError(event_id)


def folded(text: str) -> str:
    return " ".join(text.replace("-|", " ").replace("- ", " ").split())


def test_the_sample_is_imported_recalled_and_explained(home: Any) -> None:
    done = quickstart(home)
    assert (done.returncode, done.stderr) == (0, "")
    for number, what in ((232, "events"), (65, "facts"), (8, "episodes"), (6, "procedures"), (6, "insights")):
        assert f"{number:6} {what}" in done.stdout
    assert "218 kilos" in block(done.stdout) and "10,000" in block(done.stdout)
    explained = done.stdout.split("3. Explain")[1]
    assert "ev-0308-09" in explained and "kept" in explained and "of 1000 tokens" in explained
    assert 'make quickstart Q="' in done.stdout
    assert list((home.path / "t").iterdir()) == []
    assert daemons(home) == []


def test_the_callers_own_engram_is_not_touched(home: Any) -> None:
    done = quickstart(home, ENGRAM_SOCKET="/nowhere/engram.sock", ENGRAM_TENANT="other", ENGRAM_PACKET_MAX_TOKENS="1")
    assert (done.returncode, done.stderr) == (0, "")
    assert daemons(home) == []
    assert not (home.path / ".local").exists()
    assert list((home.path / "rt").iterdir()) == []


@pytest.mark.parametrize(("question", "event"), [questions()[0], questions()[-1]])
def test_another_question_gets_another_answer(home: Any, question: str, event: str) -> None:
    done = quickstart(home, Q=question)
    assert (done.returncode, done.stderr) == (0, "")
    assert folded(text_of(event))[:60] in folded(block(done.stdout))
    assert question in done.stdout


class Made:
    """A history of idle talk made from a seed, with one sentence in it that nothing else resembles."""

    NAMES = ("Ines", "Tarek", "Wanda", "Joost", "Amara", "Piet", "Soraya", "Milo")
    THINGS = ("lantern", "kayak", "ledger", "orchard", "violin", "kettle", "compass", "quilt", "bellows", "sextant")
    PLACES = ("the attic", "the harbour", "a shed in Tromsø", "the chapel", "the night train", "the market hall")
    ACTS = ("hid", "repaired", "sold", "borrowed", "painted", "weighed")
    TALK = ("The meeting went long again, we moved half of it to Friday.", "Can you remind me about the invoice?",
            "It rained, so I stayed in and cleaned the desk.", "The build is green, finally.", "I had soup.",
            "Traffic was slow near the bridge.", "Let us look at the numbers tomorrow.", "Fine, and you?")

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        name, thing, place, act = (chance.choice(words) for words in (self.NAMES, self.THINGS, self.PLACES, self.ACTS))
        self.answer = f"{name} {act} the {thing} in {place}, number {chance.randrange(1000, 9999)}."
        self.question = f"Where was the {thing} that {name} {act}?"
        self.events = list(self._events(chance))
        self.planted = chance.randrange(20, 90)  # among the oldest third
        self.events[self.planted]["payload"] = {"role": "user", "content": self.answer}

    def _events(self, chance: random.Random) -> Iterator[dict[str, Any]]:
        at = datetime(2025, 3, 1, 8, tzinfo=UTC)
        for number in range(300):
            at += timedelta(minutes=chance.randrange(1, 9)) if number % 20 else timedelta(days=2)
            yield {"event_id": f"made-{number}", "ts": at.isoformat().replace("+00:00", "Z"),
                   "scope": {"session_id": f"s{number // 20}", "run_id": "r1"},
                   "payload": {"role": ("user", "assistant")[number % 2],
                               "content": f"{chance.choice(self.TALK)} ({chance.randrange(10 ** 6)})"}}

    def write(self, folder: Path) -> None:
        folder.mkdir()
        lines = [json.dumps(event, ensure_ascii=False) for event in self.events]
        (folder / "events.ndjson").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("seed", [7, 1867, 40_961])
def test_an_answer_planted_in_any_history_is_found(home: Any, tmp_path: Path, seed: int) -> None:
    made = Made(seed)
    made.write(tmp_path / "history")
    done = quickstart(home, ENGRAM_HISTORY=str(tmp_path / "history"), Q=made.question)
    assert (done.returncode, done.stderr) == (0, ""), f"seed {seed}"
    assert made.answer in block(done.stdout), f"seed {seed}: {made.question}"
    assert f"made-{made.planted}" in done.stdout.split("3. Explain")[1], f"seed {seed}"
    assert "facts" not in done.stdout.split("2. Recall")[0].split("1. Remember")[1]
    assert count("o200k_base", block(done.stdout)) <= 1000


def test_every_question_of_the_sample_is_answered(home: Any) -> None:
    last = json.loads((HISTORY / "events.ndjson").read_text(encoding="utf-8").splitlines()[-1])
    env = {**home.env, "ENGRAM_USER": "maya", "ENGRAM_AGENT": "assistant",
           "ENGRAM_SESSION": last["scope"]["session_id"], "ENGRAM_RUN": last["scope"]["run_id"]}

    def engram(*words: str, stdin: bytes = b"") -> str:
        return subprocess.run([str(home.path / "bin/engram"), *words], input=stdin, env=env, cwd=home.path, timeout=60,
                              capture_output=True, check=True).stdout.decode()

    engram("append", "--stdin-ndjson", stdin=(HISTORY / "events.ndjson").read_bytes())
    engram("fact", "set", "--stdin-ndjson", stdin=(HISTORY / "facts.ndjson").read_bytes())
    missed = []
    for question, event in questions():
        packet = engram("packet", "--query", question, "--max-tokens", "1000", "--format", "text", "--now", last["ts"])
        if folded(text_of(event))[:60] not in folded(packet):
            missed.append(question)
    assert not missed


def test_make_passes_the_question_on() -> None:
    question = 'What is 5 % of "$HOME"; and `id`?'
    plan = subprocess.run(["make", "--dry-run", "quickstart", f"Q={question}"], cwd=ROOT, capture_output=True,
                          text=True, env=os.environ, timeout=60)
    assert plan.returncode == 0
    assert "sh examples/quickstart.sh" in plan.stdout
    assert "id" not in plan.stdout.split("quickstart.sh")[1], "the question is read from the environment, not by make"
