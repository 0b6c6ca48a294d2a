"""A shell that remembers: type a line, get what it brings to mind.

    python examples/python/shell_loop.py [DATABASE]

Lines that begin with ``!`` set a fact, as in ``!tea=green``. Nothing but Engram is needed.
"""

from __future__ import annotations

import sys

from engram import Memory


def main(path: str) -> None:
    """Read lines until their end, answer each with a packet as text, and remember it."""
    with Memory(path=path) as memory, memory.session(user="me", agent="shell", session="shell") as talk:
        for line in map(str.strip, sys.stdin):
            if not line:
                continue
            if line.startswith("!") and "=" in line:
                key, _, value = line[1:].partition("=")
                outcome = talk.remember(key.strip(), value.strip())
                print(f"{outcome['outcome']} {key.strip()}")
                continue
            packet = memory.build_memory_packet(
                {"scope": talk.scope, "query": line, "budget": {"max_tokens": 400}}, format="text")
            print(packet["text"].strip() or "(nothing comes to mind)")
            talk.user(line)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "data/engram.db")
