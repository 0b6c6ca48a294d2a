"""Policies: what a purpose shows, how much room each section gets, every weight of recall. One model per TOML table.

The shipped ``config/policies/default.toml`` lists every field with its default; a named policy overrides single ones.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from engram_core.errors import BadInput, ConfigError, EngramError, nearest
from engram_core.models import build, problems
from engram_core.policy_file import read, unreadable
from engram_core.sections import PURPOSES, SECTIONS
from engram_core.values import dump_json

RECIPE_WEIGHTS: dict[str, float] = {
    "k1": 1.15, "b": 0.49, "body": 0.1, "grams": 0.5, "pairs": 0.51,
    "feedback": 0.79, "feedback_documents": 3, "feedback_terms": 20, "related": 1.7,
    "related_documents": 4, "related_beside": 0.6, "meaning": 0, "assistant": 0.33,
    "assistant_asked": 0.6, "speaker": 0.57, "instruction": 0.33, "question": 0.58, "previous": 0.26, "next": 0.19,
    "second_previous": 0.18, "second_next": 0.16, "session": 0.46, "session_least": 0.14,
    "session_b": 0.6, "time": 0.6, "time_days": 35, "asked": 0.25,
}
"""The weights of the text ranking with the kernel's defaults, for whoever must not load the kernel to name them."""
RECIPE_SHARES = ("b", "session_b")
"""Those that mix two things, so that more than 1 makes no sense."""

if TYPE_CHECKING:
    SectionKey = str
    KindKey = str
    PurposeKey = str
else:  # pydantic checks the names, whoever looks one up has a plain text
    SectionKey = Literal[SECTIONS]
    KindKey = Literal["event", "fact", "episode", "procedure", "insight"]
    PurposeKey = Literal[PURPOSES]

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
StateField = Literal["goal", "plan", "slots", "constraints", "decisions", "risks"]
Count = Annotated[int, Field(ge=0, le=10_000)]


class Table(BaseModel):
    """A TOML table that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Weights(Table):
    """What each signal counts for a kind of memory; without any cue the relevance is spread over the others."""

    relevance: Weight = 1.0
    recency: Weight = 0.1
    importance: Weight = 0.2
    cues: Weight = 0.3
    layer: Weight = 0.05
    use: Weight = 0.0


class Section(Table):
    """How a purpose treats a section: ``share`` of the budget, most items, shortest form, place in the text formats.

    An item takes more than ``item_tokens`` only of room that nothing else wants, if it has a form that takes less.
    Where none are given it is 150 for quotes, and no bound for others.
    """

    share: Share = 0.0
    max_items: Count | None = None
    max_form: Literal["full", "short", "reference"] = "short"
    item_tokens: Count | None = None
    order: Annotated[int, Field(ge=0, le=99)] = 50
    show: bool = True


class Purpose(Table):
    """What one purpose shows and how it weighs.

    ``state`` are the fields of the working state it shows whole, ``state_short`` those it shows ``state_items`` entries
    of: the next steps of the plan, the newest of all else.
    """

    sections: dict[SectionKey, Section] = {}
    weights: dict[KindKey, Weights] = {}
    state: list[StateField] = ["goal", "slots", "constraints"]
    state_short: list[Literal["plan", "decisions", "risks"]] = []
    state_items: Count = 3
    insights: Literal["none", "validated", "unrejected"] = "none"


class Policy(Table):
    """A whole policy."""

    max_total_candidates: Annotated[int, Field(ge=1, le=10_000)] = 100
    max_facts: Count = 30
    max_procedures: Count = 5
    max_episodes: Count = 20
    max_insights: Count = 10
    max_key_quotes: Count = 10
    conversation_window: Count = 5
    episode_time_window_days: Annotated[int, Field(ge=0, le=36_500)] = 30
    last_tool_evidence_limit: Count = 3
    include_conversation_window: bool = False
    include_insights_in_tool: bool = False
    allow_insights_in_responder: bool = False
    split_preferences: bool = False
    cost_exponent: Annotated[float, Field(ge=0, le=2)] = 0.4
    stable_share: Share = 0.3
    half_life_days: dict[KindKey, Annotated[float, Field(gt=0, le=100_000)]] = {
        "event": 30.0, "fact": 180.0, "episode": 60.0, "procedure": 365.0, "insight": 14.0}
    recipe: dict[str, Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]] = {}
    purposes: dict[PurposeKey, Purpose] = {}

    @cached_property
    def digest(self) -> str:
        """A hash of every field, which names the policy in build ids."""
        return hashlib.blake2b(self.model_dump_json().encode(), digest_size=8).hexdigest()


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return the base with single fields replaced; tables are merged, everything else is replaced."""
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        out[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return out


def checked(table: dict[str, Any], source: str, *, recipe: tuple[str, ...] = ()) -> Policy:
    """Make the policy from a merged table; raise ConfigError with everything that is wrong in it."""
    found = [ConfigError(f"{source}: {one.message}", hint=one.hint or "`engram policy show default` lists every field")
             for one in problems(Policy, table, "policy")]
    weights = table.get("recipe")
    found += _wrong_weights(weights, source, recipe) if isinstance(weights, dict) else ()
    if found:
        raise ConfigError.of(found)
    return build(Policy, table, "policy")


def _wrong_weights(weights: dict[str, Any], source: str, recipe: tuple[str, ...]) -> Iterator[ConfigError]:
    for name, value in weights.items():
        if name in RECIPE_SHARES and isinstance(value, int | float) and value > 1:
            yield ConfigError(f"{source}: policy.recipe.{name} is {value:g}; allowed is a number from 0 to 1",
                              hint=f"{RECIPE_WEIGHTS[name]:g} is the default")
        if recipe and name not in recipe:
            near = nearest(name, list(recipe))
            yield ConfigError(f"{source}: policy.recipe has the unknown weight {name!r}; known are {', '.join(recipe)}",
                              hint=f"did you mean {near}?" if near else "remove it")


_LOOK_S = 0.5
"""A policy file is looked at again after this long."""


class Policies:
    """The named policies of some folders, the earlier folder winning; files are read again when they change."""

    def __init__(self, folders: list[str], *, recipe: tuple[str, ...] = ()) -> None:
        self._folders = folders
        self._recipe = recipe
        self._cache: dict[str, tuple[int, dict[str, Any]]] = {}
        self._fresh: dict[str, tuple[float, dict[str, Any]]] = {}
        self._overridden: dict[str, tuple[dict[str, Any], dict[str, Any], Policy]] = {}
        self._shipped = os.path.join(folders[-1], "default.toml") if folders else ""
        self._whole: tuple[dict[str, Any], dict[str, Any], dict[str, Any]] | None = None
        self._loaded: dict[str, tuple[dict[str, Any], dict[str, Any], Policy]] = {}

    def again(self) -> Policies:
        """Return the same folders' policies with nothing kept, for who wants the files as they are at this moment."""
        return Policies(self._folders, recipe=self._recipe)

    def names(self) -> dict[str, str]:
        """Return the known policies and their files."""
        found: dict[str, str] = {}
        for folder in self._folders:
            try:
                listed = sorted(os.listdir(folder))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as exc:
                raise unreadable(folder, exc) from exc
            for name in listed:
                if name.endswith(".toml"):
                    found.setdefault(name[:-5], os.path.join(folder, name))
        return found

    def table(self, name: str) -> dict[str, Any]:
        """Return the policy's own fields as written; raise NotFound-like BadInput for an unknown name."""
        now = time.monotonic()
        fresh = self._fresh.get(name)
        if fresh is not None and now < fresh[0]:
            return fresh[1]
        path = next((one for one in (os.path.join(folder, name + ".toml") for folder in self._folders)
                     if os.path.lexists(one)), None)
        if path is None or "/" in name:
            known = sorted(self.names())
            near = nearest(name, known)
            raise BadInput(f"policy_id is {name!r}; known are {', '.join(known)}",
                           hint=f"did you mean {near}?" if near else "`engram policy list` shows them")
        table = self._read(path)
        self._fresh[name] = (now + _LOOK_S, table)
        return table

    def _shipped_default(self) -> dict[str, Any]:
        now = time.monotonic()
        fresh = self._fresh.get(self._shipped)
        if fresh is None or now >= fresh[0]:
            fresh = self._fresh[self._shipped] = (now + _LOOK_S, self._read(self._shipped))
        return fresh[1]

    def _read(self, path: str) -> dict[str, Any]:
        try:
            stamp = os.stat(path).st_mtime_ns
        except OSError as exc:
            raise unreadable(path, exc) from exc
        cached = self._cache.get(path)
        if cached is None or cached[0] != stamp:
            cached = self._cache[path] = (stamp, read(path))
        return cached[1]

    def _default(self) -> dict[str, Any]:
        """Return the default policy with every field: the user's own, if there is one, over the shipped one."""
        own, shipped = self.table("default"), self._shipped_default()
        if own is shipped:
            return own
        if self._whole is None or self._whole[0] is not own or self._whole[1] is not shipped:
            self._whole = (own, shipped, merged(shipped, own))
        return self._whole[2]

    def _named(self, name: str) -> Policy:
        """Return a policy without overrides, made again when a file of it has changed."""
        base, own = self._default(), self.table(name)
        known = self._loaded.get(name)
        if known is None or known[0] is not base or known[1] is not own:
            table = base if name == "default" else merged(base, own)
            known = self._loaded[name] = (base, own, checked(table, self.names()[name], recipe=self._recipe))
        return known[2]

    def load(self, name: str, overrides: dict[str, Any]) -> Policy:
        """Return the named policy over the default one, with the request's overrides over both.

        An unknown name with overrides is a label over the default policy; alone it is an error.
        """
        if not overrides:
            return self._named(name)
        base, own = self._default(), {}
        if name != "default":
            try:
                own = self.table(name)
            except BadInput:
                pass
        key = f"{name} {dump_json(overrides)}"
        known = self._overridden.get(key)
        if known is None or known[0] is not base or known[1] != own:
            if len(self._overridden) >= 100:
                self._overridden.clear()
            known = self._overridden[key] = (base, own, self._made(merged(merged(base, own), overrides), name))
        return known[2]

    def _made(self, table: dict[str, Any], name: str) -> Policy:
        try:
            return checked(table, f"policy {name}", recipe=self._recipe)
        except ConfigError as error:
            raise _as_request(error) from None

    def check(self, table: dict[str, Any], source: str) -> None:
        """Raise ConfigError naming the source and all that is wrong unless the table would do as a policy."""
        checked(merged(self._shipped_default(), table), source, recipe=self._recipe)


def _as_request(error: EngramError) -> BadInput:
    return BadInput(error.message, hint=error.hint)
