"""The tools by which a model uses its memory itself: remember, recall, forget. Driven by the middleware."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from langchain.tools import ToolRuntime
from langchain_core.tools import BaseTool, StructuredTool

from engram.adapters.langchain.outage import Keeper
from engram.adapters.place import Steps

__all__ = ["memory_tools"]

FOUND = 8
_AWAY = "The memory does not answer just now."


def memory_tools(keeper: Keeper, scope_of: Callable[[Any], dict[str, str]]) -> list[BaseTool]:
    """Return the three tools over one memory; whose it is, the runtime of each call says."""
    def remembering(scope: dict[str, str], key: str, value: str) -> Steps[str]:
        found = yield "upsert_fact", {"scope": scope, "fact": {"fact_key": key, "value": value}}
        return f"Remembered as {found['fact_id']}."

    def recalling(scope: dict[str, str], query: str) -> Steps[str]:
        found = yield "search", {"scope": scope, "query": query, "limit": FOUND}
        hits = [{"id": hit["id"], "kind": hit["kind"], "text": hit["text"]} for hit in found["hits"]]
        return json.dumps(hits, ensure_ascii=False) if hits else "Nothing was found."

    def forgetting(scope: dict[str, str], id: str) -> Steps[str]:
        found = yield "forget", {"scope": scope, "selector": {"ids": [id]}}
        return "Forgotten." if found["rows"] else f"Nothing has the id {id}."

    def remember(key: str, value: str, runtime: ToolRuntime) -> str:
        """Keep a fact for later conversations. The key names what it is about, such as home.city; a new value of a key
        takes the place of the old one."""  # noqa: D205, D209 - a model reads this
        return keeper.run(remembering(scope_of(runtime), key, value)) or _AWAY

    async def aremember(key: str, value: str, runtime: ToolRuntime) -> str:
        return await keeper.arun(remembering(scope_of(runtime), key, value)) or _AWAY

    def recall(query: str, runtime: ToolRuntime) -> str:
        """Search all that is remembered: facts, and what was said in this and earlier conversations."""
        return keeper.run(recalling(scope_of(runtime), query)) or _AWAY

    async def arecall(query: str, runtime: ToolRuntime) -> str:
        return await keeper.arun(recalling(scope_of(runtime), query)) or _AWAY

    def forget(id: str, runtime: ToolRuntime) -> str:
        """Delete one memory for good, by the id that recall shows. Only when the user asks for it."""
        return keeper.run(forgetting(scope_of(runtime), id)) or _AWAY

    async def aforget(id: str, runtime: ToolRuntime) -> str:
        return await keeper.arun(forgetting(scope_of(runtime), id)) or _AWAY

    return [StructuredTool.from_function(func=function, coroutine=awaited)
            for function, awaited in ((remember, aremember), (recall, arecall), (forget, aforget))]
