"""The operation on policies: which there are, one as it takes effect, whether a table would do as one.

Driven by the engine. Files are read anew for each request: who asks has often just changed one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from engram_core import shipped
from engram_core.errors import BadInput
from engram_core.values import dump_json, show

if TYPE_CHECKING:
    from engram_core.daemon.handlers import Engine
    from engram_core.policy import Policies

Params = dict[str, Any]


def policies(engine: Engine, params: Params) -> Any:
    """List the policies, return one with every field, or check a table; with ``render`` one policy as TOML."""
    known = engine.policies.again()
    name, table, source = (params.get(key) for key in ("policy_id", "table", "source"))
    if table is not None:
        return {"checked": _check(known, table, name, source)}
    if source is not None:
        raise BadInput(f"source is {show(source)} without a table", hint="it names what the table was read from")
    files = known.names()
    if name is None:
        return {"policies": [{"name": one, "file": files[one]} for one in sorted(files)]}
    if type(name) is not str:
        raise BadInput(f"policy_id is {show(name)}; allowed is a text", hint=f"known are {', '.join(sorted(files))}")
    values = known.load(name, {}).model_dump(mode="json")
    values["recipe"] = {**_weights(), **values["recipe"]}
    if not params.get("render"):
        return {"name": name, "file": files[name], "policy": values}
    if files[name] == shipped.path("policies", "default.toml"):
        text = _with_recipe(files[name], values["recipe"], known.table(name).get("recipe", {}))
    else:
        text = _toml(values)
    return dump_json(text, "policy").encode()


def _check(known: Policies, table: Any, name: Any, source: Any) -> str:
    """Check what is to be a policy over the default one, and return what it was read from."""
    if name is not None:
        raise BadInput("policy_id and table are both given; allowed is one of them", hint="leave one of them out")
    if type(table) is not dict:
        raise BadInput(f"table is {show(table)}; allowed is an object with the fields of a policy")
    if source is not None and type(source) is not str:
        raise BadInput(f"source is {show(source)}; allowed is a text, such as the path of a file")
    known.check(table, source or "table")
    return source or "table"


def _weights() -> dict[str, float]:
    from engram_core.policy import RECIPE_WEIGHTS  # late: pydantic

    return RECIPE_WEIGHTS


def _with_recipe(path: str, weights: dict[str, float], own: dict[str, float]) -> str:
    """Return a policy file as it is, comments and all, with the weights it does not set."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    listed = "".join(f"{name} = {value}\n" for name, value in weights.items() if name not in own)
    found = re.search(r"^\[recipe\].*\n", text, re.MULTILINE)
    return text[:found.end()] + listed + text[found.end():] if found else f"{text}\n[recipe]\n{listed}"


def _toml(values: dict[str, Any]) -> str:
    import tomli_w

    return tomli_w.dumps(_without_none(values))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    return value


HANDLERS: Mapping[str, Callable[[Engine, Params], Any]] = {"policies": policies}
