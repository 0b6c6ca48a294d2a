"""Hold one command's connection to the daemon: the scope it was given, its output, its one question.

Made by the command decorator from the options every command shares; handed to the command as its first argument.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from engram_cli.output import Output
from engram_core.errors import BadInput, ConfigError, UsageError

if TYPE_CHECKING:
    from engram.memory import Memory

Json = dict[str, Any]
EXAMPLE_OBJECT = 'write it in braces: {"name":"value"}'
MAX_INPUT = 16 << 20  # far above what one request may hold; only keeps an endless pipe from filling the memory


class Call:
    """Ask the daemon within the given scope, and show what it answers."""

    def __init__(self, output: Output, *, scope: Mapping[str, str | None] | None = None, socket: str | None = None,
                 timeout: float | None = None, direct: bool = False) -> None:
        self.direct = direct
        self.out = output
        self.scope = {key: value for key, value in (scope or {}).items() if value is not None}
        self.socket, self._timeout = socket, timeout
        self._memory: Memory | None = None

    @property
    def memory(self) -> Memory:
        """The connection, made at first use."""
        if self._memory is None:
            from engram.memory import Memory  # late: a command that asks nothing needs no socket

            if self.direct:
                self._memory = Memory(**configured_database(), timeout=self._timeout, cwd=working_directory())
            else:
                self._memory = Memory.connect(self.socket, timeout=self._timeout, cwd=working_directory())
        return self._memory

    def connect_despite(self, wrong: list[ConfigError]) -> None:
        """Connect to the daemon there is although something in the configuration is wrong, which is added."""
        from engram.memory import Memory
        from engram_core import settings

        found = settings.load(env=os.environ, flags={"daemon.socket": self.socket}, wrong=wrong)
        self._memory = Memory.connect(timeout=self._timeout, settings=found)

    def ask(self, method: str, **params: Any) -> Any:
        """Send one request in the command's scope; parameters that are None are left out."""
        sent = {key: value for key, value in params.items() if value is not None}
        return self.memory.request(method, {"scope": self.scope, **sent})

    def close(self) -> None:
        """Close the connection, if one was made."""
        if self._memory is not None:
            self._memory.close()
            self._memory = None


def given(fields: Mapping[str, Any]) -> Json:
    """Return the fields that a person gave: options left out are None or empty lists."""
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def configured_database() -> dict[str, Any]:
    """Return the configured database as the arguments that open it in this process."""
    from engram_core import settings
    from engram_core.dsn import driver_of, is_server

    url = settings.store_url(settings.load(env=os.environ), os.environ)
    return {"backend": driver_of(url), "dsn": url} if is_server(url) else {"path": url}


def working_directory() -> str:
    """Return the current folder, or / when it was removed under us."""
    try:
        return os.getcwd()
    except OSError:
        return "/"


def read_stdin() -> str:
    """Return all of stdin as text."""
    if sys.stdin is None:
        raise OSError(9, "stdin is closed")
    data = sys.stdin.buffer.read(MAX_INPUT + 1)
    if len(data) > MAX_INPUT:
        raise BadInput(f"stdin holds more than {MAX_INPUT:,} bytes, and a request may have 1,048,576",
                       hint="split it into several commands, or use --stdin-ndjson")
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise BadInput(f"stdin is not UTF-8: byte {exc.start}", hint="convert it, for example with iconv") from exc


def text_from(argument: str | None, *, what: str, empty: bool = False) -> str:
    """Return the text of an argument, or of stdin for ``-`` and for none where a pipe is open."""
    if argument is not None and argument != "-":
        if not argument and not empty:
            raise BadInput(f"no {what} given: the argument is empty", hint="write it as an argument, or pipe it in")
        return argument
    if argument is None and sys.stdin is not None and sys.stdin.isatty():
        raise UsageError(f"no {what} given", hint="write it as an argument, or pipe it in")
    text = read_stdin().rstrip("\n")
    if not text:
        raise BadInput(f"no {what} given: stdin is empty", hint="write it as an argument, or pipe it in")
    return text


def lines_of_stdin() -> Iterator[list[bytes]]:
    """Yield the lines of stdin in batches, as they arrive: what one read returned, complete lines only."""
    if sys.stdin is None:
        raise OSError(9, "stdin is closed")
    rest = b""
    while chunk := sys.stdin.buffer.read1(1 << 16):  # type: ignore[union-attr]
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_INPUT:
            raise BadInput(f"a line of stdin holds more than {MAX_INPUT:,} bytes", hint="one JSON object per line")
        if lines:
            yield lines
    if rest:
        yield [rest]


def parse_json(text: str | bytes, *, what: str) -> Any:
    """Return the JSON of a text; NaN, doubled keys and anything else a daemon would refuse is refused here."""
    import json

    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError as exc:
        raise BadInput(f"{what} is nested too deeply", hint="64 levels are allowed") from exc
    except ValueError as exc:
        if isinstance(exc, BadInput):
            raise
        why = f"{exc.msg} at character {exc.pos + 1}" if isinstance(exc, json.JSONDecodeError) else str(exc)
        raise BadInput(f"{what} is not JSON: {why}", hint="check quotes and commas") from exc


def parse_object(text: str | bytes, *, what: str) -> Json:
    """Return the JSON object of a text."""
    if not text.strip():
        raise BadInput(f"{what} is empty, but must be a JSON object", hint=EXAMPLE_OBJECT)
    value = parse_json(text, what=what)
    if not isinstance(value, dict):
        raise BadInput(f"{what} is {json_kind(value)}, but must be a JSON object", hint=EXAMPLE_OBJECT)
    return value


def json_kind(value: Any) -> str:
    """Say what a JSON value is."""
    return {list: "a list", str: "a text", bool: "a truth value", int: "a number", float: "a number"}.get(
        type(value), "null")


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise BadInput(f"the JSON key {twice!r} is given twice", hint="remove one of them")
    return found


def _no_constant(name: str) -> Any:
    raise BadInput(f"{name} is not allowed in JSON", hint="write a number or null")
