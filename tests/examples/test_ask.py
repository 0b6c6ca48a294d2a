"""The scripts in examples/shell do their work: with a real daemon, and with a server that speaks the chat format."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHELL = ROOT / "examples" / "shell"


@pytest.fixture
def home() -> Iterator[Any]:
    spec = importlib.util.spec_from_file_location("make_transcripts", ROOT / "docs/make_transcripts.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["make_transcripts"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.Home() as found:
        yield found


class Model(ThreadingHTTPServer):
    """A server that answers every chat with the same words and keeps what it was asked."""

    daemon_threads = True
    answer = "From Monday on, Dr Sanders said."

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[tuple[dict[str, Any], str]] = []


class Answer(BaseHTTPRequestHandler):
    """One chat completion."""

    server: Model

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((body, self.headers["Authorization"]))
        reply = json.dumps({"choices": [{"message": {"role": "assistant", "content": self.server.answer}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def model() -> Iterator[Model]:
    with Model() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def run(home: Any, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", str(SHELL / script), *arguments], capture_output=True, text=True, timeout=60,
                          cwd=home.path, env={**home.env, **variables}, check=False)


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="curl or jq is not installed")
def test_a_model_is_asked_with_the_memories_and_the_talk_is_remembered(home: Any, model: Model) -> None:
    home.engram("append", "Dr Sanders says I may run again from Monday on.")
    question = 'When did "Dr Sanders" say I may run again?'
    done = run(home, "ask.sh", question, LLM_URL=f"http://127.0.0.1:{model.server_port}/v1/chat/completions",
               LLM_MODEL="some-model", LLM_KEY="k-1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == model.answer + "\n"
    (body, key), = model.asked
    assert key == "Bearer k-1"
    assert body["model"] == "some-model"
    assert "may run again from Monday on" in body["messages"][0]["content"]
    assert body["messages"][1] == {"role": "user", "content": question}
    turns = json.loads(home.engram("events", "--json"))["events"]
    assert [turn["payload"] for turn in turns[1:]] == [
        {"role": "user", "content": question}, {"role": "assistant", "content": model.answer}]


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="curl or jq is not installed")
def test_a_model_that_fails_is_not_remembered(home: Any) -> None:
    done = run(home, "ask.sh", "Hello?", LLM_URL="http://127.0.0.1:9/", LLM_MODEL="some-model")
    assert done.returncode != 0 and "curl" in done.stderr
    assert json.loads(home.engram("events", "--json"))["events"] == []


@pytest.mark.parametrize(("works", "says"), [(True, "files copied"), (False, "FAILED with status")])
def test_a_backup_is_remembered_however_it_went(home: Any, works: bool, says: str) -> None:
    rsync = home.path / "bin" / "rsync"
    rsync.write_text("#!/bin/sh\necho 'Number of regular files transferred: 12'\n" + ("" if works else "exit 23\n"))
    rsync.chmod(0o755)
    done = run(home, "remember-backup.sh", str(home.path), str(home.path))
    assert (done.returncode, done.stderr) == (0 if works else 23, "")
    hits = json.loads(home.engram("events", "--agent", "assistant", "--level", "owner", "--json"))["events"]
    assert len(hits) == 1 and says in hits[0]["payload"] and hits[0]["tags"] == ["backup"]
