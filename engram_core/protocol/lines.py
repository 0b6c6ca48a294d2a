"""Requests and replies as lines, both directions: no socket, no clock, no thread.

Driven by the daemon (``LineBuffer``, ``write_result``, ``write_error``) and by the client (``write_request``,
``LineBuffer``, ``read_result``, ``read_error``); `requests` reads the former's requests. One line is one compact UTF-8
JSON object::

    {"jsonrpc":"2.0","id":1,"method":"status","params":{"timeout_ms":10000}}
    {"jsonrpc":"2.0","id":1,"result":{...}}
    {"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"...","data":{"kind":"bad_input",...}}}

A line longer than its limit is refused here.
"""

from __future__ import annotations

import json
from _json import encode_basestring, make_encoder

from engram_core.errors import BadInput, ConfigError, EngramError, InternalError, ProtocolError, by_kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = [
    "DEFAULT_TIMEOUT_MS", "MAX_DEPTH", "MAX_REPLY", "MAX_REQUEST", "LineBuffer", "dump",
    "error_of", "find_surrogate", "plain", "read_error", "read_outcome", "read_result", "write_error", "write_request",
    "write_result",
]

MAX_REQUEST = 1 << 20
MAX_REPLY = 16 << 20
MAX_DEPTH = 64
MAX_ID = 256
DEFAULT_TIMEOUT_MS = 10_000

_COMPACT_FROM = 1 << 16


class LineBuffer:
    """Cut a stream of bytes into lines of at most ``limit`` bytes, whatever pieces it arrives in."""

    __slots__ = ("_data", "_looked", "_start", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._data = bytearray()
        self._start = 0  # of the first line not yet taken
        self._looked = 0  # there is no line end before this

    def __len__(self) -> int:
        return len(self._data) - self._start

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next piece; ``take`` then returns the lines it completed."""
        self._data += data

    def take(self) -> bytes | None:
        """Return the next complete line without its end, None when there is none yet; raise when it is too long."""
        end = self._data.find(b"\n", self._looked)
        if (len(self._data) if end < 0 else end) - self._start > self.limit:
            self._data = bytearray()
            self._start = self._looked = 0
            raise ProtocolError(f"the line is longer than {self.limit} bytes",
                                hint="send less at once; lists can go in several requests")
        if end < 0:
            self._looked = len(self._data)
            return None
        line = bytes(memoryview(self._data)[self._start:end])
        self._start = self._looked = end + 1
        if self._start == len(self._data) or self._start >= _COMPACT_FROM:
            del self._data[:self._start]
            self._start = self._looked = 0
        return line


# ---- writing replies


def dump(value: Any) -> bytes:
    """Return compact UTF-8 JSON of a value."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def write_result(id: bytes, result: bytes) -> bytes:
    """Return the reply line of a success; the result comes last so that a client can cut it out."""
    if len(result) > MAX_REPLY - 1024:
        return write_error(id, BadInput(f"the reply would have {len(result)} bytes; allowed are {MAX_REPLY}",
                                        hint="ask for less with limit, and page with after_seq"))
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}\n' % (id, result)


def write_error(id: bytes, error: EngramError) -> bytes:
    """Return the reply line of a failure, which is over with it: the error lets go of where it came from.

    The frames of a traceback hold the error as well as the line it is about, so that each refused line would be kept
    until the next collection of garbage.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}\n' % (id, json.dumps(error_of(error), separators=(",", ":")).encode())


def error_of(error: EngramError) -> dict[str, Any]:
    """Return the error object of the protocol; ``more`` is there where more than one thing is wrong."""
    data = {"kind": error.kind, "hint": error.hint, "retryable": error.retryable, "exit": error.exit_code}
    if isinstance(error, ConfigError) and error.more:
        data["more"] = [{"message": one.message, "hint": one.hint} for one in error.more]
    return {"code": error.code, "message": error.message, "data": data}


# ---- the client's side


def find_surrogate(value: Any, path: str) -> str:
    """Return the path of the first text that cannot be encoded, or ""; as deep as MAX_DEPTH at most."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return path
        return ""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(key, str) and find_surrogate(key, "key"):
            return f"a key of {path or 'the request'}"
        found = find_surrogate(item, f"{path}.{key}" if path else str(key))
        if found:
            return found
    return ""


def plain(value: Any) -> Any:
    """Return a pydantic model as a dict of what was set in it, and all else as it is."""
    return value.model_dump(mode="json", exclude_unset=True) if hasattr(value, "model_dump") else value


def _foreign(value: Any) -> Any:
    found = plain(value)
    if found is value:
        raise TypeError(f"a {type(value).__name__} is no JSON")
    return found


# JSONEncoder.encode makes one of these for each call. It has no table of what is being written, which threads could not
# share: a circle ends as what is too deep does.
_encode = make_encoder(None, _foreign, encode_basestring, None, ":", ",", False, False, False)
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # decode would look for blanks around it


def write_request(id: int, method: str, params: Mapping[str, Any]) -> bytes:
    """Return a request line; raise BadInput for what JSON or the protocol cannot carry."""
    try:
        text = "".join(_encode(params, 0))
        line = f'{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{text}}}\n'.encode()
    except UnicodeEncodeError as exc:
        where = find_surrogate(json.loads(text), "") or "a text"
        raise BadInput(f"{where} holds half of a surrogate pair; allowed is Unicode text",
                       hint="remove or replace that character") from exc
    except (TypeError, ValueError, RecursionError) as exc:
        from engram_core.values import dump_json  # late: only what cannot be sent needs it

        for name, value in params.items():
            dump_json(_without_models(value, 0), name)  # raises naming the field
        raise BadInput(f"the arguments of {method} cannot be written as JSON: {exc}",
                       hint="allowed are dicts, lists, texts, finite numbers, booleans and None") from exc
    if len(line) > MAX_REQUEST + 1:
        raise BadInput(f"the request has {len(line)} bytes; allowed are {MAX_REQUEST}",
                       hint="split the text, or send a list in parts")
    return line


def _without_models(value: Any, depth: int) -> Any:
    value = plain(value)
    if isinstance(value, dict) and depth < MAX_DEPTH:
        return {key: _without_models(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple) and depth < MAX_DEPTH:
        return [_without_models(item, depth + 1) for item in value]
    return value


def read_result(line: bytes) -> Any:
    """Return the result in a reply line; raise the error that it holds instead, ProtocolError when it is no reply."""
    try:
        text = line.decode()
        at = text.find(',"result":', 0, 64 + MAX_ID)
        if at > 0 and text.startswith('{"jsonrpc":"2.0","id":'):
            found, end = _scan(text, at + 10)
            if text.startswith("}", end):
                return found
    except (ValueError, StopIteration):
        pass
    raise read_error(line)


def read_outcome(outcome: bytes | EngramError) -> Any:
    """Return a result that was not made a reply line; raise the error it is instead."""
    if isinstance(outcome, EngramError):
        raise outcome
    return _scan(outcome.decode(), 0)[0]


def read_error(line: bytes) -> EngramError:
    """Turn an error reply into the exception it stands for, or into one that says the reply is none."""
    try:
        found = json.loads(line)["error"]
        data = found["data"]
        error = by_kind(data["kind"])(found["message"], hint=data["hint"])
        error.code, error.exit_code, error.retryable = found["code"], data["exit"], bool(data["retryable"])
        if isinstance(error, ConfigError):
            error.more = tuple(ConfigError(one["message"], hint=one["hint"]) for one in data.get("more", ()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ProtocolError("the daemon's reply cannot be read", hint="is this Engram's socket? see: engram status")
    return error


def internal(method: str) -> InternalError:
    """Return the error for a defect: what was being done, and where the log is."""
    return InternalError(f"{method} failed by a defect of Engram", hint="see: engram daemon logs")
