"""Every example in Python is run as it stands, without a network; where it wants an endpoint it gets a local one."""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from engram import Memory

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "python"


def run(folder: Path, name: str, *args: str, stdin: str = "", **env: str) -> str:
    found = subprocess.run([sys.executable, str(EXAMPLES / f"{name}.py"), *args], input=stdin, text=True,
                           capture_output=True, cwd=folder, timeout=60, env={
                               "HOME": str(folder), "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **env})
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_every_example_has_its_test() -> None:
    mine = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert re.search(rf'"{path.stem}(\.py)?"', mine), f"{path.name} is not run by a test"


def test_a_shell_loop_remembers_from_one_run_to_the_next(tmp_path: Path) -> None:
    first = run(tmp_path, "shell_loop", stdin="!tea=green\nThe cat is called Miso.\n")
    assert first.startswith("created tea\n")
    assert "The cat is called Miso." in run(tmp_path, "shell_loop", stdin="What is the cat called?\n")
    assert (tmp_path / "data/engram.db").exists()


def test_a_chat_agent_with_the_stand_in(tmp_path: Path) -> None:
    told = run(tmp_path, "chat_agent", "chat.db", stdin="My sister is called Noor.\nWhat is my sister called?\n",
               OPENAI_BASE_URL="").splitlines()
    assert told[0] == "Tell me more." and "My sister is called Noor." in told[1]


class Endpoint(BaseHTTPRequestHandler):
    """As much of the OpenAI interface as a chat needs."""

    seen: list[tuple[str, str | None, dict[str, Any]]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.path, self.headers["Authorization"], body))
        message = {"role": "assistant", "content": f"answer {len(self.seen)}"}
        data = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_chat_agent_with_an_endpoint(tmp_path: Path) -> None:
    """What docs/deepseek.md says, with a local endpoint in the place of the real one."""
    server = HTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Endpoint.seen.clear()
    told = run(tmp_path, "chat_agent", "chat.db", stdin="My sister is called Noor.\nWhat is my sister called?\n",
               OPENAI_BASE_URL=f"http://127.0.0.1:{server.server_port}", OPENAI_API_KEY="k-1",
               OPENAI_MODEL="some-model")
    server.shutdown()
    assert told == "answer 1\nanswer 2\n"
    path, key, body = Endpoint.seen[1]
    assert (path, key, body["model"]) == ("/chat/completions", "Bearer k-1", "some-model")
    assert "My sister is called Noor." in body["messages"][0]["content"]
    assert body["messages"][1] == {"role": "user", "content": "What is my sister called?"}
    with Memory(path=tmp_path / "chat.db") as memory:
        scope = {"user_id": "me", "agent_id": "chat", "session_id": "any", "run_id": "any"}
        said = [event["payload"]["content"] for event in memory.list_events(scope, level="owner", limit=10)]
    assert said == ["My sister is called Noor.", "answer 1", "What is my sister called?", "answer 2"]


def test_the_variables_of_the_document_are_those_of_the_example() -> None:
    document = (ROOT / "docs" / "deepseek.md").read_text()
    program = (EXAMPLES / "chat_agent.py").read_text()
    names = set(re.findall(r"OPENAI_\w+", document))
    assert names == set(re.findall(r"OPENAI_\w+", program)) and len(names) == 3


def test_a_smaller_budget_holds_less_and_says_why(tmp_path: Path) -> None:
    told = run(tmp_path, "budget_demo").splitlines()
    used = [int(found[1]) for line in told if (found := re.search(r": (\d+) used", line))]
    assert len(told) == 4 and used == sorted(used, reverse=True)
    assert all(spent <= limit for spent, limit in zip(used, (2000, 900, 450), strict=False))
    assert "budget_total" in told[2] and "the empty packet alone takes" in told[3]


def test_planning_shows_each_purpose_its_part(tmp_path: Path) -> None:
    told = run(tmp_path, "planning")
    assert "refused: the working state is at version 2" in told
    planner, responder = (next(line for line in told.splitlines() if line.startswith(name))
                          for name in ("planner", "responder"))
    assert "book a hotel" in planner and "who feeds the cat?" in planner and "08:50" in planner
    assert "book a hotel" not in responder


def test_policies_change_what_is_shown(tmp_path: Path) -> None:
    told = run(tmp_path, "policies").splitlines()
    assert told[:5] == [
        "as shipped: 4 facts, 0 preferences, 0 turns, 0 insights",
        "two facts: 2 facts, 0 preferences, 0 turns, 0 insights",
        "with the last turns: 4 facts, 0 preferences, 1 turns, 0 insights",
        "preferences apart: 3 facts, 1 preferences, 0 turns, 0 insights",
        "insights for all: 4 facts, 0 preferences, 0 turns, 1 insights"]
    assert told[5].startswith("refused:") and "max_fact" in told[5]


def test_observability_shows_log_spans_and_explanation(tmp_path: Path) -> None:
    told = run(tmp_path, "observability")
    assert "engram.recall DEBUG candidate 1:" in told and "trimmed, budget_total" in told
    assert told.count("\nexplained e") == 4
    assert "span search_memory:" in told or "no spans" in told


def test_a_web_handler_serves_fifty_at_once(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, str(EXAMPLES / "web_handler.py"), "0", str(tmp_path / "web.db")],
                               stdout=subprocess.PIPE, text=True, cwd=tmp_path,
                               env={"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)})
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().rstrip("/\n").rpartition(":")[2])
        answers: list[tuple[int, Any]] = []

        def ask(body: Any) -> None:
            peer = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            peer.request("POST", "/", json.dumps(body))
            reply = peer.getresponse()
            answers.append((reply.status, json.loads(reply.read())))

        threads = [threading.Thread(target=ask, args=({"user": "ada", "text": f"fact {n}"},)) for n in range(50)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert [status for status, _ in answers] == [200] * 50
        ask({"user": "ada", "text": "fact 31"})
        assert "fact 31" in answers[-1][1]["known"]
        ask({"user": "", "text": "x"})
        assert answers[-1][0] == 400 and "user_id" in answers[-1][1]["error"]
    finally:
        process.terminate()
        process.wait()


def test_a_fastapi_service_serves_fifty_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    httpx = pytest.importorskip("httpx", reason="httpx is not installed")
    pytest.importorskip("fastapi", reason="fastapi is not installed")
    monkeypatch.setenv("MEMORY", str(tmp_path / "memory.db"))
    spec = importlib.util.spec_from_file_location("fastapi_app", EXAMPLES / "fastapi_app.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fastapi_app", module)
    spec.loader.exec_module(module)

    async def main() -> None:
        app = module.app
        async with app.router.lifespan_context(app):
            client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test")
            async with client:
                turns = [client.post(f"/users/ada/sessions/s{n}/turns", json={"role": "user", "content": f"fact {n}"})
                         for n in range(50)]
                replies = await asyncio.gather(*turns)
                assert [one.status_code for one in replies] == [200] * 50
                assert len({one.json()["event_id"] for one in replies}) == 50
                packets = [client.get(f"/users/ada/sessions/s{n}/packet", params={"query": f"fact {n}"})
                           for n in range(50)]
                for number, one in enumerate(await asyncio.gather(*packets)):
                    quotes = one.json()["short_term"]["key_quotes"]
                    assert any(quote["quote"] == f"fact {number}" for quote in quotes)
                wrong = await client.post("/users/ada/sessions/s/turns", json={"role": "poet", "content": "x"})
                assert wrong.status_code == 422 and "role" in wrong.json()["detail"]

    asyncio.run(main())
