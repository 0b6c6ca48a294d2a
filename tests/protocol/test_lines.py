"""The protocol without a socket: any split of the bytes gives the same messages, and what a line may not be."""

from __future__ import annotations

import json
import tracemalloc
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_core.errors import Busy, EngramError, ProtocolError, UnknownField
from engram_core.protocol.lines import (
    MAX_DEPTH,
    MAX_REQUEST,
    LineBuffer,
    dump,
    read_error,
    read_result,
    write_error,
    write_request,
    write_result,
)
from engram_core.protocol.requests import read_request

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 60), 1 << 60) | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=20)
PARAMS = st.dictionaries(TEXTS.filter(lambda name: name != "timeout_ms"), VALUES, max_size=4)


def request(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "status", "params": {}, **members}).encode()


def lines_of(data: bytes, cuts: list[int], limit: int) -> list[bytes | str]:
    """Feed data in pieces; return the lines, and the error's text where it was refused."""
    buffer = LineBuffer(limit)
    found: list[bytes | str] = []
    edges = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for start, end in pairwise(edges):
        buffer.feed(data[start:end])
        try:
            while (line := buffer.take()) is not None:
                found.append(line)
        except ProtocolError as error:
            return [*found, error.message]
    return found


@given(st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")), max_size=8),
       st.lists(st.integers(0, 400), max_size=12))
def test_any_split_gives_the_same_lines(lines: list[bytes], cuts: list[int]) -> None:
    data = b"".join(line + b"\n" for line in lines)
    assert lines_of(data, cuts, 1000) == lines


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.lists(st.integers(0, 300), max_size=12))
def test_any_split_refuses_the_same_line(sizes: list[int], cuts: list[int]) -> None:
    data = b"".join(b"x" * size + b"\n" for size in sizes)
    whole = lines_of(data, [], 20)
    assert lines_of(data, cuts, 20) == whole
    assert (max(sizes) > 20) == bool(whole and isinstance(whole[-1], str))


@given(PARAMS, st.integers(-(1 << 63), (1 << 63) - 1))
def test_a_written_request_is_read_back(params: dict[str, Any], number: int) -> None:
    line = write_request(number, "search", params)
    assert line.count(b"\n") == 1
    found = read_request(line[:-1])
    assert found.error is None
    assert (found.id, found.method, found.params) == (str(number).encode(), "search", params)


@given(VALUES)
def test_a_result_is_read_back(value: Any) -> None:
    line = write_result(b"7", dump(value))
    assert json.loads(line)["result"] == value
    assert read_result(line) == read_result(line.rstrip(b"\n")) == value


@given(TEXTS, TEXTS)
def test_an_error_arrives_as_itself(message: str, hint: str) -> None:
    for sent in (Busy(message, hint=hint), UnknownField(message, hint=hint)):
        line = write_error(b"3", sent)
        found = read_error(line)
        with pytest.raises(type(sent)) as raised:
            read_result(line)
        assert type(found) is type(raised.value) is type(sent)
        assert (found.message, found.hint, found.retryable) == (message, hint, sent.retryable)


def test_an_error_of_a_newer_daemon_keeps_its_exit_code() -> None:
    found = read_error(b'{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"m","data":'
                       b'{"kind":"new","hint":"h","retryable":false,"exit":69}}}')
    assert type(found) is EngramError
    assert (found.exit_code, str(found)) == (69, "m; h")


@pytest.mark.parametrize("line", [
    b"", b"x", b'{"jsonrpc":"2.0"}', b'{"error":{}}', b'{"error":{"data":{"kind":3}}}',
    *(b'{"jsonrpc":"2.0","id":1,"result":' + rest for rest in (b"", b"}", b'{"a":1', b"{}", b"{}]", b'"\xff"}', b"x}")),
])
def test_a_reply_that_is_none_is_a_protocol_error(line: bytes) -> None:
    assert isinstance(read_error(line), ProtocolError)
    with pytest.raises(ProtocolError):
        read_result(line)


REFUSED = {
    "batch": (b'[{"jsonrpc":"2.0","id":1,"method":"status"}]', "a batch"),
    "no object": (b'"status"', "no object"),
    "half a document": (b'{"jsonrpc":', "not JSON"),
    "not UTF-8": (b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', "not UTF-8: byte 34"),
    "NaN": (request().replace(b"{}", b'{"x":NaN}'), "NaN"),
    "infinity": (request().replace(b"{}", b'{"x":-Infinity}'), "-Infinity"),
    "a number beyond floats": (request().replace(b"{}", b'{"x":1e999}'), "1e999"),
    "a number of 5000 digits": (request().replace(b"{}", b'{"x":' + b"9" * 5000 + b"}"), "not JSON"),
    "duplicate key": (request().replace(b"{}", b'{"x":1,"y":{"a":1,"b":2,"a":3}}'), "'a' stands twice"),
    "half a pair": (request().replace(b"{}", b'{"event":{"payload":["\\ud83d"]}}'), "params.event.payload.0"),
    "half a pair as key": (request().replace(b"{}", b'{"\\uDE00":1}'), "a key of params"),
    "no id": (request().replace(b'"id": 1, ', b""), "id is missing"),
    "id null": (request(id=None), "id is missing"),
    "id true": (request(id=True), "id is True"),
    "id too large": (request(id=1 << 70), "id is"),
    "id too long": (request(id="x" * 300), "id is"),
    "other version": (request(jsonrpc="1.0"), "jsonrpc"),
    "unknown member": (request(auth="x"), "'auth'"),
    "method no text": (request(method=3), "method"),
    "positional params": (request(params=[1]), "params is no object"),
    "timeout text": (request(params={"timeout_ms": "1"}), "timeout_ms"),
    "timeout negative": (request(params={"timeout_ms": -1}), "timeout_ms"),
    "timeout true": (request(params={"timeout_ms": True}), "timeout_ms"),
}


@pytest.mark.parametrize(("line", "named"), REFUSED.values(), ids=REFUSED)
def test_a_bad_line_is_refused_by_name(line: bytes, named: str) -> None:
    error = read_request(line).error
    assert error is not None
    assert named in error.message
    assert error.exit_code in (65, 76)


def test_a_bad_line_is_answered_under_its_id() -> None:
    assert read_request(request(id="a\"b", method=None)).id == b'"a\\"b"'
    assert read_request(b"nonsense").id == b"null"


def test_a_whole_pair_and_brackets_in_text_are_fine() -> None:
    text = "[{" * 500 + '\\"' + "\N{GRINNING FACE}"
    found = read_request(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "m", "params": {"t": text}}).encode())
    assert found.error is None
    assert found.params == {"t": text}


def nested(depth: int) -> bytes:
    return request().replace(b"{}", b'{"x":' + b"[" * (depth - 2) + b"]" * (depth - 2) + b"}")


def test_depth_is_limited() -> None:
    assert read_request(nested(MAX_DEPTH)).error is None
    error = read_request(nested(MAX_DEPTH + 1)).error
    assert error is not None and "deeper than 64" in error.message


@pytest.mark.parametrize("line", [b"[" * 1_000_000, b'{"a":' * 150_000, b"[]," * 300_000, b'"' + b"\\" * 900_000,
                                  b'["' * 400_000], ids=["arrays", "objects", "wide", "escapes", "strings"])
def test_hostile_lines_are_refused_quickly_and_in_place(line: bytes) -> None:
    tracemalloc.start()
    try:
        assert read_request(line).error is not None
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


def test_an_endless_line_is_not_kept() -> None:
    buffer = LineBuffer(MAX_REQUEST)
    with pytest.raises(ProtocolError, match="longer than 1048576"):
        for _ in range(40):
            buffer.feed(b"x" * 65536)
            assert buffer.take() is None
    assert len(buffer) == 0


def test_a_reply_beyond_the_limit_becomes_an_error() -> None:
    found = json.loads(write_result(b"1", b'"' + b"x" * (16 << 20) + b'"'))
    assert found["error"]["data"]["kind"] == "bad_input"
    assert "limit" in found["error"]["data"]["hint"]


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, "\ud800", {"k": ["\udfff"]}])
def test_the_client_refuses_what_json_cannot_carry(value: object) -> None:
    with pytest.raises(ValueError, match=r"^event(\.k\.0)? (is nan; .*finite|is \{1, 2\}; |holds half)"):
        write_request(1, "append_event", {"event": value})


def test_the_client_refuses_too_long_a_request() -> None:
    with pytest.raises(ValueError, match="1048576"):
        write_request(1, "append_event", {"event": "x" * MAX_REQUEST})
