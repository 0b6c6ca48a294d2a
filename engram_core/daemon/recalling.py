"""The operations of recall: packet, explanation, search. Driven by the engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from engram_core import layout
from engram_core.errors import BadInput, BudgetTooSmall, NotFound
from engram_core.kernel.jsontext import json_string
from engram_core.values import check_id, check_text, dump_json, show

if TYPE_CHECKING:
    from engram_core.daemon.handlers import Engine
    from engram_core.packet import PacketRequest
    from engram_core.recall.compose import Composed
    from engram_core.scope import Scope

Params = dict[str, Any]
PARTS = ("all", "stable", "volatile")


def _choice(params: Params, name: str, allowed: tuple[str, ...], default: str) -> str:
    value = params.get(name, default)
    if value not in allowed:
        raise BadInput(f"{name} is {show(value)}; allowed are {', '.join(allowed)}")
    return str(value)


class Wanted(NamedTuple):
    """A request that was checked: its scope, None where the caller's folder decides, and its canonical JSON."""

    scope: Scope | None
    request: PacketRequest
    canonical: str


def _composed(engine: Engine, request: Any, params: Params) -> Composed:
    """Build a packet from a request object; the scope is completed for callers on the command line."""
    from engram_core.recall.build import make_question, moment
    from engram_core.recall.parts import build_part

    if type(request) is not dict:
        raise BadInput(f"request is {show(request)}; allowed is an object with scope, purpose, query, budget …")
    wanted = _wanted(engine, request, params)
    scope = wanted.scope or engine.scope({**params, "scope": request.get("scope", params.get("scope"))})
    policy = engine.policies.load(wanted.request.policy_id, wanted.request.policy)
    now_ms = moment(request.get("now"), engine.now_ms())
    form = _choice(params, "format", layout.FORMATS, "json")
    counter = engine.counter(params.get("tokenizer") or engine.settings.get("packet.tokenizer"), form)
    part = _choice(params, "part", PARTS, "all")
    question = make_question(scope, wanted.request, policy, now_ms, wanted.canonical)
    most = _max_chars(params)
    with engine.store.reads.one_state():
        return build_part(question, part, engine.store.reads, engine.cache, counter, most_chars=most)


def _wanted(engine: Engine, request: dict[str, Any], params: Params) -> Wanted:
    """Check a request; the same one again, at whatever moment, is not checked again."""
    own = "scope" in request and "cwd" not in params
    text = dump_json({key: value for key, value in request.items() if key != "now" and (own or key != "scope")},
                     "request")
    known = engine.requests.get(text)
    if known is None:
        if len(engine.requests) >= 256:
            engine.requests.clear()
        known = engine.requests[text] = _checked(engine, request, engine.scope(request) if own else None)
    return known


def _checked(engine: Engine, request: dict[str, Any], scope: Scope | None) -> Wanted:
    from engram_core.models import build
    from engram_core.packet import PacketRequest

    given = {key: value for key, value in request.items() if key not in ("scope", "now")}
    for name in ("query", "cues"):  # they are stored with the build, so they must hold no secret either
        if name in given:
            given[name], _ = engine.redactor.value(given[name])
    if given.get("budget") is None:
        given["budget"] = {}
    if type(given["budget"]) is dict and "max_tokens" not in given["budget"]:
        given["budget"] = {**given["budget"], "max_tokens": engine.settings.get("packet.max_tokens")}
    given.setdefault("policy_id", engine.settings.get("packet.policy"))
    wanted = build(PacketRequest, given, "request")
    return Wanted(scope, wanted, wanted.model_dump_json(exclude={"persist", "now"}))


def _max_chars(params: Params) -> int | None:
    most = params.get("max_chars")
    if most is not None and (type(most) is not int or most < 1):
        raise BadInput(f"max_chars is {show(most)}; allowed is a whole number from 1")
    return most


def build_memory_packet(engine: Engine, params: Params) -> Any:
    """Build a packet; with ``render`` the bytes for a prompt, else the packet object."""
    packet = _composed(engine, params["request"], params)
    if packet.found.question.request.persist:
        engine.remember_build(packet)
    form = packet.spent.counter.form
    if params.get("render"):
        text = packet.text(form) if form != "json" else packet.bare() if params.get("bare") else packet.json()
        return json_string(text)
    if form != "json":
        return {"text": packet.text(form), **packet.meta(), "budget_report": packet.report()}
    return packet.json().replace("\n", "").encode()


def explain(engine: Engine, params: Params) -> Any:
    """Return the stored account of a build, the scope's last one, or of a packet built for this request now."""
    memory, request = params.get("memory_id"), params.get("request")
    for name in ("build_id", "memory_id"):
        if params.get(name) is not None:
            check_id(name, params[name])
    if "cwd" not in params and params.get("scope") is None and (type(request) is not dict or "scope" not in request):
        raise BadInput("explain needs the parameter 'scope'", hint="give scope, or a request that holds one")
    if request is not None:
        try:
            packet = _composed(engine, request, params)
        except BudgetTooSmall as error:  # an explanation has no other form to take
            raise BudgetTooSmall(error.message, hint=error.hint.partition(",")[0]) from None
        return _explained(packet, engine, memory)
    build_id = params.get("build_id")
    scope = engine.scope(params)
    waiting = engine.waiting_build(scope, build_id)
    if waiting is not None:
        return _explained(waiting, engine, memory)
    text = engine.store.reads.explanation(scope, build_id)
    if text is None:
        what = f"build {build_id!r} is not" if build_id else "no packet was built"
        raise NotFound(f"{what} in run {scope.run_id!r} of session {scope.session_id!r}",
                       hint="build one with `engram packet`, or explain one now with `engram explain --query …`")
    account: dict[str, Any] = json.loads(text)
    if memory is not None:
        rows = [row for row in account["candidates"] if row["id"] == memory]
        account["candidates"] = rows or _row_now(engine, account, memory)
    return account


def _row_now(engine: Engine, account: dict[str, Any], memory: str) -> list[dict[str, Any]]:
    """Compute the row of a memory that was no candidate, by the build's request and moment, from what is stored now."""
    request = {**account["request"], "scope": account["scope"], "now": account["generated_at"]}
    shown = {"format": account["format"], "tokenizer": account["tokenizer"]}
    rows: list[dict[str, Any]] = _explained(_composed(engine, request, shown), engine, memory)["candidates"]
    return rows


def _explained(packet: Composed, engine: Engine, memory: str | None) -> dict[str, Any]:
    from engram_core.recall.account import explanation

    account = explanation(packet, engine.store.reads, memory_id=memory)
    if memory is not None and not account["candidates"]:
        raise NotFound(f"memory {memory!r} is not in this scope", hint="`engram search` and `engram explain` show ids")
    return account


def search(engine: Engine, params: Params) -> Any:
    """Rank memories by a query alone."""
    from engram_core.daemon.reading import limit_of
    from engram_core.recall.build import moment
    from engram_core.recall.index import KINDS
    from engram_core.recall.search import search as run

    scope = engine.scope(params)
    query = check_text("query", params["query"])
    kinds = params.get("kinds") or list(KINDS)
    if type(kinds) is not list or any(kind not in KINDS for kind in kinds):
        raise BadInput(f"kinds is {show(kinds)}; allowed is a list of {', '.join(KINDS)}")
    most = params.get("max_tokens")
    if most is not None and (type(most) is not int or most < 1):
        raise BadInput(f"max_tokens is {show(most)}; allowed is a whole number from 1")
    policy = engine.policies.load(engine.settings.get("packet.policy"), {})
    now_ms = moment(params.get("now"), engine.now_ms(), "now")
    with engine.store.reads.one_state():
        hits = run(scope, query, kinds=kinds, limit=limit_of(params), max_tokens=most, policy=policy,
                   now_ms=now_ms, reads=engine.store.reads, cache=engine.cache)
    return {"hits": hits}


HANDLERS: Mapping[str, Callable[[Engine, Params], Any]] = {
    "build_memory_packet": build_memory_packet, "explain": explain, "search": search,
}
