"""List, show and check policies. Driven by main."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engram_cli.call import Call
from engram_cli.options import command, family
from engram_cli.output import Column, Table
from engram_core.errors import ConfigError

if TYPE_CHECKING:
    from engram_core.policy import Policies

app = family("policy", "Show and check the policies that shape a packet.", default="list")

COLUMNS = (Column("NAME", "cyan"), Column("FILE", wide=True))


def folders() -> list[str]:
    """Return where policies lie: the user's own first, then the shipped ones."""
    from engram_core import shipped
    from engram_core.settings import config_path

    return [os.path.join(os.path.dirname(config_path(os.environ)), "policies"), shipped.path("policies")]


def _policies() -> Policies:
    from engram_core.policy import RECIPE_WEIGHTS, Policies  # late: pydantic

    return Policies(folders(), recipe=tuple(RECIPE_WEIGHTS))


@command(app, "list", example="engram policy list", scope=False, daemon=False)
def list_(call: Call) -> None:
    """List the policies and the files they are in."""
    found = [{"name": name, "file": path} for name, path in sorted(_policies().names().items())]
    call.out.listing("policies", {"policies": found}, "policies",
                     lambda rows: Table(COLUMNS, [[row["name"], row["file"]] for row in rows]))


@command(app, "show", example="engram policy show default", scope=False, daemon=False)
def show(
    call: Call,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="The policy; 'default' unless given.",
                                        show_default=False)] = "default",
) -> None:
    """Show every field of a policy as it takes effect, as TOML."""
    from engram_core.policy import RECIPE_WEIGHTS

    policies = _policies()
    values = policies.load(name, {}).model_dump(mode="json")
    values["recipe"] = {**RECIPE_WEIGHTS, **values["recipe"]}
    file = policies.names()[name]
    if call.out.json:
        call.out.document("policy", {"name": name, "file": file, "policy": values})
    elif name == "default":
        call.out.write(_with_recipe(file, values["recipe"], policies.table(name).get("recipe", {})))
    else:
        import tomli_w

        call.out.write(tomli_w.dumps(_without_none(values)))


def _with_recipe(path: str, weights: dict[str, float], own: dict[str, float]) -> str:
    """Return a policy file as it is, comments and all, with the weights it does not set."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    listed = "".join(f"{name} = {value}\n" for name, value in weights.items() if name not in own)
    found = re.search(r"^\[recipe\].*\n", text, re.MULTILINE)
    return text[:found.end()] + listed + text[found.end():] if found else f"{text}\n[recipe]\n{listed}"


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    return value


@command(app, "check", scope=False, daemon=False, example="""
engram policy check
engram policy check ./mine.toml
""")
def check(
    call: Call,
    name: Annotated[str | None, typer.Argument(metavar="[NAME|FILE]", show_default=False,
                                               help="One policy or file; all of them by default.")] = None,
) -> None:
    """Check policies, and name file, field and what is allowed if one is wrong."""
    policies = _policies()
    if name is not None and (os.sep in name or name.endswith(".toml")):
        _check_file(policies, name)
        checked = [name]
    else:
        checked = [name] if name is not None else sorted(policies.names())
        files = policies.names()
        for one in checked:
            if one in files:
                _check_file(policies, files[one])
            else:
                policies.load(one, {})  # says which there are
    if call.out.json:
        call.out.document("policy-check", {"checked": checked})
    else:
        call.out.line("ok: " + ", ".join(checked))


def _check_file(policies: Policies, path: str) -> None:
    from engram_core import policy

    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: cannot be read: {getattr(exc, 'strerror', None) or exc}",
                          hint="name a policy or a file; see engram policy list") from exc
    policy.checked(policy.merged(policies.table("default"), policy.parse(text, path)), path,
                   recipe=tuple(policy.RECIPE_WEIGHTS))
