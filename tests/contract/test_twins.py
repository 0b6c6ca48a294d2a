"""``AsyncMemory`` and ``AsyncSession`` are ``Memory`` and ``Session`` to be awaited, to the last argument and word."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from typing import Any

import pytest

from engram import AsyncMemory, AsyncSession, Memory, Session
from engram_core.protocol.messages import ADAPTED, OPERATIONS

PAIRS = [(Memory, AsyncMemory), (Session, AsyncSession)]
APART = {"__init__", "connect", "close", "request", "stream", "session"}  # their bodies differ; the rest is compared


def methods(cls: type) -> dict[str, Any]:
    return {name: found for name, found in inspect.getmembers(cls, callable)
            if not name.startswith("_") or name == "__init__"}


def plain(text: str) -> str:
    return re.sub(r"\bAsync(?=Memory|Session)|\bawait |\basync ", "", text)


def body(function: Any) -> str:
    """Return what a method does, without await and without its documentation."""
    made = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(made, ast.FunctionDef | ast.AsyncFunctionDef)
    return plain("\n".join(ast.unparse(one) for one in made.body))


@pytest.mark.parametrize(("blocking", "awaited"), PAIRS, ids=["Memory", "Session"])
def test_twins_have_the_same_methods(blocking: type, awaited: type) -> None:
    one, other = methods(blocking), methods(awaited)
    assert set(one) == set(other)
    for name in one:
        assert plain(str(inspect.signature(one[name]))) == plain(str(inspect.signature(other[name]))).replace(
            "AsyncGenerator", "Generator"), name
        if name != "__init__":
            assert plain(one[name].__doc__) == plain(other[name].__doc__), name
        if name not in APART:
            assert body(one[name]) == body(other[name]), name


def test_every_operation_is_awaited() -> None:
    for name in set(OPERATIONS) - ADAPTED:
        assert inspect.iscoroutinefunction(getattr(AsyncMemory, name)), name
        assert not inspect.iscoroutinefunction(getattr(Memory, name)), name
