"""The operations on checkpoints of graphs: what a client may send, and what is done with it. Driven by the engine.

Their scope is an owner: every run of it may use a thread. The values are the client's: neither read nor redacted.
"""

from __future__ import annotations

import json
from _blake2 import blake2b
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from engram_core.errors import BadInput
from engram_core.scope import check_scope
from engram_core.store import checkpoints
from engram_core.store.checkpoints import Put, Space, Value, Write
from engram_core.values import INT_MAX, check_count, check_id, check_text, dump_json, show

if TYPE_CHECKING:
    from engram_core.daemon.handlers import Engine
    from engram_core.store.transaction import Owner, Transaction

Params = dict[str, Any]
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # decode would look for blanks around it
NS_MAX = 4096
PAGE = 50
PIECES_MAX = 4096


def owner_of(engine: Engine, params: Params) -> Owner:
    """Return the owner of a request, whose scope may leave out session and run."""
    given = params.get("scope")
    if "cwd" in params:
        return check_scope(engine.scope_ids(given, params)).owner
    if type(given) is not dict:
        return check_scope(given).owner
    try:
        return _owner(tuple(given.items()))
    except TypeError:  # what cannot be a key is no id, which the check says
        return _owner.__wrapped__(tuple(given.items()))


@lru_cache(maxsize=256)
def _owner(ids: tuple[tuple[str, Any], ...]) -> Owner:
    return check_scope({"session_id": "-", "run_id": "-", **dict(ids)}).owner


def _space(params: Params) -> Space:
    return Space(check_id("thread_id", params["thread_id"]), _plain("ns", params["ns"], NS_MAX))


def _plain(field: str, value: object, most: int) -> str:
    """Return a text that every database takes; raise BadInput for a longer one or one with NUL."""
    text = check_text(field, value)
    if len(text) > most:
        raise BadInput(f"{field} is {len(text)} characters long; allowed are {most}")
    if "\0" in text:
        raise BadInput(f"{field} is {show(text)}; NUL is not allowed in it")
    return text


def _value(given: object) -> Value:
    if type(given) is not list or len(given) != 3:
        raise BadInput(f" is {show(given)}; allowed is [type, data, pieces]")
    kind, data, pieces = given
    if check_count("[2]", pieces) > PIECES_MAX:
        raise BadInput(f" has {pieces} pieces; allowed are {PIECES_MAX}")
    return Value(check_id("[0]", kind), _plain("[1]", data, INT_MAX), pieces)


def _placed(place: str, error: BadInput) -> BadInput:
    """Return what a check said of a part with its place: that is only put together when there is an error."""
    return type(error)(place + error.message, hint=error.hint)


def _texts(field: str, given: object) -> list[str]:
    if type(given) is not list:
        raise BadInput(f"{field} is {show(given)}; allowed is a list of ids")
    return [check_id(f"{field}[{at}]", one) for at, one in enumerate(given)]


def _object(field: str, given: object) -> dict[str, Any]:
    if type(given) is not dict:
        raise BadInput(f"{field} is {show(given)}; allowed is an object")
    return given


def _metadata(given: object) -> str:
    try:
        found, end = _scan(check_text("metadata", given), 0)
    except (ValueError, RecursionError, StopIteration):
        found, end = None, 0
    if type(found) is not dict or end != len(str(given)):
        raise BadInput(f"metadata is {show(given)}; allowed is the text of a JSON object")
    return str(given)


@lru_cache(maxsize=2048)
def _blob(channel: str, version: str) -> str:
    """Return the name of a channel's value; those of one step stand together, so that they are written to one page.

    A value without a version stands in the checkpoint itself and has no name.
    """
    check_text("", version)
    check_text(" is the version of a channel whose name", channel)
    if not version:
        return ""
    number = version.partition(".")[0].lstrip("0")[:12]
    digest = blake2b(f"{channel}\0{version}".encode(), digest_size=12).hexdigest()
    return f"{number:0>12}-{digest}"


# ---- writing


def put_checkpoint(engine: Engine, params: Params) -> Callable[[Transaction], Any]:
    """Store a checkpoint."""
    owner, space = owner_of(engine, params), _space(params)
    versions = _named(_object("versions", params.get("versions") or {}))
    values: dict[str, Value] = {}
    for channel, value in _object("values", params.get("values") or {}).items():
        if channel not in versions:
            raise BadInput(f"values has {show(channel)}, whose version is not in versions")
        try:
            values[versions[channel]] = _value(value)
        except BadInput as error:
            raise _placed(f"values.{channel}", error) from None
    parent, run = params.get("parent_id"), params.get("run_id")
    given = Put(check_id("checkpoint_id", params["checkpoint_id"]),
                None if parent is None else check_id("parent_id", parent),
                "" if run is None else check_id("run_id", run),
                dump_json(versions), _metadata(params["metadata"]), _body(params["body"]), values)
    return lambda tx: checkpoints.put(tx, owner, space, given)


def _named(versions: dict[str, Any]) -> dict[str, str]:
    """Return the name of each channel's value."""
    found: dict[str, str] = {}
    for channel, version in versions.items():
        try:
            found[channel] = _blob(channel, version if type(version) is str else check_text("", version))
        except BadInput as error:
            raise _placed(f"versions.{channel}", error) from None
    return found


def _body(given: object) -> Value:
    try:
        return _value(given)
    except BadInput as error:
        raise _placed("body", error) from None


def put_checkpoint_writes(engine: Engine, params: Params) -> Callable[[Transaction], Any]:
    """Store what a task wrote."""
    owner, space = owner_of(engine, params), _space(params)
    checkpoint_id = check_id("checkpoint_id", params["checkpoint_id"])
    replace = params.get("replace", False)
    if type(replace) is not bool:
        raise BadInput(f"replace is {show(replace)}; allowed are true, false")
    if type(params["writes"]) is not list:
        raise BadInput(f"writes is {show(params['writes'])}; allowed is a list")
    writes: list[Write] = []
    for one in params["writes"]:
        try:
            writes.append(_write(one))
        except BadInput as error:
            raise _placed(f"writes[{len(writes)}]", error) from None
    return lambda tx: checkpoints.put_writes(tx, owner, space, checkpoint_id, writes, replace=replace)


def _write(given: object) -> Write:
    if type(given) is not list or len(given) != 7:
        raise BadInput(f" is {show(given)}; allowed is [task_id, idx, task_path, channel, type, data, pieces]")
    task_id, idx, path, channel, *value = given
    if type(idx) is not int or not -INT_MAX <= idx <= INT_MAX:
        raise BadInput(f"[1] is {show(idx)}; allowed is a whole number")
    return Write(check_id("[0]", task_id), idx, _plain("[2]", path, NS_MAX), _plain("[3]", channel, NS_MAX),
                 _value(value))


def put_checkpoint_piece(engine: Engine, params: Params) -> Callable[[Transaction], Any]:
    """Store a piece of a large value."""
    owner, space = owner_of(engine, params), _space(params)
    digest, piece = check_id("digest", params["digest"]), check_count("piece", params["piece"])
    if piece >= PIECES_MAX:
        raise BadInput(f"piece is {piece}; allowed are {PIECES_MAX} pieces, from 0")
    data = _plain("data", params["data"], INT_MAX)
    return lambda tx: checkpoints.put_piece(tx, owner, space, digest, piece, data)


def copy_checkpoints(engine: Engine, params: Params) -> Callable[[Transaction], Any]:
    """Copy a thread."""
    owner = owner_of(engine, params)
    source, target = check_id("source", params["source"]), check_id("target", params["target"])
    return lambda tx: {"copied": checkpoints.copy(tx, owner, source, target)}


def delete_checkpoints(engine: Engine, params: Params) -> Callable[[Transaction], Any]:
    """Delete threads, and the checkpoints of runs."""
    owner = owner_of(engine, params)
    threads, runs = (_texts(name, params.get(name) or []) for name in ("thread_ids", "run_ids"))
    return lambda tx: {"deleted": checkpoints.delete_threads(tx, owner, threads) + checkpoints.delete_runs(
        tx, owner, runs)}


def prune_checkpoints(engine: Engine, params: Params) -> Callable[[Transaction], Any]:
    """Keep the newest checkpoint of each namespace of threads."""
    owner, threads = owner_of(engine, params), _texts("thread_ids", params["thread_ids"])
    return lambda tx: {"deleted": checkpoints.prune(tx, owner, threads)}


# ---- reading


def get_checkpoint(engine: Engine, params: Params) -> Any:
    """Return one checkpoint, or null."""
    owner, space, id_ = owner_of(engine, params), _space(params), params.get("checkpoint_id")
    after = check_count("after", params.get("after", 0))
    return {"checkpoint": checkpoints.get(engine.store.reads, owner, space,
                                          None if id_ is None else check_id("checkpoint_id", id_), after)}


def get_checkpoint_pieces(engine: Engine, params: Params) -> Any:
    """Return some pieces of a large value."""
    owner, space = owner_of(engine, params), _space(params)
    return {"pieces": checkpoints.pieces(engine.store.reads, owner, space, check_id("digest", params["digest"]),
                                         check_count("first", params.get("first", 0)))}


def list_checkpoints(engine: Engine, params: Params) -> Any:
    """Return a page of checkpoints, newest first."""
    owner = owner_of(engine, params)
    ids = {name: None if params.get(name) is None else check_id(name, params[name])
           for name in ("thread_id", "checkpoint_id", "before")}
    ns = None if params.get("ns") is None else _plain("ns", params["ns"], NS_MAX)
    wanted, after = params.get("filter"), params.get("after")
    if after is not None and (type(after) is not list or len(after) != 2):
        raise BadInput(f"after is {show(after)}; allowed is what a page called next")
    found, following = checkpoints.list_(
        engine.store.reads, owner, ids["thread_id"], ns, ids["checkpoint_id"], ids["before"],
        checkpoints.matcher(_object("filter", wanted)) if wanted else None,
        min(check_count("limit", params.get("limit", PAGE), least=1), PAGE),
        (check_id("after[0]", after[0]), check_id("after[1]", after[1])) if after is not None else None)
    return {"checkpoints": found, "next": following}


WRITING: Mapping[str, Callable[[Engine, Params], Callable[[Transaction], Any]]] = {
    "put_checkpoint": put_checkpoint, "put_checkpoint_writes": put_checkpoint_writes,
    "put_checkpoint_piece": put_checkpoint_piece, "copy_checkpoints": copy_checkpoints,
    "delete_checkpoints": delete_checkpoints, "prune_checkpoints": prune_checkpoints,
}
READING: Mapping[str, Callable[[Engine, Params], Any]] = {
    "get_checkpoint": get_checkpoint, "get_checkpoint_pieces": get_checkpoint_pieces,
    "list_checkpoints": list_checkpoints,
}
