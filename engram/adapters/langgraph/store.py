"""``EngramStore``: LangGraph's long-term store in Engram's database, searched by Engram's recall. Driven by LangGraph.

Each batch is written once, as the requests it makes; `place` waits for them, blocking or awaited.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    get_text_at_path,
    validate_op_namespace,
)

from engram.adapters.place import Given, Holder, Place, Steps, owner_scope
from engram_core.errors import BadInput

__all__ = ["EngramStore"]

ROOM = 700_000
"""Characters of items in one request, which may have 1 MiB."""
MOST_MINUTES = 1e9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EngramStore(Holder, BaseStore):
    """Keep long-term items in Engram: pass it as ``store`` when a graph or an agent is made.

    ``memory`` and ``scope`` are as for ``EngramSaver``. ``fields`` are the paths of a value that a query is matched
    with where ``put`` names none; by default all of it. ``ttl`` may have default_ttl in minutes and refresh_on_read. No
    embeddings are needed: a query is ranked by Engram's recall, and finds what shares words, or words near in
    meaning, with it.
    """

    supports_ttl = True

    def __init__(self, memory: Given = None, *, scope: Mapping[str, Any] | None = None,
                 fields: Sequence[str] | None = None, ttl: TTLConfig | None = None) -> None:
        self._scope = owner_scope(scope, "langgraph")
        self._place = Place(memory)
        self._fields = list(fields) if fields else ["$"]
        self.ttl_config = ttl

    def setup(self) -> None:
        """Do nothing: the tables are made when the database is opened. Here for programs that call it."""

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Do several things at once: reads see the state before the batch, writes are one transaction."""
        return self._place.run(self._batch(list(ops)))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Do several things at once: reads see the state before the batch, writes are one transaction."""
        return await self._place.arun(self._batch(list(ops)))

    def sweep_ttl(self) -> int:
        """Delete the items whose time is over and return how many; the engine also does so by itself once an hour."""
        return self._place.run(self._sweep())

    async def asweep_ttl(self) -> int:
        """Delete the items whose time is over and return how many; the engine also does so by itself once an hour."""
        return await self._place.arun(self._sweep())

    # ---- the requests

    def _sweep(self) -> Steps[int]:
        found = yield "sweep_items", {"scope": self._scope}
        return int(found["deleted"])

    def _batch(self, ops: list[Op]) -> Steps[list[Result]]:
        for op in ops:
            validate_op_namespace(op)
        results: list[Result] = [None] * len(ops)
        touched: list[list[Any]] = []
        gets = [(at, op) for at, op in enumerate(ops) if isinstance(op, GetOp)]
        if gets:
            found = yield "get_items", {"scope": self._scope, "keys": [[list(op.namespace), op.key] for _, op in gets]}
            for (at, op), one in zip(gets, found["items"], strict=True):
                if one is not None:
                    results[at] = Item(**_fields(one))
                    touched += self._read(one, op.refresh_ttl)
        for at, op in enumerate(ops):
            if isinstance(op, SearchOp):
                found = yield "search_items", {
                    "scope": self._scope, "prefix": list(op.namespace_prefix), "query": op.query, "filter": op.filter,
                    "limit": op.limit, "offset": op.offset}
                results[at] = [SearchItem(**_fields(one), score=one["score"]) for one in found["items"]]
                touched += [key for one in found["items"] for key in self._read(one, op.refresh_ttl)]
            elif isinstance(op, ListNamespacesOp):
                found = yield "list_item_namespaces", {
                    "scope": self._scope, "max_depth": op.max_depth, "limit": op.limit, "offset": op.offset,
                    "conditions": [[one.match_type, list(one.path)] for one in op.match_conditions or ()]}
                results[at] = [tuple(one) for one in found["namespaces"]]
            elif not isinstance(op, GetOp | PutOp):
                raise BadInput(f"operation {type(op).__name__} is not known; known are GetOp, SearchOp, PutOp and "
                               "ListNamespacesOp")
        if touched:
            yield "touch_items", {"scope": self._scope, "keys": touched}
        yield from self._put({(op.namespace, op.key): op for op in ops if isinstance(op, PutOp)}.values())
        return results

    def _read(self, one: dict[str, Any], refresh: bool) -> list[list[Any]]:
        return [[one["namespace"], one["key"]]] if refresh and one["ttl_ms"] is not None else []

    def _put(self, ops: Iterable[PutOp]) -> Steps[None]:
        items: list[list[Any]] = []
        size = 0
        for op in ops:
            item = [list(op.namespace), op.key, op.value, None if op.value is None else self._words(op),
                    None if op.ttl is None else _ttl_ms(op)]
            more = _size(op, item)
            if items and size + more > ROOM:
                yield "put_items", {"scope": self._scope, "items": items}
                items, size = [], 0
            items.append(item)
            size += more
        if items:
            yield "put_items", {"scope": self._scope, "items": items}

    def _words(self, op: PutOp) -> str | None:
        if op.index is False:
            return None
        value: Any = op.value
        texts: list[str] = []
        for path in self._fields if op.index is None else op.index:
            texts += [_spoken(value)] if path == "$" else get_text_at_path(value, path)
        return "\n".join(texts)


def _ttl_ms(op: PutOp) -> int:
    minutes = op.ttl
    if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not 0 <= minutes <= MOST_MINUTES:
        raise BadInput(f"ttl of {op.key!r} is {minutes!r}; allowed are minutes from 0 to {MOST_MINUTES:.0e}",
                       hint="leave it out, or give None, for what is to stay")
    return max(1, round(minutes * 60_000))


def _size(op: PutOp, item: list[Any]) -> int:
    try:
        return len(json.dumps(item, ensure_ascii=False))
    except (TypeError, ValueError) as error:
        raise BadInput(f"the value of {op.key!r} in {op.namespace} cannot be written as JSON: {error}",
                       hint="allowed are dicts, lists, texts, finite numbers, booleans and None") from error


def _spoken(value: Any) -> str:
    """Return the words of a JSON value, keys included."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_spoken(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_spoken, value))
    return "" if value is None else str(value)


def _fields(one: dict[str, Any]) -> dict[str, Any]:
    return {"namespace": tuple(one["namespace"]), "key": one["key"], "value": one["value"],
            "created_at": _EPOCH + timedelta(milliseconds=one["created_at"]),
            "updated_at": _EPOCH + timedelta(milliseconds=one["updated_at"])}
