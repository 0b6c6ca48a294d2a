"""Export the images of ``engram explain`` in docs/images from real runs. Driven by ``make docs``.

Starts a daemon in a temporary home, imports the sample history of ``examples/``, asks for packets and draws
their explanations with the command line's own view. Usage: ``python docs/make_images.py [ENGRAM]``.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, SVG_EXPORT_THEME

from engram_cli.explain_view import show

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
HISTORY = Path(os.environ.get("ENGRAM_HISTORY", ROOT / "examples" / "history"))
IMPORTS = (
    ("events.ndjson", ["append", "--stdin-ndjson"]),
    ("facts.ndjson", ["fact", "set", "--stdin-ndjson"]),
    ("episodes.ndjson", ["episode", "add", "--stdin-ndjson"]),
    ("procedures.ndjson", ["procedure", "set", "--stdin-ndjson"]),
    ("insights.ndjson", ["insight", "add", "--stdin-ndjson"]),
    ("state.json", ["state", "set", "--stdin-json"]),
    ("stm.json", ["stm", "set", "--stdin-json"]),
)
THEMES = {"dark": SVG_EXPORT_THEME, "light": DEFAULT_TERMINAL_THEME}
CELL = 12.2  # the width Rich gives one character in its SVG


class Home:
    """A temporary home with a daemon of its own."""

    def __init__(self, engram: str, folder: str) -> None:
        self.engram = engram
        kept = {
            name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "PYTHONPATH") if name in os.environ
        }
        places = {
            "XDG_CONFIG_HOME": "config",
            "XDG_DATA_HOME": "data",
            "XDG_STATE_HOME": "state",
            "XDG_RUNTIME_DIR": "run",
        }
        self.env = {**kept, "HOME": folder, "ENGRAM_USER": "maya", "ENGRAM_AGENT": "assistant"}
        for name, place in places.items():
            os.mkdir(os.path.join(folder, place), 0o700)
            self.env[name] = os.path.join(folder, place)

    def run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Run one command of engram and return what it printed; stop with its error when it fails."""
        done = subprocess.run(
            [self.engram, *arguments], input=stdin, env=self.env, capture_output=True, check=False
        )
        if done.returncode:
            sys.exit(
                f"engram {' '.join(arguments)} ended with {done.returncode}: {done.stderr.decode().strip()}"
            )
        return done.stdout

    def stand_at_the_end(self) -> list[str]:
        """Use the session and run of the history's last event, and return the options that set the time to it.

        An old history is asked at its own time: so the pictures are the same whenever they are drawn.
        """
        last = json.loads((HISTORY / "events.ndjson").read_text(encoding="utf-8").splitlines()[-1])
        self.env |= {"ENGRAM_SESSION": last["scope"]["session_id"], "ENGRAM_RUN": last["scope"]["run_id"]}
        return ["--now", last["ts"]]

    def explain(self, *arguments: str) -> dict[str, Any]:
        """Return the explanation of the last packet."""
        explanation: dict[str, Any] = json.loads(self.run("explain", "--json", *arguments))
        return explanation


def draw(explanation: dict[str, Any], name: str, *, width: int, memory_id: str | None = None) -> None:
    """Write one SVG per theme."""
    for theme, colours in THEMES.items():
        console = Console(
            record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="standard"
        )
        show(explanation, console=console, memory_id=memory_id)
        # A fixed id keeps the file the same when the picture is the same.
        svg = console.export_svg(title="engram explain", theme=colours, unique_id=f"engram-{name}")
        (IMAGES / f"{name}-{theme}.svg").write_text(_anchored(svg), encoding="utf-8")


def _anchored(svg: str) -> str:
    """Place every text at its first visible character: not all viewers keep the leading blanks."""

    def moved(found: re.Match[str]) -> str:
        before, x, between, length, after, blanks, text = found.groups()
        cells = blanks.count("&#160;")
        return (
            f'{before}x="{float(x) + cells * CELL:g}"{between}textLength="{float(length) - cells * CELL:g}"'
            f"{after}{text}</text>"
        )

    pattern = r'(<text [^>]*?)x="([\d.]+)"([^>]*?)textLength="([\d.]+)"([^>]*>)((?:&#160;)+)([^<]+)</text>'
    return re.sub(pattern, moved, svg)


def main() -> None:
    """Import the history, ask two questions, draw four pictures in two themes."""
    beside = Path(sys.executable).parent / "engram"
    installed = str(beside) if beside.exists() else shutil.which("engram") or "engram"
    engram = sys.argv[1] if len(sys.argv) > 1 else installed
    question = (HISTORY / "questions.txt").read_text(encoding="utf-8").splitlines()[0].split("\t")[0]
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="eg-", dir="/tmp") as folder:
        home = Home(os.path.abspath(engram) if os.sep in engram else engram, folder)
        try:
            now = home.stand_at_the_end()
            for file, command in IMPORTS:
                home.run(*command, stdin=(HISTORY / file).read_bytes())
            home.run("packet", "--purpose", "responder", "--max-tokens", "1000", "--query", question, *now)
            answered = home.explain()
            draw(answered, "explain", width=100)
            draw(answered, "explain-wide", width=160)
            scored = [c for c in answered["candidates"] if c.get("relevance")]
            best = max(scored, key=lambda c: (c["outcome"] == "kept", c["score"]))
            draw(home.explain("--memory", best["id"]), "explain-memory", width=100, memory_id=best["id"])
            home.run("packet", "--purpose", "planner", "--max-tokens", "600", *now)
            draw(home.explain(), "explain-planner", width=100)
        finally:
            subprocess.run([home.engram, "daemon", "stop"], env=home.env, capture_output=True, check=False)


if __name__ == "__main__":
    main()
