"""Engram for LangGraph: checkpoints and the long-term store. Needs ``pip install 'engram[langgraph]'``.

``builder.compile(checkpointer=EngramSaver("graphs.db"), store=EngramStore("graphs.db"))``.
"""

from __future__ import annotations

try:
    import langgraph.checkpoint.base  # noqa: F401 - to say what is missing
except ImportError as error:
    from engram_core.errors import ConfigError

    raise ConfigError(f"LangGraph is not installed: {error.name} is missing",
                      hint="run: pip install 'engram[langgraph]'") from error

from engram.adapters.langgraph.saver import EngramSaver
from engram.adapters.langgraph.store import EngramStore

__all__ = ["EngramSaver", "EngramStore"]
