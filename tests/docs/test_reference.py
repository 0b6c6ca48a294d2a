"""The tables in the documents that repeat what the code says are as the code says now."""

from __future__ import annotations

import errno
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from engram_cli.errors import EXIT_CODES, failure
from engram_core import policy
from engram_core.errors import EngramError
from engram_core.sections import SECTIONS
from engram_core.settings import FIELDS
from tests.repo import test_layering as layering

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    found: dict[str, str] = load("make_reference").generated()
    return found


def test_made_tables_are_fresh(made: dict[str, str]) -> None:
    assert len(made) >= 5
    stale = [path for path, text in made.items() if (ROOT / path).read_text(encoding="utf-8") != text]
    assert not stale, "run make docs"


def test_every_setting_is_documented(made: dict[str, str]) -> None:
    text = made["docs/configuration.md"]
    for field in FIELDS:
        assert f"`{field.key}`" in text
        assert field.kind == "patterns" or f"`{field.env}`" in text


def test_every_kind_of_error_that_can_be_printed_is_documented() -> None:
    text = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    foreign = (OSError(errno.ENOSPC, "full"), PermissionError(errno.EACCES, "no"), ValueError("x"))
    printed = [failure(exc) for exc in (*foreign, *(cls("x") for cls in classes(EngramError)))]
    for entry in printed:
        assert re.search(rf"(?m)^\| (&nbsp;)*`{entry['kind']}` \|.*\| {entry['exit']} \|", text), entry
        assert entry["exit"] in dict(EXIT_CODES)
    assert len({entry["kind"] for entry in printed}) == len(classes(EngramError))
    loose = re.compile(r"""["']kind["']: ["']|\bkind=["']""")  # a kind that no class has
    for path in (ROOT / "engram_cli").glob("*.py"):
        assert not loose.search(path.read_text(encoding="utf-8")), path


def classes(cls: type[EngramError]) -> list[type[EngramError]]:
    return [cls, *(one for sub in cls.__subclasses__() if sub.__module__ == cls.__module__ for one in classes(sub))]


def test_every_field_of_a_policy_is_documented(made: dict[str, str]) -> None:
    text = made["docs/policies.md"]
    for model in (policy.Policy, policy.Purpose, policy.Section, policy.Weights):
        for name in model.model_fields:
            assert f"| `{name}` |" in text
    for section in SECTIONS:
        assert f"| `{section}` |" in text


def rows_of(heading: str) -> dict[str, str]:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    part = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"(?m)^\| `([\w.]+)` \| (.+) \|$", part))


def test_the_import_table_is_the_one_the_code_is_held_against() -> None:
    rows = rows_of("Who may import whom")
    assert set(rows) == set(layering.TABLE)
    for area, may in layering.TABLE.items():
        if may == layering.ALL_OF_CORE:
            assert rows[area] == "all of engram_core"
        else:
            assert set(re.findall(r"`(\w+)`", rows[area])) == may, area
            assert may or rows[area] == "nothing of ours"


def test_the_exceptions_to_the_import_table_are_named() -> None:
    text = " ".join((ROOT / "docs/architecture.md").read_text(encoding="utf-8").split())
    for module, used, _ in layering.EXCEPTIONS:
        assert f"`{module}`" in text and (f"`{used}`" in text or "may import the daemon" in text)
    for module in (*layering.PART_OF, "paths", "shipped"):
        assert f"`{module}`" in text


def test_the_layout_names_what_is_there() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").split("\n## Layout\n")[1].split("\n## ")[0]
    for row in re.findall(r"(?m)^\| (`.+?) \|", text):
        folder = ""
        for name in re.findall(r"`([^`]+)`", row):
            folder = name.rpartition("/")[0] + "/" if "/" in name.rstrip("/") else folder
            there = [ROOT / name, ROOT / folder / name]
            assert any(one.exists() for one in there), f"docs/architecture.md names {name}"
