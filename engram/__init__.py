"""The memory of AI agents: append what happened, ask for the right memories inside a hard token budget.

    from engram import Memory

    with Memory.connect() as memory:
        memory.append_event({"scope": scope, "payload": {"role": "user", "content": "Ada moved to Lyon in May"}})
        packet = memory.build_memory_packet({"scope": scope, "purpose": "responder", "query": "Where does Ada live?"})

``Memory(path=…)`` runs the engine in this process instead; ``AsyncMemory`` is the same to be awaited.
Names are loaded when they are first used; what is not in ``__all__`` is not public.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from engram import types
    from engram.adapters.langchain import (
        EngramChatMessageHistory,
        EngramCheckpointer,
        EngramContextInjector,
        EngramNodeMiddleware,
    )
    from engram.aio import AsyncMemory
    from engram.memory import Memory
    from engram.session import AsyncSession, Session
    from engram_core import __version__
    from engram_core.errors import (
        AccessDenied,
        BadInput,
        BudgetTooSmall,
        Busy,
        ConfigError,
        Conflict,
        DeadlineExceeded,
        EngramError,
        InternalError,
        MethodNotFound,
        NoDaemon,
        NotFound,
        ProtocolError,
        SchemaTooNew,
        StoreCorrupt,
        StoreError,
        TokenizerError,
        UnknownField,
    )

__all__ = [
    "AccessDenied", "AsyncMemory", "AsyncSession", "BadInput", "BudgetTooSmall", "Busy", "ConfigError",
    "Conflict", "DeadlineExceeded", "EngramChatMessageHistory", "EngramCheckpointer", "EngramContextInjector",
    "EngramError", "EngramNodeMiddleware", "InternalError", "Memory", "MethodNotFound", "NoDaemon",
    "NotFound", "ProtocolError", "SchemaTooNew", "Session", "StoreCorrupt", "StoreError", "TokenizerError",
    "UnknownField", "__version__", "types",
]

_ELSEWHERE = {"AsyncMemory": "engram.aio", "AsyncSession": "engram.session", "Memory": "engram.memory",
              "Session": "engram.session", "__version__": "engram_core",
              **dict.fromkeys(("EngramChatMessageHistory", "EngramCheckpointer", "EngramContextInjector",
                               "EngramNodeMiddleware"), "engram.adapters.langchain")}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'engram' has no attribute {name!r}")
    from importlib import import_module

    if name == "types":
        value: Any = import_module("engram.types")
    else:
        value = getattr(import_module(_ELSEWHERE.get(name, "engram_core.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
