"""The engine: one open database and everything that answers requests about it. Driven by the server and its threads.

``write`` runs on the writer's thread, ``read`` on one thread at a time, ``status`` anywhere. The engine does no network
I/O and knows no sockets.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from typing import TYPE_CHECKING, Any, NamedTuple

from engram_core._version import __version__
from engram_core.daemon import reading, writing
from engram_core.daemon.builds import Builds
from engram_core.daemon.retention import Retention
from engram_core.daemon.spooling import Spool
from engram_core.errors import BadInput, ConfigError, EngramError, MethodNotFound
from engram_core.protocol.messages import READS, WRITES, check_params
from engram_core.redact import Redactor
from engram_core.scope import SCOPE_FIELDS, SCOPE_LEVELS, Scope, check_scope
from engram_core.settings import database_path, login_name, resolve_scope
from engram_core.store.store import Store
from engram_core.values import INT_MAX, dump_json, show

if TYPE_CHECKING:
    from engram_core.daemon.recalling import Wanted
    from engram_core.daemon.vectors import Vectors
    from engram_core.policy import Policies
    from engram_core.recall.budget import Counter
    from engram_core.recall.cache import IndexCache
    from engram_core.recall.compose import Composed
    from engram_core.recall.embedding import Embedding
    from engram_core.recall.itemindex import ItemIndexes
    from engram_core.settings import Settings
    from engram_core.store.store import Posted
    from engram_core.store.transaction import Owner
    from engram_core.tokens import Tokenizer

__all__ = ["READS", "WRITES", "Engine"]


FAST_CHANGES = 100
FAST_MEMORIES = 120_000  # a question goes over that many in about a millisecond
PREPARED_BYTES = 4096  # of an append that the event loop may prepare, which takes it tens of microseconds then
COUNTS = 200  # counts of tokens stored in one go
SHORTEN_S = 1.0  # between two tries to empty the log


KERNEL = ("adding", "analysis", "bpe", "documents", "evidence", "fit", "hints", "index", "jsonread", "jsontext",
          "lexicon", "matching", "pieces", "pool", "question", "ranking", "recipe", "shown", "sqlvalues", "table",
          "timewords", "vectors")


def kernel_facts() -> dict[str, Any]:
    """Say whether the compiled kernel is there; looks at the files only, because importing it takes time."""
    folder = os.path.join(os.path.dirname(os.path.dirname(__file__)), "kernel")
    compiled = {name.split(".")[0] for name in os.listdir(folder) if name.endswith(tuple(EXTENSION_SUFFIXES))}
    return {"compiled": compiled.issuperset(KERNEL), "version": __version__}


def require_kernel() -> dict[str, Any]:
    """Return what is known of the kernel; raise ConfigError when it is not compiled here: there is no slower way."""
    found = kernel_facts()
    if not found["compiled"]:
        raise ConfigError(f"the compiled kernel is missing for this Python ({EXTENSION_SUFFIXES[0]})",
                          hint="install Engram again where a C compiler is at hand, or run `make kernel` in a checkout")
    return found


@cache
def _late_handler(method: str) -> Callable[[Engine, dict[str, Any]], Any]:
    from engram_core.daemon import checkpointing, itemizing, policies, recalling  # late: a cold first append

    handler = (recalling.HANDLERS.get(method) or policies.HANDLERS.get(method) or
               checkpointing.READING.get(method) or itemizing.READING.get(method))
    if handler is None:
        raise MethodNotFound(f"there is no method {method!r}")
    return handler


@cache
def _late_writer(method: str) -> Callable[[Engine, dict[str, Any]], Callable[[Any], Any]]:
    from engram_core.daemon import checkpointing, itemizing

    return checkpointing.WRITING.get(method) or itemizing.WRITING[method]


class Flight(NamedTuple):
    """Writes that were posted, and the replies to them if all goes well."""

    ops: list[tuple[str, dict[str, Any]]]
    posted: Posted
    replies: list[bytes | EngramError]


def _reply(method: str, params: dict[str, Any], outcome: Any | EngramError) -> bytes | EngramError:
    """Return the JSON of what a write returned, or its error."""
    if isinstance(outcome, EngramError):
        return outcome
    rendered = params.get("render") and method == "append_event"
    return dump_json(outcome["event_id"] + "\n" if rendered else outcome, "result").encode()


class Engine:
    """One database, opened, migrated and checked."""

    def __init__(self, settings: Settings, database: str) -> None:
        self._kernel = require_kernel()  # once: status must not need a descriptor to look it up
        self.settings = settings
        self.store = Store(database, durability=settings.get("store.durability"),
                           busy_ms=settings.get("store.busy_timeout_ms"),
                           answer_ms=settings.get("store.answer_timeout_ms"),
                           password_file=settings.get("store.password_file"))
        self.redactor = Redactor(settings.get("redact.patterns"), enabled=settings.get("redact.enabled"))
        self._reading = threading.RLock()
        # A database in memory has one connection, so whoever writes keeps the readers out.
        self._writing = self._reading if database == ":memory:" else nullcontext()
        self._user = login_name(os.environ)
        self._facts = self.store.facts()
        self._cache: IndexCache | None = None
        self._items: ItemIndexes | None = None
        self._policies: Policies | None = None
        self._tokenizer: Tokenizer | None = None
        # A killed daemon may have left forgotten text in its log; a server may not know its tables yet.
        self._shorten = self.store.far or bool(self._facts.get("wal_bytes"))
        self._shorten_at = 0.0
        self._unseen = 0
        self.requests: dict[str, Wanted] = {}
        self._counters: dict[tuple[str, str], Counter] = {}
        self._builds = Builds(self.store, settings.get("retention.builds_per_run"), self._recalled)
        self._retention = Retention()
        self._embedding: Embedding | None = None
        self._vectors: Vectors | None = None
        self.spool = Spool(self, database_path(settings, os.environ) if self.store.far else database)

    def reload(self, settings: Settings) -> None:
        """Take over changed settings; what the database and the open indexes were made with stays until a restart."""
        redactor = Redactor(settings.get("redact.patterns"), enabled=settings.get("redact.enabled"))
        with self._reading:
            if settings.get("packet.tokenizer") != self.settings.get("packet.tokenizer"):
                self._cache = None
            self.settings, self.redactor, self._policies, self._tokenizer = settings, redactor, None, None
            self.requests.clear()
        self._builds.keep = settings.get("retention.builds_per_run")

    def warm(self) -> None:
        """Load what the first packet would wait for: models, policies, the tokenizer and the kernel."""
        from engram_core.daemon import builds, checkpointing, itemizing, policies, recalling  # noqa: F401 - the imports
        from engram_core.recall import account, build, parts, search  # noqa: F401 - likewise

        with self._reading:
            self.policies.load(self.settings.get("packet.policy"), {})
            self.counter(self.settings.get("packet.tokenizer"), "json")
            _ = self.cache

    @staticmethod
    def now_ms() -> int:
        """Return the clock in milliseconds."""
        return time.time_ns() // 1_000_000

    def scope_ids(self, given: Any, params: dict[str, Any]) -> dict[str, str]:
        """Complete a scope of a request that carries the caller's folder."""
        if given is not None and type(given) is not dict:
            raise BadInput(f"scope is {show(given)}; allowed is an object with {', '.join(SCOPE_FIELDS)}")
        cwd = params.get("cwd")
        if cwd is not None and type(cwd) is not str:
            raise BadInput(f"cwd is {show(cwd)}; allowed is the path of a folder")
        return resolve_scope(given or {}, cwd=cwd, settings=self.settings, env_user=self._user)[0]

    def scope(self, params: dict[str, Any]) -> Scope:
        """Return the request's scope, checked, completed for callers on the command line."""
        given = params.get("scope")
        return check_scope(self.scope_ids(given, params) if "cwd" in params else given)

    def count_line(self, line: str) -> str | None:
        """Count a line as it will be emitted; None until the tokenizer is loaded, which no write waits for."""
        if self._cache is None:
            return None
        tokenizer = self._tokenizer = self._tokenizer or self.tokenizer
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
            from engram_core.recall.cache import IndexCache

            self._cache = IndexCache(lambda: self.tokenizer, self.settings.get("recall.language"),
                                     self.settings.get("recall.index_memory_mb") << 20, self.embedding)
        return self._cache

    @property
    def items(self) -> ItemIndexes:
        """The open indexes of items."""
        if self._items is None:
            from engram_core.recall.itemindex import ItemIndexes

            self._items = ItemIndexes(self.settings.get("recall.language"))
        return self._items

    @property
    def embedding(self) -> Embedding | None:
        """The embedding model, None where none is configured; its loading begins at its first use."""
        if self._embedding is None and (name := self.settings.get("embed.model")):
            from engram_core.daemon.vectors import Vectors
            from engram_core.recall.embedding import Embedding

            self._embedding = Embedding(name, self.settings.get("embed.timeout_ms"))
            self._vectors = Vectors(self._embedding, self.store, self._reading)
        return self._embedding

    @property
    def policies(self) -> Policies:
        """The policies of the user's folder, then the shipped ones."""
        if self._policies is None:
            from engram_core.kernel.index import RECIPE
            from engram_core.policy import Policies
            from engram_core.policy_file import folders

            self._policies = Policies(folders(os.environ), recipe=tuple(RECIPE))
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

    def _recalled(self, owner: Owner, kind: str, seqs: list[int]) -> None:
        if self._cache is not None:
            self._cache.recalled(owner, kind, seqs)

    def waiting_build(self, scope: Scope, build_id: str | None) -> Composed | None:
        """Return a build that is not written yet."""
        return self._builds.find(scope, build_id)

    def read(self, method: str, params: dict[str, Any]) -> bytes:
        """Answer a reading request with compact JSON."""
        check_params(method, params)
        handler = reading.HANDLERS.get(method) or _late_handler(method)
        with self._reading:
            if method == "build_memory_packet":
                self._unseen = 0
            result = handler(self, params)
        return result if type(result) is bytes else dump_json(result, "result").encode()

    def _forgot(self, scope: Scope) -> None:
        """Let go of what holds forgotten memories in this process, and empty the log when there is time."""
        with self._reading:  # a packet under way was begun before; it is among the waiting ones afterwards
            self._builds.drop(scope.tenant_id)
            for level in SCOPE_LEVELS:
                if self._cache is not None and self._cache.is_warm(scope.layer(level), INT_MAX):
                    self._cache.get(scope.layer(level), self.store.reads, self.store.reads.stamp())
        self._shorten = True

    def check_write(self, method: str, params: dict[str, Any]) -> Callable[[Any], Any]:
        """Return what a writing request does in a transaction; raise what is wrong with it before anything is done."""
        check_params(method, params)
        if method != "forget":  # what was stored before, or without redaction, can be forgotten
            self.redactor.check_ids(params, "")
        return (writing.HANDLERS.get(method) or _late_writer(method))(self, params)

    def prepare(self, method: str, params: dict[str, Any], size: int) -> Callable[[Any], Any] | EngramError | None:
        """Return what ``write`` would make of an append as a first step, or None where that is better left to it.

        The event loop does this while the writer waits for the database; what may take long is not done there.
        """
        if method != "append_event" or size > PREPARED_BYTES:
            return None
        try:
            return self.check_write(method, params)
        except EngramError as error:
            return error
        except Exception:  # a defect: the writer meets it too, and says so
            return None

    def write(self, ops: list[tuple[str, dict[str, Any]]],
              prepared: Sequence[Callable[[Any], Any] | EngramError | None] = ()) -> list[bytes | EngramError]:
        """Run writing requests in one durable transaction; each gets its own result or error.

        ``prepared`` may hold what ``prepare`` made of each.
        """
        if any(method == "forget" for method, _ in ops):
            while self.spool.replay():  # what waits there is to be forgotten as well
                pass
        results: list[bytes | EngramError] = [b""] * len(ops)
        runs: list[Callable[[Any], Any]] = []
        places: list[int] = []
        for at, (method, params) in enumerate(ops):
            ready = prepared[at] if prepared else None
            if isinstance(ready, EngramError):
                results[at] = ready
                continue
            try:
                runs.append(ready or self.check_write(method, params))
                places.append(at)
            except EngramError as error:
                results[at] = error
            except RecursionError:
                results[at] = BadInput(f"{method}: the value is nested too deeply; allowed are 64 levels",
                                       hint="send a flatter value")
        outcomes: list[Any | EngramError] = []
        if runs:
            with self._writing:
                outcomes = self.store.group(runs, self.now_ms(), writing.appended(runs))
        self._unseen += len(outcomes)
        for at, outcome in zip(places, outcomes, strict=True):
            method, params = ops[at]
            if method == "forget" and not isinstance(outcome, EngramError) and not outcome["dry_run"]:
                self._forgot(self.scope(params))
            results[at] = _reply(method, params, outcome)
        return results

    def post(self, ops: list[tuple[str, dict[str, Any]]], appends: list[Callable[[Any], Any]]) -> Flight | None:
        """Send what ``write`` would commit and do not wait for it, or return None when that is not possible."""
        posted = self.store.post(appends, self.now_ms(), writing.appended(appends))
        if posted is None:
            return None
        return Flight(ops, posted, [_reply(*op, one) for op, one in zip(ops, posted.results, strict=True)])

    def settle(self, flight: Flight) -> list[bytes | EngramError]:
        """Return the results of the writes that were posted first, once they are committed."""
        outcomes = self.store.settle(flight.posted)
        self._unseen += len(outcomes)
        if outcomes is flight.posted.results:
            return flight.replies
        return [_reply(*op, outcome) for op, outcome in zip(flight.ops, outcomes, strict=True)]

    def shorten(self) -> None:
        """Have the log emptied at the next occasion."""
        self._shorten = True

    def fast(self, method: str, params: dict[str, Any]) -> bool:
        """Tell whether a read is short enough for the event loop: its index is open and little was written since."""
        if self.store.far or self.settings.get("embed.model"):  # the loop must not wait for a server or a model
            return False
        if method in ("get_working_state", "get_stm"):
            return True
        if method != "build_memory_packet" or self._cache is None or self._unseen > FAST_CHANGES:
            return False
        request = params.get("request")
        scope = request.get("scope", params.get("scope")) if type(request) is dict else None
        if "cwd" in params or type(scope) is not dict:
            try:
                scope = self.scope({**params, "scope": scope})._asdict()
            except EngramError:
                return True  # which the handler will say
        owner: Any = (scope.get("tenant_id") or "default", scope.get("user_id"), scope.get("agent_id"))
        try:
            return self._cache.is_warm(owner, FAST_MEMORIES)
        except TypeError:  # ids that are no texts, which the handler will say as well
            return True

    def is_free(self) -> bool:
        """Tell whether a read would not have to wait for another one."""
        free = self._reading.acquire(blocking=False)
        if free:
            self._reading.release()
        return free

    def after_commit(self) -> bool:
        """Do a little of what may wait until the queue is empty, and return whether there is more."""
        with self._writing:
            more = self._vectors is not None and self._cache is not None and self._vectors.step(
                self._cache, self.now_ms())
            return self._tidy() or more

    def _tidy(self) -> bool:
        if self._builds.flush() or self._store_counts():
            return True
        more, gone = self._retention.step(self.store, self.settings, self.now_ms())
        self._shorten = self._shorten or gone > 0
        if more:
            return True
        # What was forgotten is still in the log: it is emptied, at the next occasion when a reader is in the way.
        now = time.monotonic()
        if self._shorten and now >= self._shorten_at:
            self._shorten = not self.store.checkpoint()
            self._shorten_at = now + SHORTEN_S if self._shorten else 0.0
        return self._shorten

    def _store_counts(self) -> bool:
        """Store some of the tokens that had to be counted when an index was opened; tell whether there were any."""
        taken = self._cache.take_counted(COUNTS) if self._cache is not None else None
        if taken is None:
            return False
        owner, revision, counts = taken
        self.store.group([lambda tx: tx.counted(owner, revision, counts)], self.now_ms())
        return True

    def status(self) -> dict[str, Any]:
        """Return what the engine knows of itself without touching the database."""
        index = self._cache.facts() if self._cache is not None else {"owners": 0, "memories": 0, "bytes": 0}
        return {"version": __version__, "kernel": self._kernel, "tokenizer": self.settings.get("packet.tokenizer"),
                "index": index, "database": self.store.name, "schema": self.store.schema,
                "durability": self.store.durability, "backend": self.store.kind,
                self.store.kind: {**self._facts, **self.store.health()},
                "retention": self._retention.facts(self.settings),
                **({"embedding": self._embedding.facts()} if self._embedding is not None else {})}

    def close(self) -> None:
        """Close the database, after the read under way."""
        with self._reading:
            self.store.close()
