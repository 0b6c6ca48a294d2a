"""A FastAPI service with one AsyncMemory for all requests.

    pip install fastapi uvicorn
    MEMORY=memory.db uvicorn --app-dir examples/python fastapi_app:app
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request

from engram import AsyncMemory, BadInput


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the memory with the service, in its event loop, and close it at the end."""
    async with AsyncMemory(path=os.environ.get("MEMORY", "memory.db")) as memory:
        app.state.memory = memory
        yield


app = FastAPI(lifespan=lifespan)


def scope(user: str, session: str) -> dict[str, str]:
    """Return whose memory a request is about."""
    return {"user_id": user, "agent_id": "api", "session_id": session, "run_id": session}


@app.post("/users/{user}/sessions/{session}/turns")
async def append(user: str, session: str, turn: dict[str, Any], request: Request) -> dict[str, Any]:
    """Append a turn; answered when it is on disk."""
    memory: AsyncMemory = request.app.state.memory
    try:
        return dict(await memory.append_event({"scope": scope(user, session), "payload": turn}))
    except BadInput as error:
        raise HTTPException(422, str(error)) from error


@app.get("/users/{user}/sessions/{session}/packet")
async def packet(user: str, session: str, request: Request, query: str, max_tokens: int = 1000) -> dict[str, Any]:
    """Return the memories for a question."""
    memory: AsyncMemory = request.app.state.memory
    try:
        return dict(await memory.build_memory_packet(
            {"scope": scope(user, session), "query": query, "budget": {"max_tokens": max_tokens}}))
    except BadInput as error:
        raise HTTPException(422, str(error)) from error
