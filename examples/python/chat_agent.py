"""A chat agent with a memory, over any endpoint that speaks the OpenAI interface.

    export OPENAI_BASE_URL=https://api.deepseek.com OPENAI_API_KEY=… OPENAI_MODEL=deepseek-chat
    python examples/python/chat_agent.py [DATABASE]

Without OPENAI_BASE_URL a small stand-in answers, which repeats what the memory gave it: enough to see how it works.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from typing import Any

from engram import Memory

BUDGET = 1500


def complete(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the model's message: from the endpoint of the environment, or from the stand-in."""
    base = os.environ.get("OPENAI_BASE_URL", "")
    if not base:
        return stand_in(messages)
    body = {"model": os.environ.get("OPENAI_MODEL", "deepseek-chat"), "messages": messages}
    request = urllib.request.Request(
        base.rstrip("/") + "/chat/completions", data=json.dumps(body).encode(), headers={
            "Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', '')}"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        message: dict[str, Any] = json.load(reply)["choices"][0]["message"]
    return message


def stand_in(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Answer as a model would that only reads aloud."""
    recalled = [line for line in messages[0]["content"].splitlines() if line.startswith("- ")][1:]
    said = "I remember: " + "; ".join(line[2:] for line in recalled) if recalled else "Tell me more."
    return {"role": "assistant", "content": said}


def main(path: str) -> None:
    """Answer each line of the input."""
    with Memory(path=path) as memory, memory.session(user="me", agent="chat") as talk:
        for line in map(str.strip, sys.stdin):
            if not line:
                continue
            packet = memory.build_memory_packet(
                {"scope": talk.scope, "purpose": "responder", "query": line, "budget": {"max_tokens": BUDGET}},
                format="markdown")
            message = complete([{"role": "system", "content": f"You are a helpful assistant.\n{packet['text']}"},
                                {"role": "user", "content": line}])
            talk.user(line)
            talk.assistant(message)
            print(message["content"])


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "data/engram.db")
