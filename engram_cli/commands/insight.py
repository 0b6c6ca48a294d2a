"""Keep insights: add, list, test, validate, reject, promote. Driven by main."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from engram_cli import views
from engram_cli.call import Call, given, text_from
from engram_cli.commands.fact import Confidence, Sources
from engram_cli.feed import Item, Json, StdinJson, StdinNdjson, feed, lifted
from engram_cli.numbers import limit
from engram_cli.options import command, family
from engram_cli.times import time as time_option
from engram_core.errors import UsageError
from engram_core.ids import new_id

app = family("insight", "Keep hypotheses, and test, validate or reject them.", default="list")

Id = Annotated[str, typer.Argument(metavar="ID", show_default=False, help="The insight's id; see engram insight list.")]


@command(app, "add", example="""
engram insight add "Deploys fail on Mondays because the cache is cold" --trigger failure
engram insight add "Ask for the error text first" --type strategy --suggest "compare ten tickets"
engram insight add --stdin-ndjson < insights.ndjson
""")
def add(
    call: Call,
    statement: Annotated[str | None, typer.Argument(metavar="[STATEMENT]", show_default=False,
                                                    help="The thought; - or a pipe reads stdin.")] = None,
    *,
    type: Annotated[str | None, typer.Option("--type", metavar="hypothesis|strategy|pattern",
                                             help="hypothesis by default.")] = None,
    trigger: Annotated[str | None, typer.Option("--trigger", metavar="conflict|failure|synthesis|analogy",
                                                help="What led to it; synthesis by default.")] = None,
    confidence: Confidence = None,
    suggest: Annotated[list[str] | None, typer.Option(
        "--suggest", metavar="TEXT", help="A test that would tell; may be given again.")] = None,
    expires: Annotated[str | None, time_option(
        "--expires", word="run_end", help="When it lapses; with the run by default.")] = None,
    source: Sources = None,
    id: Annotated[str | None, typer.Option(
        "--id", metavar="ID", help="The insight's id; a new one by default.")] = None,
    stdin_json: StdinJson = False,
    stdin_ndjson: StdinNdjson = False,
) -> int:
    """Keep a hypothesis, a strategy or a pattern of this run until it is tested.

    A JSON object on stdin has the fields that engram insight list --json shows; its scope may name another run.
    """
    fields = {"trigger": trigger, "confidence": confidence, "tests_suggested": suggest, "sources": source, "id": id,
              "expires_at": expires, "type": type}

    def params(insight: Json) -> Json:
        made = {"id": new_id("in_", time.time_ns() // 1_000_000), "type": "hypothesis"}
        scope, rest = lifted(call, insight)
        return {"scope": scope, "insight": {**made, **rest}}

    item = Item("insight", "append_insight", params, lambda reply: call.out.line(str(reply["id"])))
    return feed(call, item, fields=fields, given=statement, stdin_json=stdin_json, stdin_ndjson=stdin_ndjson,
                argument=lambda: {"statement": text_from(statement, what="statement")})


@command(app, "list", stream=True, example="""
engram insight list
engram insight list --state validated --json
""")
def list_(
    call: Call,
    *,
    state: Annotated[list[str] | None, typer.Option(
        "--state", metavar="unvalidated|testing|validated|rejected", help="Only these; may be given again.")] = None,
    limit: Annotated[int | None, limit("At most so many.")] = None,
) -> None:
    """List this run's insights."""
    wanted = given({"validation_state": state, "limit": limit})
    call.out.listing("insights", call.ask("list_insights", insight_filter=wanted), "insights", views.insights)


def _update(call: Call, id: str, state: str, confidence: float | None) -> None:
    patch: Json = {"validation_state": state}
    if confidence is not None:
        patch["confidence"] = confidence
    _answer(call, dict(call.ask("update_insight", id=id, patch=patch)), id)


def _answer(call: Call, reply: Json, id: str) -> None:
    if call.out.json or call.out.ndjson:
        call.out.document("insight", reply)
        return
    made = reply.get("promoted")
    call.out.line(f"{made['kind']} {made['id']}" if made else f"{reply['insight']['validation_state']} {id}")


@command(app, "test", example="engram insight test in_01m82x --suggest 'compare ten tickets'")
def test(
    call: Call, id: Id, *,
    suggest: Annotated[list[str] | None, typer.Option(
        "--suggest", metavar="TEXT", help="The tests that would tell, in place of those before.")] = None,
) -> None:
    """Say that an insight is being tested."""
    patch: Json = {"validation_state": "testing", **({"tests_suggested": suggest} if suggest else {})}
    _answer(call, dict(call.ask("update_insight", id=id, patch=patch)), id)


@command(app, "validate", example="engram insight validate in_01m82x --confidence 0.9")
def validate(call: Call, id: Id, *, confidence: Confidence = None) -> None:
    """Say that an insight proved true."""
    _update(call, id, "validated", confidence)


@command(app, "reject", example="engram insight reject in_01m82x")
def reject(call: Call, id: Id, *, confidence: Confidence = None) -> None:
    """Say that an insight proved wrong; it is not used again."""
    _update(call, id, "rejected", confidence)


@command(app, "promote", example="""
engram insight promote in_01m82x --to fact --key deploy_risk
engram insight promote in_01m82x --to procedure --task deploy
""")
def promote(
    call: Call, id: Id, *,
    to: Annotated[str, typer.Option(
        "--to", metavar="fact|procedure|episode", help="What it becomes.", show_default=False)],
    key: Annotated[str | None, typer.Option("--key", metavar="KEY", help="The fact's key.")] = None,
    value: Annotated[str | None, typer.Option("--value", metavar="TEXT",
                                              help="The fact's value; the statement by default.")] = None,
    task: Annotated[str | None, typer.Option("--task", metavar="TASK", help="The procedure's kind of task.")] = None,
    content: Annotated[str | None, typer.Option("--content", metavar="TEXT",
                                                help="The procedure's content; the statement by default.")] = None,
    summary: Annotated[str | None, typer.Option("--summary", metavar="TEXT",
                                                help="The episode's summary; the statement by default.")] = None,
) -> None:
    """Turn a validated insight into a fact, a procedure or an episode that cites it."""
    if to == "fact" and key is None:
        raise UsageError("--to fact needs --key", hint="name what the fact is about")
    if to == "procedure" and task is None:
        raise UsageError("--to procedure needs --task", hint="name the kind of task it is for")
    made = {"fact_key": key, "value": value, "task_type": task, "content": content, "summary": summary}
    promoted = {name: one for name, one in made.items() if one is not None}
    _answer(call, dict(call.ask("update_insight", id=id, patch={}, promote=to, promoted=promoted)), id)
