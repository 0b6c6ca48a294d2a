"""An asynchronous web handler with the standard library alone: one AsyncMemory for all requests of a server.

    python examples/python/web_handler.py [PORT] [DATABASE]
    curl -d '{"user": "ada", "text": "I moved to Lyon"}' http://127.0.0.1:8080/
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from engram import AsyncMemory, EngramError


async def handle(memory: AsyncMemory, asked: dict[str, Any]) -> dict[str, Any]:
    """Remember what a user said and return what is known about it."""
    scope = {"user_id": asked["user"], "agent_id": "web", "session_id": "web", "run_id": "web"}
    packet, _ = await asyncio.gather(
        memory.build_memory_packet({"scope": scope, "query": asked["text"], "persist": False}, format="text"),
        memory.append_event({"scope": scope, "payload": {"role": "user", "content": asked["text"]}}))
    return {"known": packet["text"]}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, memory: AsyncMemory) -> None:
    """Read one request, answer it, hang up."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length")), 0)
        status, body = "200 OK", await handle(memory, json.loads(await reader.readexactly(length)))
    except (EngramError, KeyError, ValueError) as error:  # bad input of Engram's is a ValueError as well
        status, body = "400 Bad Request", {"error": str(error)}
    data = json.dumps(body).encode()
    writer.write(f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n"
                 "Connection: close\r\n\r\n".encode() + data)
    await writer.drain()
    writer.close()


async def main(port: int, path: str) -> None:
    """Serve until interrupted."""
    async with AsyncMemory(path=path) as memory:
        server = await asyncio.start_server(lambda reader, writer: serve(reader, writer, memory), "127.0.0.1", port)
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", flush=True)
        async with server:
            await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8080, sys.argv[2] if len(sys.argv) > 2 else "web.db"))
