"""The engine: one open database and everything that answers requests about it. Driven by the server and its threads.

``write`` runs on the writer's thread, ``read`` on one thread at a time, ``status`` anywhere. The engine does no network
I/O and knows no sockets.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engram_core._version import __version__
from engram_core.daemon import reading, writing
from engram_core.daemon.builds import Builds
from engram_core.errors import BadInput, EngramError, MethodNotFound
from engram_core.protocol.messages import READS, WRITES, check_params
from engram_core.redact import Redactor
from engram_core.scope import Scope, check_scope
from engram_core.settings import config_path, login_name, resolve_scope
from engram_core.shipped import path
from engram_core.store.store import Store
from engram_core.values import dump_json

if TYPE_CHECKING:
    from engram_core.packet import PacketRequest
    from engram_core.policy import Policies
    from engram_core.recall.budget import Counter
    from engram_core.recall.compose import Composed
    from engram_core.recall.index import IndexCache
    from engram_core.settings import Settings
    from engram_core.tokens import Tokenizer

__all__ = ["READS", "WRITES", "Engine"]


def kernel_facts() -> dict[str, Any]:
    """Say whether the compiled kernel is in use."""
    from importlib.util import find_spec

    spec = find_spec("engram_core.kernel.fit")
    return {"compiled": spec is not None, "version": __version__}


class Engine:
    """One database, opened, migrated and checked."""

    def __init__(self, settings: Settings, database: str) -> None:
        self.settings = settings
        self.store = Store(database, durability=settings.get("store.durability"),
                           busy_ms=settings.get("store.busy_timeout_ms"))
        self.redactor = Redactor(settings.get("redact.patterns"), enabled=settings.get("redact.enabled"))
        self._reading = threading.Lock()
        self._user = login_name(os.environ)
        self._facts = self.store.facts()
        self._cache: IndexCache | None = None
        self._policies: Policies | None = None
        self._shorten = False
        self.requests: dict[str, tuple[PacketRequest, str]] = {}
        self._counters: dict[tuple[str, str], Counter] = {}
        self._builds = Builds(self.store, settings.get("retention.builds_per_run"))
        self.counters = {"appends": 0, "packets": 0, "errors": 0}

    @staticmethod
    def now_ms() -> int:
        """Return the clock in milliseconds."""
        return time.time_ns() // 1_000_000

    def scope_ids(self, given: dict[str, Any], params: dict[str, Any]) -> dict[str, str]:
        """Complete a scope of a request that carries the caller's folder."""
        return resolve_scope(given, cwd=params.get("cwd"), settings=self.settings, env_user=self._user)[0]

    def scope(self, params: dict[str, Any]) -> Scope:
        """Return the request's scope, checked, completed for callers on the command line."""
        given = params.get("scope")
        return check_scope(self.scope_ids(given or {}, params) if "cwd" in params else given)

    def count_line(self, line: str) -> str | None:
        """Count a line as it will be emitted; None until the tokenizer is loaded, which no write waits for."""
        if self._cache is None:
            return None
        tokenizer = self.tokenizer
        return f"{tokenizer.name}:{tokenizer.count(line + ',' + chr(10))}:{tokenizer.count(line + chr(10))}"

    @property
    def tokenizer(self) -> Tokenizer:
        """The configured tokenizer, loaded at its first use."""
        from engram_core import tokens

        return tokens.get(self.settings.get("packet.tokenizer"))

    @property
    def cache(self) -> IndexCache:
        """The open recall indexes."""
        if self._cache is None:
            from engram_core.recall.index import IndexCache

            self._cache = IndexCache(lambda: self.tokenizer, self.settings.get("recall.language"),
                                     self.settings.get("recall.index_memory_mb") << 20)
        return self._cache

    @property
    def policies(self) -> Policies:
        """The policies of the user's folder, then the shipped ones."""
        if self._policies is None:
            from engram_core.kernel.index import RECIPE
            from engram_core.policy import Policies

            own = os.path.join(os.path.dirname(config_path(os.environ)), "policies")
            self._policies = Policies([own, path("policies")], recipe=tuple(RECIPE))
        return self._policies

    def counter(self, tokenizer: str, form: str) -> Counter:
        """Return what counts lines in a layout."""
        found = self._counters.get((tokenizer, form))
        if found is None:
            from engram_core import tokens
            from engram_core.recall.budget import Counter

            found = self._counters[tokenizer, form] = Counter(tokens.get(tokenizer), form)
        return found

    def remember_build(self, packet: Composed) -> None:
        """Keep the packet for its explanation; it is written when the writer has time."""
        self._builds.add(packet)

    def waiting_build(self, scope: Scope, build_id: str | None) -> Composed | None:
        """Return a build that is not written yet."""
        return self._builds.find(scope, build_id)

    def read(self, method: str, params: dict[str, Any]) -> bytes:
        """Answer a reading request with compact JSON."""
        check_params(method, params)
        handler = reading.HANDLERS.get(method) or self._recall_handler(method)
        with self._reading:
            result = handler(self, params)
        return result if type(result) is bytes else dump_json(result, "result").encode()

    def drop_builds(self, scope: Scope) -> None:
        """Let go of waiting builds that may hold what is being forgotten, and shorten the log when there is time."""
        self._builds.drop(scope.tenant_id)
        self._shorten = True

    @staticmethod
    def _recall_handler(method: str) -> Callable[[Engine, dict[str, Any]], Any]:
        from engram_core.daemon import recalling  # late: the first append of a cold machine does not need it

        handler = recalling.HANDLERS.get(method)
        if handler is None:
            raise MethodNotFound(f"there is no method {method!r}")
        return handler

    def write(self, ops: list[tuple[str, dict[str, Any]]]) -> list[bytes | EngramError]:
        """Run writing requests in one durable transaction; each gets its own result or error."""
        results: list[bytes | EngramError] = [b""] * len(ops)
        runs: list[Callable[[Any], Any]] = []
        places: list[int] = []
        for at, (method, params) in enumerate(ops):
            try:
                check_params(method, params)
                runs.append(writing.HANDLERS[method](self, params))
                places.append(at)
            except EngramError as error:
                results[at] = error
            except RecursionError:
                results[at] = BadInput(f"{method}: the value is nested too deeply", hint="at most 64 levels are allowed")
        outcomes = self.store.group(runs, self.now_ms()) if runs else []
        for at, outcome in zip(places, outcomes, strict=True):
            method, params = ops[at]
            if isinstance(outcome, EngramError):
                results[at] = outcome
                self.counters["errors"] += 1
            elif params.get("render") and method == "append_event":
                results[at] = dump_json(outcome["event_id"] + "\n").encode()
            else:
                results[at] = dump_json(outcome, "result").encode()
            self.counters["appends"] += method in ("append_event", "append_events")
        return results

    def fast(self, method: str, params: dict[str, Any]) -> bool:
        """Tell whether a read is short enough for the event loop."""
        return method in ("get_working_state", "get_stm")

    def after_commit(self) -> bool:
        """Do a little of what may wait until the queue is empty, and return whether there is more."""
        if self._shorten:
            self._shorten = False
            self.store.checkpoint()
        return self._builds.flush(self._reading)

    def status(self) -> dict[str, Any]:
        """Return what the engine knows of itself without touching the database."""
        index = self._cache.facts() if self._cache is not None else {"owners": 0, "memories": 0, "bytes": 0}
        return {"version": __version__, "kernel": kernel_facts(), "tokenizer": self.settings.get("packet.tokenizer"),
                "index": index, "database": self.store.path, "schema": self.store.schema,
                "durability": self.store.durability, "counters": dict(self.counters), "sqlite": self._facts}

    def close(self) -> None:
        """Close the database."""
        self.store.close()
