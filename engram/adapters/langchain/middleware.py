"""``EngramMiddleware``: a packet before every call of an agent's model, and its turns as events. Driven by LangChain.

What never changes while nobody writes memories goes into the system message, the rest beside the user's last turn, both
in the request alone: the saved state stays what the conversation was. When the memory is away the agent goes on without
it, and what it would have recorded waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from langchain.agents.middleware.types import AgentMiddleware, ModelRequest
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langgraph.config import get_config

from engram.adapters.langchain.messages import event_of, text_of
from engram.adapters.langchain.outage import Keeper
from engram.adapters.langchain.tools import memory_tools
from engram.adapters.place import Closing, Given, Steps
from engram_core.errors import BadInput
from engram_core.scope import SCOPE_FIELDS

__all__ = ["EngramMiddleware"]

TURNS = 256
"""Turns whose packets are remembered, so that all calls of a turn have the same."""
_STABLE, _VOLATILE = "stable", "volatile"


class EngramMiddleware(Closing, AgentMiddleware[Any, Any, Any]):
    """Give an agent memory: pass it in ``middleware`` when the agent is made by ``create_agent``.

    ``memory`` is a ``Memory`` or ``AsyncMemory``, the path of a database, a DSN, or None for this user's daemon.
    Whose memory it is comes from the run's context, a dict or an object with user_id, agent_id and, if wanted,
    tenant_id, session_id and run_id, then from ``configurable``, then from ``scope``; the session is the thread, and
    the run "main", unless they are given. ``purpose``, ``max_tokens`` and ``request``, further fields of a packet's
    request, say what is shown; ``record=False`` keeps the turns out of the memory; ``tools`` offers remember, recall
    and forget to the model. ``deadline`` is how many seconds a call of the model may wait for the memory.
    """

    def __init__(self, memory: Given = None, *, scope: Mapping[str, Any] | None = None, purpose: str = "responder",
                 max_tokens: int | None = None, request: Mapping[str, Any] | None = None, record: bool = True,
                 tools: bool = False, deadline: float = 1.0) -> None:
        super().__init__()
        for name in scope or ():
            if name not in SCOPE_FIELDS:
                raise BadInput(f"scope has the unknown key {name!r}; known are {', '.join(SCOPE_FIELDS)}")
        self._given = dict(scope or {})
        self._request = {"purpose": purpose, **(request or {})}
        if max_tokens is not None:
            self._request["budget"] = {**self._request.get("budget", {}), "max_tokens": max_tokens}
        self._record = record
        self._keeper = Keeper(memory, deadline)
        self._packets: dict[tuple[str, ...], tuple[str, str]] = {}
        self.tools = memory_tools(self._keeper, self._scope) if tools else []

    def close(self) -> None:
        """Record what still waits, and close the database, if it was opened here."""
        self._keeper.close()

    # ---- what LangChain calls

    def wrap_model_call(self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Any]) -> Any:
        """Call the model with the packet in its request."""
        scope, turn = self._scope(request.runtime), _last_turn(request.messages)
        parts = self._known(scope, turn)
        if parts is None:
            parts = self._learn(scope, turn, self._keeper.run(self._build(scope, turn)))
        return handler(_with(request, *parts))

    async def awrap_model_call(self, request: ModelRequest[Any],
                               handler: Callable[[ModelRequest[Any]], Awaitable[Any]]) -> Any:
        """Call the model with the packet in its request."""
        scope, turn = self._scope(request.runtime), _last_turn(request.messages)
        parts = self._known(scope, turn)
        if parts is None:
            parts = self._learn(scope, turn, await self._keeper.arun(self._build(scope, turn)))
        return await handler(_with(request, *parts))

    def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Record the results of tools and all else that was said before the last turn."""
        if self._record:
            self._keeper.record(self._events(state["messages"], runtime, ended=False))
        return None

    async def abefore_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Record the results of tools and all else that was said before the last turn."""
        if self._record:
            await self._keeper.arecord(self._events(state["messages"], runtime, ended=False))
        return None

    def after_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Record the rest of the turn."""
        if self._record:
            self._keeper.record(self._events(state["messages"], runtime, ended=True))
        return None

    async def aafter_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Record the rest of the turn."""
        if self._record:
            await self._keeper.arecord(self._events(state["messages"], runtime, ended=True))
        return None

    # ---- whose memory

    def _scope(self, runtime: Any) -> dict[str, str]:
        """Return the scope of a run; raise BadInput naming the id that nobody gives."""
        try:
            configurable: Mapping[str, Any] = get_config().get("configurable", {})
        except RuntimeError:  # outside of a graph
            configurable = {}
        context = getattr(runtime, "context", None)
        found = {"tenant_id": "default", "run_id": "main", **self._given}
        for name in SCOPE_FIELDS:
            value = context.get(name) if isinstance(context, Mapping) else getattr(context, name, None)
            value = configurable.get(name) if value is None and name != "run_id" else value
            if value is not None:
                found[name] = str(value)
        thread = configurable.get("thread_id")
        if "session_id" not in found and thread is not None:
            found["session_id"] = str(thread)
        found.setdefault("session_id", "main")
        for name in SCOPE_FIELDS:
            if name not in found:
                raise BadInput(f"{name} is given neither by the run's context nor by configurable nor by the "
                               "middleware's scope", hint=f'give it, for example with context={{"{name}": "ada"}}')
        return {name: found[name] for name in SCOPE_FIELDS}

    # ---- the packet

    def _build(self, scope: dict[str, str], turn: HumanMessage | None) -> Steps[tuple[str, str]]:
        request = {**self._request, "scope": scope, "query": text_of(turn)[:8000] if turn is not None else None}
        texts = []
        for part in (_STABLE, _VOLATILE):
            found = yield "build_memory_packet", {
                "request": {**request, "persist": request.get("persist", part == _VOLATILE)},
                "format": "markdown", "part": part}
            texts.append(found["text"].strip())
        return texts[0], texts[1]

    def _known(self, scope: dict[str, str], turn: HumanMessage | None) -> tuple[str, str] | None:
        return self._packets.get(_key(scope, turn)) if turn is not None and turn.id else None

    def _learn(self, scope: dict[str, str], turn: HumanMessage | None,
               parts: tuple[str, str] | None) -> tuple[str, str]:
        if parts is None:
            return "", ""
        if turn is not None and turn.id:
            while len(self._packets) >= TURNS:
                self._packets.pop(next(iter(self._packets)), None)
            self._packets[_key(scope, turn)] = parts
        return parts

    # ---- the record

    def _events(self, messages: Sequence[BaseMessage], runtime: Any, *, ended: bool) -> list[dict[str, Any]]:
        """Return the events of the last turns; the newest user turn alone waits, or the packet would quote it."""
        scope = self._scope(runtime)
        users = [at for at, message in enumerate(messages) if isinstance(message, HumanMessage)]
        first = users[-2] if len(users) > 1 else 0
        end = users[-1] if users and users[-1] == len(messages) - 1 and not ended else len(messages)
        return [event for at, message in enumerate(messages[first:end], first)
                if not isinstance(message, SystemMessage) and (event := event_of(message, scope, at)) is not None]


def _key(scope: dict[str, str], turn: HumanMessage) -> tuple[str, ...]:
    return (*scope.values(), str(turn.id), text_of(turn))


def _last_turn(messages: Sequence[BaseMessage]) -> HumanMessage | None:
    return next((one for one in reversed(messages) if isinstance(one, HumanMessage)), None)


def _with(request: ModelRequest[Any], stable: str, volatile: str) -> ModelRequest[Any]:
    """Return the request with the parts of a packet where they belong; its messages stay in number and order."""
    changed: dict[str, Any] = {}
    if stable:
        system = request.system_message
        changed["system_message"] = SystemMessage(stable) if system is None else system.model_copy(
            update={"content": _joined(system.content, stable)})
    turn = _last_turn(request.messages)
    if volatile and turn is not None:
        beside = turn.model_copy(update={"content": _joined(volatile, turn.content)})
        changed["messages"] = [beside if one is turn else one for one in request.messages]
    return request.override(**changed) if changed else request


def _joined(one: Any, other: Any) -> Any:
    """Return two contents as one: texts as a text, else blocks."""
    if isinstance(one, str) and isinstance(other, str):
        return f"{one}\n\n{other}"
    blocks = [[{"type": "text", "text": part}] if isinstance(part, str) else list(part) for part in (one, other)]
    return [*blocks[0], *blocks[1]]

