"""Standard streams as they come: closed, full, gone, no terminal, odd locales; and the views of a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import ENTRY, ROOT, Person


@pytest.mark.parametrize("module", ["main", "_entry"])
@pytest.mark.parametrize(("script", "code"), [
    ("engram append <&-", 74), ("engram fact list > /dev/full", 74), ("engram append x > /dev/full", 74),
    ("engram fact list >&-", 74), ("engram append x >&-", 74), ("engram append < /dev/null", 65),
    ("engram fact set k v 2>&-", 0),
])
def test_a_closed_or_full_stream_is_told_by_the_exit_code(engram: Person, script: str, code: int, module: str) -> None:
    engram.done("fact", "set", "k", "v")
    answer = engram.shell(script, module=module)
    assert answer.code == code, answer
    assert "Traceback" not in answer.err


EVERY = (
    "engram", "engram --version", "engram --help", "engram append --help", "engram append x", "engram packet",
    "engram packet --format text", "engram explain", "engram explain --json", "engram search v", "engram events",
    "engram events --ndjson", "engram fact", "engram fact get k", "engram fact --color always", "engram state --json",
    "engram policy", "engram policy show", "engram config", "engram config path", "engram status",
    "engram status --json", "engram version", "engram daemon status",
    "engram append --stdin-ndjson <<< '{\"payload\":1}'",
)


@pytest.mark.parametrize("module", ["main", "_entry"])
def test_every_command_says_that_stdout_cannot_be_written(engram: Person, module: str) -> None:
    engram.done("fact", "set", "k", "v")
    engram.done("packet")
    for line in EVERY:
        answer = engram.shell(f"{line} > /dev/full", module=module)
        assert answer.code == 74, (line, answer)
        assert "stdout cannot be written: No space left on device" in answer.err, (line, answer)
        as_json = "--json" in line or "--ndjson" in line
        assert answer.err.startswith('{"error":{"kind":"io"' if as_json else "engram: stdout"), (line, answer)
        assert answer.err.count("\n") == 1, (line, answer)
        answer = engram.shell(f"{line} >&-", module=module)
        assert answer.code == 74 and "stdout cannot be written: it is closed" in answer.err, (line, answer)
        assert answer.err.count("\n") == 1, (line, answer)


def test_a_reader_that_goes_away_ends_it_quietly(engram: Person) -> None:
    engram.done("append", "--stdin-ndjson", stdin="".join(f'{{"payload":"{"x" * 200} {n}"}}\n' for n in range(2000)))
    answer = engram.shell("set -o pipefail; engram events -n 2000 | head -n 1; exit ${PIPESTATUS[0]}")
    assert answer.code == 141 and answer.err == ""


def test_an_interrupt_ends_a_follower_with_130(engram: Person) -> None:
    engram.done("append", "one")
    with subprocess.Popen([sys.executable, "-c", ENTRY.format(root=str(ROOT), module="main"), "events", "--follow"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None and run.stderr is not None
        assert run.stdout.readline().split("\t")[2] == "one"
        engram.done("append", "two")
        assert run.stdout.readline().split("\t")[2] == "two"
        run.send_signal(2)
        assert (run.wait(10), run.stderr.read()) == (130, "")


def test_a_stream_answers_each_line_as_it_comes(engram: Person) -> None:
    engram.done("append", "start the daemon")
    command = [sys.executable, "-c", ENTRY.format(root=str(ROOT), module="main"), "append", "--stdin-ndjson"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdin is not None and run.stdout is not None
        for line in ('{"payload":"a"}', "wrong", '{"payload":"b"}'):
            run.stdin.write(line + "\n")
            run.stdin.flush()
            assert ("error" in run.stdout.readline()) is (line == "wrong")
        run.stdin.close()
        assert run.wait(10) == 65


def test_text_is_utf8_whatever_the_locale(engram: Person) -> None:
    engram.done("fact", "set", "word", "日本語 é")
    answer = engram.shell("LC_ALL=en_US.ISO-8859-1 PYTHONIOENCODING=ascii engram fact get word")
    assert answer.out == "日本語 é\n"
    assert engram("append", stdin=b"\xff\xfe").code == 65


def test_escapes_in_memories_never_reach_a_reader(engram: Person) -> None:
    engram.done("append", "--stdin-json", stdin='{"payload":"red \\u001b[31mtext\\u0007 \\u009b2J end\\ttab\\u202e"}')
    engram.done("fact", "set", "--stdin-json", stdin='{"fact_key":"k","value":"a\\u001b]0;title\\u0007b"}')
    for args in (("events",), ("fact",), ("fact", "get", "k"), ("search", "red")):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", engram.done(*args).out), args
    for args in (("events", "--json"), ("fact", "--ndjson")):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", engram.done(*args).out), args
    assert engram.done("events").out.split("\t")[2] == "red text end tab"


def test_a_text_of_ten_megabytes_is_refused_in_one_line(engram: Person) -> None:
    answer = engram("append", stdin="x" * 10_000_000)
    assert answer.code == 65 and answer.err.count("\n") == 1 and len(answer.err) < 400


# ---- a terminal


def on_terminal(*args: str, columns: int = 80, **env: str) -> str:
    """Run a command whose output is a terminal of some width; return what the terminal got."""
    leader, follower = pty.openpty()
    run = subprocess.Popen([sys.executable, "-c", ENTRY.format(root=str(ROOT), module="main"), *args], stdin=follower,
                           stdout=follower, stderr=follower, close_fds=True,
                           env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color", **env})
    os.close(follower)
    pieces, end = [], time.monotonic() + 20
    while time.monotonic() < end:
        if select.select([leader], [], [], 0.1)[0]:
            try:
                data = os.read(leader, 65536)
            except OSError:
                break
            if not data:
                break
            pieces.append(data)
    run.wait(5)
    os.close(leader)
    return b"".join(pieces).decode()


def test_on_a_terminal_a_list_is_a_table_that_fits(engram: Person) -> None:
    engram.done("append", "a long text " * 20)
    for columns in (60, 80, 160):
        plain = re.sub(r"\x1b\[[\d;]*m", "", on_terminal("events", columns=columns))
        head, row = [line.rstrip("\r") for line in plain.splitlines()][:2]
        assert head.split()[:3] == ["TIME", "WHO", "TEXT"]
        assert "a long text" in row and row.rstrip().count("\n") == 0 and len(row) <= columns
        assert ("ID" in head) is (columns > 90)


def test_colour_follows_the_usual_rules(engram: Person) -> None:
    engram.done("fact", "set", "k", "v")
    assert "\x1b[" in on_terminal("fact")
    assert "\x1b[" not in on_terminal("fact", NO_COLOR="1")
    assert "\x1b[" not in on_terminal("fact", "--color", "never")
    assert "\x1b[" not in on_terminal("fact", TERM="dumb")
    assert "\x1b[" not in engram.done("fact").out
    assert "\x1b[" in engram.done("fact", "--color", "always").out
    assert "\x1b[" in engram.shell("FORCE_COLOR=1 engram fact").out
    assert "\x1b[" not in engram.shell("FORCE_COLOR=1 NO_COLOR=1 engram fact").out


def test_without_text_a_terminal_is_told_what_to_type(engram: Person) -> None:
    assert "no text given" in on_terminal("append")


def test_it_works_without_home_terminal_or_name(environment: Path, engram: Person) -> None:
    answer = engram.shell('env -i PATH="$PATH" HOME="$HOME" "$PYTHON" -c "$ENTRY" append x < /dev/null')
    assert answer.code == 0 and answer.out.startswith("e_")


def test_a_record_on_a_terminal_is_wrapped_under_its_name(engram: Person) -> None:
    goal = "a goal of many words " * 10
    engram.done("state", "set", "--goal", goal.strip(), "--plan", "first", "--plan", "second")
    told = re.sub(r"\x1b\[[\d;]*m", "", on_terminal("state", columns=60)).replace("\r", "").splitlines()
    assert all(len(line) <= 60 for line in told)
    assert sum(line.startswith("plan:") for line in told) == 1 and any(line.split() == ["second"] for line in told)
    piped = engram.done("state").out.splitlines()
    assert piped[:3] == [f"goal: {goal.strip()}", "plan: first", "plan: second"]


def test_status_on_a_terminal_is_said_in_words(engram: Person) -> None:
    told = on_terminal("status", columns=200)
    assert "compiled" in told and "pid " in told and "kernel.compiled" not in told
    assert "kernel.compiled: yes\n" in engram.done("status").out
