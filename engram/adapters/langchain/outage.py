"""Asking a memory that may be away: a deadline for every call, one line in the log, and events that wait.

Driven by the middleware. After a failure nobody is asked for a while, so that an agent does not wait the whole deadline
at every step; what was to be recorded waits in this process and goes first when the memory answers again.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as OutOfTime
from typing import Any, TypeVar

from engram.adapters.place import Given, Place, Steps
from engram_core.errors import BadInput, EngramError

__all__ = ["Keeper"]

T = TypeVar("T")
PAUSE_S = 2.0
"""How long nobody asks after a failure."""
MOST_WAITING = 10_000
"""Events that wait at most; beyond it the oldest are lost, and the log says so."""
GROUP = 100
"""Events recorded in one request."""
log = logging.getLogger("engram.adapters")


class Keeper:
    """One memory, asked within a deadline."""

    def __init__(self, memory: Given, deadline: float) -> None:
        if not 0 < deadline <= 3600:
            raise BadInput(f"deadline is {deadline!r}; allowed are seconds above 0, at most 3600")
        self.place = Place(memory)
        self._deadline = deadline
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="engram-keeper")
        self._away_until = 0.0
        self._away = False
        self._refusal = ""
        self._waiting: OrderedDict[tuple[str, ...], dict[str, Any]] = OrderedDict()
        self._recorded: OrderedDict[tuple[str, ...], None] = OrderedDict()
        self._lock = threading.Lock()

    def run(self, steps: Steps[T]) -> T | None:
        """Return what came of the requests, None when the memory is away or too slow."""
        if self._is_away():
            return None
        asked = self._threads.submit(self.place.run, steps)
        try:
            return self._back(asked.result(self._deadline))
        except (OutOfTime, EngramError) as error:
            self._failed(error)
            return None

    async def arun(self, steps: Steps[T]) -> T | None:
        """Return what came of the requests, None when the memory is away or too slow."""
        if self._is_away():
            return None
        try:
            return self._back(await asyncio.wait_for(self.place.arun(steps), self._deadline))
        except (TimeoutError, EngramError) as error:
            self._failed(error)
            return None

    def record(self, events: list[dict[str, Any]]) -> None:
        """Append events, with those that wait before them; they wait when the memory is away."""
        self._queue(events)
        while group := self._group():
            if self.run(_append(group)) is None:
                return
            self._done(group)

    async def arecord(self, events: list[dict[str, Any]]) -> None:
        """Append events, with those that wait before them; they wait when the memory is away."""
        self._queue(events)
        while group := self._group():
            if await self.arun(_append(group)) is None:
                return
            self._done(group)

    @property
    def waiting(self) -> int:
        """How many events wait."""
        return len(self._waiting)

    def close(self) -> None:
        """Record what waits, if the memory answers, and close what was opened here."""
        if self._waiting and not asyncio_runs():
            self._away_until = 0.0
            self.record([])
        self._threads.shutdown(wait=False)
        self.place.close()

    # ---- away and back

    def _is_away(self) -> bool:
        return time.monotonic() < self._away_until

    def _back(self, found: T) -> T:
        if self._away:
            self._away = False
            log.warning("the memory answers again")
        return found

    def _failed(self, error: BaseException) -> None:
        """Log the first failure of several, and leave the memory alone for a while; a refusal is no failure of it."""
        if isinstance(error, BadInput):
            if str(error) != self._refusal:
                self._refusal = str(error)
                log.warning("the memory refused a request; the agent goes on without it: %s", error)
            return
        self._away_until = time.monotonic() + PAUSE_S
        if not self._away:
            self._away = True
            log.warning("the memory does not answer within %g s; the agent goes on without it: %s", self._deadline,
                        str(error) or type(error).__name__)

    # ---- events

    def _queue(self, events: list[dict[str, Any]]) -> None:
        with self._lock:
            for event in events:
                key = _key(event)
                if key not in self._recorded:
                    self._waiting.setdefault(key, event)
            lost = len(self._waiting) - MOST_WAITING
            for _ in range(lost):
                self._waiting.popitem(last=False)
        if lost > 0:
            log.error("%d turns were lost: the memory has been away for too long", lost)

    def _group(self) -> list[dict[str, Any]]:
        with self._lock:
            return [event for event, _ in zip(self._waiting.values(), range(GROUP), strict=False)]

    def _done(self, group: list[dict[str, Any]]) -> None:
        with self._lock:
            for event in group:
                self._waiting.pop(_key(event), None)
                self._recorded[_key(event)] = None
            while len(self._recorded) > MOST_WAITING:
                self._recorded.popitem(last=False)


def _append(events: list[dict[str, Any]]) -> Steps[bool]:
    """Append events, one by one where together they are refused: one of them is too large, or another's double."""
    try:
        yield "append_events", {"events": events}
    except EngramError as error:
        if error.retryable or error.exit_code != 65:
            raise
        for event in events:
            try:
                yield "append_event", {"event": event}
            except EngramError as refused:
                if refused.retryable or refused.exit_code != 65:
                    raise
                log.warning("a turn was not recorded: %s", refused)
    return True


def _key(event: dict[str, Any]) -> tuple[str, ...]:
    return (*event["scope"].values(), event["event_id"])


def asyncio_runs() -> bool:
    """Tell whether this thread runs an event loop, which must not wait."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
