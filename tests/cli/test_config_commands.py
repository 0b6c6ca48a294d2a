"""Configuration and policies on the command line; changes keep what they do not touch."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_cli.toml_edit import replaced
from tests.cli.conftest import Person
from tests.daemon_fixture import Home

WRITTEN = """\
# mine
[packet]   # about packets
max_tokens = 100  # small
tokenizer = "bytes"

[scope]
agent = "a"
"""


@pytest.fixture
def config(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a home of the test's own, and the path of its configuration."""
    monkeypatch.chdir(home.path)
    monkeypatch.setenv("ENGRAM_AUTOSTART", "0")
    yield home.path / ".config/engram/engram.toml"


@pytest.fixture
def policies(home: Home, config: Path) -> Path:
    """Give the folder of the user's own policies, and a daemon that reads them."""
    folder = config.parent / "policies"
    folder.mkdir(parents=True)
    home.start()
    return folder


@pytest.fixture
def engram(config: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Person:
    return Person(monkeypatch, capfd)


def test_the_path_is_told_before_the_file_exists(engram: Person, config: Path) -> None:
    assert engram.done("config", "path").out == f"{config}\n"
    assert engram.done("config", "path", "--json").json["exists"] is False


def test_a_setting_is_written_read_and_told_from_where(engram: Person, config: Path) -> None:
    engram.done("config", "set", "packet.max_tokens", "4000")
    assert engram.done("config", "get", "packet.max_tokens").out == "4000\n"
    assert engram.done("config", "get", "packet.max_tokens", "--json").json["origin"] == str(config)
    rows = dict(row.split("\t")[:2] for row in engram.done("config").out.splitlines())
    assert rows["packet.max_tokens"] == "4000" and rows["scope.agent"] == "cli"
    assert config.stat().st_mode & 0o777 == 0o600
    assert engram.done("config", "check").out == f"ok: {config}\n"


def test_a_change_keeps_comments_and_everything_else(engram: Person, config: Path) -> None:
    config.parent.mkdir(parents=True)
    config.write_text(WRITTEN)
    engram.done("config", "set", "packet.max_tokens", "7")
    engram.done("config", "set", "packet.policy", "default")
    engram.done("config", "set", "redact.patterns.badge", "B-[0-9]{6}")
    assert config.read_text() == WRITTEN.replace("= 100", "= 7").replace(
        'tokenizer = "bytes"\n', 'tokenizer = "bytes"\npolicy = "default"\n'
    ) + '\n[redact.patterns]\nbadge = "B-[0-9]{6}"\n'


def test_a_link_to_the_file_stays_a_link(engram: Person, config: Path) -> None:
    config.parent.mkdir(parents=True)
    target = config.parent.parent / "dotfiles.toml"
    target.write_text(WRITTEN)
    config.symlink_to(target)
    engram.done("config", "set", "packet.max_tokens", "8")
    assert config.is_symlink() and "max_tokens = 8" in target.read_text()


@pytest.mark.parametrize(("args", "said"), [
    (("set", "packet.max_tokens", "many"), "must be a whole number"),
    (("set", "packet.max_token", "5"), "did you mean packet.max_tokens?"),
    (("set", "store.durability", "ful"), "did you mean full?"),
    (("set", "redact.patterns.x", "("), "no regular expression"),
    (("set", "redact.patterns.x", r"x(\w+\s?)*$"), "give each repeat an upper limit, as in [a-z]{1,64}"),
    (("get", "nope"), "unknown setting"),
    (("show", "nope"), "unknown setting"),
])
def test_a_wrong_argument_changes_nothing(engram: Person, config: Path, args: tuple[str, ...], said: str) -> None:
    answer = engram("config", *args)
    assert answer.code == 65 and said in answer.err
    assert not config.exists()


def test_a_wrong_file_is_reported_and_not_changed(engram: Person, config: Path) -> None:
    config.parent.mkdir(parents=True)
    config.write_text("[packe]\nx = 1\n")
    for args in (("check",), ("show",), ("set", "packet.policy", "x")):
        answer = engram("config", *args, "--json")
        assert answer.code == 78 and '"kind":"config"' in answer.err and "packe" in answer.err
    assert config.read_text() == "[packe]\nx = 1\n"


@pytest.mark.parametrize("module", ["main", "_entry"])
def test_a_relative_home_is_refused_by_every_command(engram: Person, config: Path, module: str) -> None:
    for line in ("append x", "append x --socket /tmp/s", "packet", "status --json", "fact", "config", "config path",
                 "config check", "policy", "daemon status", "daemon logs", "daemon install --dry-run", "daemon run"):
        for name in ("HOME", "XDG_DATA_HOME"):
            answer = engram.shell(f"{name}=here engram {line}", module=module)
            assert answer.code == 78 and answer.out == "", (name, line, answer)
            assert f"environment {name} is 'here', but must be an absolute path" in answer.err
    assert engram.shell("HOME=here engram version", module=module).code == 0
    assert not Path("here").exists()


def test_everything_that_is_wrong_is_told_at_once(engram: Person, config: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    config.parent.mkdir(parents=True)
    config.write_text("[packe]\nx = 1\n[store]\ndurability = 'ful'\nurl = 3\n"
                      "[redact.patterns]\na = '('\nb = '(a+)+b'\n")
    Path(".engram.toml").write_text("[store]\n")
    monkeypatch.setenv("ENGRAM_RECALL_LANGUAGE", "klingon")
    answer = engram("config", "check")
    assert answer.code == 78 and answer.out == ""
    told = answer.err.splitlines()
    for said in ("[packe]; did you mean packet?", "store.durability is 'ful'", "store.url is 3", "redact.patterns.a",
                 "redact.patterns.b", "a project's file holds [scope] only", "ENGRAM_RECALL_LANGUAGE"):
        assert sum(said in line for line in told) == 1, said
    assert len(told) == 7
    assert len(json.loads(engram("config", "check", "--json").err)["error"]["more"]) == 6


def test_a_project_gets_a_file_with_its_scope(engram: Person, config: Path) -> None:
    engram.done("config", "set", "scope.agent", "reviewer", "--project")
    project = Path(os.getcwd(), ".engram.toml")
    assert tomllib.loads(project.read_text()) == {"scope": {"agent": "reviewer"}}
    assert engram.done("config", "get", "scope.agent").out == "reviewer\n"
    assert engram("config", "set", "packet.policy", "x", "--project").code == 78


def test_a_running_daemon_takes_a_change_over(home: Home, engram: Person, config: Path) -> None:
    home.start()
    assert "took it over" in engram.done("config", "set", "scope.session", "s9").err
    assert "s9" in engram.done("status").out


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
scalars = st.one_of(st.integers(-10**6, 10**6), st.booleans(), words)
tables = st.dictionaries(st.sampled_from(["packet", "scope", "store"]),
                         st.dictionaries(st.sampled_from(["a", "b", "c d", "é"]), scalars, max_size=4), max_size=3)


@given(tables, st.sampled_from(["packet", "scope", "new"]), st.sampled_from(["a", "b", "z"]), scalars, st.booleans())
def test_an_edit_changes_that_value_only(before: dict[str, Any], section: str, name: str, value: Any,
                                         tight: bool) -> None:
    import tomli_w

    text = tomli_w.dumps(before)
    text = text.replace(" = ", "=") if tight else text
    if tomllib.loads(text) != before:
        return  # the replacement hit a value
    wanted = {key: dict(table) for key, table in before.items()}
    wanted.setdefault(section, {})[name] = value
    assert tomllib.loads(replaced(text, (section, name), value)) == wanted


@pytest.mark.parametrize("text", [
    'packet = {a = 1, b = 2}\n', 'packet.a = 1\npacket.b = 2\n', '[packet]\na = """\nlong\n"""\nb = 2\n',
    '[packet]\n"a" = 1\nb = [\n  1,\n]\n', "[packet]\r\na = 1\r\nb = 2\r\n",
])
def test_unusual_layouts_are_changed_correctly(text: str) -> None:
    before = tomllib.loads(text)
    assert tomllib.loads(replaced(text, ("packet", "a"), "new")) == {"packet": {**before["packet"], "a": "new"}}


# ---- policies


def test_policies_are_listed_shown_and_checked(engram: Person, policies: Path) -> None:
    (policies / "mine.toml").write_text("max_facts = 3\n")
    assert [row.split("\t")[0] for row in engram.done("policy").out.splitlines()] == ["default", "mine"]
    assert tomllib.loads(engram.done("policy", "show", "mine").out)["max_facts"] == 3
    assert engram.done("policy", "show", "mine", "--json").json["policy"]["max_episodes"] == 20
    assert tomllib.loads(engram.done("policy", "show").out)["max_facts"] == 30
    assert engram.done("policy", "check").out == "ok: default, mine\n"
    assert engram.done("policy", "check", "mine", "--json").json["checked"] == ["mine"]


def test_asking_for_policies_starts_the_daemon(home: Home) -> None:
    assert home.engram("policy").stdout.startswith(b"default\t")
    assert home.pids()


def test_a_policy_is_as_its_file_is_now(engram: Person, policies: Path) -> None:
    file = policies / "mine.toml"
    for number in range(3):
        file.write_text(f"max_facts = {number}\n")
        assert tomllib.loads(engram.done("policy", "show", "mine").out)["max_facts"] == number
    file.write_text("max_facts = -1\n")
    assert engram("policy", "check", "mine").code == 78
    file.unlink()
    assert engram("policy", "check", "mine").code == 65


def test_an_own_default_is_shown_whole(engram: Person, policies: Path) -> None:
    shipped = tomllib.loads(engram.done("policy", "show").out)
    (policies / "default.toml").write_text("max_facts = 3\n")
    shown = tomllib.loads(engram.done("policy", "show").out)
    assert shown["max_facts"] == 3 and set(shown) == set(shipped)
    assert engram.done("policy", "show", "--json").json["file"] == str(policies / "default.toml")


def test_an_unknown_policy_is_told_alike_everywhere(engram: Person, policies: Path) -> None:
    answers = [engram(*args) for args in (("policy", "show", "absent"), ("policy", "check", "absent"),
                                          ("packet", "--policy", "absent"))]
    assert {(answer.code, answer.err) for answer in answers} == {(65, answers[0].err)}
    assert "known are default" in answers[0].err


def test_a_policy_is_shown_with_every_weight_of_the_ranking(engram: Person, policies: Path) -> None:
    from engram_core.kernel.index import RECIPE
    from engram_core.policy import RECIPE_WEIGHTS

    assert list(RECIPE_WEIGHTS.items()) == list(RECIPE.items())
    assert tomllib.loads(engram.done("policy", "show").out)["recipe"] == RECIPE
    assert "# the age at which recency counts half" in engram.done("policy", "show").out
    (policies / "mine.toml").write_text("[recipe]\ngrams = 0.0\n")
    assert tomllib.loads(engram.done("policy", "show", "mine").out)["recipe"] == {**RECIPE, "grams": 0.0}


@pytest.mark.parametrize(("line", "said"), [("gramms = 1", "did you mean grams?"), ("b = 5", "from 0 to 1")])
def test_a_wrong_weight_is_found_with_its_file(engram: Person, policies: Path, line: str, said: str) -> None:
    (policies / "wrong.toml").write_text(f"[recipe]\n{line}\n")
    for args in (("check", "wrong"), ("check",), ("show", "wrong")):
        answer = engram("policy", *args)
        assert answer.code == 78 and said in answer.err and str(policies / "wrong.toml") in answer.err


@pytest.mark.parametrize("name", ["latin", "folder"])
def test_a_policy_that_cannot_be_read_is_told(engram: Person, policies: Path, name: str) -> None:
    (policies / "latin.toml").write_bytes(b"max_facts = 3 # \xff\n")
    (policies / "folder.toml").mkdir()
    for args in (("policy", "check", name), ("policy", "show", name), ("packet", "--policy", name)):
        answer = engram(*args)
        assert answer.code == 78 and f"{policies / name}.toml: cannot be read" in answer.err


@pytest.mark.parametrize(("line", "said"), [
    ("max_facts = 2026-01-01", "policy.max_facts is '2026-01-01'; allowed is a whole number"),
    ("stable_share = inf", "policy.stable_share is 'inf'; allowed is a number from 0 to 1"),
    ("max_facts = 99999999999999999999", "policy.max_facts is 99999999999999999999"),
    ("x = " + "[" * 70 + "]" * 70, "policy has the unknown key 'x'"),
])
def test_a_file_may_hold_what_no_request_can_carry(engram: Person, policies: Path, tmp_path: Path, line: str,
                                                   said: str) -> None:
    file = tmp_path / "p.toml"
    file.write_text(line + "\n")
    answer = engram("policy", "check", str(file))
    assert answer.code == 78 and said in answer.err


def test_every_wrong_file_and_every_problem_in_it_is_told(engram: Person, policies: Path) -> None:
    (policies / "a.toml").write_text("max_fact = 3\nstable_share = 7\n[recipe]\nb = 5\ngramms = 1\n")
    (policies / "default.toml").write_text("max_facts = -1\n")
    (policies / "good.toml").write_text("max_facts = 3\n")
    (policies / "z.toml").write_text("max_facts = \n")
    answer = engram("policy", "check")
    assert answer.code == 78 and answer.out == ""
    told = answer.err.splitlines()
    for file, said in (("a", "did you mean max_facts?"), ("a", "stable_share is 7"), ("a", "recipe.b is 5"),
                       ("a", "did you mean grams?"), ("default", "max_facts is -1"), ("z", "line 1")):
        assert sum(line.startswith(f"engram: {policies / file}.toml: ") and said in line for line in told) == 1, said
    assert len(told) == 6
    error = json.loads(engram("policy", "check", "--json").err)["error"]
    assert (error["kind"], error["exit"], 1 + len(error["more"])) == ("config", 78, 6)
    assert all(str(policies) in one["message"] and one["hint"] for one in error["more"])
    assert engram.done("policy", "check", "good").out == "ok: good\n"


def test_a_typo_in_a_policy_is_found(engram: Person, policies: Path, tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text("max_fact = 3\n")
    answer = engram("policy", "check", str(file))
    assert answer.code == 78 and str(file) in answer.err and "did you mean max_facts?" in answer.err
    file.write_text("max_facts = 3\n")
    assert engram.done("policy", "check", str(file)).out == f"ok: {file}\n"
    file.write_text("max_facts = \n")
    assert engram("policy", "check", str(file)).code == 78
    assert engram("policy", "check", str(tmp_path / "absent.toml")).code == 78
