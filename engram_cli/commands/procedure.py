"""Keep procedures: set, list. Driven by main."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from engram_cli import views
from engram_cli.call import Call, parse_json, text_from
from engram_cli.commands.fact import JsonValue, Share, Sources
from engram_cli.feed import Item, Json, StdinJson, StdinNdjson, feed, lifted
from engram_cli.numbers import limit, number
from engram_cli.options import command, family
from engram_core.errors import UsageError

ID_MAX = 110  # characters an id may have

app = family("procedure", "Keep how a kind of task is done.", default="list")


@command(app, "set", example="""
engram procedure set deploy "run the tests, tag, push, watch the log for five minutes"
engram procedure set deploy '["test","tag","push"]' --json-value --priority 5
engram procedure set --stdin-ndjson < procedures.ndjson
""")
def set_(
    call: Call,
    task: Annotated[str | None, typer.Argument(metavar="[TASK]", show_default=False,
                                               help="Kind of task it is for; generic is for all.")] = None,
    content: Annotated[str | None, typer.Argument(metavar="[CONTENT]", show_default=False,
                                                  help="How it is done; - or a pipe reads stdin.")] = None,
    *,
    json_value: JsonValue = False,
    priority: Annotated[int | None, number("--priority", low=-1000, high=1000, data=True,
                                           help="Higher comes first; 0 by default.")] = None,
    applies: Annotated[list[str] | None, typer.Option(
        "--applies", metavar="NAME=VALUE", help="When it applies, such as tags=web; may be given again.")] = None,
    source: Sources = None,
    share: Share = None,
    id: Annotated[str | None, typer.Option("--id", metavar="ID",
                                           help="The procedure's id; made of the task by default.")] = None,
    stdin_json: StdinJson = False,
    stdin_ndjson: StdinNdjson = False,
) -> int:
    """Keep how a kind of task is done; the same task again replaces it.

    A JSON object on stdin has the fields that engram procedure list --json shows; options fill in what it leaves out.
    """
    fields = {"procedure_id": id, "priority": priority, "sources": source, "scope_level": share,
              "applicability": pairs(applies, "--applies")}

    def argument() -> Json:
        if not task:
            raise UsageError("no task given", hint='name the kind of task first: engram procedure set TASK "CONTENT"')
        said = text_from(content, what="content")
        return {"task_type": task, "content": parse_json(said, what="content") if json_value else said}

    def params(procedure: Json) -> Json:
        made = {"procedure_id": _made_id(procedure.get("task_type"))}
        scope, rest = lifted(call, procedure)
        return {"scope": scope, "procedure": {**made, **rest}}

    item = Item("procedure", "upsert_procedure", params,
                lambda reply: call.out.line(f"{reply['outcome']} {reply['procedure_id']}"))
    return feed(call, item, fields=fields, argument=argument, given=task, stdin_json=stdin_json,
                stdin_ndjson=stdin_ndjson)


def _made_id(task: Any) -> str:
    made = f"p_{task}"
    if len(made) > ID_MAX:
        from engram_core.values import derived_id

        made = derived_id("p_", made)
    return made


def pairs(given: list[str] | None, flag: str) -> dict[str, Any]:
    """Return NAME=VALUE options as an object; a name given again makes a list."""
    found: dict[str, Any] = {}
    for word in given or []:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"{flag} is {word!r}, but must be NAME=VALUE", hint="put an = between name and value")
        known = found.get(name)
        found[name] = value if known is None else [*(known if isinstance(known, list) else [known]), value]
    return found


@command(app, "list", stream=True, example="""
engram procedure list
engram procedure list deploy --json
""")
def list_(
    call: Call,
    task: Annotated[str | None, typer.Argument(metavar="[TASK]", show_default=False,
                                               help="Kind of task; all by default.")] = None,
    *,
    limit: Annotated[int | None, limit("At most so many.")] = None,
) -> None:
    """List procedures."""
    found = call.ask("list_procedures", task_type=task, limit=limit)
    call.out.listing("procedures", found, "procedures", views.procedures)
