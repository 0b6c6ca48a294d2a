"""The page on reliability names tests that exist, for every row of the catalogue of faults, and targets that exist."""

from __future__ import annotations

import re

from tests.repo.tree import ROOT

PAGE = (ROOT / "docs/reliability.md").read_text()
ROWS = {*range(1, 15), *range(16, 27), 28}  # 15 and 27 belong to the database servers and the isolation of scopes


def test_every_row_of_the_catalogue_has_tests_that_exist() -> None:
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]+) \|$", PAGE, re.M)
    assert {int(number) for number, _ in rows} == ROWS
    for number, cell in rows:
        named = re.findall(r"`([\w/]+)::(\w+)`", cell)
        assert named, number
        for module, name in named:
            path = ROOT / "tests" / (module if "/" in module else f"faults/{module}")
            assert f"def {name}(" in path.with_suffix(".py").read_text(), (number, module, name)


def test_the_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make (\w+)", PAGE):
        assert re.search(rf"^{target}:", makefile, re.M), target
    for path in re.findall(r"`python (\S+\.py)", PAGE):
        assert (ROOT / path).is_file(), path
