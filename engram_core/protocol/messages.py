"""Every operation the daemon knows: its parameters, and whether it reads or writes. The one list of them.

Driven by the handlers, which refuse what is not here; a test holds ``Memory``'s methods against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from engram_core.errors import BadInput, MethodNotFound, UnknownField, nearest


class Operation(NamedTuple):
    """One operation; ``required`` and ``optional`` name its parameters."""

    kind: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


_SCOPED = ("scope",)
_SHOW = ("format", "bare", "part", "max_chars", "tokenizer")
OPERATIONS: Mapping[str, Operation] = {
    "append_event": Operation("write", ("event",), ("at_ms",)),
    "append_events": Operation("write", ("events",), ("at_ms",)),
    "patch_working_state": Operation("write", ("scope", "patch"), ("expected_version", "merge_slots", "remove_slots")),
    "update_stm": Operation("write", ("scope", "stm_state")),
    "upsert_fact": Operation("write", ("scope", "fact"), ("on_conflict",)),
    "append_episode": Operation("write", ("scope", "episode")),
    "upsert_procedure": Operation("write", ("scope", "procedure")),
    "append_insight": Operation("write", ("scope", "insight")),
    "update_insight": Operation("write", ("scope", "id"), ("patch", "promote", "promoted")),
    "set_pinned": Operation("write", ("scope", "kind", "id", "pinned")),
    "end_run": Operation("write", _SCOPED),
    "write_context_build": Operation("write", ("scope", "packet")),
    "forget": Operation("write", ("scope", "selector"), ("dry_run",)),
    "put_checkpoint": Operation("write", ("scope", "thread_id", "ns", "checkpoint_id", "metadata", "body"),
                                ("parent_id", "run_id", "versions", "values")),
    "put_checkpoint_writes": Operation("write", ("scope", "thread_id", "ns", "checkpoint_id", "writes"), ("replace",)),
    "put_checkpoint_piece": Operation("write", ("scope", "thread_id", "ns", "digest", "piece", "data")),
    "copy_checkpoints": Operation("write", ("scope", "source", "target")),
    "delete_checkpoints": Operation("write", _SCOPED, ("thread_ids", "run_ids")),
    "prune_checkpoints": Operation("write", ("scope", "thread_ids")),
    "list_events": Operation("read", _SCOPED, ("time_range", "limit", "after_seq", "level")),
    "get_working_state": Operation("read", _SCOPED),
    "get_stm": Operation("read", _SCOPED),
    "list_facts": Operation("read", _SCOPED, ("fact_filter",)),
    "list_episodes": Operation("read", _SCOPED, ("episode_filter",)),
    "list_procedures": Operation("read", _SCOPED, ("task_type", "limit")),
    "list_insights": Operation("read", _SCOPED, ("insight_filter",)),
    "list_context_builds": Operation("read", _SCOPED, ("limit",)),
    "build_memory_packet": Operation("read", ("request",), _SHOW),
    "explain": Operation("read", (), ("scope", "build_id", "request", "memory_id", *_SHOW)),
    "search": Operation("read", ("scope", "query"), ("kinds", "limit", "now", "max_tokens")),
    "get_checkpoint": Operation("read", ("scope", "thread_id", "ns"), ("checkpoint_id", "after")),
    "get_checkpoint_pieces": Operation("read", ("scope", "thread_id", "ns", "digest"), ("first",)),
    "list_checkpoints": Operation("read", _SCOPED, ("thread_id", "ns", "checkpoint_id", "before", "filter", "limit",
                                                    "after")),
    "put_items": Operation("write", ("scope", "items")),
    "touch_items": Operation("write", ("scope", "keys")),
    "sweep_items": Operation("write", _SCOPED),
    "get_items": Operation("read", ("scope", "keys")),
    "search_items": Operation("read", _SCOPED, ("prefix", "query", "filter", "limit", "offset")),
    "list_item_namespaces": Operation("read", _SCOPED, ("conditions", "max_depth", "limit", "offset")),
    "policies": Operation("read", (), ("policy_id", "table", "source")),
    "reload": Operation("loop", ()),
    "status": Operation("loop", (), _SCOPED),
    "hello": Operation("loop", (), ("client", "version", "protocol")),
    "shutdown": Operation("loop", ()),
}
READS = frozenset(name for name, operation in OPERATIONS.items() if operation.kind == "read")
WRITES = frozenset(name for name, operation in OPERATIONS.items() if operation.kind == "write")
ADAPTED = frozenset(name for name in OPERATIONS if "checkpoint" in name or "item" in name)
"""What only the adapters of `engram.adapters` ask, by ``request``: these are no memories, and no methods of Memory."""
_COMMON = frozenset(("cwd", "render", "timeout_ms"))


def check_params(method: str, params: object) -> dict[str, Any]:
    """Return the parameters; raise MethodNotFound, or BadInput naming the parameter that is unknown or missing."""
    operation = OPERATIONS.get(method)
    if operation is None:
        near = nearest(method, list(OPERATIONS))
        raise MethodNotFound(f"there is no method {method!r}", hint=f"did you mean {near}?" if near else "")
    if type(params) is not dict:
        raise BadInput(f"params of {method} must be an object")
    for name in params:
        if name not in operation.required and name not in operation.optional and name not in _COMMON:
            known = [*operation.required, *operation.optional]
            near = nearest(str(name), known)
            raise UnknownField(f"{method} has no parameter {name!r}; known are {', '.join(known)}",
                               hint=f"did you mean {near}?" if near else "remove it")
    for name in operation.required:
        if name not in params and not (name == "scope" and "cwd" in params):
            raise BadInput(f"{method} needs the parameter {name!r}", hint=f"give {name}")
    return params
