"""Write the tables of docs/*.md that repeat what the code says: settings, errors, policies, kinds, operations.

A table stands between ``<!-- made: NAME -->`` and ``<!-- end -->``; everything around it is written by hand. Run by
``make docs``; a test compares the committed files with what this returns.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import engram  # noqa: E402
from engram_cli.errors import EXIT_CODES  # noqa: E402
from engram_core import models, policy, redact  # noqa: E402
from engram_core.errors import EngramError  # noqa: E402
from engram_core.protocol.messages import OPERATIONS  # noqa: E402
from engram_core.sections import PURPOSES, SECTIONS  # noqa: E402
from engram_core.settings import AT_START, FIELDS  # noqa: E402

MADE = re.compile(r"(?ms)^<!-- made: ([a-z-]+) -->\n.*?^<!-- end -->$")
SHIPPED = ROOT / "config/policies/default.toml"

# What the code has no words for; a missing or stale key is an error.
SECTION_FIELDS = {
    "share": "part of the budget the section may fill before what others left is given out; the shares of a purpose "
             "may add up to less than 1",
    "max_items": "most memories kept in it; none: as many as fit",
    "max_form": "the shortest form a memory may be cut down to before it is dropped: `full` is never shortened, "
                "`reference` may shrink to its id",
    "item_tokens": "what one memory takes before all had their turn, if it has a form that takes no more; more only of "
                   "room that nothing else wants. None: 150 in `key_quotes`, no such bound elsewhere",
    "order": "place in the text formats; 1 comes first",
    "show": "false: the section stays empty for this purpose",
}
SIGNALS = {
    "relevance": "the text score of the query and cues, r / (1 + r); see [recall.md](recall.md)",
    "recency": "1 when new, ½ after the kind's half-life",
    "importance": "confidence, priority or validation state, by kind",
    "cues": "overlap with the tags, entities and the time range that were asked for",
    "layer": "1 for the user's own, ½ for the agent's, ¼ for the tenant's",
    "use": "n / (n + 5) after n recalls in packets that were kept (`persist`); those of another daemon on the same "
           "database are known from when an index is opened",
}
PURPOSE_FIELDS = {
    "sections": "how each section is treated, `[purposes.NAME.sections]`",
    "weights": "how each kind is scored, `[purposes.NAME.weights]`",
    "state": "the fields of the working state that are shown whole",
    "state_short": "those of which `state_items` entries are shown: the next steps of the plan, the newest of all else",
    "state_items": "how many",
    "insights": "`none`, only `validated` ones, or all `unrejected` ones; for the responder never more than validated",
}
POLICY_FIELDS = {
    "max_facts": "facts that may be kept",
    "max_procedures": "procedures that may be kept",
    "max_episodes": "episodes that may be kept",
    "max_insights": "insights that may be kept",
    "last_tool_evidence_limit": "the newest tool results of the working state that may be kept",
    "include_conversation_window": "show the newest turns of the session",
    "include_insights_in_tool": "show insights to a tool",
    "allow_insights_in_responder": "show validated insights to the responder",
    "recipe": "weights of the text ranking, below",
    "purposes": "what each purpose shows, below",
}
MEANINGS = {
    "append_event": "the event's id, whether it was there before, its number, what was redacted",
    "append_events": "one result per event; all in one transaction",
    "put_checkpoint": "an empty object; the same again replaces it",
    "put_checkpoint_writes": "an empty object; what is there stays, or with `replace` goes",
    "put_checkpoint_piece": "an empty object; the write that names its `digest` comes after it",
    "copy_checkpoints": "`copied`, a number of checkpoints",
    "delete_checkpoints": "`deleted`, a number of checkpoints",
    "prune_checkpoints": "`deleted`; the newest of each namespace stays, with what its delta channels need",
    "get_checkpoint": "`checkpoint` or null; its `next` asks for more of its values by `after`",
    "get_checkpoint_pieces": "`pieces`, the texts of some, from `first` on",
    "list_checkpoints": "`checkpoints`, newest first; `next` asks for more by `after`",
    "put_items": "an empty object; a null value deletes",
    "touch_items": "an empty object; the time of those that have one begins anew",
    "sweep_items": "`deleted`, the number of those whose time was over",
    "get_items": "`items`, one for each key, or null",
    "search_items": "`items`, by `score` where there is a `query`, else newest first",
    "list_item_namespaces": "`namespaces`, sorted",
    "list_events": "the newest `limit`, or those after `after_seq`, in time order; `next` asks for more",
    "get_working_state": "`working_state`, or null",
    "patch_working_state": "the full new `working_state`",
    "get_stm": "`stm`, or null",
    "update_stm": "an empty object",
    "list_facts": "`facts`",
    "upsert_fact": "`fact`, `outcome` created, refreshed, superseded or disputed, `superseded`, `redacted`",
    "list_episodes": "`episodes`",
    "append_episode": "`episode_id`, `duplicate`, `redacted`",
    "list_procedures": "`procedures`; `task_type` null is all",
    "upsert_procedure": "`procedure_id`, `outcome`, `redacted`",
    "list_insights": "`insights` of the run",
    "append_insight": "`id`, `duplicate`, `redacted`",
    "update_insight": "`insight` and what it was `promoted` to",
    "set_pinned": "`kind`, `id`, `pinned`",
    "end_run": "`expired_insights`",
    "build_memory_packet": "the packet; see [packet.md](packet.md)",
    "explain": "the explanation; see [explain.md](explain.md)",
    "search": "`hits`, best first",
    "list_context_builds": "`builds`, newest last",
    "write_context_build": "`build_id`",
    "policies": "`policies`, their names and files; with `policy_id` its `name`, `file` and whole `policy`; with a "
                "`table`, read from `source`, `checked`; see [policies.md](policies.md)",
    "forget": "what was deleted, or would be: `rows`, `versions`, `index_entries`, `builds`, `kinds`",
    "hello": "the daemon's version, protocol range, capabilities and pid",
    "status": "what the daemon is and holds; never queued behind work",
    "reload": "reads the configuration again, as SIGHUP does",
    "shutdown": "finishes what it accepted, then exits",
}
KINDS = (models.Fact, models.Episode, models.Procedure, models.Insight, models.WorkingState, models.ShortTerm)


# ---- words for types


def row(*cells: object) -> str:
    """Return one row of a Markdown table."""
    return "| " + " | ".join(str(one).replace("|", "\\|").replace("\n", " ") for one in cells) + " |"


def table(head: Iterable[str], rows: Iterable[str]) -> Iterator[str]:
    """Yield a Markdown table."""
    head = list(head)
    yield row(*head)
    yield "|" + "---|" * len(head)
    yield from rows


def code(value: object) -> str:
    """Return a value as code."""
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def allowed(schema: dict[str, Any]) -> str:
    """Say in words what a JSON Schema allows."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    if "const" in schema:
        return code(schema["const"])
    if "anyOf" in schema:
        return " or ".join(allowed(one) for one in schema["anyOf"])
    kind = schema.get("type")
    if kind == "array":
        return f"list of {allowed(schema.get('items', {}))}"
    if kind == "object":
        return "table" if "additionalProperties" in schema else "object"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false",
             "null": "none"}
    return words.get(str(kind), "any JSON") + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is not None and high is not None:
        return f" {'above ' if 'exclusiveMinimum' in schema else ''}{low} to {high}"
    return f" from {low}" if low is not None else ""


def covered(words: dict[str, str], names: Iterable[str], what: str) -> None:
    """Stop when the words here and the names in the code are not the same."""
    names = set(names)
    if set(words) != names:
        raise LookupError(f"{what} in docs/make_reference.py: explain {sorted(names - set(words))}, "
                         f"remove {sorted(set(words) - names)}")


# ---- configuration and errors


def settings() -> Iterator[str]:
    """Yield a table per section of the configuration."""
    section = ""
    for field in FIELDS:
        name = field.key.partition(".")[0]
        if name != section:
            yield from ("", f"### `[{name}]`", "") if section else (f"### `[{name}]`", "")
            yield from table(("setting", "default", "allowed", "environment", "what for"), ())
            section = name
        default = "none" if field.default in ("", {}) else code(field.default)
        env = "" if field.kind == "patterns" else f"`{field.env}`"
        restart = "; read at the daemon's start" if field.key in AT_START else ""
        yield row(f"`{field.key}`", default, field.describe(), env, field.help + restart)


def redacted() -> Iterator[str]:
    """Yield the names of the built-in patterns."""
    yield ", ".join(f"`{name}`" for name in redact.PATTERNS) + "."


def exits() -> Iterator[str]:
    """Yield the exit codes."""
    yield from table(("code", "meaning"), (row(number, text) for number, text in EXIT_CODES))


def kinds() -> Iterator[str]:
    """Yield the error tree, each class below the one it derives from."""
    yield from table(("kind", "class in `engram`", "code", "exit", "retry", "meaning"), _tree(EngramError, 0))


def _tree(cls: type[EngramError], depth: int) -> Iterator[str]:
    meaning = (cls.__doc__ or "").strip().splitlines()[0]
    name = f"`{cls.__name__}`" if cls.__name__ in engram.__all__ else "command line only"
    yield row(f"{'&nbsp;&nbsp;' * depth}`{cls.kind}`", name, cls.code, cls.exit_code,
              "yes" if cls.retryable else "", meaning)
    for sub in cls.__subclasses__():
        if sub.__module__ == cls.__module__:
            yield from _tree(sub, depth + 1)


# ---- policies


def _comments() -> dict[str, str]:
    found = re.findall(r"(?m)^\[?(\w+)\]?[^#\n]*#\s*(.+)$", SHIPPED.read_text(encoding="utf-8"))
    return dict(found)


def policy_fields() -> Iterator[str]:
    """Yield the fields of a policy, with the words of the shipped file's comments."""
    schema = policy.Policy.model_json_schema()["properties"]
    words = {**{name: text for name, text in _comments().items() if name in schema}, **POLICY_FIELDS}
    covered(words, schema, "POLICY_FIELDS and the comments of default.toml")
    shipped = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))
    yield from table(("field", "allowed", "default", "meaning"), (
        row(f"`{name}`", allowed(one), code(shipped[name]) if name != "purposes" else "below", words[name])
        for name, one in schema.items()))


def _fields(model: Any, words: dict[str, str], what: str) -> Iterator[str]:
    schema = model.model_json_schema()["properties"]
    covered(words, schema, what)
    yield from table(("field", "allowed", "default", "meaning"), (
        row(f"`{name}`", allowed(one), _default(one), words[name]) for name, one in schema.items()))


def _default(schema: dict[str, Any]) -> str:
    if schema.get("default", "") == "" and "default" not in schema:
        return "required"
    return "none" if schema["default"] in (None, "") else code(schema["default"])


def purpose_fields() -> Iterator[str]:
    """Yield the fields of a purpose."""
    yield from _fields(policy.Purpose, PURPOSE_FIELDS, "PURPOSE_FIELDS")


def section_fields() -> Iterator[str]:
    """Yield the fields of a section."""
    yield from _fields(policy.Section, SECTION_FIELDS, "SECTION_FIELDS")


def signal_fields() -> Iterator[str]:
    """Yield the weights of a kind."""
    yield from _fields(policy.Weights, SIGNALS, "SIGNALS")


def shares() -> Iterator[str]:
    """Yield what the shipped policy shows each purpose."""
    purposes = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))["purposes"]
    yield from table(("section", *PURPOSES), (
        row(f"`{section}`", *(_share(purposes[name]["sections"].get(section)) for name in PURPOSES))
        for section in SECTIONS))


def _share(section: dict[str, Any] | None) -> str:
    if section is None or not section.get("show", True):
        return "not shown"
    most = f", at most {section['max_items']}" if "max_items" in section else ""
    share = f"{section['share']:.0%}" if section.get("share") else "from what is left"
    return f"{share}{most} ({section.get('order', 50)})"


def recipe() -> Iterator[str]:
    """Yield the weights of the text ranking, from the source of the kernel: it need not be compiled to be read."""
    source = (ROOT / "engram_core/kernel/recipe.pyx").read_text(encoding="utf-8")
    body = source[source.index("RECIPE = {"):source.index("}", source.index("RECIPE = {"))]
    rows = re.findall(r'(?m)^ {4}"(\w+)": ([\d.]+),(?:  # (.+))?$|^ {4}# (.+)$', body)
    if len(rows) < 20:
        raise LookupError("the recipe of engram_core/kernel/recipe.pyx cannot be read")
    yield from table(("weight", "default", "meaning"), (
        row("", "", f"**{heading.rstrip('.')}**") if heading else row(f"`{name}`", value, text)
        for name, value, text, heading in rows))


# ---- the model and the protocol


def memories() -> Iterator[str]:
    """Yield the fields of every kind but events."""
    for model in KINDS:
        schema = model.model_json_schema()
        yield from (f"### {model.__name__}", "", (model.__doc__ or "").strip(), "")
        yield from table(("field", "allowed", "default"), (
            row(f"`{name}`", allowed(one) + _said(one), _derived(model, name) or _default(one))
            for name, one in schema["properties"].items()))
        for name, inner in schema.get("$defs", {}).items():
            required = inner.get("required", [])
            fields = [f"`{field}`" + ("" if field in required else "?") for field in inner["properties"]]
            yield from ("", f"{name}: {', '.join(fields)}.")
        yield ""


def _said(schema: dict[str, Any]) -> str:
    return f"; {schema['description']}" if "description" in schema else ""


def _derived(model: Any, name: str) -> str:
    return "made from the key" if (model, name) == (models.Fact, "fact_id") else ""


def operations() -> Iterator[str]:
    """Yield the methods of the protocol."""
    covered(MEANINGS, OPERATIONS, "MEANINGS")
    kinds = {"write": "writes", "read": "reads", "loop": "daemon"}
    yield from table(("method", "", "parameters", "result"), (
        row(f"`{name}`", kinds[one.kind],
            ", ".join([*(f"`{param}`" for param in one.required), *(f"`{param}`?" for param in one.optional)]),
            MEANINGS[name]) for name, one in OPERATIONS.items()))


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "settings": settings, "redacted": redacted, "exit-codes": exits, "error-kinds": kinds,
    "policy-fields": policy_fields, "purpose-fields": purpose_fields, "section-fields": section_fields,
    "signals": signal_fields, "shares": shares, "recipe": recipe, "memories": memories, "operations": operations,
}


def generated() -> dict[str, str]:
    """Return every document that holds a made table, by its path below the repository."""
    found = {}
    used: set[str] = set()
    for path in sorted((ROOT / "docs").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        names = MADE.findall(text)
        used.update(names)
        if names and set(names) <= set(TABLES):
            found[f"docs/{path.name}"] = MADE.sub(_made, text)
    if used != set(TABLES):
        raise LookupError(f"docs/make_reference.py: no document shows {sorted(set(TABLES) - used)}, "
                         f"nothing makes {sorted(used - set(TABLES))}")
    return found


def _made(match: re.Match[str]) -> str:
    body = "\n".join(TABLES[match[1]]()).rstrip("\n")
    return f"<!-- made: {match[1]} -->\n\n{body}\n\n<!-- end -->"


def main() -> None:
    """Write the documents."""
    found = generated()
    for path, text in found.items():
        (ROOT / path).write_text(text, encoding="utf-8")
    print(f"wrote the tables of {', '.join(found)}")


if __name__ == "__main__":
    main()
