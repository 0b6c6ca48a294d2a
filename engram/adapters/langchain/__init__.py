"""Engram for LangChain: retriever, history, and the middleware of agents. Needs ``pip install 'engram[langchain]'``.

Names are loaded when they are first used: the retriever and the history need langchain-core alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engram.adapters.langchain.history import (
        EngramChatMessageHistory,
        EngramCheckpointer,
        EngramContextInjector,
        EngramNodeMiddleware,
    )
    from engram.adapters.langchain.middleware import EngramMiddleware
    from engram.adapters.langchain.retriever import EngramRetriever

__all__ = ["EngramChatMessageHistory", "EngramCheckpointer", "EngramContextInjector", "EngramMiddleware",
           "EngramNodeMiddleware", "EngramRetriever"]

_WHERE = {"EngramMiddleware": "middleware", "EngramRetriever": "retriever"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'engram.adapters.langchain' has no attribute {name!r}")
    try:
        found = getattr(import_module(f"engram.adapters.langchain.{_WHERE.get(name, 'history')}"), name)
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("langchain", "langchain_core", "langgraph"):
            raise
        from engram_core.errors import ConfigError

        raise ConfigError(f"LangChain is not installed: {error.name} is missing",
                          hint="run: pip install 'engram[langchain]'") from error
    globals()[name] = found
    return found
