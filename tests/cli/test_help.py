"""Help a stranger understands, the same table everywhere, and what a command may load."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from engram_cli.errors import EXIT_CODES, failure
from engram_cli.main import COMMANDS, app
from engram_core import errors
from tests.cli.conftest import Person

ROOT = Path(__file__).parents[2]


def load_pages() -> Any:
    spec = importlib.util.spec_from_file_location("make_pages", ROOT / "docs/make_pages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES = load_pages()
TOP = PAGES.pages()
LEAVES = [page for page in PAGES.walk(TOP) if page.path and not page.commands]


def test_every_command_of_the_issue_is_there() -> None:
    there = {" ".join(page.path) for page in PAGES.walk(TOP)}
    wanted = {
        "": "append packet explain search forget pin unpin status version", "events": "list",
        "fact": "set get list history dispute retract", "episode": "add list", "procedure": "set list",
        "insight": "add list test validate reject promote", "state": "show set patch clear", "state slot": "set remove",
        "stm": "show set", "run": "end", "policy": "list show check", "config": "path show get set check",
        "daemon": "run start stop restart status logs install",
    }
    for family, names in wanted.items():
        for name in names.split():
            assert f"{family} {name}".strip() in there


def test_the_overview_says_of_each_command_what_the_command_says() -> None:
    commands = {page.path[0]: page for page in TOP.commands}
    assert [name for _, rows in COMMANDS for name, _, _ in rows] == list(commands)
    for name, page in commands.items():
        assert page.help and page.help[0].isupper() and page.short.endswith("."), name


@pytest.mark.parametrize("page", LEAVES, ids=lambda page: " ".join(page.path))
def test_each_commands_help_is_complete(page: Any) -> None:
    assert page.short.endswith(".") and page.short[0].isupper()
    examples = page.example.splitlines()
    assert examples and any(line.split("engram ", 1)[1].startswith(" ".join(page.path[:1])) for line in examples
                            if "engram " in line)
    for choice in (*page.arguments, *page.options):
        assert choice.help, choice
        assert "<" not in choice.metavar, choice
        assert choice.help.split("  [")[0].endswith((".", "|insight")), choice


def examples() -> Iterator[Any]:
    for page in LEAVES:
        for line in page.example.splitlines():
            parts = [shlex.split(part) for part in re.split(r"\s(?:<|>|&&|\|)\s", line.replace("$question", "q"))]
            words = next(part for part in parts if "engram" in part)
            yield pytest.param(words[words.index("engram") + 1:], id=line)


@pytest.mark.parametrize("words", list(examples()))
def test_each_example_is_understood(words: list[str]) -> None:
    command = typer.main.get_command(app)
    name = "engram"
    context = None
    while True:  # parse level by level, run nothing
        context = command.make_context(name, list(words), parent=context, resilient_parsing=False)
        if not hasattr(command, "list_commands"):
            return
        words = [*context._protected_args, *context.args]
        name, command, words = command.resolve_command(context, words)


def test_help_is_shown_by_both_spellings(engram: Person) -> None:
    for args in (("--help",), ("-h",), ("fact", "--help"), ("fact", "set", "-h")):
        assert engram.done(*args).out.startswith("Usage: engram")


def test_a_familys_help_shows_whole_sentences_and_what_it_is_alone(engram: Person) -> None:
    for name in ("fact", "events", "config", "state", "daemon"):
        told = engram.done(name, "--help").out
        assert "..." not in told.replace("[ARGS]...", "") and f"Alone it is engram {name} " in told
        assert "Example" in told and f"  engram {name}" in told


def test_alone_it_says_what_to_type_next(engram: Person) -> None:
    assert 'engram append "' in engram.done().out


@pytest.mark.parametrize(("args", "said"), [
    (("apend", "x"), "did you mean append?"), (("fact", "lst"), "Did you mean 'list'"),
    (("fact", "set", "--key"), "--key"),
    (("packet", "extra"), "extra"), (("fact", "get"), "KEY"), (("state", "--color", "pink"), "pink"),
    (("run",), "Missing command"), (("--json", "packet"), "engram packet --json"),
    (("fact", "--json", "list"), "engram fact list --json"), (("append", "one", "two"), "quotes"),
    (("append", "x", "--timeout", "0"), "--timeout is 0, but must be more than 0"),
    (("packet", "--timeout", "nan"), "--timeout is nan"), (("fact", "--limit", "0"), "--limit is 0"),
    (("packet", "--max-tokens", "x"), "must be a whole number"), (("episode", "add", "x", "--end", "1d"), "--start"),
])
def test_a_slip_is_answered_in_one_line(engram: Person, args: tuple[str, ...], said: str) -> None:
    answer = engram(*args)
    assert answer.code == 2 and said in answer.err and answer.err.count("\n") == 1
    as_json = engram(*args, "--json")
    assert as_json.code == 2 and as_json.err.startswith('{"error":{"kind":"usage"')


NUMBERS = {
    ("fact", "set", "k", "v", "--confidence"): ("a number from 0 to 1", ("nan", "inf", "-0.1", "1.01", "7", "abc", "")),
    ("insight", "add", "x", "--confidence"): ("a number from 0 to 1", ("NaN", "1e999")),
    ("procedure", "set", "t", "c", "--priority"): ("a whole number from -1000 to 1000", ("nan", "1001", "2.5", "1_0")),
    ("state", "set", "--goal", "g", "--expected-version"): ("a whole number from 0", ("-1", "nan", "x", "9" * 30)),
    ("packet", "--max-tokens"): ("a whole number from 1 to 100000000", ("0", "nan", "2.5", "9" * 30, "9" * 5000)),
    ("packet", "--max-chars"): ("a whole number from 1", ("0", "-1", "nan", "9" * 30)),
    ("events", "-n"): ("a whole number from 1", ("0", "nan", "")), ("events", "--after"): ("from 0", ("-1", "nan")),
    ("search", "x", "--max-tokens"): ("from 1 to 100000000", ("0", "9" * 30)),
    ("fact", "--limit"): ("from 1", ("nan",)),
    ("daemon", "logs", "--lines"): ("from 0", ("-1", "nan")),
    ("append", "x", "--timeout"): ("at most 3600", ("inf", "x")),
}


@pytest.mark.parametrize("words", NUMBERS, ids=" ".join)
def test_a_wrong_number_names_option_value_and_range(engram: Person, words: tuple[str, ...]) -> None:
    allowed, values = NUMBERS[words]
    flag = {"-n": "--limit"}.get(words[-1], words[-1])
    for value in values:
        answer = engram(*words, value)
        assert answer.code in (2, 65) and allowed in answer.err and answer.err.count("\n") == 1, (value, answer)
        assert re.match(rf"engram: {flag} is '?{re.escape(value[:20])}", answer.err, re.I), (value, answer)
        assert answer.out == "" and len(answer.err) < 300


def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not hasattr(command, "list_commands"):
        yield words, command
        return
    context = typer.Context(command)
    for name in command.list_commands(context):
        yield from leaves(command.get_command(context, name), (*words, name))


NEEDED = {"search": ("x",), "get": ("k",), "set": ("k", "v"), "add": ("x",), "append": ("x",)}


def test_every_time_on_the_command_line_follows_one_rule(engram: Person) -> None:
    """A time without a zone is refused by name; the help of each command that takes times says how they are written."""
    seen = 0
    for words, command in leaves(typer.main.get_command(app)):
        flags = [param.opts[0] for param in command.params if str(param.metavar or "").startswith("TIME")]
        for flag in flags:
            answer = engram(*words, *NEEDED.get(words[-1], ()), flag, "2026-05-01T09:00:00")
            assert answer.code == 65, (words, flag, answer)
            assert answer.err == (f"engram: {flag} is '2026-05-01T09:00:00', a time without a time zone; write "
                                  "2026-05-01T09:00:00Z for UTC, or an offset such as 2026-05-01T09:00:00+02:00\n")
        assert ("A TIME is written with its zone" in engram(*words, "--help").out) is bool(flags), words
        seen += len(flags)
    assert seen >= 17


@pytest.mark.parametrize("module", ["main", "_entry"])
def test_a_date_is_a_time_for_the_hot_commands_too(engram: Person, module: str) -> None:
    done = engram.shell("export TZ=UTC; engram append --id dated --ts 2026-05-01 x && engram packet --now 2026-05-02",
                        module=module)
    assert done.code == 0, done
    listed = engram.done("events", "--ndjson").lines
    assert next(one for one in listed if one["event_id"] == "dated")["ts"] == "2026-05-01T00:00:00Z"
    assert engram.shell("engram append --ts 2026-05-01T09:00 x", module=module).err.startswith(
        "engram: --ts is '2026-05-01T09:00', a time without a time zone; ")


def test_the_exit_codes_are_what_they_were() -> None:
    """Scripts depend on them: a change of this table is a change of the interface."""
    frozen = {
        "error": 70, "bad_input": 65, "unknown_field": 65, "budget_too_small": 65, "tokenizer": 65, "usage": 2,
        "conflict": 65, "not_found": 1, "config": 78, "store": 74, "schema_too_new": 74, "store_corrupt": 74,
        "busy": 75, "deadline": 75, "no_daemon": 69, "protocol": 76, "method_not_found": 76, "access_denied": 77,
        "internal": 70, "io": 74, "unavailable": 75,
    }
    found = {getattr(errors, name).kind: failure(getattr(errors, name)("m"))["exit"] for name in errors.__all__
             if isinstance(getattr(errors, name), type)}
    assert found == frozen
    assert failure(OSError(28, "No space left on device"))["exit"] == 74
    assert failure(PermissionError(13, "Permission denied"))["exit"] == 77
    assert failure(ZeroDivisionError())["exit"] == 70
    assert set(frozen.values()) | {0, 130, 141, 143} == {code for code, _ in EXIT_CODES}


def test_every_exit_code_is_in_the_man_page() -> None:
    page = (ROOT / "man/engram.1").read_text()
    assert all(f".B {code}\n" in page for code, _ in EXIT_CODES)


@pytest.mark.parametrize("args", [["fact", "list"], ["events"], ["version"], ["config", "get", "packet.policy"],
                                  ["search", "x"]])
def test_a_piped_command_loads_nothing_heavy(environment: Path, args: list[str]) -> None:
    code = (f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom engram_cli.main import main\ncode = main({args!r})\n"
            "heavy = {'rich', 'pydantic', 'asyncio', 'sqlite3', 'logging', 'http'} & set(sys.modules)\n"
            "sys.exit(f'loaded {sorted(heavy)}' if heavy else code)")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
