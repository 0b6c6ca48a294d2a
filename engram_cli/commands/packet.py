"""Build memory packets and explain them. Driven by main."""

from __future__ import annotations

import shutil
from typing import Annotated, Any

import typer

from engram_cli.call import Call
from engram_cli.numbers import COUNT_MAX, TOKENS_MAX, number
from engram_cli.options import NO_MARKUP, command
from engram_cli.times import time
from engram_core.errors import UsageError

app = typer.Typer(**NO_MARKUP)

Purpose = Annotated[str | None, typer.Option(
    "--purpose", metavar="planner|tool|responder", help="Who reads it; responder by default.")]
Query = Annotated[str | None, typer.Option("--query", "-q", metavar="TEXT",
                                           help="What is asked, usually the user's turn.")]
MaxTokens = Annotated[int | None, number("--max-tokens", low=1, high=TOKENS_MAX, hint="--no-limit takes all there is",
                                         help="The budget, never exceeded; 2048 by default.")]
Budget = Annotated[int | None, number("--max-tokens", low=1, high=TOKENS_MAX,
                                      help="The budget, never exceeded; 2048 by default.")]
TaskType = Annotated[str | None, typer.Option("--task-type", metavar="NAME", help="Kind of task, for procedures.")]
Policy = Annotated[str | None, typer.Option("--policy", metavar="NAME", help="The policy; see engram policy list.")]
Tags = Annotated[list[str] | None, typer.Option(
    "--tag", metavar="TAG", help="Prefer what has this tag; may be given again.")]
Entities = Annotated[list[str] | None, typer.Option(
    "--entity", metavar="NAME", help="Prefer what is about it; may be given again.")]
Keywords = Annotated[list[str] | None, typer.Option(
    "--keyword", metavar="WORD", help="A word to look for; may be given again.")]
Now = Annotated[str | None, time("--now", help="Build it as if at this time.")]
Tokenizer = Annotated[str | None, typer.Option(
    "--tokenizer", metavar="o200k_base|cl100k_base|bytes|estimate", help="What counts the tokens.")]


def request(*, purpose: str | None, query: str | None, max_tokens: int | None, task_type: str | None,
            policy: str | None, tag: list[str] | None, entity: list[str] | None, keyword: list[str] | None,
            now: str | None, persist: bool, no_limit: bool = False) -> dict[str, Any]:
    """Return the packet request of the options; what was not given is left to the daemon."""
    if no_limit and max_tokens is not None:
        raise UsageError("--max-tokens and --no-limit exclude each other", hint="choose one")
    cues = {"tags": tag, "entities": entity, "keywords": keyword}
    found: dict[str, Any] = {
        "purpose": purpose, "query": query, "task_type": task_type, "policy_id": policy, "now": now,
        "cues": {key: value for key, value in cues.items() if value} or None,
        "budget": {"max_tokens": 0 if no_limit else max_tokens} if no_limit or max_tokens is not None else None,
        "persist": None if persist else False,
    }
    return {key: value for key, value in found.items() if value is not None}


@command(app, "packet", example="""
engram packet --query "where does Ada live"
engram packet --purpose planner --max-tokens 800 --format markdown
engram packet -q "$question" --format text --part volatile
""")
def packet(
    call: Call,
    *,
    purpose: Purpose = None, query: Query = None, max_tokens: MaxTokens = None,
    format: Annotated[str | None, typer.Option("--format", metavar="json|text|markdown",
                                               help="How it is written; json by default.")] = None,
    bare: Annotated[bool, typer.Option(
        "--bare", help="Only the memories, without meta, report and explain.")] = False,
    part: Annotated[str | None, typer.Option(
        "--part", metavar="all|stable|volatile", help="All, what a prompt cache can keep, or the rest.")] = None,
    max_chars: Annotated[int | None, number("--max-chars", low=1, high=COUNT_MAX,
                                            help="At most so many characters.")] = None,
    policy: Policy = None, task_type: TaskType = None, tag: Tags = None, entity: Entities = None,
    keyword: Keywords = None, now: Now = None,
    no_persist: Annotated[bool, typer.Option("--no-persist", help="Do not keep it for engram explain.")] = False,
    no_limit: Annotated[bool, typer.Option("--no-limit", help="No budget: everything the policy takes.")] = False,
    tokenizer: Tokenizer = None,
) -> None:
    """Build a memory packet: the right memories for a prompt, within a hard budget of tokens.

    JSON by default; text and markdown are ready to be put into a prompt. Every packet is explained by engram explain.
    """
    sent = request(purpose=purpose, query=query, max_tokens=max_tokens, task_type=task_type, policy=policy, tag=tag,
                   entity=entity, keyword=keyword, now=now, persist=not no_persist, no_limit=no_limit)
    call.out.write(call.memory.request("build_memory_packet", {
        "request": {"scope": call.scope, **sent}, "render": True,
        **{key: value for key, value in (("format", "json" if call.out.json else format), ("part", part),
                                         ("max_chars", max_chars), ("tokenizer", tokenizer),
                                         ("bare", bare or None)) if value is not None}}))


@command(app, "explain", example="""
engram explain
engram explain --memory fact:city
engram explain --purpose planner --query "what is left to do"
""")
def explain(
    call: Call,
    build_id: Annotated[str | None, typer.Argument(metavar="[BUILD_ID]", show_default=False,
                                                   help="A packet's build id; the last packet by default.")] = None,
    *,
    memory: Annotated[str | None, typer.Option("--memory", metavar="ID",
                                               help="Show one memory's full arithmetic.")] = None,
    all: Annotated[bool, typer.Option("--all", help="List every omitted memory.")] = False,
    purpose: Purpose = None, query: Query = None, max_tokens: Budget = None, policy: Policy = None,
    task_type: TaskType = None, tag: Tags = None, entity: Entities = None, keyword: Keywords = None, now: Now = None,
    tokenizer: Tokenizer = None,
) -> None:
    """Show why each memory is in a packet, or is not.

    Explains the last packet of this run, or the one of a build id. With --query, --purpose or another option of
    engram packet it builds one afresh, without storing it, and explains that.
    """
    sent = request(purpose=purpose, query=query, max_tokens=max_tokens, task_type=task_type, policy=policy, tag=tag,
                   entity=entity, keyword=keyword, now=now, persist=True)
    for name, value in (("build", build_id), ("memory", memory)):
        if value == "":
            raise UsageError(f"the {name} id is empty", hint="leave it out, or take one from engram explain --json")
    if build_id is not None and sent:
        raise UsageError("a build id and options of a new packet are both given", hint="leave one of them out")
    if sent:
        sent = {"scope": call.scope, **sent, "persist": False}
    found = call.ask("explain", build_id=build_id, request=sent or None, memory_id=memory, tokenizer=tokenizer)
    if call.out.json or call.out.ndjson:
        call.out.document("explain", found)
    elif call.out.rich:
        from engram_cli.explain_view import show

        show(found, console=call.out.console(), memory_id=memory, verbose=all)
    else:
        from engram_cli.explain_plain import plain

        width = max(60, shutil.get_terminal_size((100, 24)).columns)
        call.out.write(plain(found, width=width, memory_id=memory, verbose=True).rstrip("\n") + "\n")
