"""Take what is to be stored from arguments, stdin, one JSON object or a stream of them. Driven by adding commands.

``--stdin-ndjson`` answers with one line per input line, in order. A bad line is answered with its error, the rest goes
on, and the command ends with 65. Lines are sent without waiting for each answer, so that they share commits; a slow
writer still sees each answer at once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import typer

from engram_cli.call import Call, json_kind, lines_of_stdin, parse_object, read_stdin
from engram_cli.call import given as given_fields
from engram_cli.errors import failure
from engram_cli.output import Progress, plural
from engram_core.errors import BadInput, EngramError, NoDaemon, UsageError

Json = dict[str, Any]

StdinJson = Annotated[bool, typer.Option("--stdin-json", help="Read it from stdin as one JSON object.")]
StdinNdjson = Annotated[bool, typer.Option(
    "--stdin-ndjson", help="Read many from stdin, one JSON object per line; write one result per line.")]


class Item:
    """Say how one item becomes a request, and how the answer to a single one is shown; ``answer`` may add to it."""

    def __init__(self, name: str, method: str, params: Callable[[Json], Json], show: Callable[[Json], None], *,
                 answer: Callable[[Json], Json] = lambda reply: reply,
                 spool: Callable[[Json, NoDaemon, bool], Json] | None = None) -> None:
        self.name, self.method, self.params, self.show, self.answer = name, method, params, show, answer
        self.spool = spool  # what to do with an item when there is no daemon; its last argument: do not tell each


def lifted(call: Call, one: Json) -> tuple[Json, Json]:
    """Return whose memory it is and the rest of it: an object may name ids of its own in ``scope``."""
    inner = one.get("scope")
    if inner is None:
        inner = {}
    if not isinstance(inner, dict):
        raise BadInput(f"scope is {json_kind(inner)}, but must be a JSON object",
                       hint='such as {"session_id":"…","run_id":"…"}')
    return {**call.scope, **inner}, {key: value for key, value in one.items() if key != "scope"}


def feed(call: Call, item: Item, *, fields: Mapping[str, Any], argument: Callable[[], Mapping[str, Any]],
         stdin_json: bool, stdin_ndjson: bool, given: object = None) -> int:
    """Store one item or a stream of them; ``fields`` are the options, ``argument`` makes the rest of a single one."""
    if stdin_json and stdin_ndjson:
        raise UsageError("--stdin-json and --stdin-ndjson exclude each other", hint="choose one")
    if given is not None and (stdin_json or stdin_ndjson):
        raise UsageError("an argument and stdin are both given", hint="leave one of them out")
    base = given_fields(fields)
    if stdin_ndjson:
        return _Stream(call, item, base).run()
    one = {**base, **(parse_object(read_stdin(), what="stdin") if stdin_json else argument())}
    params = item.params(one)
    try:
        reply = item.answer(call.memory.request(item.method, params))
    except NoDaemon as gone:
        if item.spool is None:
            raise
        reply = item.spool(params, gone, False)
    if call.out.json or call.out.ndjson:
        call.out.document(item.name, reply)
    else:
        item.show(reply)
        _tell_masked(call, item, reply)
    return 0


def _tell_masked(call: Call, item: Item, reply: Json) -> None:
    """Say that secrets were masked; appending is silent, because its fast way is."""
    count = int(reply.get("redacted") or 0)
    if count and item.name != "append":
        call.out.note(f"{plural(count, 'secret')} masked before storing; see: engram config show redact.enabled")


class _Stream:
    """Keep the answers in the order of the lines: some come from the daemon, those of bad lines from here."""

    def __init__(self, call: Call, item: Item, base: Json) -> None:
        self._call, self._item, self._base = call, item, base
        self._waiting: deque[Json | int] = deque()  # a bad line's answer, or the number of a line that was sent
        self._lock = threading.Lock()  # lines are read on the thread that sends
        self._codes: set[int] = set()

    def run(self) -> int:
        """Send the lines, write the answers, return the exit code."""
        if self._item.spool is not None:
            try:
                self._call.memory.hello()
            except NoDaemon as gone:
                return self._spool_all(self._item.spool, gone)
        progress = Progress("stored", watched=not self._call.out.terminal)
        try:
            for count, reply in enumerate(self._call.memory.stream(self._item.method, self._requests()), 1):
                with self._lock:
                    number = self._waiting.popleft()
                    assert isinstance(number, int)
                    self._write(self._refusal(reply, number) if isinstance(reply, EngramError) else reply)
                    self._write_refused()
                progress.step(count)
        finally:
            progress.end()
        return 65 if 65 in self._codes else min(self._codes, default=0)

    def _spool_all(self, spool: Callable[[Json, NoDaemon, bool], Json], gone: NoDaemon) -> int:
        """Keep each line for the next daemon; one that cannot be kept is answered with the reason."""
        for number, params in enumerate(self._requests()):
            with self._lock:
                line = self._waiting.pop()
                assert isinstance(line, int)
                try:
                    self._write(spool(params, gone, number > 0))
                except EngramError as exc:
                    self._write(self._refusal(exc, line))
        return 65 if 65 in self._codes else min(self._codes, default=0)

    def _requests(self) -> Iterator[Json]:
        number = 0
        for lines in lines_of_stdin():
            for line in lines:
                number += 1
                if not line.strip():
                    continue
                try:
                    params = self._item.params({**self._base, **parse_object(line, what=f"line {number}")})
                except BadInput as exc:
                    with self._lock:
                        self._waiting.append(self._refusal(exc, number))
                        self._write_refused()
                    continue
                with self._lock:
                    self._waiting.append(number)
                yield params

    def _write_refused(self) -> None:
        while self._waiting and isinstance(first := self._waiting[0], dict):
            self._waiting.popleft()
            self._write(first)

    def _write(self, answer: Json) -> None:
        self._call.out.rows([answer])
        if not any(isinstance(one, int) for one in self._waiting):
            self._call.out.flush()

    def _refusal(self, exc: EngramError, number: int) -> Json:
        entry = failure(exc)
        self._codes.add(int(entry["exit"]))
        return {"error": entry, "line": number}
