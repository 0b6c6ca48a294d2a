"""Requests read from their lines, on the daemon's side: no socket, no clock, no thread.

What a line may not be is decided here and refused by name: nested deeper than 64, a batch, not UTF-8, holding NaN, an
infinity, a duplicate key or half a surrogate pair.
"""

from __future__ import annotations

import json
from itertools import accumulate

from engram_core.errors import BadInput, EngramError, ProtocolError
from engram_core.kernel.jsonread import read
from engram_core.protocol.lines import MAX_DEPTH, MAX_ID, find_surrogate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Request", "read_request"]

MAX_TIMEOUT_MS = 3_600_000
PARSE_ERROR = -32700  # JSON-RPC's code for what is no JSON at all

_MEMBERS = ("jsonrpc", "id", "method", "params")
_STEPS = bytes(1 if c in b"[{" else 255 if c in b"]}" else 0 for c in range(256))  # +1 and -1 as signed bytes
_NEITHER = bytes(c for c in range(256) if c not in b'[]{}"')


class Request:
    """Hold one request line: its id as JSON, method and params, or the error that makes it none."""

    __slots__ = ("error", "id", "method", "params", "size", "timeout_ms")

    def __init__(self, id: bytes, method: str, params: dict[str, Any], *, size: int = 0,
                 timeout_ms: int = 0, error: EngramError | None = None) -> None:
        self.id, self.method, self.params = id, method, params
        self.size, self.timeout_ms, self.error = size, timeout_ms, error


def read_request(line: bytes) -> Request:
    """Read one line; whatever is wrong with it is in ``error``, with the id to answer it by when there is one."""
    id_json, method = b"null", ""
    try:
        found = _parse(line)
        if not isinstance(found, dict):
            what = "a batch" if isinstance(found, list) else "no object"
            raise ProtocolError(f"the request is {what}; allowed is one JSON object per line")
        id_json = _id(found)
        method, params = _members(found)
        timeout_ms = _timeout(params)
    except EngramError as error:
        return Request(id_json, method, {}, size=len(line), error=error)
    return Request(id_json, method, params, size=len(line), timeout_ms=timeout_ms)


def _parse(line: bytes) -> Any:
    try:
        return read(line, MAX_DEPTH)
    except (ValueError, OverflowError):
        return _parse_slowly(line)


def _parse_slowly(line: bytes) -> Any:
    """Say what is wrong with a line, or return its value where Python's reader takes it after all."""
    try:
        text = line.decode()
    except UnicodeDecodeError as exc:
        raise _unreadable(f"not UTF-8: byte {exc.start}") from exc
    if line.count(b"[") + line.count(b"{") > MAX_DEPTH and _too_deep(line):
        raise _unreadable(f"nested deeper than {MAX_DEPTH}")
    try:
        found = _decode(text)
    except ProtocolError:
        raise
    except (ValueError, RecursionError) as exc:
        raise _unreadable(f"not JSON: {exc}") from exc
    if "\\ud" in text or "\\uD" in text:
        _refuse_surrogates(found)
    return found


def _unreadable(what: str) -> ProtocolError:
    error = ProtocolError(f"the request is {what}",
                          hint="send one compact UTF-8 JSON object per line")
    error.code = PARSE_ERROR
    return error


def _too_deep(line: bytes) -> bool:
    """Tell whether brackets outside of strings nest too deep, in linear time and without a piece per string."""
    bare = line.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NEITHER).replace(b'""', b"")
    if b'"' not in bare:
        steps = memoryview(bare.translate(_STEPS)).cast("b")
        return next(filter(MAX_DEPTH.__lt__, accumulate(steps)), None) is not None
    depth, quoted = 0, False
    for char in bare:
        if char == 0x22:
            quoted = not quoted
        elif not quoted:
            depth += 1 if char in b"[{" else -1
            if depth > MAX_DEPTH:
                return True
    return False


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _unreadable(f"not usable: the key {twice[:80]!r} stands twice in one object")
    return found


def _constant(name: str) -> float:
    raise _unreadable(f"not JSON: {name} is no JSON number")


def _float(text: str) -> float:
    value = float(text)
    if value - value != 0.0:
        raise _unreadable(f"not usable: the number {text[:40]} is too large")
    return value


_decode = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float).decode


def _refuse_surrogates(found: Any) -> None:
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as exc:
        where = find_surrogate(found, "")
        raise BadInput(f"{where or 'a key'} holds half of a surrogate pair (\\u{ord(exc.object[exc.start]):04x}); "
                       "allowed is Unicode text", hint="remove or replace that character") from exc


def _id(found: dict[str, Any]) -> bytes:
    value = found.get("id")
    if type(value) is int:
        return b"%d" % value if -(1 << 63) <= value < 1 << 63 else _bad_id(value)
    if type(value) is str and len(value) <= MAX_ID:
        return json.dumps(value).encode()
    return _bad_id(value)


def _bad_id(value: Any) -> bytes:
    shown = "missing" if value is None else str(value)[:40]
    raise ProtocolError(f"id is {shown}; allowed is a whole number of 64 bits or a text of at most {MAX_ID} "
                        "characters", hint="number the requests of a connection 1, 2, 3")


def _members(found: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    for key in found:
        if key not in _MEMBERS:
            raise ProtocolError(f"the request has the unknown member {key[:80]!r}",
                                hint="known are " + ", ".join(_MEMBERS))
    if found.get("jsonrpc") != "2.0":
        raise ProtocolError(f'jsonrpc is {str(found.get("jsonrpc"))[:40]!r}; allowed is "2.0"')
    method, params = found.get("method"), found.get("params", {})
    if not isinstance(method, str):
        raise ProtocolError("method is missing or no text", hint='try "method":"status"')
    if not isinstance(params, dict):
        raise ProtocolError("params is no object; positional params are not known", hint='try "params":{}')
    return method, params


def _timeout(params: dict[str, Any]) -> int:
    value = params.pop("timeout_ms", 0)
    if value == 0 and type(value) is int:
        return 0
    if type(value) is not int or not 1 <= value <= MAX_TIMEOUT_MS:
        raise BadInput(f"timeout_ms is {str(value)[:40]}; allowed is a whole number from 1 to {MAX_TIMEOUT_MS}")
    return value


