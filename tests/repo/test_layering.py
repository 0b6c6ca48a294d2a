"""Holds the import table of docs/architecture.md against the code; imports inside functions count as well."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Area -> areas it may import. An area is a package or module of engram_core, or one of the other packages.
TABLE: dict[str, set[str]] = {
    "kernel": set(),
    "errors": set(),
    "redact": {"errors", "kernel"},
    "models": {"errors"},
    "packet": {"models", "errors"},
    "policy": {"models", "errors"},
    "settings": {"policy", "errors"},
    "tokens": {"errors", "kernel"},
    "protocol": {"models", "packet", "errors", "kernel"},
    "store": {"models", "errors", "kernel"},
    "recall": {"models", "packet", "policy", "tokens", "errors", "kernel", "store"},
    "engram": {"protocol", "models", "packet", "errors", "settings"},
    "engram_cli": {"engram", "models", "packet", "errors", "settings", "policy"},
}
ALL_OF_CORE = {area for area in TABLE if not area.startswith("engram")}
TABLE["daemon"] = ALL_OF_CORE

# Leaves below the table: they import nothing of ours, and everything but the kernel may use them.
LEAVES = {"engram_core", "__version__", "_version", "shipped", "paths", "patterns", "failpoints", "dsn"}

# Modules that belong to another area: the models without pydantic, and the lines a packet is laid out in.
PART_OF = {"ids": "models", "values": "models", "scope": "models", "events": "models", "sections": "models",
           "layout": "packet", "policy_file": "policy", "trusted": "settings", "places": "settings"}

# Module, what it may import beyond its area's row, and whether only inside a function.
EXCEPTIONS = [
    ("engram.inprocess", "engram_core.daemon.embedded", True),
    ("engram_cli.commands.daemon", "engram_core.daemon", False),
    ("engram_cli.commands.keep", "engram_core.daemon.keeping", True),
    ("engram_cli.commands.doctor", "engram_core.daemon.doctor", True),
    ("engram_cli.commands.store", "engram_core.store", True),
]

# Recall reads through the store's interface, never past it to a driver or a change of the schema.
STORE_INSIDE = {"sqlite", "postgres", "mysql", "migrations", "writes", "dialect"}


def modules() -> Iterator[tuple[str, Path]]:
    for package in ("engram", "engram_core", "engram_cli"):
        for path in sorted((ROOT / package).rglob("*.py*")):
            if path.suffix in (".py", ".pyx", ".pxd") and "backend" not in path.parts:
                name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                yield name.removesuffix(".__init__"), path


def area(module: str) -> str:
    package, _, rest = module.partition(".")
    part = rest.partition(".")[0] if package == "engram_core" and rest else package
    return PART_OF.get(part, part)


def imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Yield each module of ours that a file imports, with its line and whether inside a function."""
    source = path.read_text()
    if path.suffix != ".py":
        for number, line in enumerate(source.splitlines(), 1):
            found = re.match(r"\s*(?:from\s+(\S+)\s+c?import|c?import\s+(\S+))", line)
            if found:
                yield (found[1] or found[2]).rstrip(","), number, line[0].isspace()
        return
    tree = ast.parse(source)
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) in inside
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno, id(node) in inside


def ours(name: str) -> bool:
    return name.partition(".")[0] in ("engram", "engram_core", "engram_cli")


def within(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


def excepted(module: str, name: str, lazy: bool) -> bool:
    return any(
        within(module, user) and within(name, used) and (lazy or not only_lazy)
        for user, used, only_lazy in EXCEPTIONS
    )


def breach(module: str, name: str, lazy: bool) -> str | None:
    """Return why a module may not import a name, None when it may."""
    user, used = area(module), area(name)
    if not ours(name) or user == used or excepted(module, name, lazy):
        return None
    if used in LEAVES and user != "kernel":
        return None
    if user in LEAVES or user == "kernel":
        return f"{user} imports nothing of ours"
    if user not in TABLE:
        return f"{user} has no row in the table"
    if used not in TABLE[user]:
        return f"{user} may import {', '.join(sorted(TABLE[user])) or 'nothing of ours'}"
    if user == "recall" and used == "store" and name.split(".")[2:3] and name.split(".")[2] in STORE_INSIDE:
        return "recall uses the read interface of the store only"
    return None


@pytest.mark.parametrize(("module", "path"), [pytest.param(*found, id=found[0]) for found in modules()])
def test_every_import_is_in_the_table(module: str, path: Path) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}: {why}"
        for name, line, lazy in imports(path)
        if (why := breach(module, name, lazy))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("module", "name", "lazy", "allowed"),
    [
        ("engram_core.store.store", "engram_core.models.Fact", False, True),
        ("engram_core.store.store", "engram_core.policy", True, False),
        ("engram_core.kernel.fit", "engram_core.errors", False, False),
        ("engram_core.models", "json", False, True),
        ("engram.inprocess", "engram_core.daemon.embedded.Embedded", True, True),
        ("engram.inprocess", "engram_core.daemon.embedded", False, False),
        ("engram.memory", "engram_core.daemon.handlers", True, False),
        ("engram_cli.commands.daemon", "engram_core.daemon.process", False, True),
        ("engram_cli.commands.packet", "engram_core.daemon.process", True, False),
        ("engram_core.recall.gather", "engram_core.store.sqlite", False, False),
        ("engram_core.recall.gather", "engram_core.store.store.Store", False, True),
    ],
)
def test_the_table_says_what_it_should(module: str, name: str, lazy: bool, allowed: bool) -> None:
    assert (breach(module, name, lazy) is None) is allowed
