"""List, show and check policies. Driven by main.

The daemon answers: it holds the policies, and what checks them takes longer to load than a command may run.
"""

from __future__ import annotations

import math
import os
from typing import Annotated, Any

import typer

from engram_cli.call import Call
from engram_cli.options import command, family
from engram_cli.output import Column, Table
from engram_core.errors import ConfigError
from engram_core.policy_file import read

app = family("policy", "Show and check the policies that shape a packet.", default="list")

COLUMNS = (Column("NAME", "cyan"), Column("FILE", wide=True))


@command(app, "list", example="engram policy list", scope=False)
def list_(call: Call) -> None:
    """List the policies and the files they are in."""
    call.out.listing("policies", call.memory.policies(), "policies",
                     lambda rows: Table(COLUMNS, [[row["name"], row["file"]] for row in rows]))


@command(app, "show", example="engram policy show default", scope=False)
def show(
    call: Call,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="The policy; 'default' unless given.",
                                        show_default=False)] = "default",
) -> None:
    """Show every field of a policy as it takes effect, as TOML."""
    if call.out.json:
        call.out.document("policy", call.memory.policies(name))
    else:
        call.out.write(call.memory.request("policies", {"policy_id": name, "render": True}))


@command(app, "check", scope=False, example="""
engram policy check
engram policy check ./mine.toml
""")
def check(
    call: Call,
    name: Annotated[str | None, typer.Argument(metavar="[NAME|FILE]", show_default=False,
                                               help="One policy or file; all of them by default.")] = None,
) -> None:
    """Check policies: name every file that is wrong, with every field that is, and what is allowed."""
    checked = _files(call, name)
    problems: list[ConfigError] = []
    for file in checked.values():
        try:
            call.memory.policies(table=_as_json(read(file)), source=file)
        except ConfigError as exc:
            problems += [exc, *exc.more]
    if problems:
        raise ConfigError.of(problems)
    if call.out.json:
        call.out.document("policy-check", {"checked": list(checked)})
    else:
        call.out.line("ok: " + ", ".join(checked))


def _files(call: Call, name: str | None) -> dict[str, str]:
    """Return what is to be checked: names, and the files they stand for."""
    if name is not None and (os.sep in name or name.endswith(".toml")):
        return {name: name}
    files = {one["name"]: one["file"] for one in call.memory.policies()["policies"]}
    if name is None:
        return files
    return {name: files[name] if name in files else call.memory.policies(name)["file"]}  # which says what is known


def _as_json(value: Any, levels: int = 16) -> Any:
    """Return a TOML value as a request can carry it; what cannot be one of a policy, such as a date, as its text."""
    if isinstance(value, dict) and levels:
        return {key: _as_json(one, levels - 1) for key, one in value.items()}
    if isinstance(value, list) and levels:
        return [_as_json(one, levels - 1) for one in value]
    if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)
