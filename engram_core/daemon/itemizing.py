"""The operations on items of a key-value store: what a client may send, and what is done with it. Driven by the engine.

Values are kept as they are, unredacted: a store gives back what was put. Filters compare as LangGraph's stores do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from engram_core.daemon.checkpointing import owner_of
from engram_core.errors import BadInput, nearest
from engram_core.store import items
from engram_core.store.items import Given, Key, Stored
from engram_core.values import check_count, check_text, dump_json, show

if TYPE_CHECKING:
    from engram_core.daemon.handlers import Engine
    from engram_core.store.transaction import Transaction

Params = dict[str, Any]
KEY_MAX = 4096
DEPTH_MAX = 64
REPLY_CHARS = 4 << 20
_COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {
    "$gt": lambda one, other: one > other, "$gte": lambda one, other: one >= other,
    "$lt": lambda one, other: one < other, "$lte": lambda one, other: one <= other}
_OPERATORS = ("$eq", "$ne", *_COMPARED)


def _path(field: str, given: object) -> tuple[str, ...]:
    if type(given) is not list or len(given) > DEPTH_MAX:
        raise BadInput(f"{field} is {show(given)}; allowed is a list of at most {DEPTH_MAX} labels")
    for at, label in enumerate(given):
        if not check_text(f"{field}[{at}]", label) or "\0" in label or len(label) > KEY_MAX:
            raise BadInput(f"{field}[{at}] is {show(label)}; allowed is text of 1 to {KEY_MAX} characters without NUL")
    return tuple(given)


def _key(field: str, given: object) -> Key:
    if type(given) is not list or len(given) != 2:
        raise BadInput(f"{field} is {show(given)}; allowed is [namespace, key]")
    path, key = _path(f"{field}.namespace", given[0]), check_text(f"{field}.key", given[1])
    if not path:
        raise BadInput(f"{field}.namespace is empty; allowed is a list of labels")
    if not key or "\0" in key or len(key) > KEY_MAX:
        raise BadInput(f"{field}.key is {show(key)}; allowed is text of 1 to {KEY_MAX} characters without NUL")
    return Key(path, key)


def _given(field: str, one: object) -> Given:
    if type(one) is not list or len(one) != 5:
        raise BadInput(f"{field} is {show(one)}; allowed is [namespace, key, value, words, ttl_ms]")
    value, words, ttl = one[2:]
    if value is not None and type(value) is not dict:
        raise BadInput(f"{field}.value is {show(value)}; allowed is an object, or null to delete the item")
    if ttl is not None:
        check_count(f"{field}.ttl_ms", ttl, least=1)
    text = None if value is None else dump_json(value, f"{field}.value")
    spoken = None if words is None else check_text(f"{field}.words", words).replace("\0", " ")
    return Given(_key(field, one[:2]), text, spoken, ttl)


def _list(field: str, given: object) -> list[Any]:
    if type(given) is not list:
        raise BadInput(f"{field} is {show(given)}; allowed is a list")
    return given


def put_items(engine: Engine, params: Params) -> Callable[[Transaction], Any]:
    """Write items, or delete those without a value."""
    owner = owner_of(engine, params)
    given = [_given(f"items[{at}]", one) for at, one in enumerate(_list("items", params["items"]))]
    return lambda tx: items.put(tx, owner, given)


def touch_items(engine: Engine, params: Params) -> Callable[[Transaction], Any]:
    """Let the time of items begin anew."""
    owner = owner_of(engine, params)
    keys = [_key(f"keys[{at}]", one) for at, one in enumerate(_list("keys", params["keys"]))]
    return lambda tx: items.touch(tx, owner, keys)


def sweep_items(engine: Engine, params: Params) -> Callable[[Transaction], Any]:
    """Delete items whose time is over."""
    owner = owner_of(engine, params)
    return lambda tx: {"deleted": items.forget_expired(tx, owner)}


def _shown(path: tuple[str, ...], stored: Stored, score: float | None = None) -> dict[str, Any]:
    return {"namespace": path, "key": stored.key, "value": stored.value, "created_at": stored.created_at,
            "updated_at": stored.updated_at, "score": None if score is None else round(score, 6),
            "ttl_ms": stored.ttl_ms}


def get_items(engine: Engine, params: Params) -> Any:
    """Return items by their keys."""
    owner = owner_of(engine, params)
    keys = [_key(f"keys[{at}]", one) for at, one in enumerate(_list("keys", params["keys"]))]
    with engine.store.reads.one_state():
        found = items.read(engine.store.reads, owner, keys, engine.now_ms())
    shown = [_shown(key.path, found[key]) if key in found else None for key in keys]
    return {"items": list(_fitting(shown))}


def search_items(engine: Engine, params: Params) -> Any:
    """Return the items of a namespace and below that meet a filter, ranked by a query or newest first."""
    owner = owner_of(engine, params)
    prefix = _path("prefix", params.get("prefix", []))
    query = check_text("query", params.get("query") or "")
    wanted = params.get("filter")
    limit, offset = check_count("limit", params.get("limit", 10)), check_count("offset", params.get("offset", 0))
    if wanted is not None:
        check_filter(wanted, "filter")
    now_ms = engine.now_ms()
    policy = engine.policies.load(engine.settings.get("packet.policy"), {})
    with engine.store.reads.one_state():
        found = engine.items.get(owner, engine.store.reads).search(
            engine.store.reads, prefix, query, (lambda value: meets(value, wanted)) if wanted else None, now_ms,
            dict(policy.recipe) or None, offset + limit if not wanted else 0)
        return {"items": list(_fitting(_shown(*one) for one in islice(found, offset, offset + limit)))}


def _fitting(shown: Iterable[dict[str, Any] | None]) -> Iterator[dict[str, Any] | None]:
    room = REPLY_CHARS
    for one in shown:
        room -= 0 if one is None else len(dump_json(one["value"]))
        if room < 0:
            raise BadInput(f"the items found have more than {REPLY_CHARS} characters; nothing was returned",
                           hint="ask for fewer with limit, and for the next with offset")
        yield one


def list_item_namespaces(engine: Engine, params: Params) -> Any:
    """Return the namespaces that meet all conditions, sorted, cut to a depth."""
    owner = owner_of(engine, params)
    conditions = [_condition(f"conditions[{at}]", one)
                  for at, one in enumerate(_list("conditions", params.get("conditions", [])))]
    depth = params.get("max_depth")
    limit, offset = check_count("limit", params.get("limit", 100)), check_count("offset", params.get("offset", 0))
    if depth is not None:
        check_count("max_depth", depth, least=1)
    found = items.namespaces(engine.store.reads, owner, engine.now_ms())
    kept = sorted({path[:depth] for path in found if all(met(path) for met in conditions)})
    return {"namespaces": kept[offset:offset + limit]}


def _condition(field: str, given: object) -> Callable[[tuple[str, ...]], bool]:
    if type(given) is not list or len(given) != 2 or given[0] not in ("prefix", "suffix"):
        raise BadInput(f'{field} is {show(given)}; allowed is ["prefix" or "suffix", labels]')
    labels = _path(f"{field}[1]", given[1])

    def met(path: tuple[str, ...]) -> bool:
        part = path[:len(labels)] if given[0] == "prefix" else path[len(path) - len(labels):]
        return len(path) >= len(labels) and all(label in ("*", one) for one, label in zip(part, labels, strict=True))
    return met


# ---- filters


def check_filter(wanted: object, field: str) -> None:
    """Raise BadInput for a filter that is no object or has an operator nobody knows."""
    if type(wanted) is not dict:
        raise BadInput(f"{field} is {show(wanted)}; allowed is an object")
    for key, one in wanted.items():
        if key.startswith("$") and key not in _OPERATORS:
            near = nearest(key, list(_OPERATORS))
            raise BadInput(f"{field} has the unknown operator {show(key)}; known are {', '.join(_OPERATORS)}",
                           hint=f"did you mean {near}?" if near else "remove it")
        if type(one) is dict:
            check_filter(one, f"{field}.{key}")


def meets(value: Any, wanted: Any) -> bool:
    """Tell whether a value meets a filter: an object by what it names, operators, everything else as it is."""
    if type(wanted) is dict:
        if any(key.startswith("$") for key in wanted):
            return all(_operator(value, key, one) for key, one in wanted.items())
        return type(value) is dict and all(meets(value.get(key), one) for key, one in wanted.items())
    if type(wanted) is list:
        return type(value) is list and len(value) == len(wanted) and all(map(meets, value, wanted))
    return bool(value == wanted) and (type(value) is bool) == (type(wanted) is bool)


def _operator(value: Any, key: str, other: Any) -> bool:
    if key in ("$eq", "$ne"):
        return bool(value == other) == (key == "$eq")
    if type(value) is str and type(other) is str:
        return _COMPARED[key](value, other)
    try:
        return _COMPARED[key](float(value), float(other))
    except (TypeError, ValueError):  # what is no number is neither more nor less
        return False


WRITING: Mapping[str, Callable[[Engine, Params], Callable[[Transaction], Any]]] = {
    "put_items": put_items, "touch_items": touch_items, "sweep_items": sweep_items}
READING: Mapping[str, Callable[[Engine, Params], Any]] = {
    "get_items": get_items, "search_items": search_items, "list_item_namespaces": list_item_namespaces}
