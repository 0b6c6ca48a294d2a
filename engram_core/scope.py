"""Whose memories: the five ids of a scope and the layers and levels derived from them.

A scope travels as a plain dict of five ids. An *owner* is (tenant, user, agent); shared memories live with owners
whose user or agent is empty, which callers may not use.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from engram_core.errors import BadInput, UnknownField, nearest
from engram_core.values import check_id, show

SCOPE_FIELDS = ("tenant_id", "user_id", "agent_id", "session_id", "run_id")
SCOPE_LEVELS = ("user", "agent", "tenant")
_FIELDS = frozenset(SCOPE_FIELDS)


class Scope(NamedTuple):
    """The five ids; the tenant defaults to "default", the others are required of every caller."""

    tenant_id: str
    user_id: str
    agent_id: str
    session_id: str
    run_id: str

    @property
    def owner(self) -> tuple[str, str, str]:
        """The owner of the scope's own memories."""
        return (self.tenant_id, self.user_id, self.agent_id)

    def layer(self, level: str) -> tuple[str, str, str]:
        """The owner of what is shared at this level: user (own), agent or tenant."""
        if level == "user":
            return (self.tenant_id, self.user_id, self.agent_id)
        return (self.tenant_id, "", self.agent_id) if level == "agent" else (self.tenant_id, "", "")


def check_scope(value: object, field: str = "scope") -> Scope:
    """Return the scope of a request; raise BadInput naming the id that is missing, empty or unknown."""
    if type(value) is not dict and not isinstance(value, Mapping):
        raise BadInput(f"{field} is {show(value)}; allowed is an object with {', '.join(SCOPE_FIELDS)}")
    if type(value) is dict and value.keys() <= _FIELDS:
        try:
            return _known(*[value.get(name) for name in SCOPE_FIELDS])
        except (BadInput, TypeError):  # which is said below, by its name
            pass
    for key in value:
        if key not in SCOPE_FIELDS:
            near = nearest(str(key), list(SCOPE_FIELDS))
            raise UnknownField(f"{field} has the unknown key {show(key)}; known are {', '.join(SCOPE_FIELDS)}",
                               hint=f"did you mean {near}?" if near else "remove it")
    ids = []
    for name in SCOPE_FIELDS:
        given = value.get(name)
        if given is None:
            if name != "tenant_id":
                raise BadInput(f"{field}.{name} is missing", hint=f"give all of {', '.join(SCOPE_FIELDS[1:])}")
            given = "default"
        ids.append(check_id(f"{field}.{name}", given))
    return Scope(*ids)


@lru_cache(maxsize=256)
def _known(*ids: Any) -> Scope:
    """Return the scope of ids that need no word: most requests name one that was checked before."""
    return Scope(*[check_id("", "default" if at == 0 and id_ is None else id_) for at, id_ in enumerate(ids)])
